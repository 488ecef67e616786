//! `name=value` pairs of a query or a form, cut but never re-encoded.
//!
//! A filter decides about a pair by its decoded name and value, and what it does not decide about
//! stays byte for byte: `state` and `code_verifier` must arrive as they were sent.
//!
//! Names are decoded the way a form is (`+` is a space), because that is how the servers behind
//! read a query, too. An escape that is not one (`%zz`) stands for itself here; whether it is
//! tolerable is decided by the gates, see [`Pair::strict`].

use std::borrow::Cow;

use http::{Uri, uri::PathAndQuery};
use memchr::{memchr, memchr_iter, memchr3, memchr3_iter};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{Refusal, scan};

/// What is escaped in a name or value that the gateway writes itself: all but RFC 3986 unreserved.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// One segment between two `&`.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    /// The segment as sent.
    pub raw: &'a [u8],
    /// What stands before the first `=`, as sent.
    name: &'a [u8],
    /// What stands after the first `=`, as sent; empty without one.
    pub value: &'a [u8],
}

impl<'a> Pair<'a> {
    fn new(raw: &'a [u8]) -> Self {
        let (name, value) = cut(raw, b'=');
        Self {
            raw,
            name,
            value: value.unwrap_or_default(),
        }
    }

    /// Says whether the decoded name is `name`.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        decoding(self.name).eq(name.bytes())
    }

    /// Finds the decoded name among `names`, whatever case its letters have; says whether it has
    /// the case of that one.
    pub(crate) fn find_name<'n>(&self, names: &[&'n str]) -> Option<(&'n str, bool)> {
        let own = decode(self.name);
        let mut names = names.iter();
        let name = names.find(|name| name.as_bytes().eq_ignore_ascii_case(&own))?;
        Some((name, *name.as_bytes() == *own))
    }

    /// Returns the decoded value.
    #[must_use]
    pub fn decoded(&self) -> Cow<'a, [u8]> {
        decode(self.value)
    }

    /// Decodes name and value for a gate, which must not read a pair otherwise than the server
    /// behind it will.
    ///
    /// # Errors
    /// On an escape that is not one, on text that is not UTF-8, and on CR, LF or NUL.
    pub fn strict(&self) -> Result<(Cow<'a, str>, Cow<'a, str>), Fault> {
        Ok((strict(self.name)?, strict(self.value)?))
    }

    /// Says whether a gate may read the pair; most pairs need not be decoded for it.
    ///
    /// # Errors
    /// Those of [`Pair::strict`].
    pub fn check(&self) -> Result<(), Fault> {
        if is_readable(self.raw) {
            return Ok(());
        }
        self.strict().map(drop)
    }

    /// Returns the decoded value of a pair that was found good; `None` for another one.
    #[must_use]
    pub fn text(&self) -> Option<Cow<'a, str>> {
        strict(self.value).ok()
    }
}

/// Why a pair has no single reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// `%` without two digits.
    #[error("a parameter holds a percent sign that is not followed by two hexadecimal digits")]
    Escape,
    /// Bytes that are no text.
    #[error("a parameter holds bytes that are not UTF-8")]
    NotUtf8,
    /// CR, LF or NUL.
    #[error("a parameter holds a line break or a NUL character")]
    Control,
}

/// Cuts a query or a form into its segments, empty ones included.
pub fn pairs(raw: &[u8]) -> impl Iterator<Item = Pair<'_>> {
    let mut rest = Some(raw);
    std::iter::from_fn(move || {
        let (segment, behind) = cut(rest?, b'&');
        rest = behind;
        Some(Pair::new(segment))
    })
}

/// Cuts at the first `separator`, which is on neither side; without one there is nothing behind.
fn cut(raw: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    match memchr(separator, raw) {
        Some(at) => (raw.get(..at).unwrap_or(raw), raw.get(at + 1..)),
        None => (raw, None),
    }
}

