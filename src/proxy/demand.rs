//! What a workload demands of a caller whose token is good: claims, in Entra's words.
//!
//! A server behind Conditional Access may answer 401 with `error="insufficient_claims"` and `claims`
//! in base64 (the claims challenge of continuous access evaluation and authentication contexts).
//! Nothing is decided here: headers come in, the claims come out as JSON.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::{HeaderMap, header};

/// The longest demand that is passed on, in base64, in bytes: it has to fit into a header again.
const LIMIT: usize = 4096;

/// Padded or not, as servers write both.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Returns the claims that a challenge of a 401 demands.
pub(super) fn claims(headers: &HeaderMap) -> Option<String> {
    let mut challenges = headers.get_all(header::WWW_AUTHENTICATE).iter();
    challenges.find_map(|value| read(value.to_str().ok()?))
}

fn read(challenge: &str) -> Option<String> {
    let (scheme, rest) = challenge.trim_start().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut demands, mut claims) = (false, None);
    for (name, value) in params(rest) {
        if name.eq_ignore_ascii_case("error") {
            demands = value == "insufficient_claims";
        } else if name.eq_ignore_ascii_case("claims") {
            claims = Some(value);
        }
    }
    let encoded = claims.filter(|claims| demands && claims.len() <= LIMIT)?;
    // In both alphabets: RFC 4648 §4 and §5.
    let encoded = encoded.replace('-', "+").replace('_', "/");
    String::from_utf8(BASE64.decode(encoded).ok()?).ok()
}

/// Cuts parameters of a challenge (RFC 9110 §11.2) into names and values; what is no parameter ends
/// them. No value that matters here holds an escape.
fn params(mut rest: &str) -> impl Iterator<Item = (&str, &str)> {
    std::iter::from_fn(move || {
        let (name, after) = rest.trim_start_matches([' ', ',', '\t']).split_once('=')?;
        let (value, after) = match after.trim_start().strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        rest = after;
        Some((name.trim(), value.trim()))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(challenges: &[&str], expect: Option<&str>) {
        let mut headers = HeaderMap::new();
        for challenge in challenges {
            headers.append(header::WWW_AUTHENTICATE, challenge.parse().unwrap());
        }
        assert_eq!(claims(&headers).as_deref(), expect, "{challenges:?}");
    }

    #[test]
    fn the_claims_of_a_claims_challenge_are_found() {
        let demand = "error=\"insufficient_claims\", claims=\"eyJhIjoiPz8_In0=\"";
        let json = Some(r#"{"a":"???"}"#);
        check(&[&format!("Bearer {demand}")], json);
        check(
            &[&format!(
                "bearer realm=\"\", authorization_uri=\"https://x/?a=b,c\",{demand}"
            )],
            json,
        );
        check(&["Basic realm=x", &format!("Bearer {demand}")], json);
        check(
            &["Bearer claims=eyJhIjoiPz8/In0, error=insufficient_claims"],
            json,
        );
    }

    #[test]
    fn other_challenges_demand_nothing() {
        check(&[], None);
        for challenge in [
            "Bearer",
            "Bearer error=\"invalid_token\", claims=\"e30=\"",
            "Bearer claims=\"e30=\"",
            "Bearer error=\"insufficient_claims\"",
            "Bearer error=\"insufficient_claims\", claims=\"%\"",
            "Bearer error=\"insufficient_claims\", claims=\"e30",
            "Digest error=\"insufficient_claims\", claims=\"e30=\"",
            "Bearer error_description=\"error=insufficient_claims, claims=e30\"",
        ] {
            check(&[challenge], None);
        }
        let long = "A".repeat(LIMIT + 4);
        check(
            &[&format!("Bearer error=insufficient_claims, claims={long}")],
            None,
        );
    }

    proptest! {
        #[test]
        fn no_challenge_panics(text in "[ -~]{0,60}") {
            let _ = read(&text);
            let _ = read(&format!("Bearer {text}"));
            let _ = read(&format!("Bearer error=insufficient_claims,{text}"));
        }
    }
}
