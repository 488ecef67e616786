//! The answer on an upstream connection: its head, then its body as it comes.
//!
//! What waits for a client that does not read is the last piece that was read, and nothing is held
//! while an upstream is silent: Pingora's HTTP session has a buffer of 64 KiB for every body, a copy
//! of what is in it besides, and takes a malformed chunk for the end. Trailers and interim answers
//! are read and dropped. It does not write, and knows no time limit.

use std::{future::poll_fn, mem::MaybeUninit};

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Method, StatusCode, Version, header};
use httparse::{ParserConfig, Status};
use pingora::http::ResponseHeader;
use pingora_core::{BError, Error, ErrorType, OrErr as _, protocols::Stream};

use crate::{
    ingress::{BodyScan, Framing, head_end},
    io::poll_piece,
};

/// How much more than a head may come with it before the head is copied.
const COPIED: usize = 1024;
/// The longest head.
const HEAD_LIMIT: usize = 64 * 1024;
/// The most fields in a head.
const FIELDS_LIMIT: usize = 256;
/// How many more fields an answer may get on its way to the client without its map growing.
const MORE_FIELDS: usize = 8;
/// The most interim answers (RFC 9110 §15.2) before the final one.
const INTERIM_LIMIT: usize = 16;

/// A connection to an upstream from which one answer is read.
pub(in crate::proxy) struct Reader {
    io: Stream,
    /// What was read and is in nothing that was returned yet.
    ahead: Bytes,
    body: Body,
    /// Whether the head lets another request follow on the connection.
    kept: bool,
}

/// Where the body ends (RFC 9112 §6.3).
enum Body {
    Framed(BodyScan),
    /// With the connection.
    AtClose,
    Closed,
}

/// What a head says about the connection and the body that follows.
struct Framed {
    body: Body,
    kept: bool,
}

impl Reader {
    /// Begins before the head.
    pub(in crate::proxy) fn new(io: Stream) -> Self {
        Self {
            io,
            ahead: Bytes::new(),
            body: Body::Framed(BodyScan::new(Framing::Length(0))),
            kept: false,
        }
    }

    /// The connection.
    pub(super) fn stream(&self) -> &Stream {
        &self.io
    }

    /// Reads the head of the final answer to a request of this method; true beside it says that it
    /// is the whole answer.
    ///
    /// # Errors
    /// When the connection ends or fails before, or the head is malformed; without bytes of it.
    pub(in crate::proxy) async fn head(
        &mut self,
        method: &Method,
    ) -> Result<(Box<ResponseHeader>, bool), BError> {
        for _ in 0..=INTERIM_LIMIT {
            let head = self.any_head().await?;
            if head.status == StatusCode::SWITCHING_PROTOCOLS {
                return Err(invalid("nobody asked the backend to switch protocols"));
            }
            if !head.status.is_informational() {
                return self.begin(head, method);
            }
        }
        Err(invalid("the backend only sends interim answers"))
    }

    async fn any_head(&mut self) -> Result<Box<ResponseHeader>, BError> {
        let mut bytes = std::mem::take(&mut self.ahead);
        let mut searched = 0;
        loop {
            let end = head_end(&bytes, &mut searched);
            if end.unwrap_or(bytes.len()) > HEAD_LIMIT {
                return Err(invalid("the head of the answer is too large"));
            }
            if let Some(end) = end {
                self.ahead = bytes.split_off(end);
                // The head is kept for as long as the answer lasts, and would keep what came with it.
                if self.ahead.len() > COPIED {
                    bytes = Bytes::copy_from_slice(&bytes);
                }
                return parse(&bytes);
            }
            let fresh = self.read().await?;
            if fresh.is_empty() {
                return Err(Error::explain(
                    ErrorType::ConnectionClosed,
                    "the backend closed the connection before it answered",
                ));
            }
            bytes = if bytes.is_empty() {
                fresh
            } else {
                let mut joined = BytesMut::from(bytes);
                joined.extend_from_slice(&fresh);
                joined.freeze()
            };
        }
    }

    fn begin(
        &mut self,
        mut head: Box<ResponseHeader>,
        method: &Method,
    ) -> Result<(Box<ResponseHeader>, bool), BError> {
        let Framed { body, kept } = framing(&mut head, method)?;
        self.body = body;
        self.kept = kept;
        let end = self.is_done();
        Ok((head, end))
    }

    fn is_done(&self) -> bool {
        match &self.body {
            Body::Framed(scan) => scan.is_done(),
            Body::AtClose => false,
            Body::Closed => true,
        }
    }

    /// Reads the next piece of the body; true beside it says that it is the last.
    ///
    /// # Errors
    /// When the body breaks off or is not framed as RFC 9112 says.
    pub(in crate::proxy) async fn piece(&mut self) -> Result<(Bytes, bool), BError> {
        loop {
            if !self.ahead.is_empty() {
                let data = self.split_data()?;
                if !data.is_empty() || self.is_done() {
                    return Ok((data, self.is_done()));
                }
            }
            if self.is_done() {
                return Ok((Bytes::new(), true));
            }
            self.ahead = self.read().await?;
            if self.ahead.is_empty() {
                return match self.body {
                    Body::AtClose => {
                        self.body = Body::Closed;
                        Ok((Bytes::new(), true))
                    }
                    Body::Framed(_) | Body::Closed => Err(Error::explain(
                        ErrorType::ConnectionClosed,
                        "the backend closed the connection before the end of its answer",
                    )),
                };
            }
        }
    }

