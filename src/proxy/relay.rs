//! The steps of a relayed sign-in: what they read is gathered here, what they decide is in
//! [`crate::relay`].

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode, request};
use mcp_gateway_filters::{Page, Refusal, Response, is_form};
use pingora_core::protocols::http::ServerSession;

use super::{apply, body, call::Call, exchange::FORM_LIMIT, failure::Failure};
use crate::{
    cimd::{self, Documents},
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
    let raw = match step.place {
        Place::Query => {
            let query = call.head(session).uri.query().unwrap_or_default();
            Bytes::copy_from_slice(query.as_bytes())
        }
        Place::Form if posts_form(call.head(session)) => {
            let form = gathered(session, call).await?;
            call.body = Some(form.clone());
            form
        }
        Place::Form => return Ok(None),
    };
    let published = match published(step, &raw, call.now()).await {
        Ok(client) => client,
        Err(error) => return unknown(step.place, &error).map(Some),
    };
    let head = call.head(session);
    let resolved = match published {
        Some(client) => step.clients.admit(client, step.place, head, &raw),
        None => step.clients.resolve(&step.seals, step.place, head, &raw),
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

/// Returns the client whose id is the URL of a document.
async fn published(
    step: &ResolveClient,
    raw: &[u8],
    now: u64,
) -> Result<Option<Client>, cimd::Error> {
    let (Some(documents), Some(id)) = (&step.documents, Clients::id(raw)) else {
        return Ok(None);
    };
    if !Documents::concerns(&id) {
        return Ok(None);
    }
    let document = documents.resolve(&id, now).await?;
    Ok(Some(Client {
        id,
        name: document.name.clone(),
        redirect_uris: document.redirect_uris.clone(),
        source: Source::Published(document.host().to_owned()),
    }))
}

/// Answers somebody whose document leads to no client: a person with a page, a program with an OAuth
/// error. `invalid_client` makes clients register in another way, so only what will stay wrong is one.
fn unknown(place: Place, error: &cimd::Error) -> Result<Response, Failure> {
    let status = if error.is_temporary() {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::BAD_REQUEST
    };
    match place {
        Place::Query => {
            let what = format!("The application cannot be identified: {error}.");
            let remedy = if error.is_temporary() {
                "Start the sign-in again in a moment."
            } else {
                "This is a mistake of the application, or its address is not allowed here: show \
                 this page to whoever runs the server."
            };
            let page = Page {
                what: &what,
                shown: None,
                remedy,
            };
            let mut page = page.bad_request();
            *page.status_mut() = status;
            Ok(page)
        }
        Place::Form if error.is_temporary() => Err(Failure::oauth(
            status,
            "temporarily_unavailable",
            "the client's metadata cannot be fetched now: try again in a moment",
            "client_metadata_unavailable",
        )),
        Place::Form => Err(Failure::from(Refusal::new(
            StatusCode::UNAUTHORIZED,
            "invalid_client",
            error.to_string(),
        ))),
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
            let form = if posts_form(call.head(session)) {
                gathered(session, call).await?
            } else {
                Bytes::new()
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

/// Says whether a body is declared to be a form, as the gates read it.
fn posts_form(head: &request::Parts) -> bool {
    head.method == Method::POST && is_form(&head.headers)
}

async fn gathered(session: &mut ServerSession, call: &mut Call) -> Result<Bytes, Failure> {
    match call.body.take() {
        Some(body) => Ok(body),
        None => body::gather(session, FORM_LIMIT, &call.snapshot).await,
    }
}
