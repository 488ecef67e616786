//! A headless MCP client that signs in as a person with a browser would.
//!
//! It does what an assistant does, step by step and with the official SDK: is turned away, reads
//! the metadata, registers, sends a person to the authorization endpoint, redeems the code, opens a
//! session. The browser is played by plain HTTP, see [`browser`]; no port is opened for the
//! redirect, since the code can be read from its address.
//!
//! Meant for demonstrations and tests. It trusts exactly the certificate authority it is given.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResult, ClientCapabilities, ClientConfig, ClientRequest,
    Implementation, ProgressNotificationParam, Request, ServerResult, Tool,
};
use rmcp::service::{NotificationContext, PeerRequestOptions, RunningService, ServiceError};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::auth::{
    AuthClient, AuthError, AuthorizationManager, AuthorizationMetadataSource, AuthorizationRequest,
    AuthorizationSession,
};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientHandler, RoleClient, ServiceExt};
use serde_json::{Map, Value, json};
use thiserror::Error;
use tokio::sync::Notify;
use url::Url;

use crate::net::lock;
use crate::tls;

pub mod browser;
mod oauth;

use browser::{Browser, BrowserError};

/// Notifications remembered; more are dropped.
const REMEMBERED: usize = 10_000;

/// What is waited for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What is waited for the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// A step that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The server asked for a sign-in.
    Challenged,
    /// Metadata led to this authorization server.
    Discovered {
        /// Its `issuer`.
        issuer: String,
    },
    /// The client has an id.
    Registered {
        /// The id.
        client_id: String,
    },
    /// A person signed in and came back with a code.
    SignedIn,
    /// The code was redeemed.
    Redeemed {
        /// `expires_in`, in seconds, if it was given.
        expires_in: Option<u64>,
        /// Whether a refresh token came with it.
        refreshable: bool,
    },
    /// The session is open.
    Connected {
        /// What the server calls itself.
        server: String,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Challenged => f.write_str("the server asks for a sign-in"),
            Self::Discovered { issuer } => write!(f, "found the authorization server {issuer}"),
            Self::Registered { client_id } => write!(f, "registered as client {client_id}"),
            Self::SignedIn => f.write_str("signed in, got a code"),
            Self::Redeemed {
                expires_in,
                refreshable,
            } => {
                f.write_str("redeemed the code for a token")?;
                if let Some(seconds) = expires_in {
                    write!(f, " that lives {seconds} s")?;
                }
                f.write_str(if *refreshable {
                    " and can be refreshed"
                } else {
                    " and cannot be refreshed"
                })
            }
            Self::Connected { server } => write!(f, "connected to the MCP server `{server}`"),
        }
    }
}

