//! An Entra ID tenant (v2.0 endpoints) on loopback.
//!
//! It signs people in without passwords and hands out tokens that only the real audience can
//! verify, publishes keys, and refuses what Entra refuses, with its AADSTS numbers. There is
//! neither dynamic client registration nor an RFC 8414 document here, because there is none there:
//! a conforming MCP client that is pointed straight at it fails, as it would in production.
//!
//! What it does not do: device code, on-behalf-of, client credentials, hybrid and implicit flows,
//! `userinfo`.
//!
//! ```
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! use mcp_gateway_emulator::entra::Entra;
//! let entra = Entra::builder().start().await.unwrap();
//! assert!(entra.authority().starts_with("http://127.0.0.1:"));
//! # });
//! ```

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::clock::Clock;
use crate::net::{Handler, Server, lock};
use crate::record::Recorded;

mod authorize;
mod claims;
mod directory;
mod error;
mod fault;
mod jwt;
mod keys;
mod metadata;
mod page;
mod params;
mod redirect;
mod routes;
mod scope;
mod state;
mod token;

pub use directory::{App, GRAPH, Grant, Platform, User};
pub use error::Separator;
pub use fault::{Endpoint, Fault};
pub use jwt::TokenBuilder;
pub use redirect::LoopbackPorts;
pub use state::ResourceMode;

use claims::{Subject, Validity};
use directory::{Directory, OIDC_SCOPES};
use keys::Key;
use state::{Settings, State};

/// Tenant id unless configured.
pub const TENANT: &str = "7a3f1c52-9d0e-4b8a-8c11-5f2e6d7b9a01";

/// Application id of the gateway's registration unless configured.
pub const CLIENT_ID: &str = "b9c4de10-2f6a-4e57-9a83-0d1c2e3f4a5b";

/// Group of every developer; alice and bob are in it.
pub const DEVELOPERS: &str = "0f3d2b6e-1111-4c5d-9e8f-a0b1c2d3e4f5";

/// Group of administrators; only alice is in it.
pub const OPERATORS: &str = "0f3d2b6e-2222-4c5d-9e8f-a0b1c2d3e4f5";

/// Scope that the gateway's registration exposes beside its use as a client.
pub const API_SCOPE: &str = "tools.execute";

/// Redirect URIs of the clients that the gateway serves, without ports.
const REDIRECTS: [&str; 9] = [
    "http://localhost/callback",
    "http://localhost/oauth/callback",
    "http://localhost/mcp/oauth/callback",
    "http://localhost",
    "http://127.0.0.1/callback",
    "http://127.0.0.1/oauth/callback",
    "http://127.0.0.1/mcp/oauth/callback",
    "http://127.0.0.1/",
    "https://vscode.dev/redirect",
];

/// Connections without a request are closed after this time.
const IDLE: Duration = Duration::from_secs(120);

/// Settings of a tenant that is about to start.
#[derive(Debug)]
pub struct Builder {
    directory: Directory,
    settings: Settings,
    client_id: String,
    redirects: Vec<(Platform, String)>,
    port: u16,
    down: bool,
}

impl Builder {
    fn new() -> Self {
        let user = |name: &str, number: u32, groups: &[&str]| User {
            oid: format!("5e0a7c1d-0000-4000-8000-{number:012}"),
            upn: format!("{}@contoso.example", name.to_lowercase()),
            name: name.to_owned(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            roles: Vec::new(),
            admin: false,
        };
        let native = |uri: &str| (Platform::Native, uri.to_owned());
        Self {
            directory: Directory {
                tenant: TENANT.to_owned(),
                domain: "contoso.example".to_owned(),
                user_consent: false,
                admin_workflow: true,
                apps: vec![directory::graph()],
                users: vec![
                    user("Alice", 1, &[DEVELOPERS, OPERATORS]),
                    user("Bob", 2, &[DEVELOPERS]),
                ],
                grants: Vec::new(),
            },
            settings: Settings {
                resource_mode: ResourceMode::default(),
                loopback: LoopbackPorts::default(),
                emit_iss: false,
                separator: Separator::default(),
                auto_approve: true,
                gzip: true,
                access_lifetime: None,
                id_lifetime: Duration::from_secs(3_600),
                code_lifetime: Duration::from_secs(600),
                refresh_lifetime: Duration::from_secs(90 * 86_400),
                error_page_status: 200,
                issuer_authority: None,
            },
            client_id: CLIENT_ID.to_owned(),
            redirects: REDIRECTS.map(native).to_vec(),
            port: 0,
            down: false,
        }
    }

    /// Sets the tenant id.
    #[must_use]
    pub fn tenant(mut self, id: impl Into<String>) -> Self {
        self.directory.tenant = id.into();
        self
    }

    /// Sets the application id of the gateway's registration.
    #[must_use]
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = id.into();
        self
    }

