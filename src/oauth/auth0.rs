//! Auth0.
//!
//! Without `audience` its access token is opaque, so every authorization request names the API. A
//! `resource` would be forwarded to the connection behind, or compete with the audience, depending on
//! the tenant's switches: it is dropped. The issuer ends in a slash.

use super::provider::{Audience, Bearer, Places, Slash, Table};

pub(super) const TABLE: Table = Table {
    name: "auth0",
    issuer: None,
    slash: Slash::Always,
    example: "https://acme.eu.auth0.com/",
    domain: false,
    endpoints: |issuer, _| {
        Some(Places {
            authorize: format!("{issuer}/authorize"),
            token: format!("{issuer}/oauth/token"),
            jwks: format!("{issuer}/.well-known/jwks.json"),
        })
    },
    bearers: &[Bearer::AccessToken, Bearer::IdToken],
    audience: Audience::Api,
    sends_audience: true,
    access_claims: &[],
    id_claims: &[],
    scopes: &["openid", "profile", "email", "offline_access"],
    refuses: &[],
    parameters: &[],
};
