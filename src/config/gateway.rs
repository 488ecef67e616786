//! What the program needs to know, after files are read, names resolved and profiles expanded.
//!
//! These types cannot be written in YAML: every route is a list of steps here, every name is
//! known to exist, every secret is at hand. They run nothing; the server builds from them.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use http::{Method, uri::PathAndQuery};
use mcp_gateway_filters::Filter;
use serde::{Deserialize, Deserializer, Serialize, de};
use url::Url;

use super::relay::{IssueClient, OpenGrant, Relay, ResolveClient};
use super::upstream_token::{TokenSource, UpstreamToken};
use crate::{
    admin, directory, egress,
    ingress::{ClientAddress, Limits},
    listener,
    oauth::{Asking, ClientCredentials, CredentialSource, GroupSettings},
    oidc,
    origin::{Origin, is_loopback},
    router::Allow,
    secret::Secret,
    units::{Period, Size},
    upstream,
};

/// A whole, valid configuration.
#[derive(Debug)]
pub struct Gateway {
    /// Where clients reach the gateway.
    pub public_url: Origin,
    /// The public sockets, at least one.
    pub listeners: Vec<listener::Config>,
    /// The admin socket.
    pub admin: admin::Config,
    /// What clients may take.
    pub limits: Arc<Limits>,
    /// Who says whose requests they bring.
    pub client_address: Option<ClientAddress>,
    /// The way out to the authorization server.
    pub egress: egress::Config,
    /// What seals session ids.
    pub sessions: Sessions,
    /// Whose tokens are accepted; present when a route has an [`Step::Authenticate`].
    pub identity: Option<Identity>,
    /// Who tells the groups that a token does not list.
    pub directory: Option<directory::Config>,
    /// The gateway's own credentials, each with the path of its setting.
    pub credentials: Vec<(String, ClientCredentials)>,
    /// Named pools, in the order of the file.
    pub upstreams: Vec<(String, upstream::Config)>,
    /// Every route, those of profiles included; no two have the same path.
    pub routes: Vec<Route>,
    /// Where the access line of each request goes.
    pub access_log: AccessLog,
}

/// What seals session ids.
#[derive(Clone, Debug)]
pub struct Sessions {
    /// The first seals, all open; empty means that one is kept in `state_directory`.
    pub keys: Vec<Secret<[u8; 32]>>,
    /// Where a key is created once when none is configured.
    pub state_directory: PathBuf,
}

/// Whose tokens are accepted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The `iss` of every token, compared byte for byte; with several tenants it holds
    /// `{tenantid}`, which stands for the token's own.
    pub issuer: String,
    /// The `iss` of tokens of version 1.0, in the same form; with none they are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v1_issuer: Option<String>,
    /// What the audience of a token may be, at least one.
    pub audiences: Vec<String>,
    /// The claim that names the audience.
    #[serde(default = "audience_claim", skip_serializing_if = "is_audience_claim")]
    pub audience_claim: String,
    /// Claims that every token has with exactly this text, where an issuer's tokens are told apart
    /// by them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, String>,
    /// The `tid` of every token; it is not asked for where neither this nor `tenants` is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// What the `tid` of a token may be, when there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tenants: Vec<String>,
    /// Where the keys are published.
    pub jwks_uri: Endpoint,
    /// What a challenge asks for: never `offline_access`.
    pub scopes: Vec<String>,
    /// Scopes of which the `scp` of a token must hold at least one; with none it is not asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub token_scopes: Vec<String>,
    /// Scopes that stand for claims at the authorization server, for challenges that demand some;
    /// without it, it takes no claims in a scope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_up: Option<BTreeMap<String, String>>,
    /// Who tells the groups that a token does not list; nobody when it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Asking<GroupSettings>>,
}

fn audience_claim() -> String {
    oidc::AUDIENCE.to_owned()
}

fn is_audience_claim(claim: &String) -> bool {
    claim == oidc::AUDIENCE
}

impl Identity {
    /// Returns what the `tid` of a token may be; nothing where it is not asked for.
    #[must_use]
    pub fn tenants(&self) -> Vec<String> {
        self.tenant.iter().chain(&self.tenants).cloned().collect()
    }

    /// Returns the command that starts a ToolHive workload which verifies these tokens; what differs
    /// from one installation to another, or has no one value, is left out as `…`.
    #[must_use]
    pub fn workload_command(&self) -> String {
        let (issuer, keys) = if self.issuer.contains("{tenantid}") {
            ("…", "…")
        } else {
            (self.issuer.as_str(), self.jwks_uri.as_str())
        };
        let audience = match self.audiences.as_slice() {
            [audience] => audience,
            _ => "…",
        };
        format!(
            "thv run --oidc-issuer {issuer} --oidc-audience {audience} --oidc-jwks-url {keys} …"
        )
    }
}

/// A URL that the gateway calls: https, or http on loopback, without user name and fragment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Endpoint(Url);

