//! The grants of applications that act by themselves: on behalf of a user whose token they were
//! given, and in their own name.

use serde_json::Value;

use super::confidential::signed_by;
use super::directory::{App, Directory, GRAPH, Platform};
use super::error::Aadsts;
use super::mint::{Bound, Tokens, application_token, mint};
use super::scope::Scope;
use super::state::State;
use crate::params::Params;

/// `urn:ietf:params:oauth:grant-type:jwt-bearer`: a token for another API, for the same user.
pub(super) fn on_behalf_of(
    state: &State,
    directory: &Directory,
    client: &App,
    form: &Params,
) -> Result<Tokens, Aadsts> {
    let needed = |name| {
        form.find(name)
            .ok_or_else(|| Aadsts::missing_parameter(name))
    };
    let assertion = needed("assertion")?;
    if needed("requested_token_use")? != "on_behalf_of" {
        return Err(Aadsts::unsupported_grant("jwt-bearer"));
    }
    let text = needed("scope")?;
    let published = state.published();
    let claims = signed_by(assertion, published.iter().map(|key| key.modulus()))
        .ok_or_else(Aadsts::assertion_signature)?;
    let claim = |name: &str| claims.get(name).and_then(Value::as_str);
    if claim("scp").is_none() {
        return Err(Aadsts::assertion_is_id_token());
    }
    let audience = claim("aud").unwrap_or_default();
    if audience != client.id && !client.identifier_uris.iter().any(|uri| uri == audience) {
        return Err(Aadsts::assertion_for_another(audience, &client.id));
    }
    let ends = claims.get("exp").and_then(Value::as_i64).unwrap_or(0);
    if ends <= state.clock.now() {
        return Err(Aadsts::assertion_expired());
    }
    let user = claim("oid")
        .and_then(|oid| directory.user(oid))
        .ok_or_else(Aadsts::grant_revoked)?;
    let mut scope = Scope::parse(text, client, directory)?;
    if scope.apis.len() > 1 {
        return Err(Aadsts::several_resources(text));
    }
    for asked in &mut scope.apis {
        // `.default` is whatever was consented to before, of that API.
        if asked.names.iter().any(|name| name == ".default") {
            asked.names = directory.granted(&client.id, &asked.resource, &user.oid);
            if asked.names.is_empty() {
                return Err(not_consented(client));
            }
        }
    }
    let missing = scope.not_consented(client, &user.oid, directory);
    if missing
        .iter()
        .any(|(resource, name)| resource != GRAPH || name.contains('.'))
    {
        return Err(not_consented(client));
    }
    let bound = Bound {
        client: client.id.clone(),
        oid: user.oid.clone(),
        scope: text.to_owned(),
        nonce: None,
        platform: Platform::Web,
        refreshing: false,
    };
    mint(state, directory, client, &bound, &scope, text, None)
}

fn not_consented(client: &App) -> Aadsts {
    Aadsts::consent_needed("invalid_grant", &client.id, &client.name)
}

/// `client_credentials`: a token for an API, for no user.
pub(super) fn client_credentials(
    state: &State,
    directory: &Directory,
    client: &App,
    segment: &str,
    form: &Params,
) -> Result<Tokens, Aadsts> {
    let text = form
        .find("scope")
        .ok_or_else(|| Aadsts::missing_parameter("scope"))?;
    let scope = Scope::parse(text, client, directory)?;
    let [asked] = scope.apis.as_slice() else {
        return Err(Aadsts::default_needed(text));
    };
    if asked.names != [".default"] {
        return Err(Aadsts::default_needed(text));
    }
    let api = directory
        .app(&asked.resource)
        .ok_or_else(Aadsts::code_malformed)?;
    // An application has no home to find: the tenant must be named.
    let tenant = directory
        .tenant_named(segment)
        .ok_or_else(|| Aadsts::unknown_tenant(segment))?;
    Ok(application_token(state, client, api, tenant))
}
