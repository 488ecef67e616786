//! Microsoft Entra ID v2.0 as the authorization server.
//!
//! Entra knows no dynamic client registration, no RFC 8414 document, refuses `resource`, asks for
//! an administrator on `prompt=consent`, and gives an access token that is meant for Graph. Each
//! of these is cured by a filter; this file only says which filters stand where.

mod authority;
mod bearer;
pub mod errors;
mod noticed;
mod relay;

use serde::Deserialize;

use super::{
    client_id_metadata::ClientIdMetadata,
    credentials::CredentialSource,
    groups::GroupSettings,
    metadata::{Metadata, Protected, any_origin},
    plain::{Route, Setting, Step},
    token_client::Asking,
};
use crate::origin::Origin;

pub use authority::{Authority, Cloud, Endpoints, Guid, IssuerUrl, Tenant};
pub use bearer::{Api, Bearer, IdentifierUri, PromptPolicy, StepUp};
pub use noticed::noticed;
pub use relay::Authorize;

/// An application of a tenant, as written in `gateway.yaml`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The directory (tenant) id, or `organizations` for those of `tenants`.
    pub tenant: Tenant,
    /// The ids of the tenants whose users may sign in, when there are several.
    #[serde(default)]
    pub tenants: Vec<Guid>,
    /// The application (client) id.
    pub client_id: Guid,
    /// What clients get as their access token.
    #[serde(default)]
    pub bearer: Bearer,
    /// The API that access tokens are for; `bearer: id_token` needs none.
    #[serde(default)]
    pub api: Option<Api>,
    /// Microsoft's cloud that the tenant is in.
    #[serde(default)]
    pub cloud: Option<Cloud>,
    /// The base of the tenant's endpoints, where it is not a cloud's: a CIAM authority of External
    /// ID, a domain of one's own; plain http only for loopback.
    #[serde(default)]
    pub authority: Option<Authority>,
    /// The `iss` of the tenant's tokens, where it does not follow from the authority.
    #[serde(default)]
    pub issuer: Option<IssuerUrl>,
    /// Whether tokens of version 1.0 are taken, too.
    #[serde(default)]
    pub v1_tokens: bool,
    /// How the gateway proves to Entra which application it is.
    #[serde(default)]
    pub credentials: Option<CredentialSource>,
    /// Which way a browser takes to Entra and back.
    #[serde(default)]
    pub authorize: Authorize,
    /// Whom to ask for groups that a token does not list.
    #[serde(default)]
    pub groups: Option<Asking<GroupSettings>>,
    /// Every scope that clients may ask for, beside those of `api`, and the default for those that
    /// ask for none.
    #[serde(default)]
    pub scopes: Option<Vec<String>>,
    /// What of `prompt` reaches Entra; as `strip` says when it is missing.
    #[serde(default)]
    pub prompt: Option<PromptPolicy>,
    /// Scopes that stand for claims, which clients ask for when a policy demands more.
    #[serde(default)]
    pub step_up: StepUp,
    /// Whether a client may be known by the document that its id is the URL of.
    #[serde(default)]
    pub client_id_metadata: ClientIdMetadata,
    /// Where clients may be sent back to; the presets and loopback when it is missing.
    #[serde(default)]
    pub redirect_uris: Option<Setting>,
    /// Parameters that never reach Entra; `prompt`, and unless the bearer is native `resource`, when
    /// it is missing.
    #[serde(default)]
    pub strip: Option<Vec<String>>,
}

impl Settings {
    /// Writes every route that clients need to sign in.
    #[must_use]
    pub fn routes(&self, public: &Origin, protected: &[Protected]) -> Vec<Route> {
        let endpoints = self.endpoints();
        let scopes = self.published_scopes();
        let step_up: Vec<String> = self.step_up.keys().cloned().collect();
        let metadata = Metadata {
            public,
            jwks_uri: &endpoints.jwks,
            scopes: &scopes,
            step_up: &step_up,
            names_issuer: self.is_relayed(),
            client_id_metadata: self.client_id_metadata.is_on(),
        };
        let mut routes = metadata.routes(protected);
        for path in ["/oauth2/authorize", "/authorize"] {
            routes.push(self.authorize(path, public, &endpoints));
        }
        for path in ["/oauth2/token", "/token"] {
            routes.push(self.token(path, public, &endpoints));
        }
        routes.push(self.register());
        routes.extend(self.relay_routes(public, &endpoints));
        routes
    }

