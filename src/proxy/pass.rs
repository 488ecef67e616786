//! The `proxy` step: to an upstream and back, as it comes.
//!
//! The request's body is held, the answer's never is, unless a filter of the route asked for it.
//! Who may be asked and when a request may be sent again is decided here; how it is sent is the
//! leg's.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use pingora_core::{Error, ErrorType, protocols::http::ServerSession};
use tokio::sync::watch;

use super::{
    answer::Rewriting,
    authenticate, body,
    call::Call,
    demand,
    failure::Failure,
    forward::{self, Credential, Forwarded, RequestHead},
    jsonrpc::{self, Message},
    leg::{Answered, Leg, LegError},
    mcp::{self, Pin},
    pipe::Pipe,
    upstream_token,
};
use crate::{
    session::Sealer,
    snapshot::{Proxy, Route, UpstreamToken},
    upstream::{Backend, Picked},
};

/// How many backends one request may be sent to.
const ATTEMPTS: usize = 3;
/// What a client is told to wait when nobody can be asked.
const RETRY_AFTER_SECONDS: u16 = 5;

/// What the step needs beside the request.
pub(super) struct Tools<'a> {
    pub(super) leg: &'a Leg,
    pub(super) sealer: &'a Sealer,
    pub(super) draining: watch::Receiver<bool>,
}

/// Sends the request on and the answer back.
pub(super) async fn run(
    tools: &Tools<'_>,
    session: &mut ServerSession,
    call: &mut Call,
    route: &Route,
    proxy: &Proxy,
) -> Result<(), Failure> {
    let head = call.head(session);
    let (method, path) = (head.method.clone(), head.uri.path());
    if !proxy.allow.is_empty() && !proxy.allow.iter().any(|allow| allow.matches(&method, path)) {
        return Err(Failure::oauth(
            StatusCode::FORBIDDEN,
            "access_denied",
            "this method and path are not open here",
            "not_allowed",
        ));
    }
    let body = match call.body.take() {
        Some(body) => body,
        None => body::gather(session, proxy.request_body_limit, &call.snapshot).await?,
    };
    let message = if proxy.sessions {
        mcp::message(call.head(session), &body)?
    } else {
        Message::default()
    };
    let pin = mcp::pin(tools.sealer, call, session, route, proxy, &message)?;
    let credential = upstream_token::credential(session, call, route, proxy, &message).await?;
    let sent = Sent {
        pin: &pin,
        message: &message,
        credential: &credential,
        body: &body,
    };
    let (answered, picked) = send(tools, session, call, proxy, &sent).await?;
    // A stream may last for hours: nothing of the request is needed any more.
    let id = message.id().to_owned();
    drop(body);
    give_back(tools, session, call, route, proxy, answered, picked, &id).await
}

/// What is sent, to whichever backend.
struct Sent<'a> {
    pin: &'a Pin,
    message: &'a Message<'a>,
    credential: &'a Credential,
    body: &'a Bytes,
}

