//! The token endpoint: codes and refresh tokens against access, id and refresh tokens.

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE, ORIGIN};
use http::{Method, Response, StatusCode};

use super::confidential::Credentials;
use super::directory::{App, Directory, Platform};
use super::error::Aadsts;
use super::fault::Fault;
use super::grants;
use super::mint::{Bound, Tokens, mint};
use super::scope::{Form, Scope};
use super::state::{Code, ResourceMode, State, seconds};
use crate::net::lock;
use crate::params::Params;
use crate::random;
use crate::record::Recorded;
use crate::reply;

/// Answers a token request; `fault` may change what a success contains.
pub(super) fn token(
    state: &State,
    segment: &str,
    request: &Recorded,
    fault: Option<&Fault>,
) -> Response<Body> {
    let mut response = match exchange(state, segment, request, fault) {
        Ok(tokens) => reply::json(StatusCode::OK, "application/json; charset=utf-8", &tokens),
        Err(aadsts) => state.tell(aadsts).json(&state.authority),
    };
    decorate(&mut response);
    response
}

fn exchange(
    state: &State,
    segment: &str,
    request: &Recorded,
    fault: Option<&Fault>,
) -> Result<Tokens, Aadsts> {
    if request.method != Method::POST {
        return Err(Aadsts::post_only(request.method.as_str()));
    }
    let is_form = request
        .header(CONTENT_TYPE.as_str())
        .is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"));
    let form = if is_form {
        Params::parse(&request.body)
    } else {
        Params::default()
    };
    let grant = form
        .find("grant_type")
        .ok_or_else(|| Aadsts::missing_parameter("grant_type"))?;
    if let Some(name) = form.repeated() {
        return Err(Aadsts::duplicated(name));
    }
    let directory = state.directory();
    if !directory.answers_for(segment) {
        return Err(Aadsts::unknown_tenant(segment));
    }
    let credentials = credentials(&form, request)?;
    let client = directory
        .app(&credentials.id)
        .ok_or_else(|| Aadsts::unknown_app(&credentials.id, &directory.tenant))?;

    let own = matches!(
        grant,
        "client_credentials" | "urn:ietf:params:oauth:grant-type:jwt-bearer"
    );
    if own {
        if let Some(Fault::Interaction(code)) = fault {
            return Err(Aadsts::interaction_needed(*code));
        }
        if fault == Some(&Fault::Revoked) {
            return Err(Aadsts::grant_revoked());
        }
        credentials.prove(client, &audiences(state, segment), state.clock.now())?;
        return if grant == "client_credentials" {
            grants::client_credentials(state, &directory, client, segment, &form)
        } else {
            grants::on_behalf_of(state, &directory, client, &form)
        };
    }
    let handle = match grant {
        "authorization_code" => "code",
        "refresh_token" => "refresh_token",
        other => return Err(Aadsts::unsupported_grant(other)),
    };
    let handle = form
        .find(handle)
        .ok_or_else(|| Aadsts::missing_parameter(handle))?;
    let refreshing = grant == "refresh_token";
    let platform = platform(state, client, handle, refreshing);
    check_origin(platform, request)?;
    match platform {
        Platform::Web => {
            credentials.prove(client, &audiences(state, segment), state.clock.now())?;
        }
        Platform::Native | Platform::Spa if credentials.are_none() => {}
        Platform::Native | Platform::Spa => return Err(Aadsts::secret_on_public()),
    }
    check_resource(state, &directory, client, &form, handle, refreshing)?;
    if fault == Some(&Fault::Revoked) {
        return Err(Aadsts::grant_revoked());
    }
    if let Some(Fault::Interaction(code)) = fault {
        return Err(Aadsts::interaction_needed(*code));
    }
    let bound = if refreshing {
        refresh(state, client, handle)?
    } else {
        redeem(state, client, handle, &form)?
    };
    let text = form.find("scope").unwrap_or(&bound.scope);
    let scope = effective_scope(&directory, client, &bound, &form, text)?;
    mint(state, &directory, client, &bound, &scope, text, fault)
}

