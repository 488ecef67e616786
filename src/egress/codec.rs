//! HTTP/1.1 as this client speaks it (RFC 9112): one request written whole, one answer read whole.
//!
//! Stricter than the RFC asks of a client: an answer must say where it ends, and in one way only.
//! An answer cut short is never taken for a whole one. Trailers are dropped.

use bytes::{Buf, Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version,
    header::{
        ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING,
        UPGRADE, USER_AGENT,
    },
};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::{EgressError, Request};

/// The largest answer head, in bytes.
const MAX_HEAD: usize = 64 * 1024;
const MAX_HEADERS: usize = 100;
/// Interim answers (1xx) that are skipped.
const MAX_INTERIM: usize = 8;
/// The longest line of a chunk's size, extensions included, in bytes.
const MAX_CHUNK_LINE: usize = 256;
/// The longest trailer section, in bytes.
const MAX_TRAILERS: usize = 8 * 1024;

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

/// Writes a request, head and body.
pub(super) fn encode(request: &Request<'_>) -> Bytes {
    let Request {
        method,
        target,
        headers,
        body,
    } = request;
    let mut wire = BytesMut::with_capacity(512 + body.len());
    let mut put = |parts: &[&[u8]]| {
        for part in parts {
            wire.extend_from_slice(part);
        }
    };
    put(&[method.as_str().as_bytes(), b" ", target.path().as_bytes()]);
    if let Some(query) = target.query() {
        put(&[b"?", query.as_bytes()]);
    }
    put(&[
        b" HTTP/1.1\r\nhost: ",
        target.authority().as_bytes(),
        b"\r\n",
    ]);
    put(&[b"accept-encoding: identity\r\n"]);
    if !headers.contains_key(USER_AGENT) {
        let agent = concat!("mcp-gateway/", env!("CARGO_PKG_VERSION"));
        put(&[b"user-agent: ", agent.as_bytes(), b"\r\n"]);
    }
    for (name, value) in headers.iter().filter(|(name, _)| !OWN.contains(name)) {
        put(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
    }
    if !body.is_empty() || matches!(*method, Method::POST | Method::PUT | Method::PATCH) {
        put(&[
            b"content-length: ",
            body.len().to_string().as_bytes(),
            b"\r\n",
        ]);
    }
    put(&[b"\r\n", body]);
    wire.freeze()
}

/// Why an answer was not read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The connection ended before the first byte.
    Silent,
    /// Anything later.
    Broken(EgressError),
}

impl From<EgressError> for ReadError {
    fn from(error: EgressError) -> Self {
        Self::Broken(error)
    }
}

/// An answer, and whether the connection can carry another.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response: Response<Bytes>,
    pub(super) reusable: bool,
}

/// Where a body ends (RFC 9112 §6.3).
enum Framing {
    Empty,
    Length(usize),
    Chunked,
}

/// Reads one answer to a request with `method`, its body at most `limit` bytes.
pub(super) async fn read<S: AsyncRead + Unpin>(
    stream: &mut S,
    method: &Method,
    limit: usize,
) -> Result<Answer, ReadError> {
    let mut reader = Reader {
        stream,
        buffer: BytesMut::with_capacity(8 * 1024),
    };
    let mut interim = 0;
    let (status, version, headers) = loop {
        let head = reader.head().await?;
        if !head.0.is_informational() {
            break head;
        }
        interim += 1;
        // No upgrade was asked for.
        if interim > MAX_INTERIM || head.0 == StatusCode::SWITCHING_PROTOCOLS {
            return Err(protocol("more interim answers than expected").into());
        }
    };
    let body = match framing(method, status, &headers)? {
        Framing::Empty => Bytes::new(),
        Framing::Length(length) if length > limit => {
            return Err(EgressError::TooLarge { limit }.into());
        }
        Framing::Length(length) => reader.exactly(length).await?,
        Framing::Chunked => reader.chunks(limit).await?,
    };
    let reusable = version == Version::HTTP_11
        && reader.buffer.is_empty()
        && !headers
            .get_all(CONNECTION)
            .iter()
            .any(|value| has_token(value, "close"));
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.version_mut() = version;
    *response.headers_mut() = headers;
    Ok(Answer { response, reusable })
}

