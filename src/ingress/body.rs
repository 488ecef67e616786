//! Where the body of an HTTP/1.1 request ends, RFC 9112 §6 and §7.1 without its leniencies.
//!
//! A scan sees every byte of a body as it passes and says where the next request begins. It keeps
//! no byte, and does not decode: that is for the reader behind it, which then has nothing left to
//! be lenient about.

use std::ops::Range;

use super::Refused;

/// The most hexadecimal digits of a chunk's size.
const SIZE_DIGITS: u8 = 16;
/// The largest chunk in bytes: no body is that large, and no reader's arithmetic overflows.
const CHUNK_LIMIT: u64 = 1 << 40;
/// The most bytes that all chunk extensions of a body may have.
const EXTENSIONS_LIMIT: usize = 1024;
/// The most bytes that the trailer section may have.
const TRAILERS_LIMIT: usize = 4 * 1024;

/// How the length of a body is known, as the head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// This many bytes; 0 when the head announces no body.
    Length(u64),
    /// Chunks, the last of them empty (RFC 9112 §7.1).
    Chunked,
}

/// A walk over the body of one request.
#[derive(Clone, Debug)]
pub struct BodyScan {
    state: State,
    extensions: usize,
    trailers: usize,
}

/// What the next byte is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A body of known length, so many bytes before its end.
    Length(u64),
    /// The size of a chunk.
    Size {
        value: u64,
        digits: u8,
    },
    /// What follows `;` after a size.
    Extension(u64),
    /// The line feed that ends the line of a size.
    SizeEnd(u64),
    /// The data of a chunk, so many bytes before its end.
    Data(u64),
    /// The line end after the data of a chunk.
    DataReturn,
    DataFeed,
    /// The first byte of a trailer field, or of the empty line.
    Trailer,
    TrailerName,
    TrailerValue,
    TrailerEnd,
    /// The line feed of the empty line.
    LastFeed,
    Done,
}

impl BodyScan {
    /// Starts at the first byte after the head.
    #[must_use]
    pub const fn new(framing: Framing) -> Self {
        Self {
            state: match framing {
                Framing::Length(0) => State::Done,
                Framing::Length(length) => State::Length(length),
                Framing::Chunked => State::Size {
                    value: 0,
                    digits: 0,
                },
            },
            extensions: 0,
            trailers: 0,
        }
    }

