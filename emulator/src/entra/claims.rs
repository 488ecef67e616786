//! The claims of each kind of token, in the order of the samples in Microsoft's documents.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::directory::{App, GRAPH, User};
use super::jwt;
use crate::jws;
use crate::keys::Key;
use crate::random;

/// How far tokens are dated back against clock skew, in seconds.
const BACK_DATED: i64 = 300;

/// Groups beyond which a token carries a pointer instead of the list.
const GROUPS_IN_TOKEN: usize = 200;

/// When a token is valid.
#[derive(Debug, Clone, Copy)]
pub(super) struct Validity {
    pub(super) now: i64,
    pub(super) expires: i64,
}

/// Whom a token is about, and for whom it is.
pub(super) struct Subject<'a> {
    pub(super) tenant: &'a str,
    pub(super) issuer: &'a str,
    pub(super) client: &'a App,
    pub(super) user: &'a User,
}

/// Returns the subject of a person at one application; pairs of both are unlinkable.
fn pairwise(oid: &str, app: &str) -> String {
    let pair = format!("{oid}|{app}|pairwise");
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, pair.as_bytes()))
}

#[derive(Serialize)]
struct IdToken<'a> {
    ver: &'static str,
    iss: &'a str,
    sub: String,
    aud: &'a str,
    exp: i64,
    iat: i64,
    nbf: i64,
    name: &'a str,
    preferred_username: &'a str,
    oid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    tid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
    #[serde(flatten)]
    groups: Map<String, Value>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    roles: &'a [String],
    aio: String,
    rh: String,
    uti: String,
    sid: String,
}

/// `groups`, or the pointer that replaces it when there are too many.
fn groups(subject: &Subject<'_>, app: &App) -> Map<String, Value> {
    let mut claims = Map::new();
    let user = subject.user;
    if !app.group_claims || user.groups.is_empty() {
        return claims;
    }
    if user.groups.len() <= GROUPS_IN_TOKEN {
        claims.insert("groups".to_owned(), user.groups.clone().into());
    } else {
        let endpoint = format!(
            "https://graph.windows.net/{}/users/{}/getMemberObjects",
            subject.tenant, user.oid
        );
        claims.insert("_claim_names".to_owned(), json!({"groups": "src1"}));
        claims.insert(
            "_claim_sources".to_owned(),
            json!({"src1": {"endpoint": endpoint}}),
        );
    }
    claims
}

/// Returns the claims of an id token.
pub(super) fn id_token<'a>(
    subject: &Subject<'a>,
    validity: Validity,
    nonce: Option<&'a str>,
    email: bool,
) -> impl Serialize + use<'a> {
    let Subject {
        tenant,
        issuer,
        client,
        user,
    } = subject;
    IdToken {
        ver: "2.0",
        iss: issuer,
        sub: pairwise(&user.oid, &client.id),
        aud: &client.id,
        exp: validity.expires,
        iat: validity.now - BACK_DATED,
        nbf: validity.now - BACK_DATED,
        name: &user.name,
        preferred_username: &user.upn,
        oid: &user.oid,
        email: email.then_some(user.upn.as_str()),
        tid: tenant,
        nonce,
        groups: groups(subject, client),
        roles: &user.roles,
        aio: random::text(60),
        rh: format!("1.A{}", random::text(45)),
        uti: random::text(16),
        sid: uuid::Uuid::new_v4().to_string(),
    }
}

#[derive(Serialize)]
struct AccessV2<'a> {
    aud: &'a str,
    iss: &'a str,
    iat: i64,
    nbf: i64,
    exp: i64,
    aio: String,
    azp: &'a str,
    azpacr: &'static str,
    name: &'a str,
    oid: &'a str,
    preferred_username: &'a str,
    rh: String,
    scp: &'a str,
    sub: String,
    tid: &'a str,
    uti: String,
    ver: &'static str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    roles: &'a [String],
    #[serde(flatten)]
    groups: Map<String, Value>,
}