    /// No `cors` here: a person goes to this page, and no script may.
    fn authorize(&self, path: &str, public: &Origin, endpoints: &Endpoints) -> Route {
        let check = Step::new(
            "check_authorize",
            [("client_id", self.client_id.as_str().into())],
        )
        .with("redirect_uris", self.redirect_uris.clone())
        .with("issuer", self.issuer_of_errors(public));
        let mut steps = vec![Step::new("form_to_query", [])];
        steps.extend(self.resolve_client("query"));
        steps.push(check);
        steps.extend(self.authorization_steps());
        steps.push(self.leave(public, endpoints));
        plain(path, steps)
    }

    fn token(&self, path: &str, public: &Origin, endpoints: &Endpoints) -> Route {
        let mut steps = vec![any_origin(&["POST"])];
        steps.extend(self.resolve_client("form"));
        steps.push(Step::new(
            "check_token_request",
            [("client_id", self.client_id.as_str().into())],
        ));
        steps.extend(self.open_grant(public));
        steps.extend(self.token_request_steps());
        // Entra answers AADSTS9002326 to a public client that comes with an `Origin`.
        steps.push(Step::new(
            "remove_headers",
            [("request", Setting::list(["origin", "cookie"]))],
        ));
        steps.extend(self.token_answer_steps());
        steps.push(self.exchange(endpoints));
        plain(path, steps)
    }

    fn register(&self) -> Route {
        let register = Step::new(
            self.registrar(),
            [("client_id", self.client_id.as_str().into())],
        )
        .with("redirect_uris", self.redirect_uris.clone());
        plain("/register", vec![any_origin(&["POST"]), register])
    }
}

fn plain(path: &str, filters: Vec<Step>) -> Route {
    Route {
        path: path.to_owned(),
        methods: vec![],
        filters,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";

    fn settings(more: &str) -> Result<Settings, serde_yaml::Error> {
        serde_yaml::from_str(&format!("tenant: {ID}\nclient_id: {ID}\n{more}"))
    }

    fn check_refused(more: &str, expect: &str) {
        let text = settings(more).unwrap_err().to_string();
        assert!(text.contains(expect), "{text}");
    }

    fn routes(more: &str) -> Vec<Route> {
        let protected = ["/mcp", "/mcp/atlassian"].map(|path| Protected {
            path: path.to_owned(),
            name: None,
        });
        let public = Origin::parse("https://mcp.test").unwrap();
        settings(more).unwrap().routes(&public, &protected)
    }

    #[test]
    fn refuses_what_cannot_work() {
        check_refused("bearer: graph", "unknown variant `graph`");
        check_refused(
            "authority: http://login.example.com",
            "plain http is for loopback only",
        );
        check_refused(
            "authority: https://login.example.com/common",
            "host and port only",
        );
        check_refused("issuers: x", "unknown field `issuers`");
    }

    #[test]
    fn ids_are_guids() {
        let read = |text: &str| serde_yaml::from_str::<Guid>(text).is_ok();
        assert!(read(ID));
        assert!(read(&ID.to_uppercase()));
        assert!(!read("common"));
        assert!(!read("contoso.onmicrosoft.com"));
        assert!(!read("72f988bf86f141af91ab2d7cd011db47"));
    }

    #[test]
    fn every_place_where_clients_look_has_a_route() {
        let routes = routes("");
        for path in [
            "/.well-known/oauth-protected-resource",
            "/.well-known/oauth-protected-resource/mcp",
            "/.well-known/oauth-protected-resource/mcp/atlassian",
            "/mcp/.well-known/oauth-protected-resource",
            "/.well-known/oauth-authorization-server",
            "/.well-known/oauth-authorization-server/mcp",
            "/mcp/.well-known/oauth-authorization-server",
            "/.well-known/openid-configuration",
            "/.well-known/openid-configuration/mcp/atlassian",
            "/mcp/atlassian/.well-known/openid-configuration",
            "/oauth2/authorize",
            "/authorize",
            "/oauth2/token",
            "/token",
            "/register",
        ] {
            let found = routes.iter().filter(|route| route.path == path).count();
            assert_eq!(found, 1, "{path}");
        }
    }

    #[test]
    fn offline_access_is_published_by_the_authorization_server_only() {
        for route in routes("") {
            let text = serde_yaml::to_string(&route).unwrap();
            assert!(
                !text.contains("protected_resource:") || !text.contains("offline_access"),
                "{text}"
            );
        }
    }

    #[test]
    fn no_script_may_read_the_sign_in() {
        for route in routes("") {
            let cors = route.filters.iter().any(|step| step.name == "cors");
            assert_eq!(cors, !route.path.ends_with("authorize"), "{}", route.path);
        }
    }

    #[test]
    fn redirect_uris_reach_both_who_check_them() {
        let routes = routes("redirect_uris: {allow: [\"https://x.test/cb\"]}");
        let text = serde_yaml::to_string(&routes).unwrap();
        assert_eq!(text.matches("https://x.test/cb").count(), 3);
    }
}
