//! What the programs of the side-by-side harness share: reading HTTP/1.1 messages.
//!
//! Enough for peers that are known, and not for others: this is not a parser to build on.

use std::io;

/// Fields of a message that are read at most.
const FIELDS: usize = 64;

/// Finds the end of a request's head and the length of its body, which is `None` for a body in
/// chunks. Returns `None` while the head is not complete.
///
/// # Errors
/// When this is no request, or its length is no number.
pub fn head(buffer: &[u8]) -> io::Result<Option<(usize, Option<usize>)>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(buffer).map_err(io::Error::other)? {
        httparse::Status::Partial => Ok(None),
        httparse::Status::Complete(end) => {
            let length = if find(request.headers, "transfer-encoding").is_some() {
                None
            } else {
                Some(length(request.headers)?.unwrap_or(0))
            };
            Ok(Some((end, length)))
        }
    }
}

/// Tells whether a head has a field.
#[must_use]
pub fn has_field(head: &[u8], name: &str) -> bool {
    let name = name.as_bytes();
    head.split(|byte| *byte == b'\n').any(|line| {
        line.get(..name.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(name))
            && line.get(name.len()) == Some(&b':')
    })
}

/// An answer as it came.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header fields, in order.
    pub fields: Vec<(String, String)>,
    /// The body, without chunk framing.
    pub body: Vec<u8>,
}

/// Where an answer ends, and what it is.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// The status code.
    pub status: u16,
    /// Bytes of the head.
    pub head: usize,
    /// Bytes of the whole answer.
    pub end: usize,
    /// Whether the body is in chunks.
    pub chunked: bool,
}

/// Measures the answer at the start of the buffer; `None` while it is not complete.
///
/// # Errors
/// When this is no answer.
pub fn extent(buffer: &[u8]) -> io::Result<Option<Extent>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(head) = response.parse(buffer).map_err(io::Error::other)? else {
        return Ok(None);
    };
    let status = response.code.unwrap_or(0);
    let chunked = find(response.headers, "transfer-encoding").is_some();
    let end = if chunked {
        let rest = buffer.get(head..).unwrap_or_default();
        unchunk(rest)?.map(|(_, read)| head + read)
    } else {
        let end = head + length(response.headers)?.unwrap_or(0);
        (end <= buffer.len()).then_some(end)
    };
    Ok(end.map(|end| Extent {
        status,
        head,
        end,
        chunked,
    }))
}

/// Reads a complete answer.
///
/// # Errors
/// When this is no complete answer.
pub fn answer(buffer: &[u8]) -> io::Result<Answer> {
    let found = extent(buffer)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    response.parse(buffer).map_err(io::Error::other)?;
    let body = buffer.get(found.head..found.end).unwrap_or_default();
    let body = match unchunk(body) {
        Ok(Some((body, _))) if found.chunked => body,
        _ => body.to_vec(),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Answer {
        status: found.status,
        fields: response
            .headers
            .iter()
            .map(|field| (field.name.to_ascii_lowercase(), text(field.value)))
            .collect(),
        body,
    })
}

fn find<'a>(fields: &[httparse::Header<'a>], name: &str) -> Option<&'a [u8]> {
    fields
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case(name))
        .map(|field| field.value)
}

fn length(fields: &[httparse::Header<'_>]) -> io::Result<Option<usize>> {
    find(fields, "content-length")
        .map(|value| {
            let text = std::str::from_utf8(value).map_err(io::Error::other)?;
            text.trim().parse().map_err(io::Error::other)
        })
        .transpose()
}

/// Takes the framing off a body in chunks; returns it with how many bytes it took, or `None`
/// while the last chunk is missing. Trailers are not expected.
fn unchunk(bytes: &[u8]) -> io::Result<Option<(Vec<u8>, usize)>> {
    let mut body = vec![];
    let mut at = 0;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let size = match httparse::parse_chunk_size(rest) {
            Ok(httparse::Status::Complete((line, size))) => {
                at += line;
                usize::try_from(size).map_err(io::Error::other)?
            }
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(io::Error::other("expected a chunk size")),
        };
        let Some(chunk) = bytes.get(at..at + size + 2) else {
            return Ok(None);
        };
        at += size + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
        body.extend_from_slice(chunk.get(..size).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Option<(u16, &str)>) {
        let found = extent(text.as_bytes()).unwrap();
        let read = found.map(|found| {
            let answer = answer(&text.as_bytes()[..found.end]).unwrap();
            (answer.status, String::from_utf8(answer.body).unwrap())
        });
        let read = read.as_ref().map(|(status, body)| (*status, body.as_str()));
        assert_eq!(read, expect);
    }

    #[test]
    fn an_answer_ends_where_its_length_says() {
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab",
            Some((200, "ab")),
        );
        check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", None);
        check(
            "HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n",
            Some((401, "")),
        );
    }

    #[test]
    fn an_answer_in_chunks_ends_with_the_last() {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        check(&format!("{head}2\r\nab\r\n"), None);
        check(
            &format!("{head}2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"),
            Some((200, "abc")),
        );
    }

    #[test]
    fn a_request_is_measured_by_its_head() {
        let text = b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(head(text).unwrap(), Some((38, Some(5))));
        assert_eq!(head(&text[..20]).unwrap(), None);
        assert!(has_field(text, "content-length") && !has_field(text, "content"));
    }
}
