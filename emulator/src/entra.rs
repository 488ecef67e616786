//! An Entra ID tenant (v2.0 endpoints) on loopback.
//!
//! It signs people in without passwords and hands out tokens that only the real audience can
//! verify, publishes keys, and refuses what Entra refuses, with its AADSTS numbers. There is
//! neither dynamic client registration nor an RFC 8414 document here, because there is none there:
//! a conforming MCP client that is pointed straight at it fails, as it would in production.
//!
//! As much of Microsoft Graph as tells a user's groups stands beside it. What it does not do: device
//! code, hybrid and implicit flows.
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
use crate::net::{Server, lock};
use crate::record::Recorded;

mod authorize;
mod builder;
mod claims;
mod confidential;
mod directory;
mod error;
mod fault;
mod grants;
mod graph;
mod jwt;
mod metadata;
mod mint;
mod page;
mod redirect;
mod routes;
mod scope;
mod state;
mod token;
mod told;

pub use builder::Builder;
pub use directory::{App, ClientCertificate, GRAPH, Grant, Platform, User};
pub use fault::{Endpoint, Fault};
pub use jwt::TokenBuilder;
pub use redirect::LoopbackPorts;
pub use state::ResourceMode;
pub use told::Separator;

use claims::{Subject, Validity};
use state::State;

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
        let tenant = directory
            .user(who)
            .map_or(&*directory.tenant, |user| directory.tenant_of(user));
        let issuer = self.state.issuer(tenant);
        let now = self.state.clock.now();
        let claims = match (directory.app(&self.client_id), directory.user(who)) {
            (Some(client), Some(user)) => {
                let subject = Subject {
                    tenant,
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

    /// Mints an access token of a person for another API, by the API's application id.
    #[must_use]
    pub fn token_for(&self, who: &str, api: &str, scp: &str) -> Option<String> {
        self.access_token(who, api, scp)
    }

    /// Mints an access token for the gateway's own API.
    #[must_use]
    pub fn api_token(&self, who: &str) -> Option<String> {
        self.access_token(who, &self.client_id, API_SCOPE)
    }

    fn access_token(&self, who: &str, api: &str, scp: &str) -> Option<String> {
        let directory = self.state.directory();
        let tenant = directory.tenant_of(directory.user(who)?);
        let issuer = self.state.issuer(tenant);
        let now = self.state.clock.now();
        let subject = Subject {
            tenant,
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
