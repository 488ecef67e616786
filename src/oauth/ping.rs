//! Ping Identity: an environment of `PingOne`, or a `PingFederate` server.
//!
//! Which of the two follows from the issuer: that of a `PingOne` environment ends in `/as`.

use super::provider::{Audience, Bearer, Places, Slash, Table};

pub(super) const TABLE: Table = Table {
    name: "ping",
    issuer: None,
    slash: Slash::Never,
    example: "https://auth.pingone.eu/72f988bf-86f1-41af-91ab-2d7cd011db47/as",
    domain: false,
    endpoints: |issuer, _| {
        Some(if issuer.ends_with("/as") {
            Places {
                authorize: format!("{issuer}/authorize"),
                token: format!("{issuer}/token"),
                jwks: format!("{issuer}/jwks"),
            }
        } else {
            Places {
                authorize: format!("{issuer}/as/authorization.oauth2"),
                token: format!("{issuer}/as/token.oauth2"),
                jwks: format!("{issuer}/pf/JWKS"),
            }
        })
    },
    bearers: &[Bearer::AccessToken, Bearer::IdToken],
    audience: Audience::Api,
    sends_audience: false,
    access_claims: &[],
    id_claims: &[],
    scopes: &["openid", "profile", "email", "offline_access"],
    refuses: &[],
    parameters: &[],
};