    /// Whether the body has ended: whatever follows is the next request.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Walks over the next bytes and returns how many of them belong to the body; fewer than there
    /// are only when it has ended.
    ///
    /// # Errors
    /// When the chunks are not framed exactly; the scan is of no use afterwards.
    pub fn scan(&mut self, bytes: &[u8]) -> Result<usize, Refused> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..)
            && !rest.is_empty()
            && !self.is_done()
        {
            at += self.data(rest)?.end;
        }
        Ok(at)
    }

    /// Walks to the end of the first data in the next bytes, and returns where it is: whatever
    /// stands before it is framing. Without data the range is empty, and ends where the walk did.
    ///
    /// # Errors
    /// As for [`scan`](Self::scan).
    pub fn data(&mut self, bytes: &[u8]) -> Result<Range<usize>, Refused> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            match self.state {
                State::Done => break,
                State::Length(left) | State::Data(left) => {
                    return Ok(at..at + self.skip(left, bytes.len() - at));
                }
                _ => {
                    self.state = self.step(*byte)?;
                    at += 1;
                }
            }
        }
        Ok(at..at)
    }

    /// Passes over data without looking at it; returns how much of it there was.
    fn skip(&mut self, left: u64, available: usize) -> usize {
        let skipped = usize::try_from(left).map_or(available, |left| left.min(available));
        let left = left - skipped as u64;
        self.state = match self.state {
            State::Data(_) if left == 0 => State::DataReturn,
            State::Data(_) => State::Data(left),
            _ if left == 0 => State::Done,
            _ => State::Length(left),
        };
        skipped
    }

    fn step(&mut self, byte: u8) -> Result<State, Refused> {
        Ok(match (self.state, byte) {
            (State::Size { value, digits }, _) if byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                let value = value << 4 | u64::from(digit);
                if digits >= SIZE_DIGITS || value > CHUNK_LIMIT {
                    return Err(Refused::bad(
                        "chunk_size",
                        "a chunk of the body is too large",
                    ));
                }
                State::Size {
                    value,
                    digits: digits + 1,
                }
            }
            (State::Size { digits: 0, .. }, _) => {
                return Err(Refused::bad(
                    "chunk_size",
                    "a chunk of the body has no size",
                ));
            }
            (State::Size { value, .. }, b';') => State::Extension(value),
            (State::Size { value, .. } | State::Extension(value), b'\r') => State::SizeEnd(value),
            (State::Extension(value), b'\t' | 0x20..=0x7e) => {
                self.extensions += 1;
                if self.extensions > EXTENSIONS_LIMIT {
                    return Err(Refused::bad(
                        "chunk_extension",
                        "the chunk extensions of the body are too large",
                    ));
                }
                State::Extension(value)
            }
            (State::SizeEnd(0) | State::TrailerEnd, b'\n') => State::Trailer,
            (State::SizeEnd(value), b'\n') => State::Data(value),
            (State::DataReturn, b'\r') => State::DataFeed,
            (State::DataFeed, b'\n') => State::Size {
                value: 0,
                digits: 0,
            },
            (State::Trailer, b'\r') => State::LastFeed,
            (State::LastFeed, b'\n') => State::Done,
            (State::Trailer | State::TrailerName, _) if is_token(byte) => {
                self.trailer(State::TrailerName)?
            }
            (State::TrailerName, b':') => self.trailer(State::TrailerValue)?,
            (State::TrailerValue, b'\t' | 0x20..=0x7e | 0x80..) => {
                self.trailer(State::TrailerValue)?
            }
            (State::TrailerValue, b'\r') => State::TrailerEnd,
            _ => {
                return Err(Refused::bad(
                    "chunk_framing",
                    "the chunks of the body are not framed as RFC 9112 says",
                ));
            }
        })
    }

    fn trailer(&mut self, state: State) -> Result<State, Refused> {
        self.trailers += 1;
        if self.trailers > TRAILERS_LIMIT {
            return Err(Refused::bad(
                "trailers_too_large",
                "the trailer section of the body is too large",
            ));
        }
        Ok(state)
    }
}

