//! The grammar of a request head, RFC 9112 without its leniencies.

use std::mem::MaybeUninit;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::{Framing, Limits, Refused, check_target, limits::MOST_FIELDS};

/// Looks for the end of a head behind the first `searched` bytes, which were looked at before, and moves
/// that mark; returns the length of the head.
///
/// The empty line counts without its carriage return, too: a head with bare line feeds would never end
/// otherwise. Whoever reads it says what becomes of it.
#[must_use]
pub fn head_end(bytes: &[u8], searched: &mut usize) -> Option<usize> {
    // The end may straddle two reads.
    let from = searched.saturating_sub(3);
    let fresh = bytes.get(from..).unwrap_or_default();
    *searched = bytes.len();
    memchr::memchr_iter(b'\n', fresh).find_map(|at| match fresh.get(at + 1..)? {
        [b'\n', ..] => Some(from + at + 2),
        [b'\r', b'\n', ..] => Some(from + at + 3),
        _ => None,
    })
}

/// Refuses an HTTP/1 request head that is not exactly one well-formed request.
///
/// `head` ends with the empty line. Everything that decides where the body ends is checked here,
/// so that the reader of the body behind this layer and the upstream cannot disagree. Returns it.
///
/// # Errors
/// Which rule the head breaks, with the status of the answer.
pub fn check_head(head: &[u8], limits: &Limits) -> Result<Framing, Refused> {
    if memchr::memchr_iter(b'\n', head).any(|at| at == 0 || head.get(at - 1) != Some(&b'\r')) {
        return Err(Refused::bad(
            "bare_line_feed",
            "lines must end with carriage return and line feed",
        ));
    }
    let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(head, &mut fields) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(TOO_MANY),
        Ok(_) | Err(_) => {
            return Err(Refused::bad(
                "malformed_head",
                "the request head is malformed",
            ));
        }
    }
    // httparse skips empty lines before the request line; nothing else may stand there.
    if head.first().is_some_and(|b| matches!(b, b'\r' | b'\n')) {
        return Err(Refused::bad(
            "malformed_head",
            "the request must start with its request line",
        ));
    }
    check_method(request.method.unwrap_or_default())?;
    check_target(request.path.unwrap_or_default().as_bytes(), limits)?;
    let framing = check_h1_fields(request.headers, request.version == Some(0), limits)?;
    if matches!(request.method, Some("GET" | "HEAD")) && framing != Framing::Length(0) {
        return Err(BODY_UNEXPECTED);
    }
    Ok(framing)
}

const TOO_MANY: Refused = Refused::new(
    StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    "too_many_fields",
    "the request has too many header fields",
);

/// A body without a meaning (RFC 9110 §9.3.1): servers that do not expect it take it for the next
/// request.
pub const BODY_UNEXPECTED: Refused = Refused::bad(
    "body_unexpected",
    "a request of this method must not have a body",
);

const LENGTH: Refused = Refused::bad("content_length", "Content-Length must be one number");

fn check_method(method: &str) -> Result<(), Refused> {
    match method {
        "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS" => Ok(()),
        _ => Err(Refused::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method",
            "the gateway does not take this method",
        )),
    }
}

