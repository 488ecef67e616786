//! What an upstream gets as proof of who calls, and what a caller is told when it cannot be had.

use http::{HeaderValue, StatusCode, header};
use pingora_core::protocols::http::ServerSession;

use super::{
    authenticate, call::Call, failure::Failure, forward::Credential, jsonrpc::Message, pass,
};
use crate::{
    delegation::{Caller, Declined},
    snapshot::{Proxy, Route, UpstreamToken},
};

/// Returns the credential for the upstream; asks for one where the route says so.
pub(super) async fn credential(
    session: &ServerSession,
    call: &Call,
    route: &Route,
    proxy: &Proxy,
    message: &Message<'_>,
) -> Result<Credential, Failure> {
    let delegation = match &proxy.token {
        UpstreamToken::Caller => return Ok(Credential::Caller),
        UpstreamToken::None => return Ok(Credential::None),
        UpstreamToken::Static { header, value } => {
            return Ok(Credential::Field(header.clone(), value.clone()));
        }
        UpstreamToken::Delegated(delegation) => delegation,
    };
    let (Some(identity), Ok(token)) = (&call.identity, authenticate::bearer(call.head(session)))
    else {
        return Err(Failure::internal(
            "a token is asked for in the name of nobody",
        ));
    };
    let caller = Caller {
        token,
        tenant: identity.tenant.as_deref(),
        expires_at: identity.expires_at,
    };
    match delegation.authorization(caller, call.now()).await {
        Ok(value) => Ok(Credential::Field(
            header::AUTHORIZATION,
            HeaderValue::clone(&value),
        )),
        Err(declined) => Err(refuse(&declined, route, proxy, message)),
    }
}

/// Forgets a token that the upstream did not accept, so that the next request asks for another.
pub(super) fn forget(session: &ServerSession, call: &Call, proxy: &Proxy) {
    if let UpstreamToken::Delegated(delegation) = &proxy.token
        && let Ok(token) = authenticate::bearer(call.head(session))
    {
        delegation.forget(token);
    }
}

fn refuse(declined: &Declined, route: &Route, proxy: &Proxy, message: &Message<'_>) -> Failure {
    match declined {
        Declined::Interaction { claims } => {
            authenticate::interaction_required(route, claims.as_deref())
        }
        Declined::SignIn => authenticate::sign_in_again(route),
        Declined::Unavailable { retry_after, .. } => pass::failed(
            proxy,
            message.id(),
            StatusCode::SERVICE_UNAVAILABLE,
            "no token for the server behind the gateway can be had now: try again in a moment",
            "upstream_token_unavailable",
        )
        .with(header::RETRY_AFTER, HeaderValue::from(*retry_after)),
        Declined::Refused { error, .. } => pass::failed(
            proxy,
            message.id(),
            StatusCode::BAD_GATEWAY,
            &format!(
                "the authorization server gives no token for the server behind the gateway \
                 ({error}): ask the gateway's operator, signing in again will not help"
            ),
            "upstream_token_refused",
        ),
        Declined::Malformed => pass::failed(
            proxy,
            message.id(),
            StatusCode::BAD_GATEWAY,
            "the authorization server's answer holds no token for the server behind the gateway",
            "upstream_token_malformed",
        ),
    }
}