    /// Registers one more redirect URI for the gateway.
    #[must_use]
    pub fn redirect(mut self, platform: Platform, uri: impl Into<String>) -> Self {
        self.redirects.push((platform, uri.into()));
        self
    }

    /// Replaces the redirect URIs of the gateway's registration.
    #[must_use]
    pub fn redirects(mut self, redirects: Vec<(Platform, String)>) -> Self {
        self.redirects = redirects;
        self
    }

    /// Registers one more application.
    #[must_use]
    pub fn app(mut self, app: App) -> Self {
        self.directory.apps.push(app);
        self
    }

    /// Adds a person.
    #[must_use]
    pub fn user(mut self, user: User) -> Self {
        self.directory.users.push(user);
        self
    }

    /// Adds consent.
    #[must_use]
    pub fn grant(mut self, grant: Grant) -> Self {
        self.directory.grants.push(grant);
        self
    }

    /// Signs in and consents without a page (the default). The person is the one that `X-Emu-User`
    /// or `login_hint` names, else the first.
    #[must_use]
    pub fn auto_approve(mut self, on: bool) -> Self {
        self.settings.auto_approve = on;
        self
    }

    /// Lets people consent for themselves. Off by default, as in most companies.
    #[must_use]
    pub fn user_consent(mut self, on: bool) -> Self {
        self.directory.user_consent = on;
        self
    }

    /// Lets people who may not consent ask an administrator (AADSTS90095 instead of 90094).
    #[must_use]
    pub fn admin_workflow(mut self, on: bool) -> Self {
        self.directory.admin_workflow = on;
        self
    }

    /// Sets what happens to `resource`.
    #[must_use]
    pub fn resource_mode(mut self, mode: ResourceMode) -> Self {
        self.settings.resource_mode = mode;
        self
    }

    /// Sets on which loopback hosts a redirect URI may use any port.
    #[must_use]
    pub fn loopback_ports(mut self, ports: LoopbackPorts) -> Self {
        self.settings.loopback = ports;
        self
    }

    /// Adds `iss` to authorization responses (RFC 9207). Entra is not known to.
    #[must_use]
    pub fn emit_iss(mut self, on: bool) -> Self {
        self.settings.emit_iss = on;
        self
    }

    /// Sets what separates the parts of an `error_description`.
    #[must_use]
    pub fn error_separator(mut self, separator: Separator) -> Self {
        self.settings.separator = separator;
        self
    }

    /// Sets the status of error pages; 200 unless set.
    #[must_use]
    pub fn error_page_status(mut self, status: u16) -> Self {
        self.settings.error_page_status = status;
        self
    }

    /// Compresses token answers for clients that accept gzip (the default).
    #[must_use]
    pub fn gzip(mut self, on: bool) -> Self {
        self.settings.gzip = on;
        self
    }

    /// Fixes the lifetime of access tokens, random between 60 and 90 minutes otherwise.
    #[must_use]
    pub fn access_token_lifetime(mut self, lifetime: Duration) -> Self {
        self.settings.access_lifetime = Some(lifetime);
        self
    }

    /// Sets the lifetime of id tokens, one hour otherwise.
    #[must_use]
    pub fn id_token_lifetime(mut self, lifetime: Duration) -> Self {
        self.settings.id_lifetime = lifetime;
        self
    }

    /// Sets the lifetime of codes, ten minutes otherwise.
    #[must_use]
    pub fn code_lifetime(mut self, lifetime: Duration) -> Self {
        self.settings.code_lifetime = lifetime;
        self
    }