/// `tchar` of RFC 9110 §5.6.2.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Scans in one piece and byte by byte; both must agree.
    fn scan(framing: Framing, bytes: &[u8]) -> Result<(usize, bool), &'static str> {
        let mut whole = BodyScan::new(framing);
        let at_once = whole.scan(bytes);
        let mut slow = BodyScan::new(framing);
        let one_by_one = bytes.iter().try_fold(0, |sum, byte| {
            slow.scan(std::slice::from_ref(byte)).map(|n| sum + n)
        });
        assert_eq!(at_once, one_by_one, "{:?}", bytes.escape_ascii());
        at_once
            .map(|n| (n, whole.is_done()))
            .map_err(|refused| refused.reason)
    }

    fn check(body: &str, expect: Result<usize, &str>) {
        let scanned = scan(Framing::Chunked, body.as_bytes());
        let expect = expect.map(|length| (length, true));
        assert_eq!(scanned, expect, "{body:?}");
    }

    #[test]
    fn finds_the_end_of_a_counted_body() {
        assert_eq!(scan(Framing::Length(0), b"GET"), Ok((0, true)));
        assert_eq!(scan(Framing::Length(3), b"abcGET"), Ok((3, true)));
        assert_eq!(scan(Framing::Length(3), b"ab"), Ok((2, false)));
    }

    #[test]
    fn finds_the_end_of_a_chunked_body() {
        check("0\r\n\r\n", Ok(5));
        check("3\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1", Ok(13));
        check("00000000000000A\r\n0123456789\r\n0\r\n\r\n", Ok(34));
        check("1;a=\"b c\"\r\nx\r\n0;last\r\n\r\n", Ok(24));
        check("0\r\nDigest: x\r\nA:\r\n\r\nGET", Ok(20));
        assert_eq!(scan(Framing::Chunked, b"5\r\nab"), Ok((5, false)));
    }

    #[test]
    fn refuses_sizes_that_are_not_sizes() {
        check("\r\n\r\n", Err("chunk_size"));
        check(";a=b\r\n\r\n", Err("chunk_size"));
        check(" 5\r\nhello", Err("chunk_size"));
        check("-5\r\n", Err("chunk_size"));
        check("+5\r\n", Err("chunk_size"));
        check("0x5\r\nhello", Err("chunk_framing"));
        check("5 \r\nhello", Err("chunk_framing"));
        check("5 ;a=b\r\nhello", Err("chunk_framing"));
        check("5_0\r\nhello", Err("chunk_framing"));
        check("00000000000000005\r\nhello", Err("chunk_size"));
        check("ffffffffffffffff\r\n", Err("chunk_size"));
    }

    #[test]
    fn refuses_line_ends_that_are_not_line_ends() {
        check("5\nhello\r\n0\r\n\r\n", Err("chunk_framing"));
        check("5\rhello", Err("chunk_framing"));
        check("5\r\nhello\n0\r\n\r\n", Err("chunk_framing"));
        check("5\r\nhello!\r\n0\r\n\r\n", Err("chunk_framing"));
        check("5\r\nhell\r\n0\r\n\r\n", Err("chunk_framing"));
        check("5\r\nhello0\r\n\r\n", Err("chunk_framing"));
        check("5;a\nhello\r\n0\r\n\r\n", Err("chunk_framing"));
        check("5;a\rb\r\nhello", Err("chunk_framing"));
        check("5;\0\r\nhello", Err("chunk_framing"));
        check("0\r\n\n", Err("chunk_framing"));
        check("0\n\n", Err("chunk_framing"));
    }

    #[test]
    fn refuses_trailers_that_are_no_fields() {
        check("0\r\n A: b\r\n\r\n", Err("chunk_framing"));
        check("0\r\nA : b\r\n\r\n", Err("chunk_framing"));
        check("0\r\nA: b\n\r\n", Err("chunk_framing"));
        check("0\r\nA: \0\r\n\r\n", Err("chunk_framing"));
        check("0\r\nGET / HTTP/1.1\r\n\r\n", Err("chunk_framing"));
        check("0\r\n: b\r\n\r\n", Err("chunk_framing"));
    }

    #[test]
    fn bounds_extensions_and_trailers() {
        let extension = "x".repeat(EXTENSIONS_LIMIT + 1);
        check(&format!("0;{extension}\r\n"), Err("chunk_extension"));
        let many = format!("1;{}\r\na\r\n", "x".repeat(100)).repeat(11);
        check(&many, Err("chunk_extension"));
        let trailers = format!("0\r\n{}", "A: b\r\n".repeat(TRAILERS_LIMIT));
        check(&trailers, Err("trailers_too_large"));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in "[0-9a-f;: x\r\n]{0,60}", length in 0_u64..80) {
            let _ = scan(Framing::Chunked, bytes.as_bytes());
            let _ = scan(Framing::Length(length), bytes.as_bytes());
        }

        #[test]
        fn finds_every_end(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6), next in "[ -~]{0,20}") {
            let mut body = vec![];
            for chunk in &chunks {
                body.extend(format!("{:x}\r\n", chunk.len()).bytes());
                body.extend(chunk);
                body.extend(b"\r\n");
            }
            body.extend(b"0\r\n\r\n");
            let end = body.len();
            body.extend(next.bytes());
            prop_assert_eq!(scan(Framing::Chunked, &body), Ok((end, true)));
        }
    }
}