/// Sends the request to the backend of its session, or to one after the other that cannot be
/// connected to.
async fn send(
    tools: &Tools<'_>,
    session: &mut ServerSession,
    call: &mut Call,
    proxy: &Proxy,
    sent: &Sent<'_>,
) -> Result<(Answered, Picked), Failure> {
    let Sent { pin, message, .. } = *sent;
    let mut tried: Vec<Arc<Backend>> = Vec::new();
    loop {
        let picked = match &pin.backend {
            Some(backend) if tried.is_empty() => Some(backend.enter()),
            Some(_) => return Err(mcp::session_gone(message)),
            None if tried.len() < ATTEMPTS => proxy.pool.pick(&tried),
            None => None,
        };
        let Some(picked) = picked else {
            return Err(unavailable(proxy, message));
        };
        let backend = Arc::clone(picked.backend());
        call.backend = Some(Arc::clone(&backend));
        let head = request_head(session, call, proxy, sent, &backend)?;
        let outcome = tools
            .leg
            .send(
                session,
                &backend.peers(),
                &head,
                sent.body,
                proxy.response_head_timeout,
            )
            .await;
        match outcome {
            Ok(answered) => {
                if answered.resent {
                    retried(proxy, "stale_connection");
                }
                return Ok((answered, picked));
            }
            Err(LegError::Connect(error)) => {
                log::debug!(upstream = proxy.pool.name(), backend = backend.address(), error:%; "a backend cannot be connected to");
                backend.connect_failed(Instant::now());
                if pin.backend.is_none() {
                    retried(proxy, "connect_failed");
                } else if !is_gone(&error) {
                    return Err(unavailable(proxy, message));
                }
                tried.push(backend);
            }
            Err(LegError::Gone(error)) => return Err(Failure::Gone(error)),
            Err(LegError::Timeout) => {
                return Err(failed(
                    proxy,
                    message.id(),
                    StatusCode::GATEWAY_TIMEOUT,
                    "the server behind the gateway did not answer in time",
                    "upstream_timeout",
                ));
            }
            Err(LegError::Broken(error)) => {
                const REASON: &str = "upstream_broken";
                if let Some(left_out) = proxy.logged.due(REASON, call.later()) {
                    log::warn!(upstream = proxy.pool.name(), backend = backend.address(), error:%, left_out; "a backend broke the connection before it answered");
                }
                return Err(failed(
                    proxy,
                    message.id(),
                    StatusCode::BAD_GATEWAY,
                    "the server behind the gateway broke the connection before it answered: it may or may not have acted on the request",
                    REASON,
                ));
            }
        }
    }
}

fn request_head(
    session: &ServerSession,
    call: &Call,
    proxy: &Proxy,
    sent: &Sent<'_>,
    backend: &Backend,
) -> Result<RequestHead, Failure> {
    let client = call.head(session);
    forward::request_head(
        client,
        &Forwarded {
            path: proxy.path.as_deref().unwrap_or_else(|| client.uri.path()),
            host: backend.address(),
            client: call.client,
            public_host: &call.snapshot.public_host,
            public_scheme: call.snapshot.public_scheme,
            request_id: &call.id,
            credential: sent.credential,
            session: sent.pin.id.as_deref(),
            length: sent.body.len(),
        },
    )
    .ok_or_else(|| Failure::internal("the request for an upstream has no valid head"))
}

/// Judges the head of the answer, then passes it and its body on.
#[expect(clippy::too_many_arguments, reason = "the ends of one pipe")]
async fn give_back(
    tools: &Tools<'_>,
    session: &mut ServerSession,
    call: &mut Call,
    route: &Route,
    proxy: &Proxy,
    answered: Answered,
    picked: Picked,
    id: &str,
) -> Result<(), Failure> {
    let Answered {
        upstream,
        peer,
        mut head,
        end,
        ..
    } = answered;
    if head.status == StatusCode::UNAUTHORIZED
        && (!matches!(proxy.token, UpstreamToken::None) || proxy.sessions)
        && let Some(identity) = call.identity.as_deref()
    {
        upstream_token::forget(session, call, proxy);
        return Err(if identity.expires_at <= call.later() {
            authenticate::expired(route)
        } else if let Some(demanded) = demanded(route, proxy, &head.headers) {
            demanded
        } else {
            refused_token(proxy, &picked, id, call.later())
        });
    }
    if proxy.sessions {
        mcp::seal(tools.sealer, call, route, &picked, &mut head)?;
    }
    forward::clean_response_head(&mut head, end)
        .map_err(|_| Failure::internal("the answer of an upstream has no valid head"))?;
    let rewriting = Rewriting::of(call, session, &mut head)?;
    let mut pipe = Pipe::new(upstream, call, session, &head, tools.draining.clone());
    let whole = if let Some(limit) = rewriting.gather_limit() {
        pipe.held(session, call, head, end, rewriting, limit)
            .await?
    } else {
        let transforms = rewriting.transforms();
        if !transforms.is_empty() {
            head.remove_header(&header::CONTENT_LENGTH);
            if !end {
                // Framed anew: the length is not known any more.
                let _ = head.insert_header(header::TRANSFER_ENCODING, "chunked");
            }
        }
        pipe.streamed(session, call, head, end, transforms).await?
    };
    if whole {
        tools.leg.release(pipe.into_upstream(), &peer);
    }
    Ok(())
}

