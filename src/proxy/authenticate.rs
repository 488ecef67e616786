//! The `authenticate` step: whose request is this?
//!
//! RFC 6750 for the bearer, RFC 9728 §5.1 for the challenge that tells a client where to sign in.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderValue, StatusCode, header, request};
use mcp_gateway_filters::{Identity, claims_scope};

use super::failure::Failure;
use crate::{
    directory::Unknown,
    oidc::Denied,
    snapshot::{Authenticate, Route, Step, StepUp},
};

/// Returns the verified caller.
pub(super) async fn caller(
    gate: &Authenticate,
    head: &request::Parts,
    now: u64,
) -> Result<Arc<Identity>, Failure> {
    let token = bearer(head).map_err(|problem| challenge(gate, problem))?;
    let identity = match gate.verifier.cached(token, now) {
        Some(identity) => identity,
        None => gate
            .verifier
            .verify(token, now)
            .await
            .map_err(|denied| refuse(gate, denied))?,
    };
    if gate.groups.is_empty() {
        return Ok(identity);
    }
    let identity = match &gate.directory {
        Some(directory) => directory
            .resolve(&identity, token, now)
            .await
            .map_err(groups_unknown)?,
        None => identity,
    };
    check_groups(&identity, &gate.groups)?;
    Ok(identity)
}

/// The answer to a member of too many groups, when nobody tells which.
fn groups_unknown(unknown: Unknown) -> Failure {
    match unknown {
        Unknown::Unavailable { retry_after } => Failure::oauth(
            StatusCode::SERVICE_UNAVAILABLE,
            "temporarily_unavailable",
            "the groups of your account cannot be asked for now: try again in a moment",
            "groups_unavailable",
        )
        .with(header::RETRY_AFTER, HeaderValue::from(retry_after)),
        Unknown::NoUser | Unknown::Refused => Failure::oauth(
            StatusCode::SERVICE_UNAVAILABLE,
            "server_error",
            "your account is in more groups than its token can list, and the directory does not \
             tell them to this server: tell its operator",
            "groups_refused",
        ),
    }
}

/// Lets only members of one of the groups go on.
fn check_groups(identity: &Identity, wanted: &[String]) -> Result<(), Failure> {
    let (description, reason) = match identity.groups.any_of(wanted) {
        Some(true) => return Ok(()),
        Some(false) => (
            "your account is in none of the groups that may use this",
            "not_in_group",
        ),
        None => (
            "your account is in more groups than its token can list, and this server is not set up \
             to ask for them: tell its operator",
            "groups_unresolved",
        ),
    };
    Err(Failure::oauth(
        StatusCode::FORBIDDEN,
        "access_denied",
        description,
        reason,
    ))
}

/// The answer to a caller whose token ended while an upstream had the request.
pub(super) fn expired(route: &Route) -> Failure {
    with_gate(route, |gate| refuse(gate, Denied::Expired))
}

/// The answer to a caller who must sign in again before a token can be had in his name.
pub(super) fn sign_in_again(route: &Route) -> Failure {
    with_gate(route, |gate| {
        unauthorized(
            format!("{}, error=\"invalid_token\"", gate.challenge),
            "the sign-in behind this token has ended: sign in again",
            "sign_in_required",
        )
    })
}

/// The answer to a caller who must do more than sign in; `claims` says what, in JSON, for the next
/// sign-in (the claims challenge of Entra's conditional access). Clients that do not know `claims`
/// ask for a scope that stands for them.
pub(super) fn interaction_required(route: &Route, claims: Option<&str>) -> Failure {
    with_gate(route, |gate| {
        let challenge = claims
            .and_then(|claims| demand(gate.step_up.as_ref()?, claims))
            .unwrap_or_else(|| gate.challenge.clone());
        let claims = claims.map_or_else(String::new, |claims| {
            format!(", claims=\"{}\"", URL_SAFE_NO_PAD.encode(claims))
        });
        unauthorized(
            format!("{challenge}, error=\"insufficient_claims\"{claims}"),
            "the company's rules ask for more than this sign-in: sign in again and follow them",
            "interaction_required",
        )
    })
}

/// The same to a caller of whom a workload demands claims; `None` where the authorization server
/// takes none in a scope, so that the caller would sign in in vain.
pub(super) fn demands(route: &Route, claims: &str) -> Option<Failure> {
    let takes_claims = route.steps.iter().any(|step| match step {
        Step::Authenticate(gate) => gate
            .step_up
            .as_ref()
            .is_some_and(|step_up| demand(step_up, claims).is_some()),
        _ => false,
    });
    takes_claims.then(|| interaction_required(route, Some(claims)))
}

