//! Which path is which endpoint, and what is not there.
//!
//! Entra serves neither the documents of RFC 8414 nor a registration endpoint; asked for them it
//! answers `404`, and so does every other path.

use std::sync::Arc;

use axum::body::Body;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::authorize::authorize;
use super::error::Aadsts;
use super::fault::{self, Endpoint, Fault};
use super::graph;
use super::metadata;
use super::state::State;
use super::token::token;
use crate::net::{Answer, Cut};
use crate::params::Params;
use crate::record::Recorded;
use crate::reply::{self, ReadError};

/// Names the person who signs in, when the emulator does so by itself.
const WHO_HEADER: &str = "x-emu-user";

/// Bytes of body that are read; a token request needs a few thousand.
const BODY_LIMIT: usize = 1 << 20;

/// Serves one request.
pub(super) async fn serve(state: Arc<State>, request: Request<Incoming>) -> Answer {
    let (recorded, outcome) = reply::read(request, BODY_LIMIT).await;
    state.log.push(recorded.clone());
    match outcome {
        Ok(()) => {}
        Err(ReadError::TooLarge) => return Ok(reply::empty(StatusCode::PAYLOAD_TOO_LARGE)),
        Err(ReadError::Broken) => return Err(Cut),
    }
    let endpoint = endpoint(&recorded.path);
    let fault = endpoint.and_then(|(_, endpoint)| state.faults.take(endpoint));
    let response = dispatch(&state, &recorded, fault.as_ref());
    let healthy = fault.is_none();
    let response = fault::meet(&state, fault, response).await?;
    if healthy
        && state.settings.gzip
        && matches!(endpoint, Some((_, Endpoint::Token)))
        && accepts_gzip(&recorded)
    {
        return compress(response).await;
    }
    Ok(response)
}

/// Splits a path into its tenant and the endpoint behind it.
pub(super) fn endpoint(path: &str) -> Option<(&str, Endpoint)> {
    if graph::is_path(path) {
        return Some(("", Endpoint::Graph));
    }
    let (tenant, rest) = path.strip_prefix('/')?.split_once('/')?;
    let endpoint = match rest {
        "oauth2/v2.0/authorize" => Endpoint::Authorize,
        "oauth2/v2.0/token" => Endpoint::Token,
        "discovery/v2.0/keys" | "discovery/keys" => Endpoint::Keys,
        "v2.0/.well-known/openid-configuration" | ".well-known/openid-configuration" => {
            Endpoint::Discovery
        }
        _ => return None,
    };
    Some((tenant, endpoint))
}

fn dispatch(state: &State, request: &Recorded, fault: Option<&Fault>) -> Response<Body> {
    let Some((segment, endpoint)) = endpoint(&request.path) else {
        return reply::empty(StatusCode::NOT_FOUND);
    };
    match endpoint {
        Endpoint::Token => token(state, segment, request, fault),
        Endpoint::Authorize => {
            let params = match request.method {
                Method::GET => Params::parse(request.query.as_bytes()),
                Method::POST => Params::parse(&request.body),
                _ => return reply::empty(StatusCode::METHOD_NOT_ALLOWED),
            };
            authorize(state, segment, &params, request.header(WHO_HEADER))
        }
        Endpoint::Graph => graph::answer(state, request),
        Endpoint::Keys | Endpoint::Discovery => document(state, segment, endpoint, request),
    }
}

fn document(
    state: &State,
    segment: &str,
    endpoint: Endpoint,
    request: &Recorded,
) -> Response<Body> {
    if request.method != Method::GET {
        return reply::empty(StatusCode::METHOD_NOT_ALLOWED);
    }
    let directory = state.directory();
    if !directory.answers_for(segment) {
        let told = state.tell(Aadsts::unknown_tenant(segment));
        return told.json(&state.authority);
    }
    let version = if request.path.contains("/v2.0/") {
        2
    } else {
        1
    };
    match (endpoint, version) {
        (Endpoint::Keys, _) => metadata::keys(state, &directory, segment, version),
        (_, 2) => metadata::configuration(state, &directory, segment),
        _ => metadata::configuration_v1(state, &directory, segment),
    }
}

/// Whether `Accept-Encoding` names gzip without forbidding it.
fn accepts_gzip(request: &Recorded) -> bool {
    request
        .header(ACCEPT_ENCODING.as_str())
        .is_some_and(|value| {
            value.split(',').any(|coding| {
                let mut parts = coding.split(';').map(str::trim);
                parts.next() == Some("gzip") && !parts.any(|weight| weight == "q=0")
            })
        })
}

async fn compress(response: Response<Body>) -> Answer {
    if response.headers().contains_key(CONTENT_ENCODING) {
        return Ok(response);
    }
    let (mut head, body) = response.into_parts();
    let packed = reply::gzip(&body.collect().await.map_err(|_| Cut)?.to_bytes());
    head.headers
        .insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    head.headers.insert(CONTENT_LENGTH, packed.len().into());
    Ok(Response::from_parts(head, Body::from(packed)))
}
