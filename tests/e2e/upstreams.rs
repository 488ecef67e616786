//! Which backend is asked, which is not, and when a request may be sent again.

use std::{
    collections::HashMap,
    os::unix::net::UnixStream,
    sync::{Arc, Mutex},
};

use mcp_gateway_emulator::toolhive::Fault;
use reqwest::Method;
use serde_json::json;
use tokio::{io::AsyncReadExt, task::JoinSet};

use crate::world::{
    Gateway, PATIENCE, Scripted, World, log,
    mcp::{call, initialize},
    send, until,
};

/// A sample that counts something of one backend of `github`.
fn of_backend(name: &str, backend: impl std::fmt::Display) -> String {
    format!("{name}{{backend=\"{backend}\",upstream=\"github\"}}")
}

/// How many requests were sent again for that reason.
fn retries(gateway: &Gateway, reason: &str) -> f64 {
    gateway.metric(&format!(
        "gateway_upstream_retries_total{{reason=\"{reason}\",upstream=\"github\"}}"
    ))
}

async fn replicas(count: usize) -> World {
    World::builder()
        .workload("github")
        .replicas(count)
        .route("/mcp")
        .health_check("interval: 100ms, timeout: 10s")
        .start()
        .await
}

/// A gateway before one backend that the test plays.
async fn before(upstream: &Scripted) -> World {
    World::builder()
        .upstream("github", &[upstream.address()])
        .route("/mcp")
        .start()
        .await
}

#[tokio::test]
async fn the_less_loaded_backend_is_asked() {
    let world = replicas(2).await;
    let token = world.token("alice");
    for workload in &world.workloads {
        workload.fault(Fault::Hang);
    }
    let asked = |workload: usize| world.workloads[workload].mcp_requests().len();
    let mut open = JoinSet::new();
    for count in 1..=6 {
        let request = world
            .mcp(Method::POST, "/mcp", Some(&token), None)
            .json(&initialize());
        open.spawn(request.send());
        until("the request arrives", || asked(0) + asked(1) == count).await;
        // Of two backends both are drawn, so that the choice is exact.
        assert_eq!(asked(0).abs_diff(asked(1)), count % 2, "of {count}");
    }
}

#[tokio::test]
async fn an_ill_backend_is_ejected_and_taken_back() {
    let world = replicas(2).await;
    let (ill, well) = (&world.workloads[0], &world.workloads[1]);
    let token = world.token("alice");
    let healthy = of_backend("gateway_backend_healthy", ill.address());
    assert!(world.metric(&healthy) > 0.0);

    ill.fault(Fault::Degraded);
    until("it is ejected", || world.metric(&healthy) < 1.0).await;
    let ejections = of_backend("gateway_backend_ejections_total", ill.address());
    assert!(world.metric(&ejections) >= 1.0);
    ill.forget_requests();
    for _ in 0..8 {
        let answer = world.rpc("/mcp", Some(&token), None, &initialize()).await;
        assert_eq!(answer.status, 200);
    }
    assert_eq!(ill.mcp_requests().len(), 0);
    assert_eq!(well.mcp_requests().len(), 8);
    let reason = log_line(&ill.address().to_string(), "degraded");
    assert!(reason.starts_with("WARN"), "{reason}");

    ill.heal();
    until("it is back", || world.metric(&healthy) > 0.0).await;
    log_line(&ill.address().to_string(), "healthy");
    let mut asked = 0;
    while ill.mcp_requests().is_empty() {
        let answer = world.rpc("/mcp", Some(&token), None, &initialize()).await;
        assert_eq!(answer.status, 200);
        asked += 1;
        assert!(asked < 100, "one in two goes there");
    }
}

/// A line of the log that names both.
#[track_caller]
fn log_line(one: &str, other: &str) -> String {
    let text = log::text();
    let mut lines = text.lines();
    lines
        .find(|line| line.contains(one) && line.contains(other))
        .unwrap_or_else(|| panic!("no line names `{one}` and `{other}`"))
        .to_owned()
}

#[tokio::test]
async fn the_management_api_is_named_and_never_asked() {
    let world = replicas(1).await;
    let api = &world.workloads[0];
    api.fault(Fault::ManagementHealth);
    let healthy = of_backend("gateway_backend_healthy", api.address());
    until("it is ejected", || world.metric(&healthy) < 1.0).await;

    let line = log_line(&api.address().to_string(), "ToolHive's management API");
    assert!(line.contains("upstreams.github.backends"), "{line}");
    let url = format!("http://{}/status", world.admin());
    let status = send(world.client().elsewhere(Method::GET, &url))
        .await
        .json();
    let backend = &status["upstreams"]["github"]["backends"][0];
    assert_eq!(backend["healthy"], false);
    let reason = backend["reason"].as_str().unwrap();
    assert!(reason.contains("is ToolHive's management API"), "{reason}");

    api.forget_requests();
    let token = world.token("alice");
    let answer = world.rpc("/mcp", Some(&token), None, &initialize()).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(api.mcp_requests().len(), 0, "it can start containers");
}