    /// Sets scheme and host of `iss`, where the emulator listens otherwise.
    #[must_use]
    pub fn issuer_authority(mut self, authority: impl Into<String>) -> Self {
        self.settings.issuer_authority = Some(authority.into());
        self
    }

    /// Sets the port, any free one otherwise.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Starts with the port reserved but refusing connections, until [`Entra::start`].
    #[must_use]
    pub fn down(mut self) -> Self {
        self.down = true;
        self
    }

    /// Starts the tenant.
    ///
    /// # Errors
    ///
    /// When the port is taken, or keys cannot be made.
    pub async fn start(mut self) -> io::Result<Entra> {
        let mut app = App::new(&self.client_id, "MCP Gateway")
            .exposes(format!("api://{}", self.client_id), &[API_SCOPE]);
        app.redirects = self.redirects;
        self.directory.apps.push(app);
        let consented = |resource: &str, scopes: Vec<String>| Grant {
            client: self.client_id.clone(),
            resource: resource.to_owned(),
            scopes,
            principal: None,
        };
        let mut graph: Vec<String> = OIDC_SCOPES.map(str::to_owned).to_vec();
        graph.push("User.Read".to_owned());
        self.directory.grants.push(consented(GRAPH, graph));
        self.directory
            .grants
            .push(consented(&self.client_id, vec![API_SCOPE.to_owned()]));

        let keys = pool().await?;
        let mut state = None;
        let (settings, directory) = (self.settings, self.directory);
        let server = Server::reserve(self.port, IDLE, |address| {
            let made = Arc::new(State::new(
                format!("http://{address}"),
                settings,
                directory,
                keys,
            ));
            state = Some(Arc::clone(&made));
            let handler: Handler =
                Arc::new(move |request| Box::pin(routes::serve(Arc::clone(&made), request)));
            handler
        })?;
        let state = state.ok_or(io::ErrorKind::Other)?;
        if !self.down {
            server.up()?;
        }
        Ok(Entra {
            client_id: self.client_id,
            server,
            state,
        })
    }
}

/// Makes the keys off the runtime's threads, side by side.
async fn pool() -> io::Result<[Arc<Key>; keys::POOL]> {
    let make = |index| tokio::task::spawn_blocking(move || Key::pooled(index));
    let making = [make(0), make(1), make(2), make(3)];
    let mut made = Vec::with_capacity(keys::POOL);
    for key in making {
        made.push(key.await.map_err(io::Error::other)??);
    }
    made.try_into()
        .map_err(|_| io::Error::other("not every key was made"))
}

/// A running tenant. Dropping it closes the listener and every connection.
pub struct Entra {
    client_id: String,
    server: Server,
    state: Arc<State>,
}