/// Asks for claims by a scope beside the usual ones: clients read no `claims`. `None` when there is
/// no such scope.
fn demand(step_up: &StepUp, claims: &str) -> Option<String> {
    let demanded = claims_scope(&step_up.names, claims)?;
    let usual = step_up.scopes.iter().map(String::as_str);
    let scopes: Vec<&str> = usual.chain([demanded.as_str()]).collect();
    Some(format!(
        "Bearer resource_metadata=\"{}\", scope=\"{}\"",
        step_up.resource_metadata,
        scopes.join(" ")
    ))
}

fn with_gate(route: &Route, answer: impl FnOnce(&Authenticate) -> Failure) -> Failure {
    let gate = route.steps.iter().find_map(|step| match step {
        Step::Authenticate(gate) => Some(gate),
        _ => None,
    });
    gate.map_or_else(
        || Failure::internal("a route without identity has a caller"),
        answer,
    )
}

/// What is wrong with the `Authorization` field.
#[derive(Clone, Copy)]
pub(super) enum Problem {
    /// There is none: the client has not signed in yet.
    Missing,
    /// It cannot be a bearer token.
    Malformed,
}

/// Returns the token of the one `Authorization` field; never one from a query or a cookie.
pub(super) fn bearer(head: &request::Parts) -> Result<&str, Problem> {
    let mut fields = head.headers.get_all(header::AUTHORIZATION).iter();
    let field = fields.next().ok_or(Problem::Missing)?;
    if fields.next().is_some() {
        return Err(Problem::Malformed);
    }
    // Not `to_str`, which goes byte by byte.
    let text = std::str::from_utf8(field.as_bytes())
        .ok()
        .filter(|text| text.is_ascii())
        .ok_or(Problem::Malformed)?;
    // The scheme is case-insensitive (RFC 9110 §11.1).
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() => {
            Ok(token)
        }
        _ => Err(Problem::Malformed),
    }
}

fn challenge(gate: &Authenticate, problem: Problem) -> Failure {
    match problem {
        // RFC 6750 §3.1: no error code when there was no token.
        Problem::Missing => unauthorized(
            gate.challenge.clone(),
            "sign in first: this request carries no access token",
            "no_token",
        ),
        Problem::Malformed => unauthorized(
            format!("{}, error=\"invalid_request\"", gate.challenge),
            "the Authorization field must be one bearer token",
            "malformed_authorization",
        ),
    }
}

fn refuse(gate: &Authenticate, denied: Denied) -> Failure {
    if let Some(wait) = denied.retry_after() {
        // Never 401: clients would throw away tokens that are good.
        return Failure::oauth(
            StatusCode::SERVICE_UNAVAILABLE,
            "temporarily_unavailable",
            denied.description(),
            denied.reason(),
        )
        .with(
            header::RETRY_AFTER,
            HeaderValue::from(wait.as_secs().max(1)),
        );
    }
    unauthorized(
        format!("{}, error=\"invalid_token\"", gate.challenge),
        denied.description(),
        denied.reason(),
    )
}

fn unauthorized(challenge: String, description: &str, reason: &'static str) -> Failure {
    let failure = Failure::oauth(
        StatusCode::UNAUTHORIZED,
        "invalid_token",
        description,
        reason,
    );
    match HeaderValue::try_from(challenge) {
        Ok(value) => failure.with(header::WWW_AUTHENTICATE, value),
        Err(_) => Failure::internal("a challenge is no header value"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(fields: &[&str], expect: Option<&str>) {
        let mut request = http::Request::builder();
        for field in fields {
            request = request.header("authorization", field.as_bytes());
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        assert_eq!(bearer(&parts).ok(), expect, "{fields:?}");
    }

    #[test]
    fn a_demand_is_a_scope_beside_the_usual_ones() {
        let step_up = StepUp {
            resource_metadata: "https://gw.test/x".to_owned(),
            scopes: vec!["tools.execute".to_owned()],
            names: [("mfa".to_owned(), r#"{"a":1}"#.to_owned())].into(),
        };
        let usual = "Bearer resource_metadata=\"https://gw.test/x\", scope=\"tools.execute";
        let check = |claims: &str, expect: Option<&str>| {
            let expect = expect.map(|scope| format!("{usual} {scope}\""));
            assert_eq!(demand(&step_up, claims), expect, "{claims}");
        };
        check(r#"{ "a": 1 }"#, Some("mfa"));
        check("{}", Some("claims:e30"));
        check("x", None);
    }

    #[test]
    fn takes_one_bearer_token() {
        check(&["Bearer abc"], Some("abc"));
        check(&["bearer abc"], Some("abc"));
        check(&[], None);
        check(&["Bearer"], None);
        check(&["Bearer "], None);
        check(&["Basic abc"], None);
        check(&["Bearer abc.dé.f"], None);
        check(&["Bearer a", "Bearer b"], None);
    }
}