const fn protocol(what: &'static str) -> EgressError {
    EgressError::Protocol { what }
}

fn has_token(value: &HeaderValue, token: &str) -> bool {
    value.to_str().is_ok_and(|value| {
        value
            .split(',')
            .any(|part| part.trim().eq_ignore_ascii_case(token))
    })
}

fn framing(
    method: &Method,
    status: StatusCode,
    headers: &HeaderMap,
) -> Result<Framing, EgressError> {
    if *method == Method::HEAD
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
    {
        return Ok(Framing::Empty);
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    match (codings.next(), lengths.next()) {
        (Some(coding), None) => {
            if codings.next().is_none() && coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
                Ok(Framing::Chunked)
            } else {
                Err(protocol("expected the transfer coding `chunked` alone"))
            }
        }
        (None, Some(length)) => {
            if lengths.next().is_some() {
                return Err(protocol("more than one content-length"));
            }
            let digits = length.as_bytes();
            let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
            length
                .to_str()
                .ok()
                .filter(|_| plain)
                .and_then(|length| length.parse().ok())
                .map(Framing::Length)
                .ok_or(protocol("a content-length that is not a number"))
        }
        (Some(_), Some(_)) => Err(protocol("both transfer-encoding and content-length")),
        // It would end where the connection ends, and a cut could not be told from an end.
        (None, None) => Err(protocol("neither content-length nor transfer-encoding")),
    }
}

struct Reader<'a, S> {
    stream: &'a mut S,
    buffer: BytesMut,
}

impl<S: AsyncRead + Unpin> Reader<'_, S> {
    async fn head(&mut self) -> Result<(StatusCode, Version, HeaderMap), ReadError> {
        loop {
            if !self.buffer.is_empty()
                && let Some((end, head)) = parse_head(&self.buffer)?
            {
                self.buffer.advance(end);
                return Ok(head);
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(protocol("a head of more than 65536 bytes").into());
            }
            let silent = self.buffer.is_empty();
            self.fill()
                .await
                .map_err(|e| if silent { ReadError::Silent } else { e.into() })?;
        }
    }

    /// Reads at least one more byte.
    async fn fill(&mut self) -> Result<(), EgressError> {
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(0) | Err(_) => Err(EgressError::Truncated),
            Ok(_) => Ok(()),
        }
    }

    async fn exactly(&mut self, length: usize) -> Result<Bytes, EgressError> {
        while self.buffer.len() < length {
            self.fill().await?;
        }
        Ok(self.buffer.split_to(length).freeze())
    }

    /// Reads a line up to CR LF, which is taken away.
    async fn line(&mut self, limit: usize) -> Result<Bytes, EgressError> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.buffer) {
                let mut line = self.buffer.split_to(end + 1).freeze();
                if line.len() > limit || !line.ends_with(b"\r\n") {
                    return Err(protocol("a chunked body that is not well formed"));
                }
                line.truncate(line.len() - 2);
                return Ok(line);
            }
            if self.buffer.len() > limit {
                return Err(protocol("a chunked body that is not well formed"));
            }
            self.fill().await?;
        }
    }

    async fn chunks(&mut self, limit: usize) -> Result<Bytes, EgressError> {
        let mut body = BytesMut::new();
        loop {
            let line = self.line(MAX_CHUNK_LINE).await?;
            let size = chunk_size(&line)?;
            if size == 0 {
                break;
            }
            if size > limit - body.len() {
                return Err(EgressError::TooLarge { limit });
            }
            let chunk = self.exactly(size).await?;
            body.extend_from_slice(&chunk);
            if !self.line(2).await?.is_empty() {
                return Err(protocol("a chunked body that is not well formed"));
            }
        }
        let mut trailers = 0;
        loop {
            let line = self.line(MAX_TRAILERS).await?;
            trailers += line.len();
            if trailers > MAX_TRAILERS {
                return Err(protocol("more than 8192 bytes of trailers"));
            }
            if line.is_empty() {
                return Ok(body.freeze());
            }
        }
    }
}

