//! What an upstream gets as proof of who calls, and what a caller is told when it cannot be had or
//! is not enough.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use pingora_core::protocols::http::ServerSession;
use serde_json::{Map, Value};

use super::{
    authenticate, call::Call, failure::Failure, forward::Credential, jsonrpc::Message, pass,
};
use crate::{
    delegation::{Caller, Declined},
    snapshot::{Proxy, Route, UpstreamToken},
};

/// The longest demand of an upstream, encoded, in bytes.
const MAX_DEMAND: usize = 5600;

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

/// Returns the claims that an upstream demands of the caller, in JSON: those of a challenge with
/// `insufficient_claims`, as services behind Entra send it. Nothing else of it is passed on.
pub(super) fn demanded(headers: &HeaderMap) -> Option<String> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let challenges = headers.get_all(header::WWW_AUTHENTICATE).iter();
    let mut challenges = challenges.filter_map(|value| value.to_str().ok());
    let challenge = challenges.find(|text| text.contains("error=\"insufficient_claims\""))?;
    let (_, rest) = challenge.split_once("claims=\"").filter(|(before, _)| {
        // Not a parameter whose name only ends like this one.
        before.ends_with([' ', ','])
    })?;
    let encoded = rest
        .split('"')
        .next()
        .filter(|text| text.len() <= MAX_DEMAND)?;
    let alphabet = if encoded.contains(['-', '_']) {
        alphabet::URL_SAFE
    } else {
        alphabet::STANDARD
    };
    let bytes = GeneralPurpose::new(&alphabet, LENIENT)
        .decode(encoded)
        .ok()?;
    let is_object = serde_json::from_slice::<Map<String, Value>>(&bytes).is_ok();
    String::from_utf8(bytes).ok().filter(|_| is_object)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(challenge: &str, expect: Option<&str>) {
        let mut headers = HeaderMap::new();
        headers.append(header::WWW_AUTHENTICATE, "Basic realm=x".parse().unwrap());
        headers.append(header::WWW_AUTHENTICATE, challenge.parse().unwrap());
        assert_eq!(demanded(&headers).as_deref(), expect, "{challenge}");
    }

    #[test]
    fn a_demand_is_a_json_object_in_base64() {
        let demand = |claims: &str| {
            format!("Bearer realm=\"\", error=\"insufficient_claims\", claims=\"{claims}\"")
        };
        check(&demand("eyJhIjoxfQ=="), Some("{\"a\":1}"));
        check(&demand("eyJhIjoxfQ"), Some("{\"a\":1}"));
        check(&demand("eyJhIjoiPz8_In0"), Some("{\"a\":\"???\"}"));
        check(
            "Bearer claims=\"eyJhIjoxfQ\", error=\"insufficient_claims\"",
            Some("{\"a\":1}"),
        );
        check(
            "Bearer error=\"invalid_token\", claims=\"eyJhIjoxfQ\"",
            None,
        );
        check("Bearer error=\"insufficient_claims\"", None);
        check(&demand(""), None);
        check(&demand("!"), None);
        check(&demand("MQ"), None);
        check(&demand(&"A".repeat(MAX_DEMAND + 1)), None);
    }
}
