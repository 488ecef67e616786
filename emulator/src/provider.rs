//! An OpenID Connect provider that is not Entra ID, on loopback.
//!
//! One implementation, and switches ([`Quirks`]) for where providers differ: Okta, Auth0, Keycloak,
//! Google, Cognito and Ping are sets of switches. As with [`crate::entra`], a conforming MCP client
//! that is pointed straight at one fails where it would fail at the real one.
//!
//! What it does not do: pages (whoever is named in `X-Emu-User` or `login_hint`, else Alice, is
//! signed in at once), grants other than codes and refresh tokens, `userinfo`, introspection.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::clock::Clock;
use crate::keys::{self, Key};
use crate::net::{Handler, Server, lock};
use crate::record::{Log, Recorded};
use crate::store::Store;

mod authorize;
mod documents;
mod quirks;
mod routes;
mod token;

pub use quirks::{Access, Kind, Quirks, Refresh};

use authorize::Code;
use token::Grant;

/// The registered public client.
pub const CLIENT_ID: &str = "mcp-gateway-client";

/// The registered API.
pub const AUDIENCE: &str = "https://mcp.example.com/api";

/// Connections without a request are closed after this time.
const IDLE: Duration = Duration::from_secs(120);

/// Who can sign in.
const PEOPLE: [&str; 2] = ["alice", "bob"];

/// A running provider. Dropping it closes the listener and every connection.
pub struct Provider {
    server: Server,
    state: Arc<State>,
}

/// What a running provider remembers.
struct State {
    /// Where it listens: `http://127.0.0.1:PORT`.
    origin: String,
    quirks: Quirks,
    clock: Clock,
    log: Log,
    key: Arc<Key>,
    codes: Mutex<Store<Code>>,
    grants: Mutex<Store<Grant>>,
    /// People who consented once.
    consented: Mutex<Vec<&'static str>>,
}

impl State {
    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    fn issuer(&self) -> String {
        self.url(&self.quirks.issuer)
    }
}

impl Provider {
    /// Starts a provider of that kind.
    ///
    /// # Errors
    ///
    /// When no port can be had, or keys cannot be made.
    pub async fn start(kind: Kind) -> io::Result<Self> {
        Self::start_with(Quirks::of(kind)).await
    }

    /// Starts a provider with switches of one's own.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub async fn start_with(quirks: Quirks) -> io::Result<Self> {
        let [key, ..] = keys::pool().await?;
        let mut state = None;
        let server = Server::reserve(0, IDLE, |address| {
            let made = Arc::new(State {
                origin: format!("http://{address}"),
                quirks,
                clock: Clock::new(),
                log: Log::default(),
                key,
                codes: Mutex::default(),
                grants: Mutex::default(),
                consented: Mutex::default(),
            });
            state = Some(Arc::clone(&made));
            let handler: Handler =
                Arc::new(move |request| Box::pin(routes::serve(Arc::clone(&made), request)));
            handler
        })?;
        let state = state.ok_or(io::ErrorKind::Other)?;
        server.up()?;
        Ok(Self { server, state })
    }

    /// Returns where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Returns what stands for its host: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.state.origin
    }

    /// Returns `iss` of its tokens.
    #[must_use]
    pub fn issuer(&self) -> String {
        self.state.issuer()
    }

    /// Returns the address of the authorization endpoint.
    #[must_use]
    pub fn authorization_endpoint(&self) -> String {
        self.state.url(&self.state.quirks.authorize)
    }

    /// Returns the address of the token endpoint.
    #[must_use]
    pub fn token_endpoint(&self) -> String {
        self.state.url(&self.state.quirks.token)
    }

    /// Returns the address of the published keys.
    #[must_use]
    pub fn jwks_uri(&self) -> String {
        self.state.url(&self.state.quirks.keys)
    }

    /// Returns its clock, which can be moved forward.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.state.clock
    }

    /// Returns the requests seen, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.state.log.all()
    }

    /// Signs claims with the published key, for tests of what must not be accepted.
    #[must_use]
    pub fn sign(&self, claims: &serde_json::Value) -> String {
        crate::jws::sign(&self.state.key, claims)
    }

    /// Ends every refresh token issued so far.
    pub fn revoke(&self) {
        for grant in lock(&self.state.grants).values_mut() {
            grant.revoked = true;
        }
    }
}
