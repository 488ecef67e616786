//! What the authorization server refuses: counted, named to the operator, explained to the client.
//!
//! Its own descriptions pass on to the client, byte for byte, and reach neither the log nor `/status`:
//! they can hold names of users.

use bytes::Bytes;
use mcp_gateway_filters::Response;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    oauth::{
        aadsts::{self, Hint},
        noticed,
    },
    telemetry::provider_errors::ProviderErrors,
};

/// Adds the hint to the description of an error answer; the answer itself when there is nothing to add.
pub(super) fn explained(response: Response, errors: &ProviderErrors, now: u64) -> Response {
    let hint = aadsts::in_body(response.body()).and_then(|code| noticed(errors, code, now));
    let Some(hint) = hint else {
        return response;
    };
    response.map(|body| appended(&body, hint).unwrap_or(body))
}

/// Writes the hint behind the description and leaves every other byte as it is.
fn appended(body: &Bytes, hint: &Hint) -> Option<Bytes> {
    #[derive(Deserialize)]
    struct Error<'a> {
        #[serde(borrow)]
        error_description: &'a RawValue,
    }
    let text = std::str::from_utf8(body).ok()?;
    let told: Error<'_> = serde_json::from_str(text).ok()?;
    let value = told.error_description.get();
    let inside = value.strip_prefix('"')?.strip_suffix('"')?;
    // Borrowed from the text, so the distance from its beginning is the place.
    let end = inside.as_ptr().addr().checked_sub(text.as_ptr().addr())? + inside.len();
    let (before, after) = text.split_at_checked(end)?;
    let space = if inside.is_empty() { "" } else { " " };
    // A hint holds nothing that JSON would escape.
    Some(format!("{before}{space}[gateway: {hint}]{after}").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Metrics;

    fn check(body: &'static str, expect: &str) {
        let errors = Metrics::new().provider_errors;
        let response = explained(Response::new(Bytes::from(body)), &errors, 1);
        let hint = aadsts::find(70008).unwrap().to_string();
        let expect = expect.replace("HINT", &format!("[gateway: {hint}]"));
        assert_eq!(response.body(), expect.as_bytes());
    }

    #[test]
    fn only_the_description_grows() {
        check(
            r#"{ "error":"invalid_grant","error_description":"AADSTS70008: \u0041 \"x\"\r\nTrace ID: 1" ,"error_codes":[70008], "x":1.0}"#,
            r#"{ "error":"invalid_grant","error_description":"AADSTS70008: \u0041 \"x\"\r\nTrace ID: 1 HINT" ,"error_codes":[70008], "x":1.0}"#,
        );
        check(
            r#"{"error_description":"","error_codes":[70008]}"#,
            r#"{"error_description":"HINT","error_codes":[70008]}"#,
        );
    }

    #[test]
    fn what_is_not_understood_stays() {
        for body in [
            r#"{"error_codes":[70008]}"#,
            r#"{"error_description":7,"error_codes":[70008]}"#,
            r#"{"error_description":null,"error_codes":[70008]}"#,
            r#"{"error_description":"a AADSTS70008","error_description":"b"}"#,
            r#"{"error_description":"AADSTS999999: unheard of"}"#,
            r#"{"error":"slow_down","error_description":"no number"}"#,
            "AADSTS70008 in a page",
            "",
        ] {
            check(body, body);
        }
    }

    #[test]
    fn what_is_refused_is_counted_by_number() {
        let errors = Metrics::new().provider_errors;
        for body in ["AADSTS70008", "AADSTS70008", "AADSTS999999", "nothing"] {
            let _ = explained(Response::new(Bytes::from(body)), &errors, 7);
        }
        let counts: Vec<_> = errors
            .seen()
            .iter()
            .map(|(c, seen)| (*c, seen.count))
            .collect();
        assert_eq!(counts, [(None, 1), (Some(70008), 2)]);
    }
}