    /// Takes the first data from what was read, and the framing around it.
    fn split_data(&mut self) -> Result<Bytes, BError> {
        let Body::Framed(scan) = &mut self.body else {
            return Ok(std::mem::take(&mut self.ahead));
        };
        let range = scan
            .data(&self.ahead)
            .map_err(|refused| invalid(refused.description))?;
        let mut data = self.ahead.split_to(range.end);
        let data = data.split_off(range.start);
        // When nothing but framing follows, the end may be in it: told with the data, it leaves
        // with them. An error in it can wait for its turn.
        let mut next = scan.clone();
        if let Ok(after) = next.data(&self.ahead)
            && after.is_empty()
        {
            self.ahead = self.ahead.split_off(after.end);
            *scan = next;
        }
        Ok(data)
    }

    /// Reads what there is, once there is something; nothing at the end.
    async fn read(&mut self) -> Result<Bytes, BError> {
        poll_fn(|cx| poll_piece(&mut self.io, cx, Bytes::copy_from_slice))
            .await
            .or_err(ErrorType::ReadError, "from the backend")
    }

    /// Gives the connection back for another request, when the answer was read whole and none of
    /// its bytes was one too many.
    pub(in crate::proxy) fn reuse(self) -> Option<Stream> {
        let ended = self.is_done() && self.ahead.is_empty();
        (self.kept && ended).then_some(self.io)
    }
}

#[expect(clippy::unnecessary_box_returns, reason = "Pingora's errors are boxed")]
fn invalid(why: &'static str) -> BError {
    Error::explain(ErrorType::InvalidHTTPHeader, why)
}

/// Parses one head. Values are not copied; names lose their case, which says nothing (RFC 9110 §5.1).
fn parse(bytes: &Bytes) -> Result<Box<ResponseHeader>, BError> {
    let mut parser = ParserConfig::default();
    // RFC 9112 §5.1: such space is removed from an answer.
    parser.allow_spaces_after_header_name_in_responses(true);
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_LIMIT];
    let mut parsed = httparse::Response::new(&mut []);
    let status = parser
        .parse_response_with_uninit_headers(&mut parsed, bytes, &mut fields)
        .or_err(ErrorType::InvalidHTTPHeader, "the head of the answer")?;
    let (Status::Complete(_), Some(code)) = (status, parsed.code) else {
        return Err(invalid("the head of the answer ends too early"));
    };
    let room = parsed.headers.len() + MORE_FIELDS;
    let mut head = ResponseHeader::build_no_case(code, Some(room))?;
    head.set_version(match parsed.version {
        Some(0) => Version::HTTP_10,
        _ => Version::HTTP_11,
    });
    head.set_reason_phrase(parsed.reason)?;
    for field in parsed.headers.iter() {
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value))
            .or_err(ErrorType::InvalidHTTPHeader, "a value of the answer")?;
        let name = HeaderName::from_bytes(field.name.as_bytes())
            .or_err(ErrorType::InvalidHTTPHeader, "a name in the answer")?;
        head.append_header(name, value)?;
    }
    Ok(Box::new(head))
}

/// Reads how the answer is framed, and leaves one way to read it in the head (RFC 9112 §6.3).
fn framing(head: &mut ResponseHeader, method: &Method) -> Result<Framed, BError> {
    let coded = head.headers.contains_key(header::TRANSFER_ENCODING);
    let length = if coded {
        // An answer with both may be meant for two readers: it is the connection's last.
        head.remove_header(&header::CONTENT_LENGTH).map(|_| 0)
    } else {
        content_length(head)?
    };
    let kept = keeps(head) && !(coded && (length.is_some() || head.version == Version::HTTP_10));
    let bodiless = *method == Method::HEAD
        || matches!(
            head.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
    let framed = |framing, kept| Framed {
        body: Body::Framed(BodyScan::new(framing)),
        kept,
    };
    if bodiless {
        return Ok(framed(Framing::Length(0), kept));
    }
    if coded {
        let mut codings = head.headers.get_all(header::TRANSFER_ENCODING).iter();
        let chunked = codings
            .next()
            .is_some_and(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
        // The gateway has asked for no other one.
        if !chunked || codings.next().is_some() {
            return Err(invalid("the answer is not coded in chunks alone"));
        }
        return Ok(framed(Framing::Chunked, kept));
    }
    Ok(match length {
        Some(length) => framed(Framing::Length(length), kept),
        None => Framed {
            body: Body::AtClose,
            kept: false,
        },
    })
}

/// Returns the length that the head announces. The same one said several times is left once.
fn content_length(head: &mut ResponseHeader) -> Result<Option<u64>, BError> {
    let mut length = None;
    let mut said = 0;
    for value in head.headers.get_all(header::CONTENT_LENGTH) {
        for one in value.as_bytes().split(|byte| *byte == b',') {
            let one = one.trim_ascii();
            let digits = !one.is_empty() && one.iter().all(u8::is_ascii_digit);
            let one: Option<u64> = digits
                .then(|| std::str::from_utf8(one).ok()?.parse().ok())
                .flatten();
            if one.is_none() || length.is_some_and(|length| Some(length) != one) {
                return Err(invalid("the answer has no single length"));
            }
            length = one;
            said += 1;
        }
    }
    if said > 1
        && let Some(length) = length
    {
        head.insert_header(header::CONTENT_LENGTH, HeaderValue::from(length))?;
    }
    Ok(length)
}

/// Whether the connection stays open after the answer (RFC 9112 §9.3).
fn keeps(head: &ResponseHeader) -> bool {
    let mut kept = head.version == Version::HTTP_11;
    for value in head.headers.get_all(header::CONNECTION) {
        for option in value.as_bytes().split(|byte| *byte == b',') {
            let option = option.trim_ascii();
            if option.eq_ignore_ascii_case(b"close") {
                return false;
            }
            kept |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }
    kept
}

#[cfg(test)]
mod tests;
