//! The tokens of one answer: which there are, for whom, and what is said about them.

use serde::Serialize;

use super::claims::{self, Subject, Validity};
use super::directory::{App, Directory, GRAPH, Platform, User};
use super::error::Aadsts;
use super::fault::Fault;
use super::scope::Scope;
use super::state::{GraphAccess, Refresh, State, seconds};
use crate::jws;
use crate::net::lock;
use crate::random;

/// What a code or a refresh token was issued for.
pub(super) struct Bound {
    pub(super) client: String,
    pub(super) oid: String,
    pub(super) scope: String,
    pub(super) nonce: Option<String>,
    pub(super) platform: Platform,
    pub(super) refreshing: bool,
}

/// A success, in the order in which Entra writes it.
#[derive(Serialize)]
pub(super) struct Tokens {
    token_type: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    scope: String,
    expires_in: i64,
    ext_expires_in: i64,
    access_token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<String>,
}

/// Mints what the scope asks for; `fault` may leave something out.
pub(super) fn mint(
    state: &State,
    directory: &Directory,
    client: &App,
    bound: &Bound,
    scope: &Scope,
    text: &str,
    fault: Option<&Fault>,
) -> Result<Tokens, Aadsts> {
    let user: &User = directory
        .user(&bound.oid)
        .ok_or_else(Aadsts::grant_revoked)?;
    let asked = scope.apis.first();
    let api = directory
        .app(asked.map_or(GRAPH, |asked| asked.resource.as_str()))
        .ok_or_else(Aadsts::code_malformed)?;
    let key = state.key(0);
    let now = state.clock.now();
    let tenant = directory.tenant_of(user);
    let issuer = state.issuer(tenant);
    let subject = Subject {
        tenant,
        issuer: &issuer,
        client,
        user,
    };
    let lifetime = match state.settings.access_lifetime {
        Some(lifetime) => seconds(lifetime),
        None => i64::from(3_600 + random::below(1_800)),
    };
    let scp = asked.map_or_else(
        || without_offline_access(scope).join(" "),
        |asked| asked.names.join(" "),
    );
    let access_token = claims::access_token(
        &key,
        &subject,
        api,
        &scp,
        Validity {
            now,
            expires: now + lifetime,
        },
    );
    if api.id == GRAPH {
        lock(&state.graph_tokens).insert(
            access_token.clone(),
            GraphAccess {
                tenant: tenant.to_owned(),
                user: Some(user.oid.clone()),
                permissions: Vec::new(),
                expires: now + lifetime,
            },
        );
    }
    let id_token = scope.has_oidc("openid").then(|| {
        let validity = Validity {
            now,
            expires: now + seconds(state.settings.id_lifetime),
        };
        let email = scope.has_oidc("email");
        jws::sign(
            &key,
            &claims::id_token(&subject, validity, bound.nonce.as_deref(), email),
        )
    });
    let id_token = match fault {
        Some(Fault::NoIdToken) => None,
        Some(Fault::IdToken(other)) => Some(other.clone()),
        _ => id_token,
    };
    let refresh_token = scope.has_oidc("offline_access").then(|| {
        let token = format!("1.A{}", random::text(700));
        lock(&state.refresh_tokens).insert(
            token.clone(),
            Refresh {
                client: bound.client.clone(),
                oid: bound.oid.clone(),
                scope: text.to_owned(),
                platform: bound.platform,
                issued: now,
                revoked: false,
            },
        );
        token
    });
    Ok(Tokens {
        token_type: "Bearer",
        scope: echo(scope, api),
        expires_in: lifetime - 1,
        ext_expires_in: lifetime - 1,
        access_token,
        refresh_token,
        id_token,
    })
}

/// Mints a token for an application itself.
pub(super) fn application_token(state: &State, client: &App, api: &App, tenant: &str) -> Tokens {
    let now = state.clock.now();
    let lifetime = state.settings.access_lifetime.map_or(3_600, seconds);
    let validity = Validity {
        now,
        expires: now + lifetime,
    };
    let issuer = state.issuer(tenant);
    let key = state.key(0);
    let access_token = claims::application_token(&key, (tenant, &issuer), client, api, validity);
    if api.id == GRAPH {
        lock(&state.graph_tokens).insert(
            access_token.clone(),
            GraphAccess {
                tenant: tenant.to_owned(),
                user: None,
                permissions: client.permissions.clone(),
                expires: validity.expires,
            },
        );
    }
    Tokens {
        token_type: "Bearer",
        scope: String::new(),
        expires_in: lifetime - 1,
        ext_expires_in: lifetime - 1,
        access_token,
        refresh_token: None,
        id_token: None,
    }
}

fn without_offline_access(scope: &Scope) -> Vec<&str> {
    scope
        .oidc
        .iter()
        .map(String::as_str)
        .filter(|name| *name != "offline_access")
        .collect()
}

/// Writes the granted scopes: with their prefix, except for Graph, whose answers also name the
/// scopes of OpenID Connect.
fn echo(scope: &Scope, api: &App) -> String {
    let names = scope.apis.iter().flat_map(|asked| &asked.names);
    if api.id == GRAPH {
        let names = names.map(String::as_str);
        names
            .chain(without_offline_access(scope))
            .collect::<Vec<_>>()
            .join(" ")
    } else {
        let prefix = api.identifier_uris.first().unwrap_or(&api.id);
        names
            .map(|name| format!("{prefix}/{name}"))
            .collect::<Vec<_>>()
            .join(" ")
    }
}
