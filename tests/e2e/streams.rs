//! Streams stay streams: every event at once, every end an end, and nobody's memory but the
//! kernel's for a client that does not read.

mod drains;
mod leaving;
mod slow_readers;

use std::time::{Duration, Instant};

use mcp_gateway_emulator::toolhive::Fault;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::world::{Asked, Gateway, Scripted, World, mcp::call, until};

const BOTH: [Http; 2] = [Http::One, Http::Two];
const ACTIVE: &str = "gateway_streams_active{route=\"/mcp\"}";

/// The version of HTTP that a client speaks.
#[derive(Clone, Copy, Debug)]
enum Http {
    One,
    Two,
}

impl Http {
    fn mcp(
        self,
        gateway: &Gateway,
        method: Method,
        token: &str,
        session: Option<&str>,
    ) -> RequestBuilder {
        match self {
            Self::One => gateway.mcp(method, "/mcp", Some(token), session),
            Self::Two => gateway.mcp_h2(method, "/mcp", Some(token), session),
        }
    }

    fn post(self, gateway: &Gateway, token: &str, message: &Value) -> RequestBuilder {
        self.mcp(gateway, Method::POST, token, None).json(message)
    }
}

/// A gateway with TLS before one backend that the test plays.
async fn before(upstream: &Scripted) -> World {
    World::builder()
        .upstream("github", &[upstream.address()])
        .route("/mcp")
        .tls()
        .start()
        .await
}

/// A gateway with TLS before one workload.
async fn one_workload() -> World {
    World::builder()
        .workload("github")
        .route("/mcp")
        .tls()
        .start()
        .await
}

/// A call that the backend answers with a stream whose head has arrived.
async fn open(
    http: Http,
    gateway: &Gateway,
    token: &str,
    upstream: &mut Scripted,
) -> (Response, Asked) {
    let request = http.post(gateway, token, &call(1, "slow", &json!({})));
    let answering = async {
        let mut asked = upstream.asked().await;
        asked.begin_stream().await;
        asked
    };
    let (response, asked) = tokio::join!(request.send(), answering);
    let response = response.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    (response, asked)
}

/// Reads until the body so far ends with `end`.
async fn read_until(response: &mut Response, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let chunk = response.chunk().await.unwrap();
        text.push_str(str::from_utf8(&chunk.expect("more of the stream")).unwrap());
    }
    text
}

/// How a body ends after which nothing is expected: properly, or broken.
async fn end(response: &mut Response) -> reqwest::Result<()> {
    while let Some(chunk) = response.chunk().await? {
        // The end of an HTTP/2 stream may be a frame of its own without data.
        assert!(chunk.is_empty(), "{chunk:?}");
    }
    Ok(())
}

#[tokio::test]
async fn every_event_arrives_before_the_next_is_sent() {
    for http in BOTH {
        let mut upstream = Scripted::start();
        let world = before(&upstream).await;
        let token = world.token("alice");
        let (mut response, mut asked) = open(http, &world, &token, &mut upstream).await;
        for number in 0..5 {
            let event = format!("data: {{\"n\":{number}}}\n\n");
            asked.chunk(&event).await;
            assert_eq!(read_until(&mut response, "\n\n").await, event, "{http:?}");
        }
        // Not even a line has to be whole to be passed on.
        asked.chunk("da").await;
        assert_eq!(read_until(&mut response, "a").await, "da", "{http:?}");
        asked.chunk("").await;
        end(&mut response).await.unwrap();
    }
}