fn check_h1_fields(
    fields: &[httparse::Header<'_>],
    http_10: bool,
    limits: &Limits,
) -> Result<Framing, Refused> {
    if fields.len() > limits.fields {
        return Err(TOO_MANY);
    }
    let (mut hosts, mut lengths, mut codings) = (0, 0, 0);
    let mut framing = Framing::Length(0);
    for field in fields {
        check_field(field.name, field.value, limits)?;
        let name = field.name;
        if name.eq_ignore_ascii_case("host") {
            hosts += 1;
            if !is_host(field.value) {
                return Err(Refused::bad("host", "the Host field is not a host"));
            }
        } else if name.eq_ignore_ascii_case("content-length") {
            lengths += 1;
            framing = length(field.value).map(Framing::Length).ok_or(LENGTH)?;
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            codings += 1;
            if !field.value.eq_ignore_ascii_case(b"chunked") {
                return Err(Refused::bad(
                    "transfer_encoding",
                    "the only transfer coding taken is chunked",
                ));
            }
            framing = Framing::Chunked;
        } else if name.eq_ignore_ascii_case("upgrade") {
            return Err(Refused::bad("upgrade", "the gateway does not upgrade"));
        } else if name.eq_ignore_ascii_case("expect") {
            if !field.value.eq_ignore_ascii_case(b"100-continue") {
                return Err(Refused::new(
                    StatusCode::EXPECTATION_FAILED,
                    "expect",
                    "the only expectation met is 100-continue",
                ));
            }
        } else if name.eq_ignore_ascii_case("connection") {
            check_connection(field.value)?;
        }
    }
    if hosts != 1 {
        return Err(Refused::bad(
            "host",
            "a request must carry exactly one Host field",
        ));
    }
    if lengths + codings > 1 || (codings > 0 && http_10) {
        return Err(Refused::bad(
            "framing",
            "the length of the body must be given exactly once",
        ));
    }
    Ok(framing)
}

/// Refuses a request whose fields came over HTTP/2 and break a rule that the h2 library leaves open.
///
/// # Errors
/// Which rule the fields break.
pub fn check_fields(
    method: &Method,
    target: &[u8],
    authority: Option<&str>,
    fields: &HeaderMap<HeaderValue>,
    limits: &Limits,
) -> Result<(), Refused> {
    check_method(method.as_str())?;
    check_target(target, limits)?;
    if fields.len() > limits.fields {
        return Err(TOO_MANY);
    }
    for (name, value) in fields {
        check_field(name.as_str(), value.as_bytes(), limits)?;
    }
    let mut hosts = fields.get_all(header::HOST).iter();
    let host = hosts.next();
    let agrees = match (authority, host) {
        (Some(authority), Some(host)) => host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()),
        (None, None) => false,
        _ => true,
    };
    let named = authority
        .map(str::as_bytes)
        .or(host.map(HeaderValue::as_bytes));
    if !agrees || hosts.next().is_some() || !named.is_some_and(is_host) {
        return Err(Refused::bad("host", "a request must name exactly one host"));
    }
    if fields.contains_key(header::TRANSFER_ENCODING)
        || fields.contains_key(header::CONNECTION)
        || fields.contains_key(header::UPGRADE)
    {
        return Err(Refused::bad(
            "connection_field",
            "HTTP/2 requests carry no fields about the connection",
        ));
    }
    let mut lengths = fields.get_all(header::CONTENT_LENGTH).iter();
    let one = lengths
        .next()
        .is_none_or(|v| length(v.as_bytes()).is_some());
    if !one || lengths.next().is_some() {
        return Err(LENGTH);
    }
    Ok(())
}

/// Checks a field that a parser has taken: httparse and h2 leave no control characters in it.
fn check_field(name: &str, value: &[u8], limits: &Limits) -> Result<(), Refused> {
    // Servers behind a gateway that map `-` to `_` could take `X_Forwarded_For` for ours.
    if name.contains('_') {
        return Err(Refused::bad(
            "field_name",
            "header field names must not hold underscores",
        ));
    }
    if is_disguised(name) {
        return Err(Refused::bad(
            "field_name",
            "a header field has a name that is easily taken for another one",
        ));
    }
    if value.len() > limits.field_size.0 {
        return Err(Refused::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "field_too_large",
            "a header field is too large",
        ));
    }
    Ok(())
}

/// Whether a name is that of a field about framing but for hyphens and signs, as in
/// `Transfer--Encoding`: a server that folds names would take it for that field.
fn is_disguised(name: &str) -> bool {
    // Shorter than the letters of the shorter one.
    name.len() >= "contentlength".len() && is_like_framing(name)
}

