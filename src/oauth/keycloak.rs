//! Keycloak, one realm.
//!
//! Its trusted-hosts policy refuses most registrations, and its access tokens name `account` as the
//! audience until an audience mapper adds the client. Id tokens name the client, too; `typ` tells the
//! two apart.

use super::provider::{Audience, Bearer, Places, Slash, Table};

pub(super) const TABLE: Table = Table {
    name: "keycloak",
    issuer: None,
    slash: Slash::Never,
    example: "https://id.example.com/realms/acme",
    domain: false,
    endpoints: |issuer, _| {
        let base = format!("{issuer}/protocol/openid-connect");
        Some(Places {
            authorize: format!("{base}/auth"),
            token: format!("{base}/token"),
            jwks: format!("{base}/certs"),
        })
    },
    bearers: &[Bearer::AccessToken, Bearer::IdToken],
    audience: Audience::Client,
    sends_audience: false,
    access_claims: &[("typ", "Bearer")],
    id_claims: &[("typ", "ID")],
    scopes: &["openid", "profile", "email", "offline_access"],
    refuses: &[],
    parameters: &[],
};
