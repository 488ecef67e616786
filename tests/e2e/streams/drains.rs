//! A gateway that stops: streams end as if the workload had ended them, and calls are answered.

use std::time::Instant;

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{BOTH, Http, before, end, open, read_until};
use crate::world::{PATIENCE, Scripted, World, mcp::call};

#[tokio::test]
async fn a_drain_ends_streams_with_a_whole_last_chunk() {
    let mut upstream = Scripted::start();
    let world = World::builder()
        .upstream("github", &[upstream.address()])
        .route("/mcp")
        .start()
        .await;
    let gateway = world.gateway();
    let body = call(1, "slow", &json!({})).to_string();
    let request = format!(
        "POST /mcp HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        world.token("alice"),
        body.len()
    );
    gateway.has_keys().await;
    let mut client = gateway.connect().await;
    client.write_all(request.as_bytes()).await.unwrap();
    let mut asked = upstream.asked().await;
    asked.begin_stream().await;
    asked.chunk("data: 1\n\n").await;
    let mut answer = read_raw(&mut client, "data: 1\n\n\r\n").await;
    let begun = Instant::now();
    let drained = tokio::spawn(gateway.drain(PATIENCE));
    let rest = timeout(PATIENCE, client.read_to_end(&mut answer)).await;
    rest.expect("the connection closes").unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.ends_with("data: 1\n\n\r\n0\r\n\r\n"), "{answer:?}");
    assert_eq!(drained.await.unwrap(), 0, "nothing was cut");
    assert!(
        begun.elapsed() < PATIENCE / 2,
        "nobody waited for the stream"
    );
    asked.closed().await;
}

/// Reads until what came so far ends with `end`.
async fn read_raw(client: &mut TcpStream, end: &str) -> Vec<u8> {
    let mut bytes = vec![];
    while !bytes.ends_with(end.as_bytes()) {
        let read = timeout(PATIENCE, client.read_buf(&mut bytes)).await;
        assert_ne!(read.expect("an answer").unwrap(), 0, "{bytes:?}");
    }
    bytes
}

#[tokio::test]
async fn a_drain_ends_streams_over_http_2() {
    let mut upstream = Scripted::start();
    let world = before(&upstream).await;
    let token = world.token("alice");
    let gateway = world.gateway();
    gateway.has_keys().await;
    let (mut response, mut asked) = open(Http::Two, &gateway, &token, &mut upstream).await;
    asked.chunk("data: 1\n\n").await;
    read_until(&mut response, "\n\n").await;
    let drained = tokio::spawn(gateway.drain(PATIENCE));
    end(&mut response).await.unwrap();
    assert_eq!(drained.await.unwrap(), 0, "nothing was cut");
}

#[tokio::test]
async fn a_drain_lets_calls_finish() {
    let mut upstream = Scripted::start();
    let world = before(&upstream).await;
    let token = world.token("alice");
    for http in BOTH {
        let gateway = world.gateway();
        gateway.has_keys().await;
        let request = http.post(&gateway, &token, &call(1, "slow", &json!({})));
        let waiting = tokio::spawn(request.send());
        let mut asked = upstream.asked().await;
        let drained = tokio::spawn(gateway.drain(PATIENCE));
        tokio::task::yield_now().await;
        asked.answer("{\"done\":true}").await;
        let response = waiting.await.unwrap().unwrap();
        assert_eq!(
            response.text().await.unwrap(),
            "{\"done\":true}",
            "{http:?}"
        );
        assert_eq!(drained.await.unwrap(), 0, "{http:?}");
    }
}
