//! Entra's errors by number: what each means, who can do something about it, and what.
//!
//! The one list of them. Metrics take their label from it, so it is closed; the log, `/status`,
//! `mcp-gateway doctor` and the answers to clients take their sentences from it. Nothing here counts,
//! logs or asks; Entra's own descriptions, which can name users, are only searched for a number.

mod hints;

use std::fmt;

use serde::Deserialize;

pub use hints::HINTS;

/// What Entra writes before a number.
const MARK: &str = "AADSTS";
/// The number of digits of an error: `AADSTS28000` to `AADSTS90100101` and a little more.
const DIGITS: std::ops::RangeInclusive<usize> = 4..=9;

/// Who can remove the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Whoever may change the app registration, or grants consent, in Entra.
    Administrator,
    /// Whoever writes `gateway.yaml`.
    Operator,
    /// Whoever makes or configures the client, when it is not a defect of the gateway.
    Client,
    /// The person who signs in.
    User,
}

impl Who {
    /// Says whether the operator of the gateway has to do or to arrange something: it will not pass.
    #[must_use]
    pub const fn must_act(self) -> bool {
        matches!(self, Self::Administrator | Self::Operator)
    }

    /// Returns the word for JSON and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Administrator => "administrator",
            Self::Operator => "operator",
            Self::Client => "client",
            Self::User => "user",
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Administrator => "the administrator of the app registration",
            Self::Operator => "the operator of the gateway",
            Self::Client => "the client",
            Self::User => "the user",
        })
    }
}

/// What is known about one error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hint {
    /// The number behind `AADSTS`.
    pub code: u32,
    /// What is the matter, as a sentence.
    pub means: &'static str,
    /// Who can remove the cause.
    pub who: Who,
    /// What they do, as a request.
    pub remedy: &'static str,
}

/// The whole hint as one line of printable ASCII without quotes and backslashes, so that it can
/// stand in an `error_description` (RFC 6749 §5.2).
impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; for {}: {}", self.means, self.who, self.remedy)
    }
}

/// Finds what is known about an error.
#[must_use]
pub fn find(code: u32) -> Option<&'static Hint> {
    HINTS.iter().find(|hint| hint.code == code)
}

/// Finds the number in a text of Entra's: a description, a page, a log line.
///
/// The first one counts; a cause that Entra quotes stands behind it.
#[must_use]
pub fn in_text(text: &str) -> Option<u32> {
    text.match_indices(MARK).find_map(|(at, _)| {
        let rest = text.get(at + MARK.len()..)?;
        let digits = rest.find(|c: char| !c.is_ascii_digit());
        let digits = rest.get(..digits.unwrap_or(rest.len()))?;
        DIGITS
            .contains(&digits.len())
            .then(|| digits.parse().ok())?
    })
}

/// Finds the number in the body of a token error, or in an error page.
#[must_use]
pub fn in_body(body: &[u8]) -> Option<u32> {
    #[derive(Deserialize)]
    struct Told {
        error_description: Option<String>,
        #[serde(default)]
        error_codes: Vec<u32>,
    }
    let Ok(text) = std::str::from_utf8(body) else {
        return None;
    };
    match serde_json::from_str::<Told>(text) {
        Ok(told) => {
            let described = told.error_description.as_deref().and_then(in_text);
            described.or_else(|| told.error_codes.first().copied())
        }
        Err(_) => in_text(text),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hints_fit_into_an_error_description() {
        for hint in HINTS {
            let text = hint.to_string();
            let fits = |c: u8| matches!(c, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e);
            assert!(text.bytes().all(fits), "{text}");
            assert!(text.len() < 400, "{text}");
            assert!(!text.ends_with('.'), "{text}");
        }
    }

    #[test]
    fn hints_are_sorted_and_each_number_stands_once() {
        let codes: Vec<u32> = HINTS.iter().map(|hint| hint.code).collect();
        assert!(codes.is_sorted_by(|a, b| a < b), "{codes:?}");
        assert_eq!(find(50011).unwrap().who, Who::Administrator);
        assert_eq!(find(1), None);
    }

    fn check(text: &str, expect: Option<u32>) {
        assert_eq!(in_text(text), expect, "{text}");
    }

    #[test]
    fn the_number_is_found_in_what_entra_writes() {
        check("AADSTS50011: The redirect URI", Some(50011));
        check("Error: AADSTS9010010", Some(9_010_010));
        check("AADSTS: nothing, AADSTS65001: then", Some(65001));
        check("AADSTS54005: AADSTS70008: inner", Some(54005));
        check("AADSTS12345678901", None);
        check("AADSTS", None);
        check("50011", None);
    }

    fn check_body(body: &str, expect: Option<u32>) {
        assert_eq!(in_body(body.as_bytes()), expect, "{body}");
    }

    #[test]
    fn the_number_is_found_in_answers_and_pages() {
        check_body(
            r#"{"error":"invalid_grant","error_description":"AADSTS70008: x\r\nTrace ID: y","error_codes":[70008]}"#,
            Some(70008),
        );
        check_body(r#"{"error":"x","error_codes":[50076,50079]}"#, Some(50076));
        check_body(r#"{"error":"invalid_grant"}"#, None);
        check_body(
            r#"<html><script>$Config={"iErrorCode":50011,"strServiceExceptionMessage":"AADSTS50011: The"}"#,
            Some(50011),
        );
        check_body("", None);
        assert_eq!(in_body(&[0xff, 0xfe]), None);
    }

    proptest! {
        #[test]
        fn never_panics(body in prop::collection::vec(any::<u8>(), 0..64), text in "(AADSTS|[0-9]|.){0,20}") {
            let _ = in_body(&body);
            let _ = in_text(&text);
        }
    }
}
