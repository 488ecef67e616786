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
use rmcp::transport::auth::{AuthClient, AuthError};
use rmcp::{ClientHandler, RoleClient};
use serde_json::{Map, Value};
use thiserror::Error;
use tokio::sync::Notify;

use crate::net::lock;

pub mod browser;
mod carrier;
mod connect;

pub use connect::Builder;

use browser::BrowserError;

/// Notifications remembered; more are dropped.
const REMEMBERED: usize = 10_000;

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
        Builder::new(url.into())
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