fn is_like_framing(name: &str) -> bool {
    ["transfer-encoding", "content-length"].iter().any(|field| {
        let letters = |name: &'static str| name.bytes().filter(|b| *b != b'-');
        let folded = name
            .bytes()
            .filter(u8::is_ascii_alphanumeric)
            .map(|b| b.to_ascii_lowercase());
        folded.eq(letters(field)) && !name.eq_ignore_ascii_case(field)
    })
}

/// `Connection` may name what is dropped with the connection, and nothing that matters.
fn check_connection(value: &[u8]) -> Result<(), Refused> {
    let harmful = |option: &[u8]| {
        [
            &b"host"[..],
            b"content-length",
            b"transfer-encoding",
            b"authorization",
            b"cookie",
            b"origin",
            b"mcp-session-id",
            b"mcp-protocol-version",
        ]
        .iter()
        .any(|name| option.eq_ignore_ascii_case(name))
            || option
                .get(..12)
                .is_some_and(|start| start.eq_ignore_ascii_case(b"x-forwarded-"))
    };
    let mut options = 0;
    for option in value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
        options += 1;
        if harmful(option) || options > 10 {
            return Err(Refused::bad(
                "connection_field",
                "the Connection field names a field that must not be dropped",
            ));
        }
    }
    Ok(())
}

