//! The PROXY protocol, versions 1 and 2, as load balancers write it before the first byte of a
//! client (`proxy-protocol.txt` of `HAProxy`, sections 2.1 and 2.2).
//!
//! Bytes come in, an address comes out. Nothing is guessed: what is not exactly a header is refused,
//! and with it the connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What every header of version 2 starts with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// What every header of version 1 starts with.
const START: &[u8] = b"PROXY ";
/// The longest line of version 1 with its line end.
const LINE_LIMIT: usize = 107;
/// The most bytes after the fixed part of version 2: addresses and extensions.
const REST_LIMIT: usize = 1024;
/// The fixed part of version 2.
const FIXED: usize = 16;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preface {
    /// Another byte has to be read before more can be said; this many at least.
    Need(usize),
    /// The client's address; `None` when the load balancer speaks for itself.
    Of(Option<SocketAddr>),
}

/// A header that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection does not start with the PROXY protocol")]
pub struct NoPreface;

/// Reads a header as far as there is one. A caller that reads no more than [`Preface::Need`] asks
/// for never reads beyond its end.
///
/// # Errors
/// When the bytes cannot become a header.
pub fn parse_preface(bytes: &[u8]) -> Result<Preface, NoPreface> {
    let signed = bytes.len().min(SIGNATURE.len());
    if bytes.get(..signed) == SIGNATURE.get(..signed) {
        return version_2(bytes);
    }
    let started = bytes.len().min(START.len());
    if bytes.get(..started) == START.get(..started) {
        return version_1(bytes);
    }
    Err(NoPreface)
}

fn version_1(bytes: &[u8]) -> Result<Preface, NoPreface> {
    // The shortest line is `PROXY UNKNOWN` and its line end; beyond it, byte by byte.
    if bytes.len() < 15 {
        return Ok(Preface::Need(15 - bytes.len()));
    }
    let Some(line) = bytes.strip_suffix(b"\r\n") else {
        return if bytes.len() < LINE_LIMIT && !bytes.contains(&b'\n') {
            Ok(Preface::Need(1))
        } else {
            Err(NoPreface)
        };
    };
    let line = std::str::from_utf8(line).map_err(|_| NoPreface)?;
    let mut words = line.split(' ').skip(1);
    let family = words.next().unwrap_or_default();
    if family == "UNKNOWN" {
        return Ok(Preface::Of(None));
    }
    let source: IpAddr = address(words.next(), family)?;
    let _destination: IpAddr = address(words.next(), family)?;
    let port = port(words.next())?;
    let _destination_port = self::port(words.next())?;
    match words.next() {
        None => Ok(Preface::Of(Some(SocketAddr::new(source, port)))),
        Some(_) => Err(NoPreface),
    }
}

fn address(word: Option<&str>, family: &str) -> Result<IpAddr, NoPreface> {
    let address: IpAddr = word.and_then(|word| word.parse().ok()).ok_or(NoPreface)?;
    match (family, address) {
        ("TCP4", IpAddr::V4(_)) | ("TCP6", IpAddr::V6(_)) => Ok(address),
        _ => Err(NoPreface),
    }
}

fn port(word: Option<&str>) -> Result<u16, NoPreface> {
    word.filter(|word| word.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|word| word.parse().ok())
        .ok_or(NoPreface)
}

