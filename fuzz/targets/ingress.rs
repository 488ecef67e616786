//! Arbitrary bytes as a client's first: head, body, PROXY protocol, HTTP/2 frames.
//!
//! What is accepted must also be what a reader by the letter of RFC 9112 reads.
#![no_main]

use std::time::Instant;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use libfuzzer_sys::fuzz_target;
use mcp_gateway::ingress::{
    BodyScan, FrameScan, Framing, Limits, NoPreface, Preface, Refused, check_fields, check_head,
    check_target, parse_preface,
};
use mcp_gateway_fuzz::http1::{Body, Head, Read};

fuzz_target!(|data: &[u8]| {
    let limits = Limits::default();
    if let Some(end) = data.windows(4).position(|four| four == b"\r\n\r\n") {
        let (bytes, rest) = data.split_at(end + 4);
        if let Ok(framing) = check_head(bytes, &limits) {
            head(bytes, framing, &limits);
            body(framing, rest);
        }
    }
    // Whether or not a head says so.
    body(Framing::Chunked, data);
    if check_target(data, &limits).is_ok() {
        target(data);
    }
    preface(data);
    frames(data);
});

fn head(bytes: &[u8], framing: Framing, limits: &Limits) {
    let head = Head::read(bytes).expect("accepted, but not by the grammar");
    let expected = match head.body().expect("accepted, but framed in two ways") {
        Body::Length(length) => Framing::Length(length),
        Body::Chunked => Framing::Chunked,
    };
    assert_eq!(framing, expected);
    assert_eq!(head.values("host").count(), 1);
    assert_eq!(head.values("upgrade").count(), 0);
    assert!(head.fields.iter().all(|(name, _)| !name.contains(&b'_')));
    target(head.target);

    // One more of what must stand once makes it another request, and is refused.
    for more in ["Host: b", "Content-Length: 0", "Transfer-Encoding: chunked"] {
        let name = more.split(':').next().unwrap_or_default();
        let framed = ["content-length", "transfer-encoding"]
            .iter()
            .any(|name| head.values(name).next().is_some());
        if name == "Host" || framed {
            let last = bytes.len() - 2;
            let twice = [&bytes[..last], more.as_bytes(), b"\r\n\r\n"].concat();
            assert!(check_head(&twice, limits).is_err(), "{more}");
        }
    }
    like_http2(&head, limits);
}

/// The same request over HTTP/2 is taken, too, unless it says something about the connection.
fn like_http2(head: &Head<'_>, limits: &Limits) {
    let mut fields = HeaderMap::new();
    for (name, value) in &head.fields {
        let name = HeaderName::from_bytes(name).expect("a name");
        let value = HeaderValue::from_bytes(value).expect("a value");
        fields.append(name, value);
    }
    let method = Method::from_bytes(head.method).expect("a method");
    let connection = ["connection", "transfer-encoding", "upgrade"]
        .iter()
        .any(|name| fields.contains_key(*name));
    let checked = check_fields(&method, head.target, None, &fields, limits);
    assert_eq!(checked.is_ok(), !connection, "{checked:?}");
}

/// However often a server behind decodes and normalizes the path, it stays the same resource.
fn target(target: &[u8]) {
    assert!(target.starts_with(b"/") && target.iter().all(u8::is_ascii_graphic));
    assert!(!target.contains(&b'#'));
    let path = target.split(|byte| *byte == b'?').next();
    let path = path.unwrap_or_default();
    let mut decoded = vec![];
    let mut rest = path;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'%' {
            let digits = std::str::from_utf8(&tail[..2]).expect("two digits");
            let byte = u8::from_str_radix(digits, 16).expect("hexadecimal");
            assert!(!byte.is_ascii_control() && !b"/\\.%;#?".contains(&byte));
            decoded.push(byte);
            rest = &tail[2..];
        } else {
            assert!(!b"\\;".contains(&byte));
            decoded.push(byte);
        }
    }
    assert!(!decoded.contains(&b'%'), "decoded twice is another path");
    let mut segments = decoded.split(|byte| *byte == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        assert!(segment != b"." && segment != b"..");
        assert!(!segment.is_empty() || segments.peek().is_none());
    }
}

fn body(framing: Framing, bytes: &[u8]) {
    let mut scan = BodyScan::new(framing);
    let found = scan.scan(bytes);
    let expected = match framing {
        Framing::Length(length) => Body::Length(length),
        Framing::Chunked => Body::Chunked,
    };
    let read = expected.read(bytes);
    match (&found, &read) {
        (Ok(length), Read::Whole(expected, _)) => {
            assert_eq!((length, scan.is_done()), (expected, true));
        }
        (Ok(length), Read::Part) => assert_eq!((*length, scan.is_done()), (bytes.len(), false)),
        // The scan refuses at the first wrong byte; the reader sees whole lines.
        (Err(_), Read::Broken | Read::Part) => {}
        (Err(refused), Read::Whole(..)) => assert!(is_limit(refused), "{refused:?}"),
        (Ok(_), Read::Broken) => panic!("passed what is not framed"),
    }
    // In pieces of every size that the first bytes name, and one by one.
    let sizes = bytes.iter().take(4).map(|byte| usize::from(*byte) + 1);
    for size in sizes.chain([1]) {
        let mut scan = BodyScan::new(framing);
        let pieces = bytes.chunks(size);
        let sum = pieces
            .map(|piece| scan.scan(piece))
            .sum::<Result<usize, _>>();
        assert_eq!(sum, found, "in pieces of {size}");
    }
}

fn is_limit(refused: &Refused) -> bool {
    matches!(
        refused.reason,
        "chunk_size" | "chunk_extension" | "trailers_too_large"
    )
}

/// Reads as a caller does: never more than is asked for.
fn preface(data: &[u8]) {
    let mut read = 0;
    let address = loop {
        match parse_preface(&data[..read]) {
            Ok(Preface::Need(more)) => {
                assert!(more > 0);
                read += more;
                if read > data.len() {
                    return;
                }
            }
            Ok(Preface::Of(address)) => break address,
            Err(NoPreface) => return,
        }
    };
    let header = &data[..read];
    let line = header.starts_with(b"PROXY ") && header.ends_with(b"\r\n") && read <= 107;
    let signed = header.starts_with(b"\r\n\r\n\0\r\nQUIT\n") && (16..=16 + 1024).contains(&read);
    assert!(line || signed);
    if let Some(address) = address {
        let family = if address.is_ipv4() { "TCP4" } else { "TCP6" };
        let (ip, port) = (address.ip(), address.port());
        let again = format!("PROXY {family} {ip} {ip} {port} 443\r\n");
        assert_eq!(
            parse_preface(again.as_bytes()),
            Ok(Preface::Of(Some(address)))
        );
    }
}

fn frames(data: &[u8]) {
    let now = Instant::now();
    let whole = FrameScan::new(now).scan(data, now);
    let mut scan = FrameScan::new(now);
    let size = data.first().map_or(1, |byte| usize::from(*byte) + 1);
    let pieces = data
        .chunks(size)
        .try_for_each(|piece| scan.scan(piece, now));
    assert_eq!(whole, pieces);
}