#[derive(Serialize)]
struct AccessV1<'a> {
    aud: &'a str,
    iss: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    acr: &'static str,
    aio: String,
    amr: [&'static str; 2],
    #[serde(skip_serializing_if = "Option::is_none")]
    app_displayname: Option<&'a str>,
    appid: &'a str,
    appidacr: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    idtyp: Option<&'static str>,
    ipaddr: &'static str,
    name: &'a str,
    oid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    puid: Option<&'static str>,
    rh: String,
    scp: &'a str,
    sub: String,
    tid: &'a str,
    unique_name: &'a str,
    upn: &'a str,
    uti: String,
    ver: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    wids: Option<[&'static str; 1]>,
}

/// Mints an access token for `api`, in the version that the API asks for.
pub(super) fn access_token(
    key: &Key,
    subject: &Subject<'_>,
    api: &App,
    scp: &str,
    validity: Validity,
) -> String {
    let Subject {
        tenant,
        issuer,
        client,
        user,
    } = subject;
    let issued = validity.now - BACK_DATED;
    let secret = if client.secrets.is_empty() { "0" } else { "1" };
    if api.token_version >= 2 {
        let claims = AccessV2 {
            aud: &api.id,
            iss: issuer,
            iat: issued,
            nbf: issued,
            exp: validity.expires,
            aio: random::text(60),
            azp: &client.id,
            azpacr: secret,
            name: &user.name,
            oid: &user.oid,
            preferred_username: &user.upn,
            rh: format!("1.A{}", random::text(45)),
            scp,
            sub: pairwise(&user.oid, &api.id),
            tid: tenant,
            uti: random::text(16),
            ver: "2.0",
            roles: &user.roles,
            groups: groups(subject, api),
        };
        return jws::sign(key, &claims);
    }
    let for_graph = api.id == GRAPH;
    let claims = AccessV1 {
        aud: match api.identifier_uris.first() {
            Some(uri) if !for_graph => uri,
            _ => &api.id,
        },
        iss: format!("https://sts.windows.net/{tenant}/"),
        iat: issued,
        nbf: issued,
        exp: validity.expires,
        acr: "1",
        aio: random::text(60),
        amr: ["pwd", "mfa"],
        app_displayname: for_graph.then_some(&client.name),
        appid: &client.id,
        appidacr: secret,
        idtyp: for_graph.then_some("user"),
        ipaddr: "127.0.0.1",
        name: &user.name,
        oid: &user.oid,
        puid: for_graph.then_some("10032000A1B2C3D4"),
        rh: format!("1.A{}", random::text(45)),
        scp,
        sub: pairwise(&user.oid, &api.id),
        tid: tenant,
        unique_name: &user.upn,
        upn: &user.upn,
        uti: random::text(16),
        ver: "1.0",
        wids: for_graph.then_some(["b79fbf4d-3ef9-4689-8143-76b194e85509"]),
    };
    if for_graph {
        jwt::sign_for_graph(key, &random::text(82), &claims)
    } else {
        jwt::sign_v1(key, &claims)
    }
}

/// Mints a token for an application itself; it says so with `idtyp`, and names no user.
pub(super) fn application_token(
    key: &Key,
    (tenant, issuer): (&str, &str),
    client: &App,
    api: &App,
    validity: Validity,
) -> String {
    let issued = validity.now - BACK_DATED;
    let oid = pairwise(&client.id, tenant);
    let mut claims = json!({
        "aud": api.id,
        "iss": issuer,
        "iat": issued,
        "nbf": issued,
        "exp": validity.expires,
        "idtyp": "app",
        "oid": oid,
        "roles": client.permissions,
        "sub": oid,
        "tid": tenant,
        "uti": random::text(16),
    });
    if let Some(claims) = claims.as_object_mut() {
        let (version, name) = if api.token_version >= 2 {
            ("2.0", "azp")
        } else {
            ("1.0", "appid")
        };
        claims.insert("ver".to_owned(), version.into());
        claims.insert(name.to_owned(), client.id.clone().into());
        if api.token_version < 2 {
            let issuer = format!("https://sts.windows.net/{tenant}/");
            claims.insert("iss".to_owned(), issuer.into());
        }
    }
    if api.id == GRAPH {
        jwt::sign_for_graph(key, &random::text(82), &claims)
    } else {
        jws::sign(key, &claims)
    }
}