/// Reads who the client is: from the form, or from HTTP Basic.
fn credentials(form: &Params, request: &Recorded) -> Result<Credentials, Aadsts> {
    let basic = request
        .header(AUTHORIZATION.as_str())
        .and_then(|value| value.strip_prefix("Basic "))
        .and_then(|encoded| STANDARD.decode(encoded).ok())
        .and_then(|decoded| String::from_utf8(decoded).ok());
    let (basic_id, basic_secret) = match basic.as_deref().and_then(|pair| pair.split_once(':')) {
        Some((id, secret)) => (Some(id), Some(secret)),
        None => (None, None),
    };
    let id = form
        .find("client_id")
        .or(basic_id)
        .ok_or_else(|| Aadsts::missing_parameter("client_id"))?;
    let secret = form.find("client_secret").or(basic_secret);
    let assertion = form.find("client_assertion");
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    if assertion.is_some() && form.find("client_assertion_type") != Some(kind) {
        return Err(Aadsts::missing_parameter("client_assertion_type"));
    }
    Ok(Credentials {
        id: id.to_owned(),
        secret: secret.map(str::to_owned),
        assertion: assertion.map(str::to_owned),
    })
}

/// What stands for this endpoint in the `aud` of an assertion.
fn audiences(state: &State, segment: &str) -> [String; 2] {
    let base = format!("{}/{segment}", state.authority);
    [format!("{base}/oauth2/v2.0/token"), format!("{base}/v2.0")]
}

/// Returns the platform that a code or refresh token belongs to, or else the client's own.
fn platform(state: &State, client: &App, handle: &str, refreshing: bool) -> Platform {
    let bound = if refreshing {
        lock(&state.refresh_tokens)
            .find(handle)
            .map(|refresh| refresh.platform)
    } else {
        lock(&state.codes).find(handle).map(|code| code.platform)
    };
    bound.unwrap_or_else(|| {
        let native = client
            .redirects
            .iter()
            .find(|(platform, _)| *platform == Platform::Native);
        native
            .or_else(|| client.redirects.first())
            .map_or(Platform::Native, |(platform, _)| *platform)
    })
}

fn check_origin(platform: Platform, request: &Recorded) -> Result<(), Aadsts> {
    match (platform, request.header(ORIGIN.as_str())) {
        (Platform::Spa, None) => Err(Aadsts::same_origin()),
        (Platform::Native | Platform::Web, Some(origin)) => Err(Aadsts::cross_origin(origin)),
        (Platform::Spa, Some(_)) | (_, None) => Ok(()),
    }
}

/// Holds a `resource` against the scope of the request, or against the one bound before.
fn check_resource(
    state: &State,
    directory: &Directory,
    client: &App,
    form: &Params,
    handle: &str,
    refreshing: bool,
) -> Result<(), Aadsts> {
    let Some(resource) = form.find("resource") else {
        return Ok(());
    };
    match state.settings.resource_mode {
        ResourceMode::Ignore => Ok(()),
        ResourceMode::Legacy => Err(Aadsts::resource_unsupported()),
        ResourceMode::Enforce => {
            let bound = if refreshing {
                lock(&state.refresh_tokens)
                    .find(handle)
                    .map(|refresh| refresh.scope.clone())
            } else {
                lock(&state.codes)
                    .find(handle)
                    .map(|code| code.scope.clone())
            };
            let text = form.find("scope").map(str::to_owned).or(bound);
            let admitted = text
                .and_then(|text| Scope::parse(&text, client, directory).ok())
                .is_some_and(|scope| scope.admits_resource(resource, directory));
            if admitted {
                Ok(())
            } else {
                Err(Aadsts::resource_mismatch())
            }
        }
    }
}

/// Takes a code, which ends it even when a later check fails.
fn redeem(state: &State, client: &App, handle: &str, form: &Params) -> Result<Bound, Aadsts> {
    let now = state.clock.now();
    let mut codes = lock(&state.codes);
    let code = codes.find_mut(handle).ok_or_else(Aadsts::code_malformed)?;
    if code.redeemed {
        return Err(Aadsts::code_redeemed());
    }
    if now.saturating_sub(code.issued) > seconds(state.settings.code_lifetime) {
        return Err(Aadsts::grant_expired());
    }
    if code.client != client.id {
        return Err(Aadsts::client_mismatch());
    }
    let given = form.find("redirect_uri").unwrap_or_default();
    if given != code.redirect_uri {
        return Err(Aadsts::reply_address_mismatch(given, &code.redirect_uri));
    }
    check_verifier(code, form.find("code_verifier"))?;
    code.redeemed = true;
    Ok(Bound {
        client: code.client.clone(),
        oid: code.oid.clone(),
        scope: code.scope.clone(),
        nonce: code.nonce.clone(),
        platform: code.platform,
        refreshing: false,
    })
}