#[tokio::test]
async fn without_any_backend_a_client_is_told_when_to_come_back() {
    let world = replicas(2).await;
    let token = world.token("alice");
    for workload in &world.workloads {
        workload.kill().await;
    }
    let mut message = initialize();
    message["id"] = json!("i-1");
    // The first finds out, the second knows.
    for _ in 0..2 {
        let answer = world.rpc("/mcp", Some(&token), None, &message).await;
        assert_eq!(answer.status, 503, "{answer:?}");
        assert_eq!(answer.header("retry-after"), Some("5"));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.json()["id"], "i-1");
        assert_eq!(answer.json()["error"]["code"], -32000);
        let text = answer.json()["error"]["message"].to_string();
        assert!(text.contains("try again"), "{text}");
    }
    let failures = "gateway_upstream_failures_total{reason=\"no_backend\",upstream=\"github\"}";
    assert!((world.metric(failures) - 2.0).abs() < f64::EPSILON);

    world.workloads[0].restart().await.unwrap();
    // Nobody waits for a health check: what may be back is tried.
    let answer = world.rpc("/mcp", Some(&token), None, &message).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn a_backend_that_hangs_does_not_hold_up_the_others() {
    let world = replicas(2).await;
    let token = world.token("alice");
    world.workloads[0].fault(Fault::Hang);
    let mut stuck = JoinSet::new();
    let reached = || !world.workloads[0].mcp_requests().is_empty();
    while !reached() {
        let request = world
            .mcp(Method::POST, "/mcp", Some(&token), None)
            .json(&initialize());
        let before = total(&world);
        stuck.spawn(request.send());
        until("the request arrives", || total(&world) > before).await;
    }
    for _ in 0..8 {
        let answer = world.rpc("/mcp", Some(&token), None, &initialize()).await;
        assert_eq!(answer.status, 200);
    }
    assert_eq!(world.workloads[0].mcp_requests().len(), 1);
}

fn total(world: &World) -> usize {
    let workloads = world.workloads.iter();
    workloads.map(|one| one.mcp_requests().len()).sum()
}

#[tokio::test]
async fn connections_to_a_backend_are_used_again() {
    let mut upstream = Scripted::start();
    let world = before(&upstream).await;
    let token = world.token("alice");
    let mut asked = None;
    for id in 0..3 {
        let message = call(id, "echo", &json!({}));
        let answer = world.rpc("/mcp", Some(&token), None, &message);
        let answering = async {
            let mut next = match asked.take() {
                None => upstream.asked().await,
                Some(asked) => crate::world::Asked::again(asked).await,
            };
            next.answer(format!("{{\"id\":{id}}}")).await;
            next
        };
        let (answer, next) = tokio::join!(answer, answering);
        assert_eq!(answer.json()["id"], id);
        asked = Some(next);
    }
    assert!(upstream.is_left_alone(), "one connection was enough");
}

/// Primes the pool with a connection that the backend holds too.
async fn pooled(world: &World, upstream: &mut Scripted, token: &str) -> crate::world::Asked {
    let message = call(0, "echo", &json!({}));
    let answer = world.rpc("/mcp", Some(token), None, &message);
    let answering = async {
        let mut asked = upstream.asked().await;
        asked.answer("{}").await;
        asked
    };
    tokio::join!(answer, answering).1
}

#[tokio::test]
async fn a_post_that_was_taken_is_never_sent_again() {
    let mut upstream = Scripted::start();
    let world = before(&upstream).await;
    let token = world.token("alice");
    let held = pooled(&world, &mut upstream, &token).await;
    let message = call(6, "echo", &json!({}));
    let answer = world.rpc("/mcp", Some(&token), None, &message);
    // It took the request, then died: it may have acted.
    let (answer, ()) = tokio::join!(answer, async { drop(held.again().await) });
    assert_eq!(answer.status, 502, "{answer:?}");
    assert_eq!(answer.json()["id"], 6);
    assert_eq!(answer.json()["error"]["code"], -32000);
    assert!(upstream.is_left_alone());
    let failures =
        "gateway_upstream_failures_total{reason=\"upstream_broken\",upstream=\"github\"}";
    assert!((world.metric(failures) - 1.0).abs() < f64::EPSILON);
    assert!(retries(&world, "stale_connection") < 1.0);
}

#[tokio::test]
async fn half_an_answer_head_is_an_answer_that_began() {
    let mut upstream = Scripted::start();
    let world = before(&upstream).await;
    let token = world.token("alice");
    let held = pooled(&world, &mut upstream, &token).await;
    let answer = send(world.mcp(Method::GET, "/mcp", Some(&token), None));
    let answering = async {
        let mut asked = held.again().await;
        asked.write("HTTP/1.1 200 OK\r\nContent-").await;
    };
    let (answer, ()) = tokio::join!(answer, answering);
    assert_eq!(answer.status, 502, "{answer:?}");
    assert!(upstream.is_left_alone());
}