#[tokio::test]
async fn a_quiet_stream_stays_open() {
    let mut upstream = Scripted::start();
    // Both times are about something else: the head of an answer, and connections without one.
    let world = World::builder()
        .upstream("github", &[upstream.address()])
        .yaml_route(
            "{ path: /mcp, filters: [{ proxy: { upstream: github, response_head_timeout: 150ms } }] }",
        )
        .start()
        .await;
    let (mut response, mut asked) = open(Http::One, &world, "none", &mut upstream).await;
    // Silence is the only thing here that takes time by itself.
    let quiet = timeout(Duration::from_millis(600), response.chunk()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    asked.chunk("data: late\n\n").await;
    assert_eq!(read_until(&mut response, "\n\n").await, "data: late\n\n");
}

#[tokio::test]
async fn open_streams_are_counted() {
    for http in BOTH {
        let mut upstream = Scripted::start();
        let world = before(&upstream).await;
        let token = world.token("alice");
        assert!(world.metric(ACTIVE) < 1.0);
        let (mut first, mut asked) = open(http, &world, &token, &mut upstream).await;
        let (second, mut other) = open(http, &world, &token, &mut upstream).await;
        until("both are counted", || world.metric(ACTIVE) > 1.0).await;
        asked.chunk("").await;
        end(&mut first).await.unwrap();
        until("one is over", || world.metric(ACTIVE) < 2.0).await;
        drop(second);
        until("the other's client left", || world.metric(ACTIVE) < 1.0).await;
        other.closed().await;
    }
}

#[tokio::test]
async fn an_answer_that_breaks_never_looks_whole() {
    let answers = [
        "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n",
        "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n20\r\ndata: 1\n\n",
        "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{}",
    ];
    for http in BOTH {
        let mut upstream = Scripted::start();
        let world = before(&upstream).await;
        let token = world.token("alice");
        for answer in answers {
            let request = http.post(&world, &token, &call(1, "slow", &json!({})));
            let (response, ()) = tokio::join!(request.send(), async {
                let mut asked = upstream.asked().await;
                asked.write(format!("HTTP/1.1 200 OK\r\n{answer}")).await;
            });
            // What came before may be lost with what did not come.
            if let Ok(response) = response {
                let body = response.text().await;
                assert!(body.is_err(), "{http:?} {answer:?}: {body:?}");
            }
        }
        until("three lines", || {
            let lines = world.access_lines();
            let broken = lines
                .iter()
                .filter(|line| line["reason"] == "upstream_broken");
            broken.count() == answers.len()
        })
        .await;
    }
}

#[tokio::test]
async fn a_stream_that_breaks_is_broken_for_the_client_too() {
    for http in BOTH {
        let mut upstream = Scripted::start();
        let world = before(&upstream).await;
        let token = world.token("alice");
        let (mut response, mut asked) = open(http, &world, &token, &mut upstream).await;
        asked.chunk("data: 1\n\n").await;
        assert_eq!(read_until(&mut response, "\n\n").await, "data: 1\n\n");
        drop(asked);
        let end = end(&mut response).await;
        assert!(end.is_err(), "{http:?}");
    }
}

#[tokio::test]
async fn progress_arrives_while_the_tool_works() {
    for http in BOTH {
        let world = one_workload().await;
        let token = world.token("alice");
        let session = world.session("/mcp", &token).await;
        let mut message = call(1, "progress", &json!({"steps": 3, "delay_ms": 150}));
        message["params"]["_meta"] = json!({"progressToken": "p"});
        let request = http
            .mcp(&world, Method::POST, &token, Some(&session))
            .json(&message);
        let mut response = request.send().await.unwrap();
        let mut arrived = vec![];
        let mut text = String::new();
        while let Some(chunk) = response.chunk().await.unwrap() {
            text.push_str(str::from_utf8(&chunk).unwrap());
            arrived.push(Instant::now());
        }
        let events: Vec<Value> = text
            .lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .map(|data| serde_json::from_str(data).unwrap())
            .collect();
        let steps: Vec<_> = events
            .iter()
            .filter_map(|event| event["params"]["progress"].as_f64())
            .collect();
        assert_eq!(steps, [1.0, 2.0, 3.0], "{http:?}");
        let answer = events.last().unwrap();
        assert_eq!(answer["result"]["content"][0]["text"], "3 steps done");
        // Each step takes a moment, so what arrived together was held back together.
        let took = arrived[arrived.len() - 1] - arrived[0];
        assert!(took > Duration::from_millis(150), "{http:?}: {took:?}");
    }
}

#[tokio::test]
async fn a_notification_of_the_server_reaches_every_session() {
    let world = World::builder()
        .workload("github")
        .workloads(|workload| workload.keep_alive(Duration::from_millis(20)))
        .route("/mcp")
        .tls()
        .start()
        .await;
    let mut streams = vec![];
    for (http, who) in BOTH.into_iter().zip(["alice", "bob"]) {
        let token = world.token(who);
        let session = world.session("/mcp", &token).await;
        let request = http.mcp(&world, Method::GET, &token, Some(&session));
        streams.push(request.send().await.unwrap());
    }
    let token = world.token("alice");
    let session = world.session("/mcp", &token).await;
    let told = world
        .call_tool("/mcp", &token, &session, "notify", &json!({}))
        .await;
    assert_eq!(told, "told");
    for stream in &mut streams {
        let mut text = String::new();
        // Comments that keep a stream alive pass as well.
        while !(text.contains("tools/list_changed") && text.contains(": keep-alive")) {
            let chunk = stream.chunk().await.unwrap().expect("an open stream");
            text.push_str(str::from_utf8(&chunk).unwrap());
        }
    }
}

#[tokio::test]
async fn torn_events_come_out_as_they_went_in() {
    for http in BOTH {
        let world = one_workload().await;
        let token = world.token("alice");
        world.session("/mcp", &token).await;
        world.workloads[0].fault(Fault::Torn);
        let text = "übergrößengeschäft ✓";
        let answer = http
            .post(&world, &token, &call(1, "echo", &json!({ "text": text })))
            .send()
            .await
            .unwrap();
        let body = answer.text().await.unwrap();
        let data = body.lines().find_map(|line| line.strip_prefix("data:"));
        let message: Value = serde_json::from_str(data.unwrap()).unwrap();
        assert_eq!(message["result"]["content"][0]["text"], text, "{http:?}");
    }
}