impl Endpoint {
    /// Reads a URL.
    ///
    /// # Errors
    /// A sentence that says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text)
            .map_err(|why| format!("`{text}` is not a URL such as `https://host/path`: {why}"))?;
        let scheme = match (url.scheme(), url.host()) {
            ("https", Some(_)) => true,
            ("http", Some(host)) => is_loopback(&host),
            _ => false,
        };
        let user = !url.username().is_empty() || url.password().is_some();
        if !scheme || user || url.fragment().is_some() {
            return Err(format!(
                "expected an https URL without user name and fragment (http on loopback), found `{text}`"
            ));
        }
        Ok(Self(url))
    }

    /// Returns the URL.
    #[must_use]
    pub const fn url(&self) -> &Url {
        &self.0
    }

    /// Returns the URL as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(de: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(de)?).map_err(de::Error::custom)
    }
}

/// Where access lines go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessLog {
    /// One line per request on standard output.
    #[default]
    Stdout,
    /// One line per request on standard error, between the log messages.
    Stderr,
    /// Nowhere.
    Off,
}

/// A path and what happens to its requests.
#[derive(Clone, Debug)]
pub struct Route {
    /// The exact path, or a prefix when it ends in `/*`.
    pub path: String,
    /// The methods it takes, others get 405; empty means that the steps decide.
    pub methods: Vec<Method>,
    /// What happens, in order; the last one, or one before it, answers.
    pub steps: Vec<Step>,
}

impl Route {
    /// Returns what the path starts with when the route takes everything below it.
    ///
    /// `/api/*` takes `/api/` and all below; `/*` takes everything that no other route takes.
    #[must_use]
    pub fn prefix(&self) -> Option<&str> {
        self.path
            .strip_suffix('*')
            .filter(|path| path.ends_with('/'))
    }
}

/// One step of a route.
#[derive(Clone, Debug)]
pub enum Step {
    /// A filter of the catalog.
    Filter {
        /// Its name there, also the metrics' label.
        name: &'static str,
        /// The running filter.
        filter: Arc<dyn Filter>,
    },
    /// Lets only callers with a valid token go on.
    Authenticate(Authenticate),
    /// Sends the request to an upstream; ends the route.
    Proxy(Proxy),
    /// Calls the authorization server with the request's body and answers from memory; ends the route.
    Exchange(Exchange),
    /// Finds out which client is asking.
    ResolveClient(ResolveClient),
    /// Answers at one station of a relayed sign-in; ends the route.
    Relay(Relay),
    /// Opens what clients bring to the token endpoint.
    OpenGrant(OpenGrant),
    /// Registers a client under an id of its own; ends the route.
    IssueClient(IssueClient),
}

impl Step {
    /// Returns the name under which the step is written.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Filter { name, .. } => name,
            Self::Authenticate(_) => "authenticate",
            Self::Proxy(_) => "proxy",
            Self::Exchange(_) => "exchange",
            Self::ResolveClient(_) => "resolve_client",
            Self::Relay(_) => "relay",
            Self::OpenGrant(_) => "open_grant",
            Self::IssueClient(_) => "issue_client",
        }
    }
}

/// Who may go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Authenticate {
    /// The URL of the protected resource metadata, for the challenge (RFC 9728 §5.1).
    pub resource_metadata: String,
    /// The scopes that the challenge asks for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Groups of which the caller must be in at least one, as the token's `groups` names them;
    /// empty lets every user of the tenant go on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
}

/// Where a request goes and what it takes along.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Proxy {
    /// The name of an upstream.
    pub upstream: String,
    /// The path at the upstream; the request's own when it is missing. The query is kept.
    #[serde(
        default,
        deserialize_with = "upstream_path",
        skip_serializing_if = "Option::is_none"
    )]
    pub path: Option<String>,
    /// Whether `Mcp-Session-Id` is sealed and pins a session to its backend: an MCP route.
    #[serde(default)]
    pub sessions: bool,
    /// What the upstream gets as `Authorization`.
    #[serde(default)]
    pub upstream_token: UpstreamToken,
    /// The same, with everything that it needs at hand.
    #[serde(skip)]
    pub token: TokenSource,
    /// The largest request body; a longer one gets 413.
    #[serde(default = "request_body_limit")]
    pub request_body_limit: Size,
    /// How long the head of the answer may take; without a limit when it is missing, since tools
    /// may be slow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_head_timeout: Option<Period>,
    /// What may be asked for, `METHOD /path` or `METHOD /path/*`; empty allows everything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Allow>,
}

const fn request_body_limit() -> Size {
    Size::mib(8)
}

/// Reads a path at an upstream: it starts with a slash and has no query.
pub(super) fn upstream_path<'de, D: Deserializer<'de>>(de: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(de)?;
    let path: Result<PathAndQuery, _> = text.parse();
    match path {
        Ok(path) if text.starts_with('/') && path.path() == text => Ok(Some(text)),
        _ => Err(de::Error::custom(format!(
            "expected a path such as `/mcp`, found `{text}`"
        ))),
    }
}

/// The call of the authorization server's token endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// Where the form is posted.
    pub url: Endpoint,
    /// How long the whole call may take.
    #[serde(default = "exchange_timeout")]
    pub timeout: Period,
    /// The largest answer, after decompression.
    #[serde(default = "exchange_response_limit")]
    pub response_limit: Size,
    /// The client that the gateway is there, when it proves who it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// How it proves that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<CredentialSource>,
    /// The same, with the secret at hand.
    #[serde(skip)]
    pub client: Option<(String, ClientCredentials)>,
}

const fn exchange_timeout() -> Period {
    Period::seconds(15)
}

const fn exchange_response_limit() -> Size {
    Size::mib(1)
}