#[tokio::test]
async fn a_get_on_a_stale_connection_is_sent_again() {
    let mut upstream = Scripted::start();
    let world = before(&upstream).await;
    let token = world.token("alice");
    let held = pooled(&world, &mut upstream, &token).await;
    let answer = send(world.mcp(Method::GET, "/mcp", Some(&token), None));
    let answering = async {
        drop(held.again().await);
        upstream.asked().await.answer("{\"fresh\":true}").await;
    };
    let (answer, ()) = tokio::join!(answer, answering);
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, "{\"fresh\":true}")
    );
    assert!((retries(&world, "stale_connection") - 1.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn a_fresh_connection_that_dies_costs_even_a_get() {
    let mut upstream = Scripted::start();
    let world = before(&upstream).await;
    let token = world.token("alice");
    let answer = send(world.mcp(Method::GET, "/mcp", Some(&token), None));
    let (answer, ()) = tokio::join!(answer, async { drop(upstream.asked().await) });
    assert_eq!(answer.status, 502, "{answer:?}");
    assert!(upstream.is_left_alone());
}

/// The backend closes an idle connection in the very moment in which the gateway takes it from the
/// pool: after it has last looked for a close, and before it writes.
///
/// Everything here runs on one thread, which looks for news from the kernel only when it has
/// nothing else to do. The two writes below are therefore news of the same look: first the
/// backend is woken and closes, then the gateway finds the request, and cannot know of the close.
#[tokio::test]
async fn a_post_that_was_never_taken_is_sent_again_and_carried_out_once() {
    let mut upstream = Scripted::start();
    let world = before(&upstream).await;
    let token = world.token("alice");
    for id in 1..=50 {
        let held = pooled(&world, &mut upstream, &token).await;
        let body = call(id, "echo", &json!({})).to_string();
        let request = format!(
            "POST /mcp HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let client = world.connect().await.into_std().unwrap();
        let (mut bell, ring) = UnixStream::pair().unwrap();
        ring.set_nonblocking(true).unwrap();
        let mut ring = tokio::net::UnixStream::from_std(ring).unwrap();
        let closing = tokio::spawn(async move {
            ring.read_u8().await.unwrap();
            drop(held);
        });
        // The gateway waits for a head, and the backend for the bell.
        until("the gateway accepts", || connections(&world) > 1.0).await;
        std::io::Write::write_all(&mut bell, b"!").unwrap();
        std::io::Write::write_all(&mut &client, request.as_bytes()).unwrap();

        let mut asked = upstream.asked().await;
        closing.await.unwrap();
        asked.answer(format!("{{\"done\":{id}}}")).await;
        assert_eq!(asked.body, body.as_bytes());
        let mut client = tokio::net::TcpStream::from_std(client).unwrap();
        let answer = read_answer(&mut client, &format!("{{\"done\":{id}}}")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(upstream.is_left_alone());
        drop((asked, client));
        if retries(&world, "stale_connection") > 0.0 {
            return;
        }
        until("the connections are gone", || connections(&world) < 2.0).await;
    }
    panic!("the moment was never hit");
}

/// How many connections the gateway's only listener has: one is the usual client's.
fn connections(world: &World) -> f64 {
    world.metric_sum(
        "gateway_connections_active",
        &world.addresses()[0].to_string(),
    )
}

/// Reads until the answer ends with `end`.
async fn read_answer(client: &mut tokio::net::TcpStream, end: &str) -> String {
    let mut answer = vec![];
    while !answer.ends_with(end.as_bytes()) {
        let read = tokio::time::timeout(PATIENCE, client.read_buf(&mut answer)).await;
        assert_ne!(read.expect("an answer").unwrap(), 0, "{answer:?}");
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_backend_that_closes_at_random_never_carries_out_a_post_twice() {
    let mut upstream = Scripted::start();
    let world = before(&upstream).await;
    let token = world.token("alice");
    let carried_out = Arc::new(Mutex::new(HashMap::<String, usize>::new()));
    let address = upstream.address();
    let counts = Arc::clone(&carried_out);
    let backend = tokio::spawn(async move {
        let mut turn: u32 = 0;
        loop {
            let mut asked = upstream.asked().await;
            let counts = Arc::clone(&counts);
            turn += 1;
            tokio::spawn(async move {
                // Serves a few, then closes at some moment after its last answer.
                for _ in 0..turn % 3 {
                    count(&counts, &asked.body);
                    asked.answer("{}").await;
                    asked = asked.again().await;
                }
                count(&counts, &asked.body);
                asked.answer("{}").await;
                for _ in 0..turn % 7 {
                    tokio::task::yield_now().await;
                }
            });
        }
    });
    for id in 0..150 {
        let message = call(id, "echo", &json!({}));
        let answer = world.rpc("/mcp", Some(&token), None, &message).await;
        let times = carried_out
            .lock()
            .unwrap()
            .get(&message.to_string())
            .copied();
        match answer.status {
            200 => assert_eq!(times, Some(1), "{address}"),
            502 => assert!(times.unwrap_or_default() <= 1, "{answer:?}"),
            _ => panic!("{answer:?}"),
        }
    }
    backend.abort();
}

fn count(counts: &Mutex<HashMap<String, usize>>, body: &[u8]) {
    let body = String::from_utf8(body.to_vec()).unwrap();
    *counts.lock().unwrap().entry(body).or_default() += 1;
}
