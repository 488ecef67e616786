//! Where providers differ, as switches.

use super::AUDIENCE;

/// A provider whose differences are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Okta, a custom authorization server.
    Okta,
    /// Auth0.
    Auth0,
    /// Keycloak with an audience mapper for the client.
    Keycloak,
    /// Google.
    Google,
    /// A user pool of Amazon Cognito.
    Cognito,
    /// An environment of `PingOne`.
    Ping,
    /// None of these: as the standards have it, with registration refused.
    Plain,
}

/// What an access token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// A JWT for this audience.
    Jwt(&'static str),
    /// A JWT for the API that the request named by `audience`; opaque when it named none.
    OnRequest,
    /// A JWT without `aud`, which says `client_id` and `token_use`.
    WithoutAudience,
    /// Never a JWT.
    Opaque,
}

/// What brings a refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresh {
    /// The scope `offline_access`.
    OfflineAccess,
    /// `access_type=offline`, and after the first consent also `prompt=consent`.
    AccessType,
    /// Nothing: it always comes.
    Always,
}

/// The switches, each of which a test may turn.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own, and tests turn them one by one"
)]
pub struct Quirks {
    /// The path of the issuer; `/` for one that ends in a slash, empty for a bare origin.
    pub issuer: String,
    /// The path of the authorization endpoint.
    pub authorize: String,
    /// The path of the token endpoint.
    pub token: String,
    /// The path of the keys.
    pub keys: String,
    /// The path of a registration endpoint, which refuses everybody; `None` when there is none.
    pub registration: Option<String>,
    /// Whether the metadata names the methods of PKCE.
    pub pkce_in_metadata: bool,
    /// Whether the metadata is there in the form of RFC 8414, too.
    pub rfc8414: bool,
    /// What an access token is.
    pub access: Access,
    /// What brings a refresh token.
    pub refresh: Refresh,
    /// Whether a refresh token comes with every refresh.
    pub rotates: bool,
    /// Whether `resource` is refused as `invalid_target`.
    pub refuses_resource: bool,
    /// The secret without which no token is given out.
    pub secret: Option<String>,
    /// Whether the redirect carries `iss` (RFC 9207).
    pub emits_iss: bool,
    /// Claims that mark access tokens.
    pub access_claims: Vec<(&'static str, &'static str)>,
    /// Claims that mark id tokens.
    pub id_claims: Vec<(&'static str, &'static str)>,
}

impl Quirks {
    /// Returns the switches of a provider.
    #[must_use]
    pub fn of(kind: Kind) -> Self {
        let plain = Self::plain();
        match kind {
            Kind::Plain => plain,
            Kind::Okta => Self {
                registration: Some("/oauth2/v1/clients".to_owned()),
                ..plain.below("/oauth2/default", ["v1/authorize", "v1/token", "v1/keys"])
            },
            Kind::Auth0 => Self {
                issuer: "/".to_owned(),
                registration: Some("/oidc/register".to_owned()),
                access: Access::OnRequest,
                ..plain.below("", ["authorize", "oauth/token", ".well-known/jwks.json"])
            },
            Kind::Keycloak => {
                let realm = "/realms/acme";
                let below = |name| format!("protocol/openid-connect/{name}");
                let [authorize, token, keys] = ["auth", "token", "certs"].map(below);
                Self {
                    registration: Some(format!("{realm}/clients-registrations/openid-connect")),
                    access: Access::Jwt(super::CLIENT_ID),
                    access_claims: vec![("typ", "Bearer")],
                    id_claims: vec![("typ", "ID")],
                    ..plain.below(realm, [&authorize, &token, &keys])
                }
            }
            Kind::Google => Self {
                registration: None,
                rfc8414: false,
                access: Access::Opaque,
                refresh: Refresh::AccessType,
                rotates: false,
                ..plain.below("", ["o/oauth2/v2/auth", "token", "oauth2/v3/certs"])
            },
            Kind::Cognito => Self {
                issuer: "/eu-west-1_Example01".to_owned(),
                keys: "/eu-west-1_Example01/.well-known/jwks.json".to_owned(),
                registration: None,
                pkce_in_metadata: false,
                rfc8414: false,
                access: Access::WithoutAudience,
                refresh: Refresh::Always,
                rotates: false,
                access_claims: vec![("token_use", "access")],
                id_claims: vec![("token_use", "id")],
                ..plain.below("", ["oauth2/authorize", "oauth2/token", "keys"])
            },
            Kind::Ping => Self {
                registration: None,
                ..plain.below(
                    "/1f2e3d4c-0000-4000-8000-000000000001/as",
                    ["authorize", "token", "jwks"],
                )
            },
        }
    }

    fn plain() -> Self {
        Self {
            issuer: String::new(),
            authorize: "/authorize".to_owned(),
            token: "/token".to_owned(),
            keys: "/jwks".to_owned(),
            registration: Some("/register".to_owned()),
            pkce_in_metadata: true,
            rfc8414: true,
            access: Access::Jwt(AUDIENCE),
            refresh: Refresh::OfflineAccess,
            rotates: true,
            refuses_resource: false,
            secret: None,
            emits_iss: false,
            access_claims: vec![],
            id_claims: vec![],
        }
    }

    fn below(self, issuer: &str, [authorize, token, keys]: [&str; 3]) -> Self {
        Self {
            authorize: format!("{issuer}/{authorize}"),
            token: format!("{issuer}/{token}"),
            keys: format!("{issuer}/{keys}"),
            issuer: issuer.to_owned(),
            ..self
        }
    }

    /// The scopes it knows; any other is refused.
    pub(super) fn scopes(&self) -> &'static [&'static str] {
        const ALL: [&str; 4] = ["openid", "profile", "email", "offline_access"];
        match self.refresh {
            Refresh::OfflineAccess => &ALL,
            Refresh::AccessType | Refresh::Always => ALL.split_at(3).0,
        }
    }
}
