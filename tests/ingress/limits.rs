//! Limits as configured: each is held, says why in the protocol, and counts.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::world::{Edge, PATIENCE, ask, read_answer, until};

const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n";

fn head(target: &str, fields: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes()
}

#[tokio::test]
async fn heads_have_their_sizes() {
    let limits = "limits: { head_size: 2KiB, fields: 10, field_size: 512, target_size: 300 }";
    let edge = Edge::start("", limits).await;
    let long = |n: usize| "x".repeat(n);
    for (bytes, status, reason) in [
        (head(&format!("/{}", long(300)), ""), 414, "target_too_long"),
        (head("/", &"A: b\r\n".repeat(10)), 431, "too_many_fields"),
        (
            head("/", &format!("A: {}\r\n", long(513))),
            431,
            "field_too_large",
        ),
        (
            head("/", &format!("A: {}\r\n", long(400)).repeat(6)),
            431,
            "head_too_large",
        ),
    ] {
        let answer = edge.ask(&bytes).await;
        assert_eq!(answer.status, Some(status), "{reason}");
        assert_eq!(edge.refusals(reason), 1, "{reason}");
        assert!(answer.closed);
    }
    let fits = head(&format!("/{}", long(299)), &format!("A: {}\r\n", long(512)));
    assert_eq!(edge.ask(&fits).await.status, Some(200));
}

#[tokio::test]
async fn slow_clients_are_told_and_closed() {
    let limits = "limits: { head_timeout: 200ms, idle_timeout: 300ms, handshake_timeout: 200ms, body_grace: 200ms, body_rate: 1MiB }";
    let edge = Edge::start("", limits).await;
    assert_eq!(edge.ask(b"GET / HT").await.status, Some(408));
    assert_eq!(edge.refusals("head_timeout"), 1);
    assert_eq!(edge.ask(b"").await.status, None, "closed in silence");
    let body = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe";
    let answer = edge.ask(body).await;
    assert_eq!(answer.status, Some(408));
    assert!(answer.closed);
    let mut stream = edge.connect().await;
    assert_eq!(ask(&mut stream, HEALTH).await.status, Some(200));
    assert_eq!(read_answer(&mut stream).await.status, None, "idle");
    let edge = Edge::start("TLS", limits).await;
    assert_eq!(edge.ask(b"\x16\x03").await.status, None);
    assert_eq!(edge.refusals("handshake_timeout"), 1);
}

#[tokio::test]
async fn http2_clients_that_do_nothing_are_closed() {
    let edge = Edge::start(
        "TLS",
        "limits: { head_timeout: 200ms, idle_timeout: 300ms }",
    )
    .await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    // Half of a frame with fields, the other half of which never comes.
    let half = [&preface[..], b"\0\0\x0a\x01\x04\0\0\0\x01\x82"].concat();
    for bytes in [
        &b""[..],
        b"PRI * HT",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        preface,
        &half,
    ] {
        let mut stream = edge.connect_tls("h2").await;
        let _ = stream.write_all(bytes).await;
        let mut rest = vec![];
        let read = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        assert!(read.is_ok(), "{} stays open", bytes.escape_ascii());
    }
    assert_eq!(edge.refusals("http2_preface"), 3);
    until("they are gone", || edge.connections() == 0).await;
}

#[tokio::test]
async fn an_address_has_so_many_connections() {
    let edge = Edge::start("", "limits: { connections_per_address: 2 }").await;
    let mut open = [edge.connect().await, edge.connect().await];
    for stream in &mut open {
        assert_eq!(ask(stream, HEALTH).await.status, Some(200));
    }
    let answer = edge.ask(HEALTH).await;
    assert_eq!(answer.status, Some(429));
    assert!(answer.closed && answer.text.contains("Retry-After: 5\r\n"));
    assert_eq!(edge.refusals("too_many_connections_of_address"), 1);
    drop(open);
    until("the connections are gone", || edge.connections() == 0).await;
    assert_eq!(edge.ask(HEALTH).await.status, Some(200));
}

#[tokio::test]
async fn exempt_networks_are_not_counted() {
    let limits = "limits: { connections_per_address: 1, exempt_networks: [127.0.0.0/8] }";
    let edge = Edge::start("", limits).await;
    let mut first = edge.connect().await;
    assert_eq!(ask(&mut first, HEALTH).await.status, Some(200));
    assert_eq!(edge.ask(HEALTH).await.status, Some(200));
}

#[tokio::test]
async fn health_and_admin_answer_when_there_is_no_room() {
    for listener in ["", "TLS"] {
        let edge = Edge::start(listener, "limits: { connections: 2 }").await;
        let mut open = [edge.connect().await, edge.connect().await];
        until("they are accepted", || edge.connections() == 2).await;
        let request = async |bytes: &[u8]| match listener {
            "" => edge.ask(bytes).await,
            _ => ask(&mut edge.connect_tls("http/1.1").await, bytes).await,
        };
        let answer = request(HEALTH).await;
        assert_eq!(answer.status, Some(200));
        assert!(answer.closed, "once: {}", answer.text);
        let answer = request(&head("/", "")).await;
        assert_eq!(answer.status, Some(503));
        assert_eq!(edge.refusals("too_many_connections"), 1);
        assert!(edge.judge.seen().is_empty());
        let mut admin = tokio::net::TcpStream::connect(edge.admin()).await.unwrap();
        let ready = ask(&mut admin, b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(ready.status, Some(200));
        for stream in &mut open {
            stream.shutdown().await.unwrap();
        }
        drop(open);
        until("they are gone", || edge.connections() == 0).await;
        assert_eq!(request(&head("/", "")).await.status, Some(200));
    }
}
