//! Turns refusals that only a new sign-in can cure into `invalid_grant`.
//!
//! A refresh may be refused because a policy wants the person back: another factor, another device,
//! a sign-in that is not older than some hours, a changed password. Entra then says
//! `interaction_required` and other errors of an authorization endpoint, which clients take for a
//! failure and repeat for ever. `invalid_grant` (RFC 6749 §5.2) makes them sign in again, and Entra
//! applies the policy there, where a person can answer it.
//!
//! Changed is the value of `error`, in JSON of a 4xx answer: when it is `interaction_required`,
//! `login_required`, `consent_required` or `account_selection_required`, or when one of `error_codes`
//! is a number of Entra's for multi-factor authentication, devices, Conditional Access, consent, and
//! grants that ended or were revoked. Every other byte stays: `claims`, codes and the description,
//! which say why. `invalid_client` stays, as it speaks of the gateway's registration.
//!
//! ```yaml
//! - restart_sign_in: {}
//! ```

use bytes::Bytes;
use http::{StatusCode, header, request, response};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    BodyPlan, Context, Filter, FilterConfig, Problem, Refusal, ResponseEdits, reply,
    token_answer::{self, Members},
};

/// Errors of OpenID Connect Core §3.1.2.6, which belong to an authorization endpoint.
const INTERACTIVE: [&str; 4] = [
    "account_selection_required",
    "consent_required",
    "interaction_required",
    "login_required",
];

/// AADSTS numbers that a new sign-in cures, whatever `error` says.
const CODES: [u32; 19] = [
    50_058, 50_072, 50_074, 50_076, 50_078, 50_079, 50_097, 50_132, 50_133, 50_158, 50_173, 53_000,
    53_001, 53_003, 65_001, 70_008, 70_043, 700_082, 700_084,
];

/// Settings of `restart_sign_in`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RestartSignInConfig {
    /// Further numbers of `error_codes` that a new sign-in cures, whatever `error` says.
    #[serde(default)]
    codes: Vec<u32>,
}

impl FilterConfig for RestartSignInConfig {
    const NAME: &'static str = "restart_sign_in";
    const SUMMARY: &'static str = "Turns refusals that only a new sign-in cures into invalid_grant";
    const SOURCE: &'static str = include_str!("restart_sign_in.rs");

    fn build(self) -> Result<Box<dyn Filter>, Vec<Problem>> {
        Ok(Box::new(RestartSignIn { codes: self.codes }))
    }
}

#[derive(Debug)]
struct RestartSignIn {
    codes: Vec<u32>,
}

impl Filter for RestartSignIn {
    fn response(
        &self,
        _: &Context<'_>,
        _: &request::Parts,
        head: &response::Parts,
    ) -> Result<ResponseEdits, Refusal> {
        let plain = !head.headers.contains_key(header::CONTENT_ENCODING);
        let body = if head.status.is_client_error() && plain && reply::is_json(&head.headers) {
            BodyPlan::Gather {
                limit: token_answer::LIMIT,
            }
        } else {
            BodyPlan::Stream
        };
        Ok(ResponseEdits {
            body,
            ..ResponseEdits::default()
        })
    }

    /// An answer that cannot be read passes: it hands out nothing.
    fn response_body(
        &self,
        _: &Context<'_>,
        _: &request::Parts,
        head: &response::Parts,
        body: Bytes,
    ) -> Result<Bytes, Refusal> {
        // What is not a success is only wanted for its error.
        if !head.status.is_client_error() || head.status == StatusCode::TOO_MANY_REQUESTS {
            return Ok(body);
        }
        Ok(self.restart(&body).map_or(body, Bytes::from))
    }
}

