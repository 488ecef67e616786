//! `thv serve`: the management API, as far as a gateway has to do with it.
//!
//! Lists are in no order, an empty one is `null`, errors are plain text, changes take effect later.
//! It asks nobody who they are unless told to; then even `/health` needs a token.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::auth::{Guard, Oidc};
use super::listed::{Listed, Managed, Status};
use super::management::Inner;
use super::workload::Workload;
use crate::clock::Clock;
use crate::net::{Handler, Server, lock};
use crate::random;
use crate::record::{Log, Recorded};

/// Idle connections are closed after this time.
const IDLE: Duration = Duration::from_secs(120);

/// How the API misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiFault {
    /// The container runtime cannot be reached: `/health` says 503, lists fail.
    RuntimeDown,
    /// The list is empty, whatever there is.
    EmptyList,
    /// Nothing is ever answered.
    Hang,
}

/// A change that somebody asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Stop that workload.
    Stop(String),
    /// Restart it.
    Restart(String),
    /// Delete it.
    Delete(String),
}

/// Settings of an API that is about to start.
#[derive(Default)]
pub struct ApiBuilder {
    managed: Vec<Managed>,
    groups: Vec<String>,
    oidc: Option<Oidc>,
    port: u16,
    delay: Duration,
}

impl ApiBuilder {
    /// Lists a workload that is not in this process.
    #[must_use]
    pub fn listed(mut self, entry: Listed) -> Self {
        self.managed.push(Managed {
            entry,
            workload: None,
        });
        self
    }

    /// Lists a workload of this process under that name and group; stopping and restarting it has
    /// effect. Several replicas need a name each.
    #[must_use]
    pub fn manages(
        mut self,
        name: impl Into<String>,
        group: impl Into<String>,
        workload: Arc<Workload>,
    ) -> Self {
        let mut entry = Listed::running(name, workload.address().port(), Clock::new().now());
        entry.group = group.into();
        self.managed.push(Managed {
            entry,
            workload: Some(workload),
        });
        self
    }

    /// Adds a group without workloads. `default` and the groups of workloads are there anyway.
    #[must_use]
    pub fn group(mut self, name: impl Into<String>) -> Self {
        self.groups.push(name.into());
        self
    }

    /// Asks every caller for a token.
    #[must_use]
    pub fn oidc(mut self, oidc: Oidc) -> Self {
        self.oidc = Some(oidc);
        self
    }

    /// Sets the port, any free one otherwise.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Sets how long a change takes; none otherwise.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Starts the API.
    ///
    /// # Errors
    ///
    /// When the port is taken.
    #[expect(
        clippy::unused_async,
        reason = "needs a runtime, and says so like the other stand-ins"
    )]
    pub async fn start(self) -> io::Result<Api> {
        let guard = match self.oidc {
            Some(oidc) => Some(Guard::new(oidc).map_err(io::Error::other)?),
            None => None,
        };
        let inner = Arc::new(Inner {
            managed: Mutex::new(self.managed),
            groups: self.groups,
            guard,
            delay: self.delay,
            nonce: random::text(16),
            fault: Mutex::default(),
            commands: Mutex::default(),
            log: Log::default(),
        });
        let serving = Arc::clone(&inner);
        let handler: Handler =
            Arc::new(move |request| Box::pin(Arc::clone(&serving).serve(request)));
        let server = Server::reserve(self.port, IDLE, |_| handler)?;
        server.up()?;
        Ok(Api { inner, server })
    }
}

/// A running management API. Dropping it kills it.
pub struct Api {
    inner: Arc<Inner>,
    server: Server,
}

impl Api {
    /// Returns a builder for an API without workloads.
    #[must_use]
    pub fn builder() -> ApiBuilder {
        ApiBuilder::default()
    }

    /// Returns where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Returns its address: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Adds a workload, or replaces the one of that name.
    pub fn list(&self, entry: Listed) {
        let mut managed = lock(&self.inner.managed);
        managed.retain(|known| known.entry.name != entry.name);
        managed.push(Managed {
            entry,
            workload: None,
        });
    }

    /// Takes a workload off the list, which does nothing to it.
    pub fn unlist(&self, name: &str) {
        lock(&self.inner.managed).retain(|managed| managed.entry.name != name);
    }

    /// Changes what is said of a workload, which does nothing to it.
    pub fn set_status(&self, name: &str, status: Status) {
        self.inner.set(name, status);
    }

    /// Misbehaves, until [`Self::heal`].
    pub fn fault(&self, fault: ApiFault) {
        *lock(&self.inner.fault) = Some(fault);
    }

    /// Stops misbehaving.
    pub fn heal(&self) {
        *lock(&self.inner.fault) = None;
    }

    /// Returns the changes asked for, in order.
    #[must_use]
    pub fn commands(&self) -> Vec<Command> {
        lock(&self.inner.commands).clone()
    }

    /// Returns the requests seen, oldest first; the oldest are forgotten beyond some thousands.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.inner.log.all()
    }

    /// Closes the listener and resets every connection; workloads live on.
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