/// Why there is no connection, or why it was of no use.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The address is not one.
    #[error("`{0}` is not an absolute URL")]
    Url(String),
    /// No HTTP client can be made; the certificate authority may be unreadable.
    #[error("cannot prepare an HTTP client")]
    Prepare(#[source] reqwest::Error),
    /// The server cannot be reached.
    #[error("cannot reach the server")]
    Unreachable(#[source] reqwest::Error),
    /// It did not ask for a sign-in.
    #[error("expected 401 with a WWW-Authenticate header, found {0}")]
    NotChallenged(String),
    /// It publishes no metadata.
    #[error("no authorization server metadata was found")]
    NoMetadata,
    /// A step of OAuth failed.
    #[error("{step} failed")]
    OAuth {
        /// Which.
        step: &'static str,
        /// How.
        #[source]
        source: AuthError,
    },
    /// The person did not come back with a code.
    #[error("signing in failed")]
    SignIn(#[from] BrowserError),
    /// The session was not opened.
    #[error("the MCP handshake failed: {0}")]
    Handshake(String),
    /// A call failed.
    #[error("the call failed")]
    Call(#[from] ServiceError),
    /// The answer does not fit the question.
    #[error("the answer is of the wrong kind")]
    WrongAnswer,
}

fn oauth(step: &'static str) -> impl FnOnce(AuthError) -> ClientError {
    move |source| ClientError::OAuth { step, source }
}

/// A client that is about to connect.
pub struct Builder {
    url: String,
    ca_pem: Option<Vec<u8>>,
    person: Option<String>,
    redirect_uri: String,
    name: String,
    client_id: Option<String>,
    prompt_consent: bool,
    on_step: Box<dyn FnMut(Step) + Send>,
}

impl Builder {
    /// Trusts the certificate authorities in this PEM file, and no other.
    #[must_use]
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca_pem = Some(pem.into());
        self
    }

    /// Signs in as that person (`alice`, `bob`); the emulator's first otherwise.
    #[must_use]
    pub fn person(mut self, person: impl Into<String>) -> Self {
        self.person = Some(person.into());
        self
    }

    /// Sets the redirect URI; Claude Code's `http://localhost:3118/callback` otherwise.
    #[must_use]
    pub fn redirect_uri(mut self, uri: impl Into<String>) -> Self {
        self.redirect_uri = uri.into();
        self
    }

    /// Sets the name under which the client registers and introduces itself.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Uses an id that was registered before, and does not register.
    #[must_use]
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = Some(id.into());
        self
    }

    /// Whether `prompt=consent` goes with `offline_access`, as most assistants send it (the default).
    #[must_use]
    pub fn prompt_consent(mut self, on: bool) -> Self {
        self.prompt_consent = on;
        self
    }

    /// Is told of every step as it succeeds.
    #[must_use]
    pub fn on_step(mut self, on_step: impl FnMut(Step) + Send + 'static) -> Self {
        self.on_step = Box::new(on_step);
        self
    }

    /// Goes through every step.
    ///
    /// # Errors
    ///
    /// When a step fails; the steps before it have been reported.
    pub async fn connect(mut self) -> Result<SignedIn, ClientError> {
        let url = Url::parse(&self.url).map_err(|_| ClientError::Url(self.url.clone()))?;
        let http = self.http().map_err(ClientError::Prepare)?;
        let challenge = challenge(&http, &url).await?;
        (self.on_step)(Step::Challenged);

        let transport = Arc::new(oauth::Transport::new(http.clone()));
        let mut manager = AuthorizationManager::new_with_oauth_http_client(url, transport)
            .await
            .map_err(oauth("preparing OAuth"))?;
        let resolution = manager
            .resolve_metadata_from_challenge(Some(&challenge))
            .await
            .map_err(oauth("discovery"))?;
        if resolution.source == AuthorizationMetadataSource::LegacyEndpointFallback {
            return Err(ClientError::NoMetadata);
        }
        let issuer = resolution.metadata.issuer.clone().unwrap_or_default();
        manager.set_metadata(resolution.metadata);
        (self.on_step)(Step::Discovered { issuer });

        let session = self.register(manager).await?;
        let callback = self.sign_in(&http, &session).await?;
        (self.on_step)(Step::SignedIn);

        let tokens = session
            .handle_callback_url(&callback)
            .await
            .map_err(oauth("redeeming the code"))?;
        (self.on_step)(redeemed(&tokens));
        self.open(http, session.auth_manager).await
    }

    fn http(&self) -> Result<reqwest::Client, reqwest::Error> {
        tls::install_provider();
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none());
        if let Some(pem) = &self.ca_pem {
            builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(pem)?);
        } else {
            // The platform's authorities are of no use to something on loopback.
            builder = builder.tls_certs_only([]);
        }
        builder.build()
    }

    async fn register(
        &mut self,
        manager: AuthorizationManager,
    ) -> Result<AuthorizationSession, ClientError> {
        let mut request =
            AuthorizationRequest::new(&self.redirect_uri).with_client_name(&self.name);
        if let Some(id) = &self.client_id {
            request = request.with_preregistered_client(id);
        }
        let session = AuthorizationSession::new(manager, request)
            .await
            .map_err(|(_, source)| oauth("registration")(source))?;
        let (client_id, _) = session
            .get_credentials()
            .await
            .map_err(oauth("registration"))?;
        (self.on_step)(Step::Registered { client_id });
        Ok(session)
    }

    /// Plays the person, and returns the address to which the browser was sent in the end.
    async fn sign_in(
        &self,
        http: &reqwest::Client,
        session: &AuthorizationSession,
    ) -> Result<String, ClientError> {
        let address = session.get_authorization_url();
        let mut address = Url::parse(address).map_err(|_| ClientError::Url(address.to_owned()))?;
        let offline = address
            .query_pairs()
            .any(|(name, value)| name == "scope" && value.contains("offline_access"));
        if self.prompt_consent && offline {
            address.query_pairs_mut().append_pair("prompt", "consent");
        }
        let mut browser = Browser::new(http.clone(), self.person.clone());
        Ok(browser.visit(address, &self.redirect_uri).await?)
    }

    async fn open(
        mut self,
        http: reqwest::Client,
        manager: AuthorizationManager,
    ) -> Result<SignedIn, ClientError> {
        let auth = AuthClient::new(http, manager);
        let transport = StreamableHttpClientTransport::with_client(
            auth.clone(),
            StreamableHttpClientTransportConfig::with_uri(self.url.as_str()),
        );
        let heard = Arc::new(Heard::default());
        let ears = Ears {
            name: self.name,
            heard: Arc::clone(&heard),
        };
        let service = tokio::time::timeout(HANDSHAKE_TIMEOUT, ears.serve(transport))
            .await
            .map_err(|_| ClientError::Handshake("no answer in time".to_owned()))?
            .map_err(|error| ClientError::Handshake(error.to_string()))?;
        let server = service
            .peer_info()
            .and_then(|info| info.server_info.as_ref().map(|server| server.name.clone()))
            .unwrap_or_default();
        (self.on_step)(Step::Connected { server });
        Ok(SignedIn {
            service,
            auth,
            heard,
        })
    }
}

