//! The authorization endpoint: a code, or why there is none.

use axum::body::Body;
use http::{Response, StatusCode};
use url::Url;

use super::{AUDIENCE, CLIENT_ID, PEOPLE, Refresh, State};
use crate::net::lock;
use crate::params::Params;
use crate::random;
use crate::reply;
use crate::store::Challenge;

/// An authorization code.
#[derive(Debug, Clone)]
pub(super) struct Code {
    pub(super) who: &'static str,
    pub(super) redirect_uri: String,
    pub(super) scope: String,
    pub(super) audience: Option<String>,
    pub(super) nonce: Option<String>,
    pub(super) challenge: Challenge,
    pub(super) refreshable: bool,
    pub(super) issued: i64,
    pub(super) redeemed: bool,
}

/// An OAuth error, and why.
type Fault = (&'static str, &'static str);

/// Answers an authorization request. `hinted` names the person a test wants to sign in.
pub(super) fn authorize(state: &State, params: &Params, hinted: Option<&str>) -> Response<Body> {
    let page = |text: &'static str| reply::typed(StatusCode::BAD_REQUEST, "text/html", text);
    if params.repeated().is_some() {
        return page("Error 400: invalid_request: a parameter is repeated");
    }
    if params.find("client_id") != Some(CLIENT_ID) {
        return page("Error 401: invalid_client");
    }
    let redirect_uri = params.find("redirect_uri").unwrap_or_default();
    let Some(mut back) = callback(redirect_uri) else {
        return page("Error 400: redirect_uri_mismatch");
    };
    let issued = issue(state, params, redirect_uri, hinted);
    {
        let mut pairs = back.query_pairs_mut();
        match issued {
            Ok(code) => pairs.append_pair("code", &code),
            Err((error, description)) => pairs
                .append_pair("error", error)
                .append_pair("error_description", description),
        };
        if let Some(value) = params.find("state") {
            pairs.append_pair("state", value);
        }
        if state.quirks.emits_iss {
            pairs.append_pair("iss", &state.issuer());
        }
    }
    let mut response = reply::empty(StatusCode::FOUND);
    reply::set(&mut response, "location", back.as_str());
    response
}

/// The registered redirect URIs: `/callback` on loopback, on any port.
fn callback(uri: &str) -> Option<Url> {
    let url = Url::parse(uri).ok()?;
    let host = url.host_str()?;
    let known = url.scheme() == "http"
        && matches!(host, "localhost" | "127.0.0.1")
        && url.path().ends_with("/callback")
        && url.fragment().is_none();
    known.then_some(url)
}

fn issue(
    state: &State,
    params: &Params,
    redirect_uri: &str,
    hinted: Option<&str>,
) -> Result<String, Fault> {
    let quirks = &state.quirks;
    if params.find("response_type") != Some("code") {
        return Err(("unsupported_response_type", "only code is supported"));
    }
    let scope = params
        .find("scope")
        .ok_or(("invalid_scope", "scope is missing"))?;
    if !scope.split(' ').all(|one| quirks.scopes().contains(&one)) {
        return Err(("invalid_scope", "one or more scopes are not known"));
    }
    if params.find("resource").is_some() && quirks.refuses_resource {
        return Err(("invalid_target", "the requested resource is not known"));
    }
    let audience = params.find("audience");
    if audience.is_some_and(|audience| audience != AUDIENCE) {
        return Err(("access_denied", "Service not found"));
    }
    let challenge = match (
        params.find("code_challenge"),
        params.find("code_challenge_method"),
    ) {
        (Some(challenge), Some("S256")) => Challenge::S256(challenge.to_owned()),
        _ => return Err(("invalid_request", "PKCE is required")),
    };
    let hint = hinted.or_else(|| params.find("login_hint"));
    let who = PEOPLE
        .into_iter()
        .find(|who| hint.is_none_or(|hint| hint.starts_with(who)))
        .ok_or(("login_required", "nobody of that name"))?;
    let asked = params.find("prompt") == Some("consent");
    let mut consented = lock(&state.consented);
    let anew = asked || !consented.contains(&who);
    if anew {
        consented.push(who);
    }
    let refreshable = match quirks.refresh {
        Refresh::OfflineAccess => scope.split(' ').any(|one| one == "offline_access"),
        Refresh::AccessType => anew && params.find("access_type") == Some("offline"),
        Refresh::Always => true,
    };
    let code = random::text(32);
    lock(&state.codes).insert(
        code.clone(),
        Code {
            who,
            redirect_uri: redirect_uri.to_owned(),
            scope: scope.to_owned(),
            audience: audience.map(str::to_owned),
            nonce: params.find("nonce").map(str::to_owned),
            challenge,
            refreshable,
            issued: state.clock.now(),
            redeemed: false,
        },
    );
    Ok(code)
}
