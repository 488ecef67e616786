//! What the bytes of a workload may do to a client, and what they may not.

use reqwest::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::world::{Answer, Asked, Scripted, World, mcp::call, send};

const BOTH: [bool; 2] = [false, true];

/// A gateway before one backend that the test plays.
async fn before(upstream: &Scripted) -> World {
    World::builder()
        .upstream("github", &[upstream.address()])
        .route("/mcp")
        .tls()
        .start()
        .await
}

/// Sends a call that the backend answers with these bytes.
async fn answered(
    world: &World,
    upstream: &mut Scripted,
    h2: bool,
    answer: impl AsRef<[u8]>,
) -> (reqwest::Result<Answer>, Asked) {
    let token = world.token("alice");
    let request = if h2 {
        world.mcp_h2(Method::POST, "/mcp", Some(&token), None)
    } else {
        world.mcp(Method::POST, "/mcp", Some(&token), None)
    };
    let request = request.json(&call(4, "echo", &json!({})));
    let answering = async {
        let mut asked = upstream.asked().await;
        asked.write(answer).await;
        asked
    };
    tokio::join!(try_send(request), answering)
}

async fn try_send(request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
    let response = request.send().await?;
    Ok(Answer {
        status: response.status().as_u16(),
        version: response.version(),
        headers: response.headers().clone(),
        body: response.text().await?,
    })
}

#[tokio::test]
async fn interim_answers_are_not_the_answer() {
    for h2 in BOTH {
        let mut upstream = Scripted::start();
        let world = before(&upstream).await;
        let bytes = "HTTP/1.1 102 Processing\r\n\r\n\
                     HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n\
                     HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        let (answer, _held) = answered(&world, &mut upstream, h2, bytes).await;
        let answer = answer.unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, "{}"));
        assert_eq!(answer.header("link"), None);
    }
}

#[tokio::test]
async fn trailers_are_dropped_and_the_answer_is_whole() {
    for h2 in BOTH {
        let mut upstream = Scripted::start();
        let world = before(&upstream).await;
        let bytes = "HTTP/1.1 200 OK\r\nTrailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n\
                     2\r\n{}\r\n0\r\nX-T: 1\r\n\r\n";
        let (answer, _held) = answered(&world, &mut upstream, h2, bytes).await;
        let answer = answer.unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, "{}"));
        assert_eq!(answer.header("trailer"), None);
    }
}

#[tokio::test]
async fn two_lengths_never_become_two_answers() {
    let chunked = "Transfer-Encoding: chunked\r\n\r\n14\r\n{\"01234567890123456\"}\r\n0\r\n\r\n";
    for h2 in BOTH {
        let mut upstream = Scripted::start();
        let world = before(&upstream).await;
        for lengths in [
            format!("Content-Length: 5\r\n{chunked}"),
            format!("Content-Length: 500\r\n{chunked}"),
            "Content-Length: 5\r\nContent-Length: 20\r\n\r\n{\"01234567890123456\"}".to_owned(),
        ] {
            let bytes = format!("HTTP/1.1 200 OK\r\n{lengths}");
            let (answer, held) = answered(&world, &mut upstream, h2, bytes).await;
            // Either the gateway can tell what is meant, or the answer is not used at all.
            match answer {
                Ok(answer) if answer.status == 200 => {
                    assert_eq!(answer.body, "{\"01234567890123456\"}", "{h2} {lengths}");
                }
                Ok(answer) => assert_eq!(answer.status, 502, "{h2} {lengths}: {answer:?}"),
                Err(_) => {}
            }
            drop(held);
            // Whatever was left over belongs to nobody's next answer.
            let (next, _held) = answered(&world, &mut upstream, h2, ok("{}")).await;
            let next = next.unwrap();
            assert_eq!((next.status, next.body.as_str()), (200, "{}"), "{lengths}");
        }
    }
}

fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn bytes_after_an_answer_are_nobodys_answer() {
    for h2 in BOTH {
        let mut upstream = Scripted::start();
        let world = before(&upstream).await;
        let planted = format!("{}{}", ok("{}"), ok("{\"planted\":true}"));
        let (first, _held) = answered(&world, &mut upstream, h2, planted).await;
        assert_eq!(first.unwrap().body, "{}");
        // On a connection of its own: the former one is not to be trusted.
        let (next, _held) = answered(&world, &mut upstream, h2, ok("{\"own\":true}")).await;
        assert_eq!(next.unwrap().body, "{\"own\":true}");
    }
}

#[tokio::test]
async fn what_is_no_answer_is_a_bad_gateway() {
    let long = format!("HTTP/1.1 200 OK\r\nX-Long: {}", "x".repeat(2 << 20));
    for h2 in BOTH {
        let mut upstream = Scripted::start();
        let world = before(&upstream).await;
        for bytes in [
            "SSH-2.0-OpenSSH_9.9\r\n\r\n",
            "HTTP/1.1 abc\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "\r\n\r\n\r\n\r\n",
            long.as_str(),
        ] {
            let token = world.token("alice");
            let request = if h2 {
                world.mcp_h2(Method::POST, "/mcp", Some(&token), None)
            } else {
                world.mcp(Method::POST, "/mcp", Some(&token), None)
            };
            let request = request.json(&call(4, "echo", &json!({})));
            let (answer, ()) = tokio::join!(send(request), async {
                let mut asked = upstream.asked().await;
                // The gateway may have had enough before the end.
                asked.try_write(bytes.as_bytes()).await;
            });
            let shown = &bytes[..bytes.len().min(40)];
            assert_eq!(answer.status, 502, "{shown}: {answer:?}");
            assert_eq!(answer.json()["id"], 4, "{shown}");
        }
        let failures =
            "gateway_upstream_failures_total{reason=\"upstream_broken\",upstream=\"github\"}";
        assert!((world.metric(failures) - 5.0).abs() < f64::EPSILON);
    }
}

#[tokio::test]
async fn an_answer_without_a_length_ends_with_its_connection() {
    for h2 in BOTH {
        let mut upstream = Scripted::start();
        let world = before(&upstream).await;
        let token = world.token("alice");
        let request = if h2 {
            world.mcp_h2(Method::POST, "/mcp", Some(&token), None)
        } else {
            world.mcp(Method::POST, "/mcp", Some(&token), None)
        };
        let request = request.json(&call(4, "echo", &json!({})));
        let (answer, ()) = tokio::join!(send(request), async {
            let mut asked = upstream.asked().await;
            asked.write("HTTP/1.0 200 OK\r\n\r\n{\"old\":true}").await;
        });
        assert_eq!(answer.json()["old"], true);
    }
}

#[tokio::test]
async fn an_early_refusal_of_a_workload_passes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::builder()
        .upstream("github", &[listener.local_addr().unwrap()])
        .route("/mcp")
        .health_check("interval: 1h")
        .start()
        .await;
    let refusing = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut begun = [0; 1024];
            let length = stream.read(&mut begun).await.unwrap();
            let answer = if begun[..length].starts_with(b"GET /health") {
                ok("{\"status\":\"healthy\"}")
            } else {
                "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nno!".to_owned()
            };
            stream.write_all(answer.as_bytes()).await.unwrap();
            // Closing over what was not read resets the connection.
        }
    });
    let message = call(1, "echo", &json!({"text": "x".repeat(6 << 20)}));
    let token = world.token("alice");
    let answer = world.rpc("/mcp", Some(&token), None, &message).await;
    assert_eq!((answer.status, answer.body.as_str()), (413, "no!"));
    refusing.abort();
}

#[tokio::test]
async fn a_session_id_that_cannot_be_sealed_is_a_bad_gateway() {
    for id in ["with space".to_owned(), "x".repeat(257), "grüße".to_owned()] {
        let mut upstream = Scripted::start();
        let world = before(&upstream).await;
        let bytes =
            format!("HTTP/1.1 200 OK\r\nMcp-Session-Id: {id}\r\nContent-Length: 2\r\n\r\n{{}}");
        let (answer, _held) = answered(&world, &mut upstream, false, bytes).await;
        let answer = answer.unwrap();
        assert_eq!(answer.status, 502, "{answer:?}");
        assert_eq!(answer.header("mcp-session-id"), None);
    }
}