/// Asks without a token, and returns the challenge.
async fn challenge(http: &reqwest::Client, url: &Url) -> Result<String, ClientError> {
    let initialize = json!({
        "jsonrpc": "2.0", "id": 0, "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": {"name": "probe", "version": "1"},
        },
    });
    let response = http
        .post(url.clone())
        .header("accept", "application/json, text/event-stream")
        .json(&initialize)
        .send()
        .await
        .map_err(ClientError::Unreachable)?;
    let header = response
        .headers()
        .get(http::header::WWW_AUTHENTICATE)
        .and_then(|value| value.to_str().ok());
    match header {
        Some(challenge) if response.status() == http::StatusCode::UNAUTHORIZED => {
            Ok(challenge.to_owned())
        }
        Some(_) => Err(ClientError::NotChallenged(response.status().to_string())),
        None => Err(ClientError::NotChallenged(format!(
            "{} without it",
            response.status()
        ))),
    }
}

fn redeemed(tokens: &rmcp::transport::auth::OAuthTokenResponse) -> Step {
    // The SDK does not re-export the trait that reads these; their JSON form is the standard's.
    let tokens = serde_json::to_value(tokens).unwrap_or_default();
    Step::Redeemed {
        expires_in: tokens.get("expires_in").and_then(Value::as_u64),
        refreshable: tokens.get("refresh_token").is_some_and(Value::is_string),
    }
}

/// A notification of the server.
#[derive(Debug, Clone, PartialEq)]
pub enum Notification {
    /// `notifications/tools/list_changed`.
    ToolsChanged,
    /// `notifications/progress`.
    Progress {
        /// How far.
        progress: f64,
        /// Of how much, if that is known.
        total: Option<f64>,
    },
}

#[derive(Default)]
struct Heard {
    notifications: Mutex<Vec<Notification>>,
    grown: Notify,
}

impl Heard {
    fn push(&self, notification: Notification) {
        let mut notifications = lock(&self.notifications);
        if notifications.len() < REMEMBERED {
            notifications.push(notification);
        }
        drop(notifications);
        self.grown.notify_waiters();
    }
}

/// The part of the client that the SDK tells of notifications.
struct Ears {
    name: String,
    heard: Arc<Heard>,
}

impl ClientHandler for Ears {
    async fn on_progress(
        &self,
        params: ProgressNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        self.heard.push(Notification::Progress {
            progress: params.progress,
            total: params.total,
        });
    }

