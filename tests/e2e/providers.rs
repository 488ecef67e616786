//! Sign-in through providers other than Entra ID: each of them, with a real client.
//!
//! Where a profile cures something, the same client is also pointed straight at the provider, by
//! metadata that names it, and must fail there.

use mcp_gateway_emulator::{
    client::{ClientError, SignedIn, Step},
    provider::{AUDIENCE, CLIENT_ID, Kind, Provider, Quirks},
};
use serde_json::json;

use crate::world::{World, mcp};

/// The profile of a provider, as short as it can be against a stand-in.
fn profile(kind: Kind, provider: &Provider) -> String {
    let (issuer, origin) = (provider.issuer(), provider.origin());
    let endpoints = format!(
        "authorization_endpoint: \"{}\", token_endpoint: \"{}\", jwks_uri: \"{}\"",
        provider.authorization_endpoint(),
        provider.token_endpoint(),
        provider.jwks_uri()
    );
    let (name, more) = match kind {
        Kind::Okta => ("okta", format!("audience: \"{AUDIENCE}\"")),
        Kind::Auth0 => ("auth0", format!("audience: \"{AUDIENCE}\"")),
        Kind::Keycloak => ("keycloak", String::new()),
        Kind::Google => ("google", endpoints),
        Kind::Cognito => ("cognito", format!("domain: \"{origin}\"")),
        Kind::Ping => ("ping", format!("audience: \"{AUDIENCE}\"")),
        Kind::Plain => ("oidc", format!("audience: \"{AUDIENCE}\", {endpoints}")),
    };
    format!(
        "authorization_server: {{ {name}: {{ client_id: {CLIENT_ID}, issuer: \"{issuer}\", {more} }} }}"
    )
}

async fn world(section: &str) -> World {
    World::builder()
        .signs_in(section)
        .workload("github")
        .route("/mcp")
        .start()
        .await
}

/// A resource whose metadata names the provider itself, and that accepts what a profile accepts.
async fn world_without_profile(kind: Kind, provider: &Provider) -> World {
    let (audience, more) = match kind {
        Kind::Keycloak | Kind::Google => (CLIENT_ID, ""),
        Kind::Cognito => (
            CLIENT_ID,
            "audience_claim: client_id, claims: {token_use: access}, ",
        ),
        _ => (AUDIENCE, ""),
    };
    let (issuer, jwks) = (provider.issuer(), provider.jwks_uri());
    let identity = format!(
        "identity: {{ issuer: \"{issuer}\", audiences: [\"{audience}\"], {more}jwks_uri: \"{jwks}\", \
         scopes: [openid, email] }}"
    );
    let gateway = crate::world::reserve();
    let public = format!("http://{}", gateway.local_addr().unwrap());
    drop(gateway);
    let server = issuer.trim_end_matches('/');
    let metadata = format!(
        "{{ path: /.well-known/oauth-protected-resource/mcp, filters: [{{ protected_resource: \
         {{ resource: \"{public}/mcp\", authorization_servers: [\"{server}\"], \
         scopes: [openid, email] }} }}] }}"
    );
    World::builder()
        .signs_in(&identity)
        .workload("github")
        .route("/mcp")
        .yaml_route(&metadata)
        .public_url(&public)
        .start()
        .await
}