fn check_verifier(code: &Code, verifier: Option<&str>) -> Result<(), Aadsts> {
    let (Some(challenge), Some(verifier)) = (&code.challenge, verifier) else {
        return if code.challenge.is_none() && verifier.is_none() {
            Ok(())
        } else {
            Err(Aadsts::verifier_missing())
        };
    };
    if challenge.is_met_by(verifier) {
        Ok(())
    } else {
        Err(Aadsts::verifier_mismatch())
    }
}

/// Uses a refresh token, which does not end it.
fn refresh(state: &State, client: &App, handle: &str) -> Result<Bound, Aadsts> {
    let now = state.clock.now();
    let tokens = lock(&state.refresh_tokens);
    let token = tokens.find(handle).ok_or_else(Aadsts::code_malformed)?;
    if token.revoked {
        return Err(Aadsts::grant_revoked());
    }
    // Fixed for a script in a browser, whatever the tenant allows others.
    let lifetime = match token.platform {
        Platform::Spa => 86_400,
        Platform::Native | Platform::Web => seconds(state.settings.refresh_lifetime),
    };
    if now.saturating_sub(token.issued) > lifetime {
        return Err(Aadsts::grant_expired());
    }
    if token.client != client.id {
        return Err(Aadsts::client_mismatch());
    }
    Ok(Bound {
        client: token.client.clone(),
        oid: token.oid.clone(),
        scope: token.scope.clone(),
        nonce: None,
        platform: token.platform,
        refreshing: true,
    })
}

/// Reads the scope that tokens are minted for, and makes the checks on it.
fn effective_scope(
    directory: &Directory,
    client: &App,
    bound: &Bound,
    form: &Params,
    text: &str,
) -> Result<Scope, Aadsts> {
    let scope = Scope::parse(text, client, directory)?;
    if scope.apis.len() > 1 {
        return Err(if form.find("scope").is_some() {
            Aadsts::several_resources(text)
        } else {
            Aadsts::several_resources_bound()
        });
    }
    let missing = scope.not_consented(client, &bound.oid, directory);
    if !missing.is_empty() {
        return Err(Aadsts::consent_needed(
            "invalid_grant",
            &client.id,
            &client.name,
        ));
    }
    let for_itself = scope
        .apis
        .iter()
        .any(|asked| asked.resource == client.id && asked.form == Form::Uri);
    if bound.refreshing && for_itself {
        return Err(Aadsts::token_for_itself(&client.id, &client.name));
    }
    Ok(scope)
}

/// Adds the headers of the real endpoint, cookies included.
fn decorate(response: &mut Response<Body>) {
    let id = uuid::Uuid::new_v4().to_string();
    for (name, value) in [
        ("cache-control", "no-store, no-cache"),
        ("pragma", "no-cache"),
        ("expires", "-1"),
        (
            "strict-transport-security",
            "max-age=31536000; includeSubDomains",
        ),
        ("x-content-type-options", "nosniff"),
        ("p3p", "CP=\"DSP CUR OTPi IND OTRi ONL FIN\""),
        ("x-ms-request-id", id.as_str()),
        ("x-ms-ests-server", "2.1.11513.17 - WUS2 ProdSlices"),
        ("x-xss-protection", "0"),
    ] {
        reply::set(response, name, value);
    }
    let cookies = [
        format!(
            "fpc={}; expires=Tue, 22-Dec-2026 00:00:00 GMT; path=/; secure; HttpOnly; SameSite=None",
            random::text(24)
        ),
        format!(
            "esctx={}; domain=.login.microsoftonline.com; path=/; secure; HttpOnly; SameSite=None",
            random::text(120)
        ),
        "x-ms-gateway-slice=estsfd; path=/; secure; HttpOnly".to_owned(),
        "stsservicecookie=estsfd; path=/; secure; HttpOnly".to_owned(),
    ];
    for cookie in cookies {
        if let Ok(value) = cookie.parse() {
            response.headers_mut().append("set-cookie", value);
        }
    }
}
