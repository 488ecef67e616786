//! Whose request it is: the PROXY protocol, and headers of trusted hops.

use tokio::io::AsyncWriteExt;

use crate::world::{Edge, ask};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const VERSION_1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 5000 443\r\n";
const VERSION_2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x08\xc6\x33\x64\x01\x13\x88\x01\xbb";

/// The last `X-Forwarded-For` that has arrived.
#[track_caller]
fn client(edge: &Edge) -> String {
    let head = edge.judge.seen().pop().unwrap().head.to_ascii_lowercase();
    let mut found = head
        .lines()
        .filter_map(|l| l.strip_prefix("x-forwarded-for: "));
    let client = found.next().unwrap().to_owned();
    assert_eq!(found.next(), None, "one header");
    client
}

#[tokio::test]
async fn load_balancers_say_who_connects() {
    let edge = Edge::start("proxy_protocol: { from: [127.0.0.0/8] }", "").await;
    for (preface, expect) in [
        (VERSION_1, "192.0.2.7"),
        (VERSION_2, "192.0.2.8"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", "127.0.0.1"),
    ] {
        let answer = edge.ask(&[preface, GET].concat()).await;
        assert_eq!(answer.status, Some(200), "{}", preface.escape_ascii());
        assert_eq!(client(&edge), expect);
    }
    assert!(edge.access_log().contains("192.0.2.7"));
    let seen = edge.judge.seen().len();
    for preface in [
        &b""[..],
        b"PROXY TCP4 nonsense\r\n",
        b"\r\n\r\n\0\r\nQUIT\r",
    ] {
        let answer = edge.ask(&[preface, GET].concat()).await;
        assert_eq!(answer.status, None, "closed without a word");
    }
    assert_eq!(edge.refusals("proxy_protocol"), 3);
    assert_eq!(edge.judge.seen().len(), seen);
}

#[tokio::test]
async fn the_header_comes_before_the_tls_handshake() {
    let edge = Edge::start("TLS, proxy_protocol: { from: [127.0.0.1/32] }", "").await;
    for (preface, expect) in [(VERSION_1, "192.0.2.7"), (VERSION_2, "192.0.2.8")] {
        let mut tcp = edge.connect().await;
        tcp.write_all(preface).await.unwrap();
        let mut tls = edge.handshake(tcp, "http/1.1").await.unwrap();
        assert_eq!(ask(&mut tls, GET).await.status, Some(200));
        assert_eq!(client(&edge), expect);
    }
}

#[tokio::test]
async fn nobody_else_may_speak_it() {
    let edge = Edge::start("proxy_protocol: { from: [10.0.0.0/8] }", "").await;
    let answer = edge.ask(&[VERSION_1, GET].concat()).await;
    assert_eq!(answer.status, Some(400));
    assert!(edge.judge.seen().is_empty());
    assert_eq!(edge.ask(GET).await.status, Some(200));
}

#[tokio::test]
async fn a_header_counts_only_from_trusted_hops() {
    let get = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1, 192.0.2.9\r\n\r\n";
    let edge = Edge::plain().await;
    assert_eq!(edge.ask(get).await.status, Some(200));
    assert_eq!(client(&edge), "127.0.0.1");
    let trusted = "client_address: { from: [127.0.0.1/32] }";
    let edge = Edge::start("", trusted).await;
    assert_eq!(edge.ask(get).await.status, Some(200));
    assert_eq!(client(&edge), "192.0.2.9");
    assert_eq!(edge.ask(GET).await.status, Some(200));
    assert_eq!(client(&edge), "127.0.0.1");
}
