//! Okta with a custom authorization server (`/oauth2/default` or one of your own).
//!
//! Okta registers clients for holders of an SSWS token only, so every client shares one registered
//! public client. The tokens of the organization's own authorization server are opaque: the issuer
//! must be a custom one, whose audience every access token carries. A refresh token comes with
//! `offline_access`.

use super::provider::{Audience, Bearer, Places, Slash, Table};

pub(super) const TABLE: Table = Table {
    name: "okta",
    issuer: None,
    slash: Slash::Never,
    example: "https://acme.okta.com/oauth2/default",
    domain: false,
    endpoints: |issuer, _| {
        Some(Places {
            authorize: format!("{issuer}/v1/authorize"),
            token: format!("{issuer}/v1/token"),
            jwks: format!("{issuer}/v1/keys"),
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
