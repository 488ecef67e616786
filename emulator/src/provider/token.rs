//! The token endpoint: codes and refresh tokens against tokens.

use axum::body::Body;
use http::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::{Access, CLIENT_ID, State};
use crate::jws;
use crate::net::lock;
use crate::params::Params;
use crate::random;
use crate::record::Recorded;
use crate::reply;

/// Seconds for which a code can be redeemed.
const CODE_LIFETIME: i64 = 60;
/// Seconds for which a token is valid.
const LIFETIME: i64 = 3_600;

/// What a refresh token was issued for.
#[derive(Debug, Clone)]
pub(super) struct Grant {
    who: &'static str,
    scope: String,
    audience: Option<String>,
    pub(super) revoked: bool,
}

type Fault = (&'static str, &'static str);

/// Answers a token request.
pub(super) fn token(state: &State, request: &Recorded) -> Response<Body> {
    let form = Params::parse(&request.body);
    let (status, body) = match exchange(state, &form) {
        Ok(tokens) => (StatusCode::OK, Value::Object(tokens)),
        Err((error, description)) => {
            let status = match error {
                "invalid_client" => StatusCode::UNAUTHORIZED,
                _ => StatusCode::BAD_REQUEST,
            };
            let body = json!({"error": error, "error_description": description});
            (status, body)
        }
    };
    let mut response = reply::json(status, "application/json; charset=utf-8", &body);
    reply::set(&mut response, "cache-control", "no-store");
    response
}

fn exchange(state: &State, form: &Params) -> Result<Map<String, Value>, Fault> {
    if form.repeated().is_some() {
        return Err(("invalid_request", "a field is repeated"));
    }
    if form.find("client_id") != Some(CLIENT_ID) {
        return Err(("invalid_client", "the client is not known"));
    }
    match (&state.quirks.secret, form.find("client_secret")) {
        (Some(_), None) => return Err(("invalid_request", "client_secret is missing")),
        (Some(expected), Some(given)) if expected != given => {
            return Err(("invalid_client", "the client secret is wrong"));
        }
        (None, Some(_)) => return Err(("invalid_client", "the client is public")),
        _ => {}
    }
    if form.find("resource").is_some() && state.quirks.refuses_resource {
        return Err(("invalid_target", "the requested resource is not known"));
    }
    match form.find("grant_type") {
        Some("authorization_code") => redeem(state, form),
        Some("refresh_token") => refresh(state, form),
        _ => Err(("unsupported_grant_type", "the grant is not supported")),
    }
}

fn redeem(state: &State, form: &Params) -> Result<Map<String, Value>, Fault> {
    let refused = ("invalid_grant", "the code is invalid, expired or used");
    let code = {
        let mut codes = lock(&state.codes);
        let code = form
            .find("code")
            .and_then(|code| codes.find_mut(code))
            .ok_or(refused)?;
        if std::mem::replace(&mut code.redeemed, true) {
            return Err(refused);
        }
        code.clone()
    };
    let verified = form
        .find("code_verifier")
        .is_some_and(|verifier| code.challenge.is_met_by(verifier));
    let timely = state.clock.now() - code.issued <= CODE_LIFETIME;
    if !verified || !timely || form.find("redirect_uri") != Some(code.redirect_uri.as_str()) {
        return Err(refused);
    }
    let grant = Grant {
        who: code.who,
        scope: code.scope,
        audience: code.audience,
        revoked: false,
    };
    let mut tokens = mint(state, &grant, code.nonce.as_deref());
    if code.refreshable {
        add_refresh_token(state, grant, &mut tokens);
    }
    Ok(tokens)
}

fn refresh(state: &State, form: &Params) -> Result<Map<String, Value>, Fault> {
    let refused = ("invalid_grant", "the refresh token is invalid or expired");
    let grant = form
        .find("refresh_token")
        .and_then(|token| lock(&state.grants).find(token).cloned())
        .filter(|grant| !grant.revoked)
        .ok_or(refused)?;
    if let Some(scope) = form.find("scope") {
        let within = |one| grant.scope.split(' ').any(|granted| granted == one);
        if !scope.split(' ').all(within) {
            return Err(("invalid_scope", "more scopes than were granted"));
        }
    }
    let mut tokens = mint(state, &grant, None);
    if state.quirks.rotates {
        add_refresh_token(state, grant, &mut tokens);
    }
    Ok(tokens)
}

fn add_refresh_token(state: &State, grant: Grant, tokens: &mut Map<String, Value>) {
    let token = random::text(48);
    lock(&state.grants).insert(token.clone(), grant);
    tokens.insert("refresh_token".to_owned(), token.into());
}

fn mint(state: &State, grant: &Grant, nonce: Option<&str>) -> Map<String, Value> {
    let mut tokens = Map::new();
    let mut add = |name: &str, value: Value| tokens.insert(name.to_owned(), value);
    add("access_token", access_token(state, grant).into());
    if grant.scope.split(' ').any(|one| one == "openid") {
        let mut claims = claims(state, grant, &state.quirks.id_claims);
        claims.insert("aud".to_owned(), CLIENT_ID.into());
        claims.insert("name".to_owned(), grant.who.into());
        if let Some(nonce) = nonce {
            claims.insert("nonce".to_owned(), nonce.into());
        }
        add("id_token", jws::sign(&state.key, &claims).into());
    }
    add("token_type", "Bearer".into());
    add("expires_in", LIFETIME.into());
    add("scope", grant.scope.as_str().into());
    tokens
}

fn access_token(state: &State, grant: &Grant) -> String {
    let audience = match state.quirks.access {
        Access::Jwt(audience) => Some(audience),
        Access::OnRequest => match &grant.audience {
            Some(audience) => Some(audience.as_str()),
            None => return random::text(40),
        },
        Access::WithoutAudience => None,
        Access::Opaque => return format!("ya29.{}", random::text(80)),
    };
    let mut claims = claims(state, grant, &state.quirks.access_claims);
    match audience {
        Some(audience) => claims.insert("aud".to_owned(), json!([audience, "account"])),
        None => claims.insert("client_id".to_owned(), CLIENT_ID.into()),
    };
    claims.insert("scope".to_owned(), grant.scope.as_str().into());
    claims.insert("jti".to_owned(), random::text(16).into());
    jws::sign(&state.key, &claims)
}

fn claims(state: &State, grant: &Grant, marks: &[(&str, &str)]) -> Map<String, Value> {
    let now = state.clock.now();
    let mut claims = Map::new();
    let mut add = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    add("iss", state.issuer().into());
    add("sub", format!("user-{}", grant.who).into());
    add("iat", now.into());
    add("exp", (now + LIFETIME).into());
    for (name, value) in marks {
        add(name, (*value).into());
    }
    claims
}
