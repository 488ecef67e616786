//! The same over HTTP/2: what would be another request once it is written as HTTP/1.1, as raw
//! frames, since no client library would send it.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::world::{Edge, PATIENCE, until};

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block of literals without indexing or Huffman coding (RFC 7541 §6.2.2).
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = vec![];
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            assert!(text.len() < 127, "one byte of length");
            bytes.push(u8::try_from(text.len()).unwrap());
            bytes.extend(text.bytes());
        }
    }
    bytes
}

const GET: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "a.test"),
    (":path", "/"),
];

fn with(change: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    let mut fields = GET.to_vec();
    for (name, value) in change {
        match fields.iter_mut().find(|field| field.0 == *name) {
            Some(field) if name.starts_with(':') => field.1 = value,
            _ => fields.push((name, value)),
        }
    }
    fields
}

/// How a request ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// A head whose block starts with the indexed field `:status: 200`.
    Ok,
    /// Any other head.
    Refused,
    Reset,
    Closed,
}

/// Sends frames on a connection of their own and says how the first stream ends.
async fn send(edge: &Edge, frames: &[u8]) -> End {
    let stream = edge.connect_tls("h2").await;
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes.extend(frames);
    let (mut stream, mut sink) = tokio::io::split(stream);
    let write = async {
        // The gateway may have had enough before everything is sent.
        let _ = sink.write_all(&bytes).await;
        let _ = sink.flush().await;
        std::future::pending().await
    };
    let read = async {
        loop {
            let mut head = [0; 9];
            if stream.read_exact(&mut head).await.is_err() {
                return End::Closed;
            }
            let length =
                usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let mut payload = vec![0; length];
            if stream.read_exact(&mut payload).await.is_err() {
                return End::Closed;
            }
            match head[3] {
                HEADERS if payload.first() == Some(&0x88) => return End::Ok,
                HEADERS => return End::Refused,
                RST_STREAM => return End::Reset,
                GOAWAY => return End::Closed,
                _ => {}
            }
        }
    };
    let end = async {
        tokio::select! {
            end = read => end,
            end = write => end,
        }
    };
    timeout(PATIENCE, end).await.expect("an end in time")
}

#[tokio::test]
async fn nothing_becomes_another_request() {
    let edge = Edge::tls().await;
    let hostile = [
        with(&[("transfer-encoding", "chunked")]),
        with(&[("connection", "close")]),
        with(&[("connection", "authorization")]),
        with(&[("upgrade", "h2c")]),
        with(&[("keep-alive", "timeout=5")]),
        with(&[("proxy-connection", "keep-alive")]),
        with(&[("content-length", "5")]),
        with(&[("content-length", "0"), ("content-length", "0")]),
        with(&[("content-length", "0, 0")]),
        with(&[("content-length", "+0")]),
        with(&[("host", "b.test")]),
        with(&[("host", "a.test"), ("host", "a.test")]),
        with(&[(":authority", "a.test/x")]),
        with(&[(":authority", "u@a.test")]),
        with(&[(":authority", "a b")]),
        with(&[(":authority", "")]),
        with(&[(":authority", "a\r\nx: y")]),
        with(&[(":path", "")]),
        with(&[(":path", "*")]),
        with(&[(":path", "mcp")]),
        with(&[(":path", "http://b.test/")]),
        with(&[(":path", "/a b")]),
        with(&[(":path", "/ HTTP/1.1\r\nx: y\r\n\r\n")]),
        with(&[(":path", "/a%2fb")]),
        with(&[(":path", "/../a")]),
        with(&[(":path", "//a")]),
        with(&[(":path", "/a;b")]),
        with(&[(":method", "TRACE")]),
        with(&[(":method", "CONNECT")]),
        with(&[(":method", "GET / HTTP/1.1\r\nx: y\r\n\r\nGET")]),
        with(&[(":method", "get")]),
        with(&[(":method", "")]),
        with(&[("x", "a\r\nb: c")]),
        with(&[("x", "a\nb: c")]),
        with(&[("x", "a\0")]),
        with(&[("x\r\ny", "a")]),
        with(&[("x y", "a")]),
        with(&[("x:", "a")]),
        with(&[("", "a")]),
        with(&[("X-Upper", "a")]),
        with(&[("x_real_ip", "10.0.0.1")]),
        with(&[(":unknown", "a")]),
        GET[1..].to_vec(),
        [&GET[..], &[(":path", "/b")]].concat(),
        [&GET[..], &[("x", "y"), (":method", "POST")]].concat(),
        [&GET[..2], &GET[3..]].concat(),
    ];
    for fields in &hostile {
        // The end of the stream and of the headers.
        let end = send(&edge, &frame(HEADERS, 5, 1, &block(fields))).await;
        assert_ne!(end, End::Ok, "{fields:?}");
        let seen = edge.judge.seen();
        assert!(seen.is_empty(), "{fields:?} was forwarded: {seen:?}");
    }
    let controls = [
        with(&[]),
        with(&[("host", "a.test")]),
        with(&[("content-length", "0")]),
        with(&[(":path", "/a%20b?x=%2f")]),
        // The h2 library drops the fragment before anyone sees it: what arrives has none.
        with(&[(":path", "/#a")]),
        with(&[("te", "trailers")]),
        with(&[("cookie", "a=b"), ("cookie", "c=d")]),
    ];
    for (index, fields) in controls.iter().enumerate() {
        let end = send(&edge, &frame(HEADERS, 5, 1, &block(fields))).await;
        assert_eq!(end, End::Ok, "{fields:?}");
        let seen = edge.judge.seen();
        assert_eq!(seen.len(), index + 1, "{fields:?}");
        assert!(seen[index].doubts.is_empty(), "{:?}", seen[index]);
    }
    println!(
        "{} requests refused, {} controls served",
        hostile.len(),
        controls.len()
    );
}

