//! Amazon Cognito, one user pool.
//!
//! Its access tokens have no `aud`, but say which client they were issued to and that they are access
//! tokens. Its own metadata says nothing of PKCE, which conforming clients take for a refusal. Refresh
//! tokens come unasked, and the scope `offline_access` is not known. People sign in on the pool's
//! domain, which is not the issuer.

use super::provider::{Audience, Bearer, Places, Slash, Table};

pub(super) const TABLE: Table = Table {
    name: "cognito",
    issuer: None,
    slash: Slash::Never,
    example: "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Ab12Cd34E",
    domain: true,
    endpoints: |issuer, domain| {
        Some(Places {
            authorize: format!("{domain}/oauth2/authorize"),
            token: format!("{domain}/oauth2/token"),
            jwks: format!("{issuer}/.well-known/jwks.json"),
        })
    },
    bearers: &[Bearer::AccessToken, Bearer::IdToken],
    audience: Audience::ClientIdClaim,
    sends_audience: false,
    access_claims: &[("token_use", "access")],
    id_claims: &[("token_use", "id")],
    scopes: &["openid", "profile", "email"],
    refuses: &["offline_access"],
    parameters: &[],
};