/// Whether a backend that cannot be connected to is gone with its sessions: nobody listens there.
/// One that is silent or cannot be resolved may be back with them.
fn is_gone(error: &Error) -> bool {
    *error.etype() == ErrorType::ConnectRefused
}

fn retried(proxy: &Proxy, reason: &str) {
    proxy
        .retries
        .with_label_values(&[proxy.pool.name(), reason])
        .inc();
}

fn unavailable(proxy: &Proxy, message: &Message<'_>) -> Failure {
    failed(
        proxy,
        message.id(),
        StatusCode::SERVICE_UNAVAILABLE,
        "none of the servers behind the gateway can be reached: try again in a moment",
        "no_backend",
    )
    .with(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS))
}

pub(super) fn failed(
    proxy: &Proxy,
    id: &str,
    status: StatusCode,
    text: &str,
    reason: &'static str,
) -> Failure {
    proxy
        .failures
        .with_label_values(&[proxy.pool.name(), reason])
        .inc();
    if proxy.sessions {
        Failure::rpc(status, id, jsonrpc::UPSTREAM_FAILED, text, reason)
    } else {
        Failure::oauth(status, "server_error", text, reason)
    }
}

/// The answer to a caller of whom the upstream demands more than a sign-in, where a new sign-in can
/// bring it: the token there was had in the caller's name, and the authorization server takes claims.
fn demanded(route: &Route, proxy: &Proxy, headers: &HeaderMap) -> Option<Failure> {
    match proxy.token {
        UpstreamToken::Caller | UpstreamToken::Delegated(_) => {
            authenticate::demands(route, &demand::claims(headers)?)
        }
        UpstreamToken::None | UpstreamToken::Static { .. } => None,
    }
}

/// The upstream refuses a caller whose token the gateway has verified: their settings disagree, and
/// no sign-in can mend that, so the client gets no challenge.
fn refused_token(proxy: &Proxy, picked: &Picked, id: &str, now: u64) -> Failure {
    const REASON: &str = "token_refused";
    let (upstream, backend) = (proxy.pool.name(), picked.backend().address());
    if let Some(left_out) = proxy.logged.due(REASON, now) {
        match proxy.token {
            UpstreamToken::Caller => log::error!(
                upstream, backend, left_out;
                "the workload refuses a token that the gateway has verified: compare its OIDC issuer and audience with `authorization_server`, or set `upstream_token: none`"
            ),
            UpstreamToken::None => log::error!(
                upstream, backend, left_out;
                "the workload asks for a token, and `upstream_token` is `none`: set it to `caller`, or run the workload without OIDC"
            ),
            UpstreamToken::Static { .. } | UpstreamToken::Delegated(_) => log::error!(
                upstream, backend, left_out;
                "the workload refuses what `upstream_token` gives it: compare what it asks for with that setting"
            ),
        }
    }
    failed(
        proxy,
        id,
        StatusCode::BAD_GATEWAY,
        "the server behind the gateway is set up to refuse this sign-in: ask its operator, signing in again will not help",
        REASON,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refused_connection_ends_a_session() {
        assert!(is_gone(&Error::new(ErrorType::ConnectRefused)));
        for kind in [
            ErrorType::ConnectTimedout,
            ErrorType::ConnectNoRoute,
            ErrorType::TLSHandshakeFailure,
            ErrorType::ConnectError,
        ] {
            assert!(!is_gone(&Error::new(kind)));
        }
    }
}