impl Entra {
    /// Returns a builder with one tenant, the gateway's registration, alice and bob.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Returns what stands for `https://login.microsoftonline.com`: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn authority(&self) -> String {
        self.state.authority.clone()
    }

    /// Returns where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Returns the tenant id.
    #[must_use]
    pub fn tenant(&self) -> String {
        self.state.directory().tenant.clone()
    }

    /// Returns the application id of the gateway's registration.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Returns `iss` of id tokens.
    #[must_use]
    pub fn issuer(&self) -> String {
        self.state.issuer(&self.tenant())
    }

    /// Returns the address of the published keys.
    #[must_use]
    pub fn jwks_uri(&self) -> String {
        format!(
            "{}/{}/discovery/v2.0/keys",
            self.state.authority,
            self.tenant()
        )
    }

    /// Returns the address of the token endpoint.
    #[must_use]
    pub fn token_endpoint(&self) -> String {
        format!(
            "{}/{}/oauth2/v2.0/token",
            self.state.authority,
            self.tenant()
        )
    }

    /// Returns the address of the authorize endpoint.
    #[must_use]
    pub fn authorization_endpoint(&self) -> String {
        format!(
            "{}/{}/oauth2/v2.0/authorize",
            self.state.authority,
            self.tenant()
        )
    }

    /// Starts an id token for a person (`alice`, `alice@contoso.example` or an object id) that is
    /// right in everything and valid for an hour. Nobody is made up: an unknown name gives a token
    /// without the claims of a person.
    #[must_use]
    pub fn token(&self, who: &str) -> TokenBuilder {
        let directory = self.state.directory();
        let issuer = self.issuer();
        let now = self.state.clock.now();
        let claims = match (directory.app(&self.client_id), directory.user(who)) {
            (Some(client), Some(user)) => {
                let subject = Subject {
                    tenant: &directory.tenant,
                    issuer: &issuer,
                    client,
                    user,
                };
                let validity = Validity {
                    now,
                    expires: now + 3_600,
                };
                serde_json::to_value(claims::id_token(&subject, validity, None, true)).ok()
            }
            _ => None,
        };
        let claims = match claims {
            Some(Value::Object(claims)) => claims,
            _ => Map::new(),
        };
        TokenBuilder::new(claims, self.state.key(0), self.state.key(2), now)
    }

    /// Mints an access token for Microsoft Graph, which nobody but Graph can verify.
    #[must_use]
    pub fn graph_token(&self, who: &str) -> Option<String> {
        self.access_token(who, GRAPH, "User.Read profile openid email")
    }

    /// Mints an access token for the gateway's own API.
    #[must_use]
    pub fn api_token(&self, who: &str) -> Option<String> {
        self.access_token(who, &self.client_id, API_SCOPE)
    }

    fn access_token(&self, who: &str, api: &str, scp: &str) -> Option<String> {
        let directory = self.state.directory();
        let issuer = self.issuer();
        let now = self.state.clock.now();
        let subject = Subject {
            tenant: &directory.tenant,
            issuer: &issuer,
            client: directory.app(&self.client_id)?,
            user: directory.user(who)?,
        };
        let validity = Validity {
            now,
            expires: now + 3_600,
        };
        let key = self.state.key(0);
        let api = directory.app(api)?;
        Some(claims::access_token(&key, &subject, api, scp, validity))
    }

    /// Replaces both published keys at once, as in an emergency: tokens signed before can no longer
    /// be verified, and new ones carry an id never seen before.
    pub fn rotate_keys(&self) {
        self.state.rotate(2);
    }

    /// Signs with the key that was published beside the old one, and publishes the next: a rollover
    /// that no verifier notices.
    pub fn roll_signing_key(&self) {
        self.state.rotate(1);
    }

    /// Lets the next `times` requests on an endpoint meet a fault.
    pub fn fail(&self, on: Endpoint, fault: Fault, times: usize) {
        if times > 0 {
            self.state.faults.plan(on, fault, Some(times));
        }
    }

    /// Lets every request on an endpoint meet a fault, until [`Self::heal`].
    pub fn fail_always(&self, on: Endpoint, fault: Fault) {
        self.state.faults.plan(on, fault, None);
    }

    /// Takes all faults away.
    pub fn heal(&self) {
        self.state.faults.clear();
    }

    /// Ends every refresh token issued so far, as a changed password does (AADSTS50173).
    pub fn revoke_refresh_tokens(&self) {
        for token in lock(&self.state.refresh_tokens).values_mut() {
            token.revoked = true;
        }
    }

    /// Returns the tenant's clock, which can be moved forward.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.state.clock
    }

    /// Returns the requests seen, oldest first; the oldest are forgotten beyond some thousands.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.state.log.all()
    }

    /// Returns the requests seen on an endpoint.
    #[must_use]
    pub fn requests_to(&self, endpoint: Endpoint) -> Vec<Recorded> {
        let mut requests = self.requests();
        requests.retain(|request| {
            routes::endpoint(&request.path).is_some_and(|(_, seen)| seen == endpoint)
        });
        requests
    }

    /// Forgets the requests seen.
    pub fn forget_requests(&self) {
        self.state.log.clear();
    }

    /// Waits for a request that `wanted` accepts, at most `within`.
    pub async fn wait_for(
        &self,
        within: Duration,
        wanted: impl Fn(&Recorded) -> bool,
    ) -> Option<Recorded> {
        self.state.log.wait_for(within, wanted).await
    }

    /// Closes the listener and resets every connection; what was issued stays good.
    pub async fn stop(&self) {
        self.server.down().await;
    }

    /// Listens again, on the same port.
    ///
    /// # Errors
    ///
    /// When another process took the port meanwhile.
    pub fn start(&self) -> io::Result<()> {
        self.server.up()
    }
}
