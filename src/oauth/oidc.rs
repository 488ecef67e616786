//! Any OpenID Connect provider whose tokens are signed with RS256.
//!
//! Nothing is known of it, so its endpoints are written down. They are not discovered: a gateway
//! that needs the provider to start would not start when the provider is down.

use super::provider::{Audience, Bearer, Slash, Table};

pub(super) const TABLE: Table = Table {
    name: "oidc",
    issuer: None,
    slash: Slash::Either,
    example: "https://id.example.com",
    domain: false,
    endpoints: |_, _| None,
    bearers: &[Bearer::AccessToken, Bearer::IdToken],
    audience: Audience::Api,
    sends_audience: false,
    access_claims: &[],
    id_claims: &[],
    scopes: &["openid", "profile", "email", "offline_access"],
    refuses: &[],
    parameters: &[],
};