/// One number without sign; 18 digits are more than any body has.
fn length(value: &[u8]) -> Option<u64> {
    if value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// `host[:port]` of RFC 3986 without userinfo; percent-encoded names are not taken.
fn is_host(value: &[u8]) -> bool {
    let is_port = |port: &[u8]| port.len() <= 5 && port.iter().all(u8::is_ascii_digit);
    if let Some(rest) = value.strip_prefix(b"[") {
        let Some(end) = memchr::memchr(b']', rest) else {
            return false;
        };
        let (address, port) = rest.split_at(end);
        let address = std::str::from_utf8(address).unwrap_or_default();
        return address.parse::<std::net::Ipv6Addr>().is_ok()
            && (port == b"]" || port.strip_prefix(b"]:").is_some_and(is_port));
    }
    let mut parts = value.splitn(2, |b| *b == b':');
    let name = parts.next().unwrap_or_default();
    !name.is_empty()
        && name.len() <= 255
        && name
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
        && parts.next().is_none_or(is_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(head: &str, expect: Option<&str>) {
        let refused = check_head(head.as_bytes(), &Limits::default())
            .err()
            .map(|r| r.reason);
        assert_eq!(refused, expect, "{head:?}");
    }

    fn fields(more: &str) -> String {
        format!("POST /mcp HTTP/1.1\r\nHost: a.test\r\n{more}\r\n")
    }

    #[test]
    fn finds_the_end_of_a_head_however_it_comes() {
        for (bytes, end) in [
            ("a\r\nb\r\n\r\nbody\n\n", Some(8)),
            ("a\n\nbody", Some(3)),
            ("a\n\r\n", Some(4)),
            ("a\r\n\r", None),
            ("a\r\nb", None),
        ] {
            assert_eq!(head_end(bytes.as_bytes(), &mut 0), end, "{bytes:?}");
            let mut searched = 0;
            let piecemeal = (1..=bytes.len())
                .find_map(|length| head_end(&bytes.as_bytes()[..length], &mut searched));
            assert_eq!(piecemeal, end, "{bytes:?} byte by byte");
        }
    }

    #[test]
    fn takes_what_clients_send() {
        check("GET / HTTP/1.1\r\nHost: a.test:8443\r\n\r\n", None);
        check("GET / HTTP/1.1\r\nHost: [::1]:8443\r\n\r\n", None);
        check(&fields("Content-Length: 5\r\n"), None);
        check(&fields("Transfer-Encoding: chunked\r\n"), None);
        check(
            &fields("Expect: 100-continue\r\nContent-Length: 5\r\n"),
            None,
        );
        check(
            &fields("Connection: keep-alive, x-mine\r\nX-Mine: 1\r\n"),
            None,
        );
        check(&fields("Accept: text/event-stream\r\nX-Empty:\r\n"), None);
    }

    #[test]
    fn refuses_doubtful_framing() {
        check(&fields("Content-Length: 5, 5\r\n"), Some("content_length"));
        check(
            &fields("Content-Length: 5\r\nContent-Length: 5\r\n"),
            Some("framing"),
        );
        check(&fields("Content-Length: +5\r\n"), Some("content_length"));
        check(&fields("Content-Length:\r\n"), Some("content_length"));
        check(
            &fields("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
            Some("framing"),
        );
        check(
            &fields("Transfer-Encoding: gzip, chunked\r\n"),
            Some("transfer_encoding"),
        );
        check(
            &fields("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
            Some("framing"),
        );
        check(
            &fields("Transfer-Encoding : chunked\r\n"),
            Some("malformed_head"),
        );
        check(
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            Some("framing"),
        );
        check(
            &fields("Connection: close, content-length\r\n"),
            Some("connection_field"),
        );
        check(
            &fields("Connection: X-Forwarded-For\r\n"),
            Some("connection_field"),
        );
    }

    #[test]
    fn refuses_bodies_that_nobody_expects() {
        let get = |more: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{more}\r\n");
        check(&get("Content-Length: 0\r\n"), None);
        check(&get("Content-Length: 1\r\n"), Some("body_unexpected"));
        check(
            &get("Transfer-Encoding: chunked\r\n"),
            Some("body_unexpected"),
        );
    }

    #[test]
    fn refuses_doubtful_hosts() {
        check("GET / HTTP/1.1\r\n\r\n", Some("host"));
        check(&fields("Host: a.test\r\n"), Some("host"));
        for host in ["a b", "a/b", "a#b", "u@a", "a:x", "", "[::1", "a,b"] {
            check(
                &format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"),
                Some("host"),
            );
        }
    }

    #[test]
    fn refuses_broken_lines_and_names() {
        check("GET / HTTP/1.1\nHost: a\n\n", Some("bare_line_feed"));
        check(
            "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            Some("malformed_head"),
        );
        check(
            "PO ST /mcp HTTP/1.1\r\nHost: a\r\n\r\n",
            Some("malformed_head"),
        );
        check("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", Some("method"));
        check("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", Some("method"));
        check("get / HTTP/1.1\r\nHost: a\r\n\r\n", Some("method"));
        check(
            "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            Some("target_form"),
        );
        check(&fields("X_Forwarded_For: 1\r\n"), Some("field_name"));
        check(&fields("Transfer--Encoding: x\r\n"), Some("field_name"));
        check(&fields("Content.Length: 1\r\n"), Some("field_name"));
        check(&fields("ContentLength: 1\r\n"), Some("field_name"));
        check(&fields("X-Content-Length: 1\r\n"), None);
        check(&fields("X: a\r\n b\r\n"), Some("malformed_head"));
        for control in (0..0x20).filter(|b| !b"\t\r\n".contains(b)).chain([0x7f]) {
            let field = format!("X: {}{}\r\n", "a".repeat(40), char::from(control));
            check(&fields(&field), Some("malformed_head"));
            assert!(HeaderValue::from_bytes(&[control]).is_err(), "{control}");
        }
        check(&fields("Upgrade: h2c\r\n"), Some("upgrade"));
        check(&fields("Expect: tea\r\n"), Some("expect"));
        check(&fields(&"A: b\r\n".repeat(101)), Some("too_many_fields"));
        check(
            &fields(&format!("A: {}\r\n", "x".repeat(16 * 1024 + 1))),
            Some("field_too_large"),
        );
    }

    proptest::proptest! {
        #[test]
        fn never_panics(head in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let _ = check_head(&head, &Limits::default());
        }
    }
}
