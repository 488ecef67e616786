//! When a request may be sent again: never when a backend can have acted on it.

use std::{
    collections::HashMap,
    os::unix::net::UnixStream,
    sync::{Arc, Mutex},
};

use reqwest::Method;
use serde_json::json;
use tokio::io::AsyncReadExt;

use super::before;
use crate::world::{Asked, Gateway, PATIENCE, Scripted, World, mcp::call, send, until};

/// How many requests were sent again for that reason.
fn retries(gateway: &Gateway, reason: &str) -> f64 {
    gateway.metric(&format!(
        "gateway_upstream_retries_total{{reason=\"{reason}\",upstream=\"github\"}}"
    ))
}

/// Primes the pool with a connection that the backend holds too.
async fn pooled(world: &World, upstream: &mut Scripted, token: &str) -> Asked {
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
