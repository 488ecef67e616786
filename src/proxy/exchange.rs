//! The `exchange` step: the token endpoint of the authorization server, asked by the gateway.
//!
//! The answer is held whole before the first byte leaves, so that whatever goes wrong on the way
//! is a clean OAuth error and never half a token.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use mcp_gateway_filters::Response;
use serde::Deserialize;

use super::{failure::Failure, hint};
use crate::{
    egress::{EgressError, Limits, Request},
    oauth::{Client, Unsigned, aadsts},
    snapshot::{Exchange, OwnClient},
};

/// The largest form in bytes, where no filter of the route has read it before.
pub(super) const FORM_LIMIT: usize = 64 * 1024;

/// Posts the form and returns what the client may see of the answer, with a hint when it is a refusal
/// that is known. `own` says that the authorization server knows the gateway as its client, and not
/// whoever asks. `now` is in seconds since the Unix epoch.
pub(super) async fn run(
    exchange: &Exchange,
    form: Bytes,
    own: bool,
    now: u64,
) -> Result<Response, Failure> {
    let form = match &exchange.client {
        Some(client) => Bytes::from(authenticated(client, &form, now)?),
        None => form,
    };
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/x-www-form-urlencoded"),
    );
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    let request = Request {
        method: http::Method::POST,
        target: &exchange.target,
        headers,
        body: form,
    };
    let limits = Limits {
        total: exchange.timeout,
        body: exchange.response_limit,
        decoded: exchange.response_limit,
    };
    let answered = exchange.egress.fetch(&request, limits).await;
    let (outcome, result) = match answered {
        Ok(response) if response.status().is_success() && is_json(&response) => judge(response),
        Ok(response) => {
            let response = hint::explained(response, &exchange.errors, now);
            if (own || exchange.client.is_some()) && refuses_client(&response) {
                refused_ourselves(exchange, &response, now)
            } else {
                judge(response)
            }
        }
        Err(error) => failed(exchange, &error, now),
    };
    exchange.outcomes.with_label_values(&[outcome]).inc();
    result
}

/// Adds the gateway's own authentication to a form that a relay has opened.
fn authenticated(own: &OwnClient, form: &[u8], now: u64) -> Result<Vec<u8>, Failure> {
    let client = Client {
        id: &own.id,
        token_endpoint: &own.token_endpoint,
    };
    let signed = own.credentials.authenticate(form, client, now);
    signed.map_err(|error| match error {
        Unsigned::Grant | Unsigned::ClientId => Failure::oauth(
            StatusCode::BAD_REQUEST,
            "invalid_request",
            "the form is not one that the gateway vouches for",
            "not_vouched_for",
        ),
        Unsigned::Signature => Failure::internal("an assertion cannot be signed"),
    })
}

/// Says whether the authorization server does not take the one who asked for its client.
fn refuses_client(response: &Response) -> bool {
    #[derive(Deserialize)]
    struct Told<'a> {
        #[serde(borrow)]
        error: Cow<'a, str>,
    }
    serde_json::from_slice(response.body()).is_ok_and(|told: Told<'_>| {
        matches!(&*told.error, "invalid_client" | "unauthorized_client")
    })
}

/// The gateway's own registration or credentials are wrong. Passed on, `invalid_client` would make
/// every client throw its registration away and begin again, without end.
fn refused_ourselves(
    exchange: &Exchange,
    response: &Response,
    now: u64,
) -> (&'static str, Result<Response, Failure>) {
    const REASON: &str = "credentials_refused";
    let code = aadsts::in_body(response.body());
    let remedy = code
        .and_then(aadsts::find)
        .map_or("look at the app registration and its secret", |hint| {
            hint.remedy
        });
    if let Some(left_out) = exchange.logged.due(REASON, now) {
        log::error!(aadsts = code, remedy, left_out;
            "the authorization server refuses the gateway itself: nobody can sign in");
    }
    (
        REASON,
        Err(Failure::oauth(
            StatusCode::SERVICE_UNAVAILABLE,
            "server_error",
            "the gateway is not accepted by the authorization server: its operator must renew its \
             registration or credentials",
            REASON,
        )),
    )
}

fn is_json(response: &Response) -> bool {
    response
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            let essence = value.split(';').next().unwrap_or_default().trim();
            essence.eq_ignore_ascii_case("application/json")
        })
}

/// Which answers a client gets as they are: its own errors (4xx), and "not now" (429, 503).
fn judge(response: Response) -> (&'static str, Result<Response, Failure>) {
    let status = response.status();
    let passes = status.is_success()
        || status.is_client_error()
        || status == StatusCode::SERVICE_UNAVAILABLE;
    if !passes {
        return (
            "server_error",
            Err(Failure::oauth(
                StatusCode::BAD_GATEWAY,
                "server_error",
                "the authorization server failed: try again in a moment",
                "authorization_server_failed",
            )),
        );
    }
    let is_whole = is_json(&response)
        && serde_json::from_slice::<serde::de::IgnoredAny>(response.body()).is_ok();
    if !is_whole
        && status != StatusCode::SERVICE_UNAVAILABLE
        && status != StatusCode::TOO_MANY_REQUESTS
    {
        return (
            "malformed",
            Err(Failure::oauth(
                StatusCode::BAD_GATEWAY,
                "server_error",
                "the authorization server's answer is not JSON",
                "authorization_server_malformed",
            )),
        );
    }
    let outcome = if status.is_success() {
        "success"
    } else if status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::TOO_MANY_REQUESTS {
        "unavailable"
    } else {
        "refused"
    };
    (outcome, Ok(visible(response)))
}

/// Keeps of the answer's head what concerns the client.
fn visible(response: Response) -> Response {
    let (parts, body) = response.into_parts();
    let mut reply = Response::new(body);
    *reply.status_mut() = parts.status;
    for name in [header::CONTENT_TYPE, header::RETRY_AFTER] {
        if let Some(value) = parts.headers.get(&name) {
            reply.headers_mut().insert(name, value.clone());
        }
    }
    let headers = reply.headers_mut();
    // RFC 6749 §5.1.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    reply
}

fn failed(
    exchange: &Exchange,
    error: &EgressError,
    now: u64,
) -> (&'static str, Result<Response, Failure>) {
    let (status, outcome, reason, description) = match error {
        EgressError::Timeout { .. } => (
            StatusCode::GATEWAY_TIMEOUT,
            "timeout",
            "authorization_server_timeout",
            "the authorization server did not answer in time: try again in a moment",
        ),
        EgressError::Unreachable { .. } => (
            StatusCode::BAD_GATEWAY,
            "unreachable",
            "authorization_server_unreachable",
            "the authorization server cannot be reached from the gateway: try again in a moment",
        ),
        _ => (
            StatusCode::BAD_GATEWAY,
            "malformed",
            "authorization_server_malformed",
            "the authorization server's answer was broken: try again in a moment",
        ),
    };
    if let Some(left_out) = exchange.logged.due(outcome, now) {
        log::warn!(error:%, left_out; "the authorization server could not be asked for a token");
    }
    (
        outcome,
        Err(Failure::oauth(status, "server_error", description, reason)),
    )
}