fn version_2(bytes: &[u8]) -> Result<Preface, NoPreface> {
    let Some((fixed, rest)) = bytes.split_at_checked(FIXED) else {
        return Ok(Preface::Need(FIXED - bytes.len()));
    };
    let [.., command, family, high, low] = fixed else {
        return Err(NoPreface);
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if length > REST_LIMIT || rest.len() > length {
        return Err(NoPreface);
    }
    if rest.len() < length {
        return Ok(Preface::Need(length - rest.len()));
    }
    match (command, family) {
        // A health check of the load balancer, whose addresses are to be ignored, or `AF_UNSPEC`: it
        // does not know.
        (0x20, _) | (0x21, 0x00) => Ok(Preface::Of(None)),
        (0x21, 0x11) => {
            let source = rest.first_chunk::<4>().ok_or(NoPreface)?;
            let port = rest.get(8..12).and_then(|ports| ports.first_chunk::<2>());
            let port = u16::from_be_bytes(*port.ok_or(NoPreface)?);
            Ok(of(Ipv4Addr::from(*source).into(), port))
        }
        (0x21, 0x21) => {
            let source = rest.first_chunk::<16>().ok_or(NoPreface)?;
            let port = rest.get(32..36).and_then(|ports| ports.first_chunk::<2>());
            let port = u16::from_be_bytes(*port.ok_or(NoPreface)?);
            Ok(of(Ipv6Addr::from(*source).into(), port))
        }
        _ => Err(NoPreface),
    }
}

const fn of(address: IpAddr, port: u16) -> Preface {
    Preface::Of(Some(SocketAddr::new(address, port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads as a caller does, never more than asked for; returns what was left, too.
    fn check(bytes: &[u8], expect: Result<Option<&str>, NoPreface>, rest: &[u8]) {
        let (mut read, mut result) = (0, Ok(Preface::Need(1)));
        while let Ok(Preface::Need(more)) = result {
            assert!(
                more > 0 && read + more <= bytes.len(),
                "{}",
                bytes.escape_ascii()
            );
            read += more;
            result = parse_preface(&bytes[..read]);
        }
        let found = result.map(|preface| match preface {
            Preface::Of(address) => address.map(|address| address.to_string()),
            Preface::Need(_) => unreachable!(),
        });
        let expect = expect.map(|address| address.map(str::to_owned));
        assert_eq!(found, expect, "{}", bytes.escape_ascii());
        if found.is_ok() {
            assert_eq!(&bytes[read..], rest);
        }
    }

    fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([command, family, length[0], length[1]]);
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn reads_version_1() {
        check(
            b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\nGET",
            Ok(Some("192.0.2.1:56324")),
            b"GET",
        );
        check(
            b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n",
            Ok(Some("[2001:db8::1]:1")),
            b"",
        );
        check(b"PROXY UNKNOWN\r\nGET", Ok(None), b"GET");
        check(b"PROXY UNKNOWN ff ff 1 2\r\n", Ok(None), b"");
    }

    #[test]
    fn reads_version_2() {
        let mut v4 = version_2(0x21, 0x11, &[192, 0, 2, 1, 1, 1, 1, 1, 0x12, 0x34, 1, 187]);
        v4.extend(b"\x16\x03");
        check(&v4, Ok(Some("192.0.2.1:4660")), b"\x16\x03");
        let mut rest = vec![0; 36];
        rest[15] = 1;
        rest[33] = 7;
        rest.extend([4, 0, 1, 9]);
        check(&version_2(0x21, 0x21, &rest), Ok(Some("[::1]:7")), b"");
        check(&version_2(0x20, 0, &[]), Ok(None), b"");
        check(&version_2(0x21, 0, &[]), Ok(None), b"");
    }

    #[test]
    fn refuses_what_is_no_header() {
        for bytes in [
            &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
            b"PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n",
            b"PROXY TCP4 ::1 ::1 1 2\r\n.",
            b"PROXY TCP4 192.0.2.1 198.51.100.1 1 65536\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.1 +1 2\r\n",
            b"PROXY TCP4 192.0.2.1  198.51.100.1 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2 3\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2\n\r\n.....",
            b"PROXY TCP9 1 1 1 1\r\n.",
            &[b"PROXY UNKNOWN ".as_slice(), &[b'a'; LINE_LIMIT]].concat(),
            &version_2(0x11, 0x11, &[0; 12]),
            &version_2(0x22, 0x11, &[0; 12]),
            &version_2(0x21, 0x12, &[0; 12]),
            &version_2(0x21, 0x31, &[0; 216]),
            &version_2(0x21, 0x11, &[0; 11]),
            &version_2(0x21, 0x21, &[0; 12]),
            &version_2(0x21, 0x11, &[0; REST_LIMIT + 1]),
        ] {
            check(bytes, Err(NoPreface), b"");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60), start in 0..3) {
            let start: &[u8] = match start { 0 => SIGNATURE, 1 => START, _ => b"" };
            let _ = parse_preface(&[start, &bytes].concat());
        }
    }
}
