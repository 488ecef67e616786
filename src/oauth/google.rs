//! Google.
//!
//! Its access tokens are opaque, so clients get the id token. It refuses the scope `offline_access`
//! and gives a refresh token for `access_type=offline`, the second time only with `prompt=consent`.

use super::provider::{Audience, Bearer, Places, Slash, Table};

pub(super) const TABLE: Table = Table {
    name: "google",
    issuer: Some("https://accounts.google.com"),
    slash: Slash::Never,
    example: "https://accounts.google.com",
    domain: false,
    endpoints: |_, _| {
        Some(Places {
            authorize: "https://accounts.google.com/o/oauth2/v2/auth".to_owned(),
            token: "https://oauth2.googleapis.com/token".to_owned(),
            jwks: "https://www.googleapis.com/oauth2/v3/certs".to_owned(),
        })
    },
    bearers: &[Bearer::IdToken],
    audience: Audience::Client,
    sends_audience: false,
    access_claims: &[],
    id_claims: &[],
    scopes: &["openid", "profile", "email"],
    refuses: &["offline_access"],
    parameters: &[("access_type", "offline"), ("prompt", "consent")],
};
