//! Requests of our own: each is refused with its status and closes the connection, or arrives clean.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{Edge, Seen, ask};

/// Bytes, the status, and the metric's reason when they are refused by the first layer.
type Row = (&'static str, &'static [u8], u16, Option<&'static str>);

const HEAD: &[Row] = &[
    ("plain", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200, None),
    ("http 1.0", b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", 200, None),
    ("http 0.9", b"GET /\r\n\r\n", 400, Some("malformed_head")),
    (
        "http 1.2",
        b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
        400,
        Some("malformed_head"),
    ),
    (
        "http 2 preface",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        400,
        Some("malformed_head"),
    ),
    (
        "lower version",
        b"GET / http/1.1\r\nHost: a\r\n\r\n",
        400,
        Some("malformed_head"),
    ),
    ("no host", b"GET / HTTP/1.1\r\n\r\n", 400, Some("host")),
    (
        "two hosts",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        400,
        Some("host"),
    ),
    (
        "host with path",
        b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        400,
        Some("host"),
    ),
    (
        "host with user",
        b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
        400,
        Some("host"),
    ),
    (
        "host with space",
        b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        400,
        Some("host"),
    ),
    (
        "host list",
        b"GET / HTTP/1.1\r\nHost: a,b\r\n\r\n",
        400,
        Some("host"),
    ),
    (
        "empty host",
        b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
        400,
        Some("host"),
    ),
    (
        "absolute form",
        b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        400,
        Some("target_form"),
    ),
    (
        "authority form",
        b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
        405,
        Some("method"),
    ),
    (
        "asterisk form",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        400,
        Some("target_form"),
    ),
    (
        "no slash",
        b"GET mcp HTTP/1.1\r\nHost: a\r\n\r\n",
        400,
        Some("target_form"),
    ),
    (
        "backslash",
        b"GET \\mcp HTTP/1.1\r\nHost: a\r\n\r\n",
        400,
        Some("target_form"),
    ),
    (
        "space in target",
        b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        400,
        Some("malformed_head"),
    ),
    (
        "tab",
        b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
        400,
        Some("malformed_head"),
    ),
    (
        "nul in target",
        b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
        400,
        Some("malformed_head"),
    ),
    (
        "fragment",
        b"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n",
        400,
        Some("target_bytes"),
    ),
    (
        "dot segments",
        b"GET /../x HTTP/1.1\r\nHost: a\r\n\r\n",
        400,
        Some("path_not_canonical"),
    ),
    (
        "escaped slash",
        b"GET /a%2fx HTTP/1.1\r\nHost: a\r\n\r\n",
        400,
        Some("path_not_canonical"),
    ),
    (
        "trace",
        b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n",
        405,
        Some("method"),
    ),
    (
        "track",
        b"TRACK / HTTP/1.1\r\nHost: a\r\n\r\n",
        405,
        Some("method"),
    ),
    (
        "split method",
        b"PO ST /mcp HTTP/1.1\r\nHost: a\r\n\r\n",
        400,
        Some("malformed_head"),
    ),
    (
        "lower method",
        b"get / HTTP/1.1\r\nHost: a\r\n\r\n",
        405,
        Some("method"),
    ),
    (
        "leading line",
        b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        400,
        Some("malformed_head"),
    ),
    (
        "bare feeds",
        b"GET / HTTP/1.1\nHost: a\n\n",
        400,
        Some("bare_line_feed"),
    ),
    (
        "one bare feed",
        b"GET / HTTP/1.1\r\nHost: a\nA: b\r\n\r\n",
        400,
        Some("bare_line_feed"),
    ),
    (
        "bare return",
        b"GET / HTTP/1.1\r\nHost: a\r\nA: b\rC: d\r\n\r\n",
        400,
        Some("malformed_head"),
    ),
    (
        "folding",
        b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n",
        400,
        Some("malformed_head"),
    ),
    (
        "space before colon",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        400,
        Some("malformed_head"),
    ),
    (
        "space before name",
        b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        400,
        Some("malformed_head"),
    ),
    (
        "no colon",
        b"GET / HTTP/1.1\r\nHost: a\r\nA\r\n\r\n",
        400,
        Some("malformed_head"),
    ),
    (
        "empty name",
        b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
        400,
        Some("malformed_head"),
    ),
    (
        "underscore",
        b"GET / HTTP/1.1\r\nHost: a\r\nX_Real_Ip: b\r\n\r\n",
        400,
        Some("field_name"),
    ),
    (
        "nul in value",
        b"GET / HTTP/1.1\r\nHost: a\r\nA: \0\r\n\r\n",
        400,
        Some("malformed_head"),
    ),
    (
        "upgrade",
        b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\n",
        400,
        Some("upgrade"),
    ),
    (
        "expectation",
        b"GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n",
        417,
        Some("expect"),
    ),
    (
        "length of a get",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
        400,
        Some("body_unexpected"),
    ),
    (
        "disguised coding",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer--Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        Some("field_name"),
    ),
    (
        "nominated",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: authorization\r\n\r\n",
        400,
        Some("connection_field"),
    ),
];

/// What follows `POST / HTTP/1.1` and a host.
const FRAMING: &[Row] = &[
    ("length", b"Content-Length: 2\r\n\r\nhi", 200, None),
    (
        "chunks",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        200,
        None,
    ),
    (
        "extension",
        b"Transfer-Encoding: chunked\r\n\r\n2;a=b\r\nhi\r\n0;c\r\n\r\n",
        200,
        None,
    ),
    (
        "trailer",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nA: b\r\n\r\n",
        200,
        None,
    ),
    (
        "both",
        b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        Some("framing"),
    ),
    (
        "both, other order",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        400,
        Some("framing"),
    ),
    (
        "two lengths",
        b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
        400,
        Some("framing"),
    ),
    (
        "length list",
        b"Content-Length: 2, 2\r\n\r\nhi",
        400,
        Some("content_length"),
    ),
    (
        "signed length",
        b"Content-Length: +2\r\n\r\nhi",
        400,
        Some("content_length"),
    ),
    (
        "hexadecimal length",
        b"Content-Length: 0x2\r\n\r\nhi",
        400,
        Some("content_length"),
    ),
    (
        "huge length",
        b"Content-Length: 99999999999999999999\r\n\r\nhi",
        400,
        Some("content_length"),
    ),
    (
        "split length",
        b"Content-Length: 2 2\r\n\r\nhi",
        400,
        Some("content_length"),
    ),
    (
        "two codings",
        b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        400,
        Some("transfer_encoding"),
    ),
    (
        "coding twice",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        Some("framing"),
    ),
    (
        "unknown coding",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        400,
        Some("transfer_encoding"),
    ),
    (
        "identity",
        b"Transfer-Encoding: identity\r\n\r\n",
        400,
        Some("transfer_encoding"),
    ),
    (
        "coding with tab",
        b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        400,
        None,
    ),
    (
        "no size",
        b"Transfer-Encoding: chunked\r\n\r\n\r\n\r\n",
        400,
        Some("chunk_size"),
    ),
    (
        "only an extension",
        b"Transfer-Encoding: chunked\r\n\r\n;a=b\r\n\r\n",
        400,
        Some("chunk_size"),
    ),
    (
        "signed size",
        b"Transfer-Encoding: chunked\r\n\r\n+2\r\nhi\r\n0\r\n\r\n",
        400,
        Some("chunk_size"),
    ),
    (
        "negative size",
        b"Transfer-Encoding: chunked\r\n\r\n-2\r\nhi\r\n0\r\n\r\n",
        400,
        Some("chunk_size"),
    ),
    (
        "0x size",
        b"Transfer-Encoding: chunked\r\n\r\n0x2\r\nhi\r\n0\r\n\r\n",
        400,
        Some("chunk_framing"),
    ),
    (
        "space after size",
        b"Transfer-Encoding: chunked\r\n\r\n2 \r\nhi\r\n0\r\n\r\n",
        400,
        Some("chunk_framing"),
    ),
    (
        "overflowing size",
        b"Transfer-Encoding: chunked\r\n\r\n10000000000000002\r\nhi\r\n0\r\n\r\n",
        400,
        Some("chunk_size"),
    ),
    (
        "feed after size",
        b"Transfer-Encoding: chunked\r\n\r\n2\nhi\r\n0\r\n\r\n",
        400,
        Some("chunk_framing"),
    ),
    (
        "feed in extension",
        b"Transfer-Encoding: chunked\r\n\r\n2;a\nhi\r\n0\r\n\r\n",
        400,
        Some("chunk_framing"),
    ),
    (
        "feed after data",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\n0\r\n\r\n",
        400,
        Some("chunk_framing"),
    ),
    (
        "too much data",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi!\r\n0\r\n\r\n",
        400,
        Some("chunk_framing"),
    ),
    (
        "request as trailer",
        b"Transfer-Encoding: chunked\r\n\r\n0\r\nGET / HTTP/1.1\r\n\r\n",
        400,
        Some("chunk_framing"),
    ),
];

async fn check(edge: &Edge, (name, bytes, status, reason): &Row, body: Option<&[u8]>) {
    let before = edge.judge.seen().len();
    let refusals = reason.map(|reason| edge.refusals(reason));
    let answer = edge.ask(bytes).await;
    assert_eq!(answer.status, Some(*status), "{name}: {}", answer.text);
    let seen = edge.judge.seen().split_off(before);
    if *status == 200 {
        assert_clean(name, &seen, body.unwrap_or_default());
    } else {
        assert!(seen.is_empty(), "{name} was forwarded: {seen:?}");
        assert!(answer.closed, "{name}: {}", answer.text);
        // The answer never repeats what was sent.
        assert!(answer.text.contains("application/json"), "{}", answer.text);
    }
    if let (Some(reason), Some(before)) = (reason, refusals) {
        assert_eq!(edge.refusals(reason), before + 1, "{name}: {reason}");
    }
}

#[track_caller]
fn assert_clean(name: &str, seen: &[Seen], body: &[u8]) {
    let [request] = seen else {
        panic!("{name} should arrive once: {seen:?}");
    };
    assert!(request.doubts.is_empty(), "{name}: {request:?}");
    assert_eq!(request.body, body, "{name}");
}

#[tokio::test]
async fn heads() {
    let edge = Edge::plain().await;
    for row in HEAD {
        check(&edge, row, None).await;
    }
    println!("{} heads", HEAD.len());
}

#[tokio::test]
async fn framing_at_once_and_byte_by_byte() {
    let edge = Edge::plain().await;
    for (name, rest, status, reason) in FRAMING {
        let bytes = [&b"POST /f HTTP/1.1\r\nHost: a\r\n"[..], rest].concat();
        let row = (*name, &*bytes.leak(), *status, *reason);
        check(&edge, &row, Some(b"hi")).await;
        // The head and the body apart: the body then comes through Pingora's reader.
        let at = row
            .1
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap()
            + 4;
        let before = edge.judge.seen().len();
        let mut stream = edge.connect().await;
        stream.set_nodelay(true).unwrap();
        for piece in [&row.1[..at - 1], &row.1[at - 1..at]] {
            tokio::io::AsyncWriteExt::write_all(&mut stream, piece)
                .await
                .unwrap();
        }
        for byte in &row.1[at..] {
            // Refused as soon as it is wrong: what follows need not be taken.
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, &[*byte]).await;
            tokio::task::yield_now().await;
        }
        let answer = ask(&mut stream, b"").await;
        // A reset may overtake the answer when bytes follow it.
        if let Some(found) = answer.status {
            assert_eq!(found, *status, "{name} in pieces: {}", answer.text);
        }
        let seen = edge.judge.seen().split_off(before);
        if *status == 200 {
            assert_clean(name, &seen, b"hi");
        } else {
            assert!(seen.is_empty(), "{name} was forwarded in pieces: {seen:?}");
        }
    }
    println!("{} ways to frame, each twice", FRAMING.len());
}

#[tokio::test]
async fn requests_in_a_row_are_answered_in_a_row() {
    let edge = Edge::plain().await;
    let mut stream = edge.connect().await;
    let first = ask(
        &mut stream,
        b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi\
          POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n\
          GET /3 HTTP/1.1\r\nHost: a\r\n\r\n",
    )
    .await;
    let mut rest = first.text;
    while rest.matches("HTTP/1.1 200").count() < 3 {
        rest.push_str(&ask(&mut stream, b"").await.text);
    }
    let seen = edge.judge.seen();
    assert!(
        seen.iter().all(|request| request.doubts.is_empty()),
        "{seen:?}"
    );
    let lines: Vec<_> = seen
        .iter()
        .map(|r| r.head.lines().next().unwrap())
        .collect();
    assert_eq!(
        lines,
        ["POST /1 HTTP/1.1", "POST /2 HTTP/1.1", "GET /3 HTTP/1.1"]
    );
    assert_eq!(seen[0].body, b"hi");
    assert_eq!(seen[1].body, b"x");
}

#[tokio::test]
async fn nothing_behind_a_refusal_is_served() {
    let edge = Edge::plain().await;
    let bytes = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let answer = edge.ask(bytes).await;
    assert_eq!(answer.status, Some(400));
    assert_eq!(answer.text.matches("HTTP/1.1").count(), 1);
    assert!(edge.judge.seen().is_empty());
}

#[tokio::test]
async fn a_refused_head_has_no_body() {
    let edge = Edge::plain().await;
    let mut stream = edge.connect().await;
    let request = b"HEAD http://a/ HTTP/1.1\r\nHost: a\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = vec![];
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}
