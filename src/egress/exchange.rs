//! One exchange of HTTP/1.1 over a connection: hyper writes and reads it, this sees to the rest.
//!
//! Stricter than hyper: an answer must say where it ends, and in one way only, for one that ends
//! where its connection does cannot be told from one cut short. More lenient in one thing: an
//! answer counts even if the request was not written to its end. Trailers are dropped.

use std::{
    error::Error as _,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode,
    header::{
        ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING,
        UPGRADE, USER_AGENT,
    },
};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::{Body, Incoming},
    client::conn::http1::{Builder, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{EgressError, Request};

/// The largest answer head, in bytes.
const MAX_HEAD: usize = 64 * 1024;
const MAX_HEADERS: usize = 100;

/// Headers of the message itself, which the caller does not get to choose.
const OWN: [HeaderName; 9] = [
    ACCEPT_ENCODING,
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    HOST,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// What came of an exchange, and the connection it was made over.
#[derive(Debug)]
pub(super) struct Exchanged<S> {
    pub(super) answer: Result<Response<Bytes>, EgressError>,
    pub(super) stream: S,
    /// The connection can carry another exchange.
    pub(super) reusable: bool,
    /// Something of the request was written.
    pub(super) sent: bool,
    /// Something was read.
    pub(super) heard: bool,
}

/// Sends one request and reads one answer, its body at most `limit` bytes.
///
/// # Errors
/// When hyper does not begin; what goes wrong later is in the outcome.
pub(super) async fn run<S>(
    stream: S,
    request: &Request<'_>,
    limit: usize,
) -> Result<Exchanged<S>, EgressError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let wire = TokioIo::new(Wire {
        stream,
        sent: false,
        heard: false,
        broken: false,
    });
    let mut http1 = Builder::new();
    http1.max_buf_size(MAX_HEAD).max_headers(MAX_HEADERS);
    let (mut sender, mut connection) = http1
        .handshake(wire)
        .await
        .map_err(|error| broken(&error))?;
    let answer = {
        let mut answer = pin!(fetch(&mut sender, request, limit));
        let mut ended = false;
        // Driven here and not in a task: a caller that leaves takes the connection along.
        // It comes last, so that it notices when the answer was read to its end.
        poll_fn(|cx| {
            let answer = answer.as_mut().poll(cx);
            ended = ended || connection.poll_without_shutdown(cx).is_ready();
            answer
        })
        .await
    };
    let ready = sender.is_ready();
    let parts = connection.into_parts();
    let wire = parts.io.into_inner();
    Ok(Exchanged {
        reusable: answer.is_ok() && ready && parts.read_buf.is_empty() && !wire.broken,
        answer,
        stream: wire.stream,
        sent: wire.sent,
        heard: wire.heard,
    })
}

async fn fetch(
    sender: &mut SendRequest<Full<Bytes>>,
    request: &Request<'_>,
    limit: usize,
) -> Result<Response<Bytes>, EgressError> {
    let answer = sender.send_request(encode(request)).await;
    let (head, mut body) = answer.map_err(|error| broken(&error))?.into_parts();
    check_framing(&request.method, head.status, &head.headers)?;
    let body = read(&mut body, limit).await?;
    Ok(Response::from_parts(head, body))
}

/// Turns a request into hyper's.
fn encode(request: &Request<'_>) -> http::Request<Full<Bytes>> {
    let Request {
        method,
        target,
        headers,
        body,
    } = request;
    let mut encoded = http::Request::new(Full::new(body.clone()));
    *encoded.method_mut() = method.clone();
    *encoded.uri_mut() = target.path_and_query().clone().into();
    let own = encoded.headers_mut();
    own.insert(HOST, target.authority().clone());
    own.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if !headers.contains_key(USER_AGENT) {
        let agent = concat!("mcp-gateway/", env!("CARGO_PKG_VERSION"));
        own.insert(USER_AGENT, HeaderValue::from_static(agent));
    }
    for (name, value) in headers.iter().filter(|(name, _)| !OWN.contains(name)) {
        own.append(name, value.clone());
    }
    if !body.is_empty() || matches!(*method, Method::POST | Method::PUT | Method::PATCH) {
        own.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    encoded
}

const fn protocol(what: &'static str) -> EgressError {
    EgressError::Protocol { what }
}

fn broken(error: &hyper::Error) -> EgressError {
    if error.is_parse_too_large() {
        protocol("a head of more than 65536 bytes or 100 fields")
    } else if error.is_parse() {
        protocol("a head that is not HTTP/1")
    } else if error.is_canceled() {
        protocol("bytes ahead of the request")
    } else {
        EgressError::Truncated
    }
}

/// Refuses what hyper accepts: an end where the connection ends, codings other than `chunked`, and
/// lengths that are said twice (RFC 9112 §6.3).
fn check_framing(
    method: &Method,
    status: StatusCode,
    headers: &HeaderMap,
) -> Result<(), EgressError> {
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(protocol("an upgrade that was not asked for"));
    }
    if *method == Method::HEAD
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
    {
        return Ok(());
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    match (codings.next(), lengths.next()) {
        (Some(coding), None)
            if codings.next().is_none() && coding.as_bytes().eq_ignore_ascii_case(b"chunked") =>
        {
            Ok(())
        }
        (None, Some(length)) if lengths.next().is_none() && !length.as_bytes().contains(&b',') => {
            Ok(())
        }
        (Some(_), None) => Err(protocol("expected the transfer coding `chunked` alone")),
        (None, Some(_)) => Err(protocol("more than one content-length")),
        (Some(_), Some(_)) => Err(protocol("both transfer-encoding and content-length")),
        (None, None) => Err(protocol("neither content-length nor transfer-encoding")),
    }
}

/// Reads a body of at most `limit` bytes.
async fn read(body: &mut Incoming, limit: usize) -> Result<Bytes, EgressError> {
    if body.size_hint().lower() > limit as u64 {
        return Err(EgressError::TooLarge { limit });
    }
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            if is_malformed(&error) {
                protocol("a chunked body that is not well formed")
            } else {
                EgressError::Truncated
            }
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if data.len() > limit - whole.len() {
            return Err(EgressError::TooLarge { limit });
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

/// Tells a body that breaks the rules from one that ends early.
fn is_malformed(error: &hyper::Error) -> bool {
    let cause = error.source();
    cause
        .and_then(<dyn std::error::Error>::downcast_ref::<io::Error>)
        .is_some_and(|cause| {
            use io::ErrorKind::{InvalidData, InvalidInput};
            matches!(cause.kind(), InvalidInput | InvalidData)
        })
}

/// A connection that tells what went over it.
///
/// A write that fails passes for done: hyper would give up, but a server that refuses a request
/// early may close before it has read all of it, and its answer still counts.
#[derive(Debug)]
struct Wire<S> {
    stream: S,
    sent: bool,
    heard: bool,
    broken: bool,
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.heard |= buf.filled().len() > before;
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.sent = true;
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf));
        self.broken |= written.is_err();
        Poll::Ready(Ok(written.unwrap_or(buf.len())))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.stream).poll_flush(cx));
        self.broken |= flushed.is_err();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::egress::{Target, testing::read_request};

    /// Answers one GET with `wire` and, for an `end`, closes; returns what the client made of it.
    fn answer(wire: &[u8], end: bool) -> Result<(u16, Bytes, bool), String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let target = Target::parse("https://a.test/").unwrap();
        let request = Request {
            method: Method::GET,
            target: &target,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        };
        let done = runtime.block_on(async {
            let (client, mut server) = tokio::io::duplex(256 * 1024);
            let serving = async {
                read_request(&mut server).await;
                server.write_all(wire).await.unwrap();
                (!end).then_some(server)
            };
            let (done, _kept) = tokio::join!(run(client, &request, 16), serving);
            done.unwrap()
        });
        assert!(done.sent && done.heard != wire.is_empty());
        match done.answer {
            Ok(answer) => Ok((answer.status().as_u16(), answer.into_body(), done.reusable)),
            Err(error) => Err(error.to_string()),
        }
    }

    fn check(wire: &str, body: &str, reusable: bool) {
        let expect = Ok((200, Bytes::copy_from_slice(body.as_bytes()), reusable));
        assert_eq!(answer(wire.as_bytes(), false), expect, "{wire}");
    }

    fn refuses(wire: &str, because: &str) {
        let error = answer(wire.as_bytes(), true).unwrap_err();
        assert!(error.contains(because), "{wire}: {error}");
    }

    #[test]
    fn reads_an_answer_that_says_where_it_ends() {
        check("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", "ok", true);
        check("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "", true);
        check(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\no\r\n01 ;x=y\r\nk\r\n0\r\na: b\r\n\r\n",
            "ok",
            true,
        );
        check(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            "ok",
            true,
        );
        check(
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nConnection: foo, Close\r\n\r\nok",
            "ok",
            false,
        );
        check(
            "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
            "ok",
            false,
        );
        check(
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1",
            "ok",
            false,
        );
    }

    #[test]
    fn an_answer_cut_short_is_never_whole() {
        refuses("", "cut short");
        refuses("HTTP/1.1 200", "cut short");
        refuses(
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok",
            "cut short",
        );
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
        for end in 1..chunked.len() {
            refuses(&chunked[..end], "cut short");
        }
    }

    #[test]
    fn refuses_an_answer_framed_in_two_ways_or_none() {
        let head = "HTTP/1.1 200 OK\r\n";
        let cases = [
            ("\r\nok", "neither"),
            (
                "content-length: 2\r\ncontent-length: 2\r\n\r\nok",
                "more than one",
            ),
            ("content-length: 2, 2\r\n\r\nok", "more than one"),
            (
                "content-length: 2\r\ncontent-length: 3\r\n\r\nok",
                "not HTTP",
            ),
            ("content-length: +2\r\n\r\nok", "not HTTP"),
            ("content-length: -2\r\n\r\nok", "not HTTP"),
            ("content-length: 99999999999999999999\r\n\r\nok", "not HTTP"),
            (
                "content-length: 2\r\ntransfer-encoding: chunked\r\n\r\nok",
                "both",
            ),
            ("transfer-encoding: gzip, chunked\r\n\r\n", "alone"),
            (
                "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
                "alone",
            ),
            ("transfer-encoding: identity\r\n\r\nok", "alone"),
        ];
        for (rest, because) in cases {
            refuses(&format!("{head}{rest}"), because);
        }
    }

    #[test]
    fn refuses_chunks_that_are_not_well_formed() {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        for chunks in [
            "\r\nok\r\n0\r\n\r\n",
            ";a=b\r\nok\r\n0\r\n\r\n",
            "0x2\r\nok\r\n0\r\n\r\n",
            "+2\r\nok\r\n0\r\n\r\n",
            "2\nok\r\n0\r\n\r\n",
            "2\r\nokk\r\n0\r\n\r\n",
            "fffffffffffffffff\r\nok",
        ] {
            assert!(
                answer(format!("{head}{chunks}").as_bytes(), true).is_err(),
                "{chunks}"
            );
        }
    }

    #[test]
    fn refuses_more_than_the_limit() {
        refuses("HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\n", "16 bytes");
        refuses(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nA\r\n0123456789\r\nA\r\n0123456789\r\n",
            "16 bytes",
        );
        let head = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(MAX_HEAD + 9000));
        refuses(&head, "65536");
        let head = format!("HTTP/1.1 200 OK\r\n{}", "x: y\r\n".repeat(MAX_HEADERS + 1));
        refuses(&head, "100 fields");
        refuses(&"HTTP/1.1 100 Continue\r\n\r\n".repeat(20), "cut short");
        refuses("HTTP/1.1 101 Switching Protocols\r\n\r\n", "upgrade");
    }

    #[tokio::test]
    async fn an_answer_counts_even_if_the_request_was_not_taken() {
        let target = Target::parse("https://a.test/").unwrap();
        let request = Request {
            method: Method::POST,
            target: &target,
            headers: HeaderMap::new(),
            body: Bytes::from_static(b"a=b"),
        };
        let (reader, mut server) = tokio::io::duplex(1000);
        let (writer, _) = tokio::io::duplex(1);
        let refusing = async {
            // The client has failed to write by then, and waits.
            tokio::task::yield_now().await;
            let answer = b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno";
            server.write_all(answer).await.unwrap();
        };
        let stream = tokio::io::join(reader, writer);
        let (done, ()) = tokio::join!(run(stream, &request, 16), refusing);
        let done = done.unwrap();
        assert!(!done.reusable);
        assert_eq!(done.answer.unwrap().status(), 413);
    }

    #[tokio::test]
    async fn a_server_that_speaks_first_is_not_sent_the_request() {
        let (client, mut server) = tokio::io::duplex(1000);
        let answer = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n";
        server.write_all(answer).await.unwrap();
        let target = Target::parse("https://a.test/").unwrap();
        let request = Request {
            method: Method::POST,
            target: &target,
            headers: HeaderMap::new(),
            body: Bytes::from_static(b"code=secret"),
        };
        let done = run(client, &request, 1000).await.unwrap();
        assert!(!done.sent && !done.reusable, "{done:?}");
        assert_eq!(
            done.answer.unwrap_err(),
            protocol("bytes ahead of the request")
        );
    }

    #[tokio::test]
    async fn the_caller_does_not_choose_the_framing() {
        let target = Target::parse("https://a.test/token?x=1").unwrap();
        let mut headers = HeaderMap::new();
        for name in [&HOST, &CONTENT_LENGTH, &TRANSFER_ENCODING, &ACCEPT_ENCODING] {
            headers.insert(name, HeaderValue::from_static("7"));
        }
        headers.insert("x-mine", HeaderValue::from_static("7"));
        let request = Request {
            method: Method::POST,
            target: &target,
            headers,
            body: Bytes::from_static(b"a=b"),
        };
        let (client, mut server) = tokio::io::duplex(1000);
        let reading = async {
            let wire = read_request(&mut server).await.unwrap();
            drop(server);
            wire
        };
        let (_, wire) = tokio::join!(run(client, &request, 16), reading);
        assert!(
            wire.starts_with("POST /token?x=1 HTTP/1.1\r\nhost: a.test\r\n"),
            "{wire}"
        );
        assert!(wire.ends_with("\r\n\r\na=b"));
        assert_eq!(wire.matches(": 7\r\n").count(), 1, "{wire}");
        assert!(wire.contains("\r\ncontent-length: 3\r\n"));
        assert!(wire.contains("\r\naccept-encoding: identity\r\n"));
    }

    proptest! {
        #[test]
        fn never_panics(wire in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = answer(&wire, true);
            let mut chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
            chunked.extend(&wire);
            let _ = answer(&chunked, true);
        }
    }
}
