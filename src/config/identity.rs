//! Whose tokens are accepted: from a provider's profile, or written out.

use std::collections::BTreeMap;

use super::{
    Endpoint, Identity,
    path::Path,
    provider::{self, AuthorizationServer},
    reader::Reader,
    sections,
};
use crate::{
    oauth::{self, Entra},
    oidc,
};

const ENTRA: &str = "authorization_server.entra";

/// Reads `authorization_server` or `identity`.
pub(super) fn read(reader: &mut Reader<'_>) -> (Option<AuthorizationServer>, Option<Identity>) {
    let root = Path::root();
    let section = root.key("authorization_server");
    let written = reader.root.find("identity");
    if written.is_some() && reader.root.find("authorization_server").is_some() {
        let what = "expected `authorization_server` or `identity`, found both";
        reader.problem("identity", what);
    }
    match sections::provider(reader) {
        Some(("entra", node)) => {
            let entra: Option<oauth::Entra> = reader.read(node, &section.key("entra"));
            if let Some(entra) = &entra {
                check_entra(reader, entra);
            }
            let identity = entra.as_ref().and_then(entra_identity);
            return (entra.map(AuthorizationServer::Entra), identity);
        }
        Some((name, node)) => {
            let settings: Option<oauth::ProviderSettings> = reader.read(node, &section.key(name));
            let provider = settings.and_then(|settings| provider::read(reader, name, settings));
            let identity = provider.as_ref().and_then(provider::identity);
            return (provider.map(AuthorizationServer::Other), identity);
        }
        None => {}
    }
    let identity: Option<Identity> =
        written.and_then(|node| reader.read(node, &root.key("identity")));
    if let Some(identity) = &identity {
        check_identity(reader, identity);
    }
    (None, identity)
}

fn check_identity(reader: &mut Reader<'_>, identity: &Identity) {
    let lacks = |texts: &[String]| texts.iter().any(String::is_empty);
    for (key, empty) in [
        ("issuer", identity.issuer.is_empty()),
        ("tenant", identity.tenant.as_deref() == Some("")),
        ("tenants", lacks(&identity.tenants)),
        (
            "audiences",
            identity.audiences.is_empty() || lacks(&identity.audiences),
        ),
    ] {
        if empty {
            reader.problem(
                &format!("identity.{key}"),
                "expected a value, found nothing",
            );
        }
    }
    if identity.tenant.is_some() && !identity.tenants.is_empty() {
        let what = "expected `tenant` or `tenants`, found both";
        reader.problem("identity.tenants", what);
    }
    if identity.issuer.contains("{tenantid}") && identity.tenants().is_empty() {
        let what = "the issuer stands for every tenant, and none is named";
        let help = "list the ids of the tenants whose tokens are accepted as `tenants`";
        reader.problem_help("identity.issuer", what, help);
    }
}

fn entra_identity(entra: &Entra) -> Option<Identity> {
    let endpoints = entra.endpoints();
    let mut tenants = entra.tenants();
    let tenant = match tenants.as_slice() {
        [_] if !endpoints.issuer.contains("{tenantid}") => tenants.pop(),
        _ => None,
    };
    Some(Identity {
        issuer: endpoints.issuer,
        v1_issuer: entra.v1_tokens.then_some(endpoints.v1_issuer),
        audiences: vec![entra.client_id.as_str().to_owned()],
        audience_claim: oidc::AUDIENCE.to_owned(),
        claims: BTreeMap::new(),
        tenant,
        tenants,
        jwks_uri: Endpoint::parse(&endpoints.jwks).ok()?,
        scopes: entra.challenge_scopes(),
    })
}

fn check_entra(reader: &mut Reader<'_>, entra: &Entra) {
    for problem in entra.authority_problems() {
        let at = format!("{ENTRA}.{}", problem.at);
        match problem.help {
            Some(help) => reader.problem_help(&at, problem.what, help),
            None => {
                reader.problem(&at, problem.what);
            }
        }
    }
    if !entra.scopes.iter().any(|scope| scope == "openid") {
        let what = "expected `openid` among the scopes: without it Entra gives no id token";
        reader.problem(&format!("{ENTRA}.scopes"), what);
    }
    if !entra.strip.iter().any(|param| param == "resource") {
        let what = "`resource` reaches Entra, which answers AADSTS9010010 to most clients";
        reader.note(&format!("{ENTRA}.strip"), what);
    }
    match (entra.is_relayed(), &entra.credentials) {
        (false, Some(_)) => {
            let what = "a confidential client needs `authorize: relay`: otherwise whoever steals a \
                        code or a refresh token elsewhere redeems it here, with the gateway's secret";
            let help = "set `authorize: relay`, or leave out `credentials`";
            reader.problem_help(&format!("{ENTRA}.credentials"), what, help);
        }
        (true, credentials) => {
            let platform = if credentials.is_some() {
                "Web"
            } else {
                "Mobile and desktop applications"
            };
            let what = format!(
                "register `/oauth2/callback` of `public_url` as redirect URI of the application, \
                 platform `{platform}`; clients need none there"
            );
            reader.note(&format!("{ENTRA}.authorize"), what);
        }
        (false, None) => {}
    }
    let what = "clients get the id token as their bearer: one app registration is enough, and the token says \
                who signed in to this application, not what the caller may do";
    reader.note(ENTRA, what);
}