impl RestartSignIn {
    fn restart(&self, body: &[u8]) -> Option<Vec<u8>> {
        let members = Members::read(body).ok()?;
        let error = members.text("error").ok()??;
        if matches!(error.as_str(), "invalid_grant" | "invalid_client") {
            return None;
        }
        let codes: Vec<u32> = members
            .find("error_codes")
            .and_then(|codes| serde_json::from_str(codes.get()).ok())
            .unwrap_or_default();
        let cured = INTERACTIVE.contains(&error.as_str())
            || codes
                .iter()
                .any(|code| CODES.contains(code) || self.codes.contains(code));
        if !cured {
            return None;
        }
        let invalid_grant = [("error", "\"invalid_grant\"".to_owned())];
        members.with(&invalid_grant, "").ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{build, cx, form_request, is_gathered, response, response_edits};

    fn answer(status: &str, body: &str) -> String {
        let filter = build("restart_sign_in", "{}");
        let head = response(&format!("{status}\nContent-Type: application/json"));
        let body = Bytes::copy_from_slice(body.as_bytes());
        let body = filter
            .response_body(&cx(), &form_request(), &head, body)
            .unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    fn check(body: &str, expected: &str) {
        assert_eq!(answer("400", body), expected);
    }

    #[test]
    fn a_policy_that_wants_the_person_back_ends_the_grant() {
        check(
            r#"{"error":"interaction_required","error_description":"AADSTS50076: \u00e9","error_codes":[50076], "claims":"{\"access_token\":{}}" }"#,
            r#"{"error":"invalid_grant","error_description":"AADSTS50076: \u00e9","error_codes":[50076], "claims":"{\"access_token\":{}}" }"#,
        );
        for error in INTERACTIVE {
            check(
                &format!(r#"{{"error": "{error}"}}"#),
                r#"{"error": "invalid_grant"}"#,
            );
        }
    }

    #[test]
    fn a_number_says_more_than_the_error() {
        for code in [50_173, 53_003, 70_043, 700_082, 700_084] {
            check(
                &format!(r#"{{"error":"access_denied","error_codes":[1,{code}]}}"#),
                &format!(r#"{{"error":"invalid_grant","error_codes":[1,{code}]}}"#),
            );
        }
    }

    #[test]
    fn everything_else_stays_as_it_was_said() {
        for body in [
            r#"{"error":"invalid_grant","error_codes":[50076]}"#,
            r#"{"error":"invalid_client","error_codes":[7000215,50076]}"#,
            r#"{"error":"invalid_request","error_codes":[90009]}"#,
            r#"{"error":"invalid_request","error_codes":"50076"}"#,
            r#"{"error":"temporarily_unavailable"}"#,
            r#"{"error":1,"error_codes":[50076]}"#,
            r#"{"error":"login_required","error":"login_required"}"#,
            r#"{"error":"login_required""#,
            "",
        ] {
            check(body, body);
        }
        let body = r#"{"error":"login_required"}"#;
        for status in ["200", "429", "503"] {
            assert_eq!(answer(status, body), body);
        }
    }

    #[test]
    fn only_json_of_a_refusal_is_held() {
        let filter = build("restart_sign_in", "{}");
        let plan = |head: &str| response_edits(&*filter, &form_request(), &response(head)).body;
        assert!(is_gathered(&plan("400\nContent-Type: application/json")));
        for head in [
            "200\nContent-Type: application/json",
            "503\nContent-Type: application/json",
            "400\nContent-Type: text/html",
            "400\nContent-Type: application/json\nContent-Encoding: gzip",
            "400",
        ] {
            assert!(!is_gathered(&plan(head)), "{head}");
        }
    }

    proptest! {
        #[test]
        fn nothing_but_the_error_changes(
            error in "(interaction_required|login_required|invalid_grant|[a-z]{0,9})",
            rest in "[ -!#-\\[\\]-~]{0,20}", cut in 0_usize..80,
        ) {
            let body = format!("{{\"x\":\"{rest}\", \"error\" : \"{error}\" }}");
            let after = answer("400", &body);
            prop_assert_eq!(answer("400", &after), after.clone());
            prop_assert!(
                after == body || after == body.replace(&error, "invalid_grant"),
                "{}", after
            );
            let cut: String = body.chars().take(cut).collect();
            if cut.len() < body.len() {
                prop_assert_eq!(answer("400", &cut), cut.clone());
            }
        }
    }
}
