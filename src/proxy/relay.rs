//! The steps of a relayed sign-in: what they read is gathered here, what they decide is in
//! [`crate::relay`].

use std::sync::Arc;

use http::{Method, StatusCode, header};
use mcp_gateway_filters::{Refusal, Response};
use pingora_core::protocols::http::ServerSession;

use super::{apply, body, call::Call, exchange::FORM_LIMIT, failure::Failure};
use crate::{
    oauth::{aadsts, noticed},
    relay::{Answer, Client, Clients, Grants, Place, Resolved, Source},
    snapshot::{IssueClient, Relay, ResolveClient, Route, Station},
};

/// Finds out who is asking; returns the page for those who cannot go on.
pub(super) async fn resolve(
    step: &ResolveClient,
    session: &mut ServerSession,
    call: &mut Call,
) -> Result<Option<Response>, Failure> {
    let resolved = match step.place {
        Place::Query => {
            let head = call.head(session);
            let query = head.uri.query().unwrap_or_default().as_bytes();
            step.clients.resolve(&step.seals, step.place, head, query)
        }
        Place::Form => {
            if !is_form(session) {
                return Ok(None);
            }
            let form = gathered(session, call).await?;
            let head = call.head(session);
            let resolved = step.clients.resolve(&step.seals, step.place, head, &form);
            call.body = Some(form);
            resolved
        }
    };
    match resolved {
        Resolved::Refused(page) => Ok(Some(page)),
        Resolved::Known(client, edits) => {
            call.apply(session, edits);
            call.client_app = client;
            Ok(None)
        }
    }
}

/// Answers at one of the stations.
pub(super) async fn answer(
    step: &Relay,
    session: &mut ServerSession,
    call: &mut Call,
) -> Result<Response, Failure> {
    let now = call.now();
    let method = call.head(session).method.clone();
    let Answer { response, reason } = match step.station {
        Station::Authorize => {
            let head = call.head(session);
            let query = head.uri.query().unwrap_or_default().as_bytes();
            let client = client_of(call, query);
            step.sign_in.authorize(&client, head, now)?
        }
        Station::Consent => {
            if method != Method::POST {
                return Err(Failure::method_not_allowed(
                    &"POST"
                        .parse()
                        .map_err(|_| Failure::internal("a method cannot be named"))?,
                ));
            }
            let form = if is_form(session) {
                gathered(session, call).await?
            } else {
                bytes::Bytes::new()
            };
            step.sign_in.consent(call.head(session), &form, now)?
        }
        Station::Callback => {
            let errors = &step.errors;
            let explain = |description: &str| {
                let hint = noticed(errors, aadsts::in_text(description)?, now)?;
                Some(format!("[gateway: {hint}]"))
            };
            step.sign_in.callback(call.head(session), now, &explain)?
        }
    };
    if let Some(reason) = reason {
        call.refused(reason);
    }
    Ok(response)
}

/// Puts the provider's code or refresh token in the place of the client's own.
pub(super) async fn open_grant(
    grants: &Arc<Grants>,
    session: &mut ServerSession,
    call: &mut Call,
) -> Result<(), Failure> {
    let form = gathered(session, call).await?;
    let client = client_of(call, &form);
    let opened = grants.open(&client, &form, call.now())?;
    call.body = Some(opened);
    call.client_app = Some(client);
    call.grants = Some(Arc::clone(grants));
    Ok(())
}

/// Seals the refresh token of an answer, when the grant was opened here.
pub(super) fn seal_grant(call: &Call, reply: Response) -> Result<Response, Failure> {
    let (Some(grants), Some(client)) = (&call.grants, &call.client_app) else {
        return Ok(reply);
    };
    if !reply.status().is_success() {
        return Ok(reply);
    }
    let (parts, body) = reply.into_parts();
    let body = grants.seal(client, body, call.later())?;
    Ok(Response::from_parts(parts, body))
}

/// Registers a client: the filter judges and answers, and the id becomes the registration itself.
pub(super) async fn issue(
    step: &IssueClient,
    session: &mut ServerSession,
    call: &mut Call,
    route: &Route,
) -> Result<Response, Failure> {
    let Some(reply) = apply(&*step.filter, session, call, route).await? else {
        return Err(Failure::internal("a registration was not answered"));
    };
    if reply.status() != StatusCode::CREATED {
        return Ok(reply);
    }
    let (parts, body) = reply.into_parts();
    let answer = serde_json::from_slice(&body)
        .map_err(|_| Failure::internal("a registration was not answered with an object"))?;
    let body = Clients::issue(&step.seals, answer).map_err(|_| {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            "invalid_redirect_uri",
            "the redirect URIs are too long to be registered together",
        )
    })?;
    Ok(Response::from_parts(parts, body.into()))
}

/// Who asks; a route without `resolve_client` knows clients by their id only.
fn client_of(call: &Call, parameters: &[u8]) -> Client {
    call.client_app.clone().unwrap_or_else(|| Client {
        id: Clients::id(parameters).unwrap_or_default(),
        name: None,
        redirect_uris: vec![],
        source: Source::Configured,
    })
}

/// Says whether the body is declared to be a form, as the gates read it.
fn is_form(session: &ServerSession) -> bool {
    let head = session.req_header();
    head.method == Method::POST
        && head
            .headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .is_some_and(|essence| {
                essence
                    .trim()
                    .eq_ignore_ascii_case("application/x-www-form-urlencoded")
            })
}

async fn gathered(session: &mut ServerSession, call: &mut Call) -> Result<bytes::Bytes, Failure> {
    match call.body.take() {
        Some(body) => Ok(body),
        None => body::gather(session, FORM_LIMIT, &call.snapshot).await,
    }
}