#[tokio::test]
async fn a_body_of_another_length_than_announced_does_not_arrive() {
    let edge = Edge::tls().await;
    let post = |length| with(&[(":method", "POST"), ("content-length", length)]);
    for (fields, data) in [
        (post("5"), &b"hi"[..]),
        (post("1"), b"hi"),
        (post("0"), b"hi"),
        (with(&[]), b"hi"),
    ] {
        let frames = [frame(HEADERS, 4, 1, &block(&fields)), frame(0, 1, 1, data)].concat();
        assert_ne!(send(&edge, &frames).await, End::Ok, "{fields:?}");
        assert!(edge.judge.seen().is_empty());
    }
}

#[tokio::test]
async fn streams_that_are_reset_at_once_end_the_connection() {
    let edge = Edge::tls().await;
    let mut frames = vec![];
    for stream in (1..4000).step_by(2) {
        frames.extend(frame(HEADERS, 5, stream, &block(&GET)));
        frames.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    assert_eq!(send(&edge, &frames).await, End::Closed);
    until("the connection is gone", || edge.connections() == 0).await;
}

#[tokio::test]
async fn frames_that_ask_for_nothing_end_the_connection() {
    let edge = Edge::tls().await;
    let floods = [
        frame(SETTINGS, 0, 0, &[]),
        frame(6, 0, 0, &[0; 8]),
        frame(2, 0, 1, &[0; 5]),
        frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes()),
    ];
    for (index, flood) in floods.iter().enumerate() {
        let opened = frame(HEADERS, 4, 1, &block(&with(&[(":method", "POST")])));
        let frames = [opened, flood.repeat(5000)].concat();
        assert_eq!(send(&edge, &frames).await, End::Closed, "{flood:?}");
        assert!(edge.refusals("http2_frames") <= index + 1);
    }
    assert!(edge.refusals("http2_frames") >= 3);
    until("the connections are gone", || edge.connections() == 0).await;
    let end = send(&edge, &frame(HEADERS, 5, 1, &block(&GET))).await;
    assert_eq!(end, End::Ok);
}

#[tokio::test]
async fn a_header_bomb_is_refused() {
    let edge = Edge::tls().await;
    // One field into the dynamic table (its index is then 62), and many references to it.
    let mut bomb = block(&GET);
    bomb.extend([0x40, 1, b'x', 100]);
    bomb.extend([b'y'; 100]);
    bomb.extend([0xbe; 8000]);
    let end = send(&edge, &frame(HEADERS, 5, 1, &bomb)).await;
    assert_ne!(end, End::Ok);
    assert!(edge.judge.seen().is_empty());
}