/// Cuts a value into its words, each as sent and decoded. A space separates them, in every spelling;
/// a word of other white space is none.
pub(crate) fn words(value: &[u8]) -> impl Iterator<Item = (&[u8], Cow<'_, [u8]>)> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let whole = rest?;
        let space = memchr3_iter(b'+', b' ', b'%', whole).find_map(|at| {
            let length = match whole.get(at..)? {
                [b'+' | b' ', ..] => 1,
                [b'%', b'2', b'0', ..] => 3,
                _ => return None,
            };
            Some((at, at + length))
        });
        let (end, next) = space.unwrap_or((whole.len(), whole.len()));
        rest = space.and_then(|_| whole.get(next..));
        whole.get(..end)
    })
    .map(|word| (word, decode(word)))
    .filter(|(_, word)| !word.trim_ascii().is_empty())
}

/// What becomes of one pair.
#[derive(Debug)]
pub enum Change {
    /// Stays as sent.
    Keep,
    /// Goes, with the `&` that joined it.
    Drop,
    /// Becomes these bytes.
    Replace(Vec<u8>),
}

/// Decides about each pair in turn; returns `None` when every pair was kept.
pub fn rewrite(raw: &[u8], mut decide: impl FnMut(&Pair<'_>) -> Change) -> Option<Vec<u8>> {
    let mut out: Option<Vec<u8>> = None;
    // How many bytes and segments went by before this one.
    let (mut seen, mut kept) = (0, 0_usize);
    for pair in pairs(raw) {
        let change = decide(&pair);
        if out.is_none() && !matches!(change, Change::Keep) {
            let before = raw.get(..seen).unwrap_or_default();
            out = Some(before.strip_suffix(b"&").unwrap_or(before).to_vec());
        }
        seen += pair.raw.len() + 1;
        let piece = match &change {
            Change::Keep => pair.raw,
            Change::Replace(bytes) => bytes,
            Change::Drop => continue,
        };
        if let Some(out) = &mut out {
            if kept > 0 {
                out.push(b'&');
            }
            out.extend_from_slice(piece);
        }
        kept += 1;
    }
    out
}

/// Puts a pair after the others.
pub fn append(raw: &mut Vec<u8>, pair: &[u8]) {
    if !raw.is_empty() && !raw.ends_with(b"&") {
        raw.push(b'&');
    }
    raw.extend_from_slice(pair);
}

/// Writes a pair of the gateway's own.
#[must_use]
pub fn encode(name: &str, value: &str) -> String {
    format!("{}={}", encode_value(name), encode_value(value))
}

/// Writes a name or value of the gateway's own.
#[must_use]
pub fn encode_value(text: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(text, VALUE)
}

/// Joins the path of `uri` with a new query; an empty query loses its question mark.
///
/// # Errors
/// When the query holds a byte that cannot stand in a request target, `#` included: what follows
/// it would silently be lost.
pub fn target(uri: &Uri, query: &[u8]) -> Result<PathAndQuery, Refusal> {
    join(uri.path(), query)
}

/// Joins a path with a query; an empty query loses its question mark.
///
/// # Errors
/// When the result is not a request target.
pub(crate) fn join(path: &str, query: &[u8]) -> Result<PathAndQuery, Refusal> {
    let mut target = Vec::with_capacity(path.len() + 1 + query.len());
    target.extend_from_slice(path.as_bytes());
    if !query.is_empty() {
        target.push(b'?');
        target.extend_from_slice(query);
    }
    if target.contains(&b'#') {
        return Err(not_a_target());
    }
    PathAndQuery::try_from(target).map_err(|_| not_a_target())
}

fn not_a_target() -> Refusal {
    Refusal::invalid_request(
        "the parameters do not fit into a request target: they are too long or hold a character \
         that must be percent-encoded",
    )
}

/// Says whether the text is ASCII without control characters, as sent and decoded: then it has one
/// reading. What is not may have one, too.
fn is_readable(raw: &[u8]) -> bool {
    let mut escapes = memchr_iter(b'%', raw);
    scan::all(raw, is_printable)
        && escapes.all(|at| {
            raw.get(at + 1..)
                .and_then(escaped)
                .is_some_and(is_printable)
        })
}

/// Says whether nothing is to be decoded, and nothing to be refused.
fn is_plain(raw: &[u8]) -> bool {
    scan::all(raw, |byte| {
        is_printable(byte) && !matches!(byte, b'%' | b'+')
    })
}

fn is_printable(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}

/// Decodes byte by byte. What is no escape stands for itself.
fn decoding(raw: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let mut rest = raw.iter();
    std::iter::from_fn(move || {
        let byte = *rest.next()?;
        Some(match byte {
            b'+' => b' ',
            b'%' => match escaped(rest.as_slice()) {
                Some(escaped) => {
                    rest.nth(1);
                    escaped
                }
                None => byte,
            },
            _ => byte,
        })
    })
}

/// Reads the two digits behind a percent sign.
fn escaped(digits: &[u8]) -> Option<u8> {
    let [high, low, ..] = digits else {
        return None;
    };
    let digit = |digit: &u8| char::from(*digit).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

fn decode(raw: &[u8]) -> Cow<'_, [u8]> {
    if is_plain(raw) {
        return Cow::Borrowed(raw);
    }
    let mut decoded = Vec::with_capacity(raw.len());
    decoded.extend(decoding(raw));
    Cow::Owned(decoded)
}

fn strict(raw: &[u8]) -> Result<Cow<'_, str>, Fault> {
    if is_plain(raw) {
        let text = std::str::from_utf8(raw);
        return text.map(Cow::Borrowed).map_err(|_| Fault::NotUtf8);
    }
    let mut escapes = memchr_iter(b'%', raw);
    if !escapes.all(|at| raw.get(at + 1..).and_then(escaped).is_some()) {
        return Err(Fault::Escape);
    }
    let decoded = decode(raw).into_owned();
    if memchr3(b'\r', b'\n', 0, &decoded).is_some() {
        return Err(Fault::Control);
    }
    let text = String::from_utf8(decoded);
    text.map(Cow::Owned).map_err(|_| Fault::NotUtf8)
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode;
    use proptest::prelude::*;

    use super::*;

    fn drop_a(raw: &str) -> Option<String> {
        rewrite(raw.as_bytes(), |pair| {
            if pair.is_named("a") {
                Change::Drop
            } else {
                Change::Keep
            }
        })
        .map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn words_are_separated_by_spaces_only() {
        let check = |value: &str, expected: &[&str]| {
            let found: Vec<_> = words(value.as_bytes()).map(|(raw, _)| raw).collect();
            let expected: Vec<_> = expected.iter().map(|word| word.as_bytes()).collect();
            assert_eq!(found, expected, "{value}");
        };
        check("", &[]);
        check("+%20 ", &[]);
        check("a", &["a"]);
        check("+a%2Fb%20%20c d+", &["a%2Fb", "c", "d"]);
        check("a%09b+%09+%0A", &["a%09b"]);
        check("a%2", &["a%2"]);
    }

    #[test]
    fn an_untouched_query_is_not_copied() {
        assert_eq!(drop_a("b=1&&c"), None);
        assert_eq!(drop_a(""), None);
    }

    #[test]
    fn a_dropped_pair_takes_one_separator_along() {
        assert_eq!(drop_a("a=1").as_deref(), Some(""));
        assert_eq!(drop_a("a=1&b").as_deref(), Some("b"));
        assert_eq!(drop_a("b&a").as_deref(), Some("b"));
        assert_eq!(drop_a("b&a&c").as_deref(), Some("b&c"));
        assert_eq!(drop_a("b&&a&c&").as_deref(), Some("b&&c&"));
        assert_eq!(drop_a("&a&").as_deref(), Some("&"));
    }

    #[test]
    fn names_are_compared_decoded() {
        let named = |raw: &str| pairs(raw.as_bytes()).next().unwrap().is_named("a b");
        assert!(named("a+b=1"));
        assert!(named("a%20b"));
        assert!(named("%61 b=x"));
        assert!(!named("a%2b=1"));
        assert!(!named("a%2=1"));
    }

    #[test]
    fn a_gate_reads_only_what_has_one_reading() {
        let read = |raw: &str| {
            pairs(raw.as_bytes())
                .next()
                .unwrap()
                .strict()
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
        };
        assert_eq!(read("a=b%3D+c=d"), Ok(("a".into(), "b= c=d".into())));
        assert_eq!(read("a=%"), Err(Fault::Escape));
        assert_eq!(read("a=%4"), Err(Fault::Escape));
        assert_eq!(read("a=%4g"), Err(Fault::Escape));
        assert_eq!(read("a=%+1"), Err(Fault::Escape));
        assert_eq!(read("%0d=1"), Err(Fault::Control));
        assert_eq!(read("a=%00"), Err(Fault::Control));
        assert_eq!(read("a=%ff"), Err(Fault::NotUtf8));
        assert_eq!(read("a=%c0%af"), Err(Fault::NotUtf8));
    }

    #[test]
    fn a_query_with_a_fragment_is_refused_and_not_cut() {
        assert!(join("/a", b"x=1#&y=2").is_err());
        assert!(join("/a", b"x=\x01").is_err());
        assert_eq!(join("/a", b"").unwrap(), "/a");
        assert_eq!(join("/a", b"x").unwrap(), "/a?x");
    }

    /// Decodes in the way that is easy to read, one step after the other.
    fn decoded_in_steps(raw: &[u8]) -> Vec<u8> {
        let space = |byte: &u8| if *byte == b'+' { b' ' } else { *byte };
        let spaced: Vec<u8> = raw.iter().map(space).collect();
        percent_decode(&spaced).collect()
    }

    fn read_in_steps(raw: &[u8]) -> Result<String, Fault> {
        let mut rest = raw;
        while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
            rest = rest.get(at + 1..).unwrap();
            let digits = rest.get(..2).ok_or(Fault::Escape)?;
            if !digits.iter().all(u8::is_ascii_hexdigit) {
                return Err(Fault::Escape);
            }
        }
        let decoded = decoded_in_steps(raw);
        if decoded.iter().any(|byte| b"\r\n\0".contains(byte)) {
            return Err(Fault::Control);
        }
        String::from_utf8(decoded).map_err(|_| Fault::NotUtf8)
    }

    /// Bytes among which those that matter are frequent.
    fn raw() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            "[a-z]{1,20}".prop_map(String::into_bytes),
            "%[0-9a-fA-F]{2}".prop_map(String::into_bytes),
            "[&=+% ]".prop_map(String::into_bytes),
            Just("é".as_bytes().to_vec()),
            any::<u8>().prop_map(|byte| vec![byte]),
        ];
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn a_form_is_cut_at_its_separators(raw in raw()) {
            let found: Vec<Pair<'_>> = pairs(&raw).collect();
            let segments: Vec<&[u8]> = raw.split(|byte| *byte == b'&').collect();
            prop_assert_eq!(found.len(), segments.len());
            for (pair, segment) in found.iter().zip(segments) {
                let mut halves = segment.splitn(2, |byte| *byte == b'=');
                prop_assert_eq!(pair.raw, segment);
                prop_assert_eq!(pair.name, halves.next().unwrap());
                prop_assert_eq!(pair.value, halves.next().unwrap_or_default());
            }
        }

        #[test]
        fn a_pair_is_read_as_if_it_were_decoded_first(raw in raw(), other in "[a-z ]{0,3}") {
            for pair in pairs(&raw) {
                let name = decoded_in_steps(pair.name);
                prop_assert_eq!(&*pair.decoded(), decoded_in_steps(pair.value));
                prop_assert_eq!(pair.is_named(&other), name == other.as_bytes());
                if let Ok(name) = std::str::from_utf8(&name) {
                    prop_assert!(pair.is_named(name));
                    prop_assert_eq!(pair.find_name(&["", name]), Some((name, true)));
                }
                let read = read_in_steps(pair.name).and_then(|name| {
                    Ok((name, read_in_steps(pair.value)?))
                });
                prop_assert_eq!(pair.check(), read.clone().map(drop));
                prop_assert_eq!(pair.text().map(Cow::into_owned), read_in_steps(pair.value).ok());
                let strict = pair.strict();
                prop_assert_eq!(strict.map(|(name, value)| (name.into(), value.into())), read);
            }
        }
    }

    #[test]
    fn a_name_is_found_in_any_case_of_letters() {
        let find = |raw: &'static str| pairs(raw.as_bytes()).next()?.find_name(&["code", "scope"]);
        assert_eq!(find("scope=x"), Some(("scope", true)));
        assert_eq!(find("%73cope"), Some(("scope", true)));
        assert_eq!(find("Code=x"), Some(("code", false)));
        assert_eq!(find("cod=e"), None);
    }
}
