//! Settings of a tenant, and how it starts.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::directory::{self, App, Directory, GRAPH, Grant, OIDC_SCOPES, Platform, User};
use super::redirect::LoopbackPorts;
use super::state::{ResourceMode, Settings, State};
use super::told::Separator;
use super::{API_SCOPE, CLIENT_ID, DEVELOPERS, Entra, OPERATORS, TENANT, routes};
use crate::keys;
use crate::net::{Handler, Server};

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
    /// The gateway's registration, beside its id, redirect URIs and API.
    registered: App,
    port: u16,
    down: bool,
}

impl Builder {
    /// Returns the settings of an ordinary company.
    pub(super) fn new() -> Self {
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
                elsewhere: Vec::new(),
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
            registered: App::new("", "MCP Gateway"),
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

    /// Changes the gateway's registration.
    #[must_use]
    pub fn registration(mut self, shape: impl FnOnce(App) -> App) -> Self {
        self.registered = shape(self.registered);
        self
    }

    /// Adds another tenant, and a person who is at home there.
    #[must_use]
    pub fn tenant_of(mut self, tenant: impl Into<String>, user: User) -> Self {
        let home = (tenant.into(), user.oid.clone());
        self.directory.elsewhere.push(home);
        self.user(user)
    }

    /// Gives the gateway's registration a client secret.
    #[must_use]
    pub fn secret(mut self, secret: impl Into<String>) -> Self {
        self.registered = self.registered.secret(secret);
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
        let mut app = self.registered;
        app.id.clone_from(&self.client_id);
        app.identifier_uris
            .insert(0, format!("api://{}", self.client_id));
        app.scopes.insert(0, API_SCOPE.to_owned());
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

        let keys = keys::pool().await?;
        let mut state = None;
        let (settings, mut directory) = (self.settings, self.directory);
        let server = Server::reserve(self.port, IDLE, |address| {
            // Graph stands at the same address, and scopes name it by that.
            let graph = directory.apps.iter_mut().find(|app| app.id == GRAPH);
            if let Some(graph) = graph {
                graph.identifier_uris.push(format!("http://{address}"));
            }
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
