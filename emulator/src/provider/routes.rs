//! Which path is which endpoint.

use std::sync::Arc;

use axum::body::Body;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::json;

use super::{State, authorize, documents, token};
use crate::net::{Answer, Cut};
use crate::params::Params;
use crate::reply::{self, ReadError};

/// Bytes of body that are read; a token request needs a few thousand.
const BODY_LIMIT: usize = 1 << 20;

/// Serves one request.
pub(super) async fn serve(state: Arc<State>, request: Request<Incoming>) -> Answer {
    let (request, outcome) = reply::read(request, BODY_LIMIT).await;
    state.log.push(request.clone());
    match outcome {
        Ok(()) => {}
        Err(ReadError::TooLarge) => return Ok(reply::empty(StatusCode::PAYLOAD_TOO_LARGE)),
        Err(ReadError::Broken) => return Err(Cut),
    }
    let quirks = &state.quirks;
    let path = request.path.as_str();
    let allowed = |method: Method| request.method == method;
    Ok(if path == quirks.authorize && allowed(Method::GET) {
        let params = Params::parse(request.query.as_bytes());
        authorize::authorize(&state, &params, request.header("x-emu-user"))
    } else if path == quirks.token && allowed(Method::POST) {
        token::token(&state, &request)
    } else if path == quirks.keys && allowed(Method::GET) {
        documents::keys(&state)
    } else if quirks.registration.as_deref() == Some(path) {
        refuse_registration()
    } else if documents::is_configuration(&state, path) && allowed(Method::GET) {
        documents::configuration(&state)
    } else {
        reply::empty(StatusCode::NOT_FOUND)
    })
}

/// Every provider that has the endpoint wants an administrator's token, or a host that it trusts.
fn refuse_registration() -> Response<Body> {
    let body = json!({
        "error": "insufficient_scope",
        "error_description": "Policy rejected request to client-registration service",
    });
    reply::json(StatusCode::FORBIDDEN, "application/json", &body)
}