    async fn on_tool_list_changed(&self, _context: NotificationContext<RoleClient>) {
        self.heard.push(Notification::ToolsChanged);
    }

    fn get_info(&self) -> ClientConfig {
        ClientConfig::new(
            ClientCapabilities::default(),
            Implementation::new(&self.name, env!("CARGO_PKG_VERSION")),
        )
    }
}

/// A client with an open session.
pub struct SignedIn {
    service: RunningService<RoleClient, Ears>,
    auth: AuthClient<reqwest::Client>,
    heard: Arc<Heard>,
}

impl SignedIn {
    /// Returns a builder for a client of the MCP endpoint at `url`.
    #[must_use]
    pub fn builder(url: impl Into<String>) -> Builder {
        Builder {
            url: url.into(),
            ca_pem: None,
            person: None,
            redirect_uri: "http://localhost:3118/callback".to_owned(),
            name: "mcp-gateway demo".to_owned(),
            client_id: None,
            prompt_consent: true,
            on_step: Box::new(|_| {}),
        }
    }

    /// Lists the tools.
    ///
    /// # Errors
    ///
    /// When the server refuses or cannot be reached.
    pub async fn tools(&self) -> Result<Vec<Tool>, ClientError> {
        Ok(self.service.list_all_tools().await?)
    }

    /// Calls a tool, asking for progress.
    ///
    /// # Errors
    ///
    /// When the server refuses or cannot be reached. A tool that fails is an answer, not an error.
    pub async fn call(&self, tool: &str, arguments: Value) -> Result<CallToolResult, ClientError> {
        let arguments = match arguments {
            Value::Object(arguments) => arguments,
            _ => Map::new(),
        };
        let params = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        let request = ClientRequest::CallToolRequest(Request::new(params));
        let handle = self
            .service
            .send_cancellable_request(request, PeerRequestOptions::no_options())
            .await?;
        match handle.await_response().await? {
            ServerResult::CallToolResult(result) => Ok(result),
            _ => Err(ClientError::WrongAnswer),
        }
    }

    /// Calls a tool and returns the text of its answer.
    ///
    /// # Errors
    ///
    /// As [`Self::call`]; also when there is no text.
    pub async fn call_text(&self, tool: &str, arguments: Value) -> Result<String, ClientError> {
        let result = self.call(tool, arguments).await?;
        let text = result.content.first().and_then(|content| content.as_text());
        text.map(|text| text.text.clone())
            .ok_or(ClientError::WrongAnswer)
    }

    /// Returns what the server notified of so far.
    #[must_use]
    pub fn notifications(&self) -> Vec<Notification> {
        lock(&self.heard.notifications).clone()
    }

    /// Waits until a notification that `wanted` accepts has come, at most `within`; says whether.
    pub async fn wait_for_notification(
        &self,
        within: Duration,
        wanted: impl Fn(&Notification) -> bool,
    ) -> bool {
        let heard = async {
            loop {
                let grown = self.heard.grown.notified();
                tokio::pin!(grown);
                grown.as_mut().enable();
                if lock(&self.heard.notifications).iter().any(&wanted) {
                    return;
                }
                grown.await;
            }
        };
        tokio::time::timeout(within, heard).await.is_ok()
    }

    /// Redeems the refresh token.
    ///
    /// # Errors
    ///
    /// When there is none, or the authorization server refuses it.
    pub async fn refresh(&self) -> Result<Step, ClientError> {
        let manager = self.auth.auth_manager.lock().await;
        let tokens = manager
            .refresh_token()
            .await
            .map_err(oauth("the refresh"))?;
        Ok(redeemed(&tokens))
    }

    /// Returns the token in use, refreshed first if it is about to expire.
    ///
    /// # Errors
    ///
    /// When a refresh was needed and failed.
    pub async fn bearer(&self) -> Result<String, ClientError> {
        self.auth
            .get_access_token()
            .await
            .map_err(oauth("the refresh"))
    }

    /// Ends the session, which tells the server.
    pub async fn close(self) {
        // A server that is gone has ended the session by itself.
        let _ = self.service.cancel().await;
    }
}
