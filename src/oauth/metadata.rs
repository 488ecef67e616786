//! Discovery documents, at every place where a client looks for them.
//!
//! RFC 9728 and RFC 8414 put the path of the resource or issuer behind the well-known name;
//! OpenID Connect Discovery puts the well-known name behind the path; clients try all of them,
//! in different orders, and some give up at the first answer that is not a 404 (`rmcp` asks for
//! `/mcp/.well-known/oauth-protected-resource`, the SDKs for the root forms at last). A redirect
//! would not do: the SDKs follow none to another origin.

use super::plain::{Route, Setting, Step};
use crate::origin::Origin;

const RESOURCE: &str = "/.well-known/oauth-protected-resource";
const SERVER: [&str; 2] = [
    "/.well-known/oauth-authorization-server",
    "/.well-known/openid-configuration",
];

/// Seconds for which browsers may keep the answer to a preflight.
const PREFLIGHT_SECONDS: i64 = 3600;

/// A route that needs a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protected {
    /// Its path, without `/*`; never `/` or empty, since clients append a slash to a bare origin
    /// and compare.
    pub path: String,
    /// What a person may be told it is.
    pub name: Option<String>,
}

/// What is published about an authorization server and what it protects.
#[derive(Clone, Debug)]
pub struct Metadata<'a> {
    /// The gateway: issuer of the metadata and base of every endpoint.
    pub public: &'a Origin,
    /// Where the keys are.
    pub jwks_uri: &'a str,
    /// Every scope that may be asked for at once.
    pub scopes: &'a [String],
    /// Scopes that are asked for only when a challenge names them.
    pub step_up: &'a [String],
    /// Whether every authorization response names the issuer (RFC 9207).
    pub names_issuer: bool,
    /// Whether a client id may be the URL of a document.
    pub client_id_metadata: bool,
}

impl Metadata<'_> {
    /// Writes the routes of all documents.
    #[must_use]
    pub fn routes(&self, protected: &[Protected]) -> Vec<Route> {
        let mut routes = vec![];
        // At the root the document describes `/mcp`: the oldest clients know no other.
        let root = protected
            .iter()
            .find(|one| one.path == "/mcp")
            .or_else(|| protected.first());
        if let Some(one) = root {
            routes.push(self.resource(RESOURCE.to_owned(), one));
        }
        for one in protected {
            routes.push(self.resource(format!("{RESOURCE}{}", one.path), one));
            routes.push(self.resource(format!("{}{RESOURCE}", one.path), one));
        }
        for name in SERVER {
            routes.push(self.server(name.to_owned()));
            for one in protected {
                routes.push(self.server(format!("{name}{}", one.path)));
                routes.push(self.server(format!("{}{name}", one.path)));
            }
        }
        routes
    }

    fn resource(&self, path: String, one: &Protected) -> Route {
        // The MCP specification keeps `offline_access` out of what a resource asks for.
        let scopes = self
            .scopes
            .iter()
            .filter(|scope| *scope != "offline_access");
        let document = Step::new(
            "protected_resource",
            [
                ("resource", self.public.join(&one.path).into()),
                (
                    "authorization_servers",
                    Setting::list([self.public.as_str()]),
                ),
                ("scopes", Setting::list(scopes)),
            ],
        )
        .with("name", one.name.clone().map(Setting::Text));
        document_route(path, document)
    }

    fn server(&self, path: String) -> Route {
        let document = Step::new(
            "authorization_server",
            [
                ("issuer", self.public.as_str().into()),
                (
                    "authorization_endpoint",
                    self.public.join("/oauth2/authorize").into(),
                ),
                ("token_endpoint", self.public.join("/oauth2/token").into()),
                (
                    "registration_endpoint",
                    self.public.join("/register").into(),
                ),
                ("jwks_uri", self.jwks_uri.into()),
                (
                    "scopes",
                    Setting::list(self.scopes.iter().chain(self.step_up)),
                ),
            ],
        )
        .with(
            "iss_parameter",
            self.names_issuer.then_some(Setting::Flag(true)),
        )
        .with(
            "client_id_metadata",
            self.client_id_metadata.then_some(Setting::Flag(true)),
        );
        document_route(path, document)
    }
}

fn document_route(path: String, document: Step) -> Route {
    Route {
        path,
        methods: vec![],
        filters: vec![any_origin(&["GET"]), document],
    }
}

/// Lets scripts of any site read the answer; nothing behind it depends on who asks.
pub(super) fn any_origin(methods: &[&str]) -> Step {
    Step::new(
        "cors",
        [
            ("origins", "any".into()),
            ("methods", Setting::list(methods.iter().copied())),
            ("headers", "any".into()),
            (
                "expose",
                Setting::list(["WWW-Authenticate", "Mcp-Session-Id"]),
            ),
            ("max_age", Setting::Number(PREFLIGHT_SECONDS)),
        ],
    )
}

/// Returns the URL of the document that describes a protected route, for its challenge.
#[must_use]
pub fn resource_metadata(public: &Origin, path: &str) -> String {
    public.join(&format!("{RESOURCE}{path}"))
}