/// Reads `1*HEXDIG` before an optional extension; nothing else counts as a size.
fn chunk_size(line: &[u8]) -> Result<usize, EgressError> {
    let digits = line
        .split(|&b| b == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii_end();
    let hex = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
    std::str::from_utf8(digits)
        .ok()
        .filter(|_| hex)
        .and_then(|digits| usize::from_str_radix(digits, 16).ok())
        .ok_or(protocol("a chunk without a size"))
}

type Head = (StatusCode, Version, HeaderMap);

fn parse_head(buffer: &[u8]) -> Result<Option<(usize, Head)>, EgressError> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Response::new(&mut fields);
    let end = match head.parse(buffer) {
        Ok(httparse::Status::Complete(end)) => end,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(protocol("a head that is not HTTP/1")),
    };
    let malformed = || protocol("a head that is not HTTP/1");
    let status = head
        .code
        .and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or_else(malformed)?;
    let version = match head.version {
        Some(1) => Version::HTTP_11,
        Some(0) => Version::HTTP_10,
        _ => return Err(malformed()),
    };
    let mut headers = HeaderMap::with_capacity(head.headers.len());
    for field in head.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| malformed())?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| malformed())?;
        headers.append(name, value);
    }
    Ok(Some((end, (status, version, headers))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::egress::Target;

    fn answer(wire: &[u8]) -> Result<(u16, Bytes, bool), String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let mut wire = wire;
        match runtime.block_on(read(&mut wire, &Method::GET, 16)) {
            Ok(a) => Ok((
                a.response.status().as_u16(),
                a.response.into_body(),
                a.reusable,
            )),
            Err(ReadError::Silent) => Err("silent".into()),
            Err(ReadError::Broken(error)) => Err(error.to_string()),
        }
    }

    fn check(wire: &str, body: &str, reusable: bool) {
        let expect = Ok((200, Bytes::copy_from_slice(body.as_bytes()), reusable));
        assert_eq!(answer(wire.as_bytes()), expect, "{wire}");
    }

    fn refuses(wire: &str, because: &str) {
        let error = answer(wire.as_bytes()).unwrap_err();
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
        refuses("", "silent");
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
            ("content-length: 2, 2\r\n\r\nok", "not a number"),
            ("content-length: +2\r\n\r\nok", "not a number"),
            ("content-length: -2\r\n\r\nok", "not a number"),
            (
                "content-length: 99999999999999999999\r\n\r\nok",
                "not a number",
            ),
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
                answer(format!("{head}{chunks}").as_bytes()).is_err(),
                "{chunks}"
            );
        }
    }

    #[test]
    fn refuses_more_than_the_limit() {
        refuses("HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\n", "16 bytes");
        refuses(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nA\r\n0123456789\r\nA\r\n",
            "16 bytes",
        );
        let head = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(MAX_HEAD + 9000));
        refuses(&head, "65536");
        refuses(&"HTTP/1.1 100 Continue\r\n\r\n".repeat(20), "interim");
        refuses("HTTP/1.1 101 Switching Protocols\r\n\r\n", "interim");
    }

    #[test]
    fn the_caller_does_not_choose_the_framing() {
        let target = Target::parse("https://a.test/token?x=1").unwrap();
        let mut headers = HeaderMap::new();
        for name in [&HOST, &CONTENT_LENGTH, &TRANSFER_ENCODING, &ACCEPT_ENCODING] {
            headers.insert(name, HeaderValue::from_static("7"));
        }
        headers.insert("x-mine", HeaderValue::from_static("7"));
        let wire = encode(&Request {
            method: Method::POST,
            target: &target,
            headers,
            body: Bytes::from_static(b"a=b"),
        });
        let wire = String::from_utf8(wire.to_vec()).unwrap();
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
            let _ = answer(&wire);
            let mut chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
            chunked.extend(&wire);
            let _ = answer(&chunked);
        }
    }
}
