//! One workload: its listener, its switches, and what a test can see of it.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::auth::{Guard, Oidc};
use super::disconnect::Disconnect;
use super::fault::{Fault, Faults};
use super::process::Process;
use super::proxy::{Inner, Kind};
use crate::clock::Clock;
use crate::mcp::Instance;
use crate::net::{Handler, Server, lock};
use crate::record::{Log, Recorded};

/// Settings of a workload that is about to start.
#[derive(Debug)]
pub struct Builder {
    name: String,
    replica: String,
    kind: Kind,
    oidc: Option<Oidc>,
    names_itself: bool,
    port: u16,
    idle: Option<Duration>,
    keep_alive: Duration,
    request_timeout: Duration,
    session_ttl: Duration,
    queue: usize,
}

impl Builder {
    /// Says which of several replicas this is.
    #[must_use]
    pub fn replica(mut self, replica: impl Into<String>) -> Self {
        self.replica = replica.into();
        self
    }

    /// Chooses the proxy; [`Kind::Stdio`] otherwise.
    #[must_use]
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Asks every caller for a token. Without it everybody is let in, as in ToolHive.
    #[must_use]
    pub fn oidc(mut self, oidc: Oidc) -> Self {
        self.oidc = Some(oidc);
        self
    }

    /// Names its own MCP endpoint as the resource, whatever [`Oidc::resource_url`] says.
    #[must_use]
    pub fn names_itself(mut self) -> Self {
        self.names_itself = true;
        self
    }

    /// Sets the port, any free one otherwise.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Sets after what time an idle connection is closed; otherwise 30 s, or 120 s before a server
    /// that speaks HTTP itself.
    #[must_use]
    pub fn idle(mut self, idle: Duration) -> Self {
        self.idle = Some(idle);
        self
    }

    /// Sets how often a standalone stream carries a comment; every 30 s otherwise.
    #[must_use]
    pub fn keep_alive(mut self, every: Duration) -> Self {
        self.keep_alive = every;
        self
    }

    /// Sets how long the server behind the proxy may take; 60 s otherwise.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Sets how long an unused session is known; two hours otherwise.
    #[must_use]
    pub fn session_ttl(mut self, ttl: Duration) -> Self {
        self.session_ttl = ttl;
        self
    }

    /// Sets how many messages may wait for the server behind the proxy; 100 otherwise, as in
    /// ToolHive, where a request beyond that gets `500`. A benchmark needs more.
    #[must_use]
    pub fn queue(mut self, messages: usize) -> Self {
        self.queue = messages;
        self
    }

    /// Starts the workload.
    ///
    /// # Errors
    ///
    /// When the port is taken.
    #[expect(
        clippy::unused_async,
        reason = "needs a runtime, and says so like the other stand-ins"
    )]
    pub async fn start(self) -> io::Result<Workload> {
        let mut guard = match self.oidc {
            Some(oidc) => Some(Guard::new(oidc).map_err(io::Error::other)?),
            None => None,
        };
        let instance = |generation| Instance {
            workload: self.name.clone(),
            replica: self.replica.clone(),
            generation,
        };
        let idle = self.idle.unwrap_or(match self.kind {
            Kind::Stdio => Duration::from_secs(30),
            Kind::Transparent => Duration::from_secs(120),
        });
        let process = Process::start(instance(1), self.session_ttl, self.queue);
        let mut inner = None;
        let (name, replica, kind) = (self.name.clone(), self.replica.clone(), self.kind);
        let server = Server::reserve(self.port, idle, |address| {
            if let Some(guard) = guard.as_mut().filter(|_| self.names_itself) {
                guard.set_resource_url(format!("http://{address}/mcp"));
            }
            let made = Arc::new(Inner {
                name,
                replica,
                kind,
                address,
                guard,
                keep_alive: self.keep_alive,
                request_timeout: self.request_timeout,
                session_ttl: self.session_ttl,
                queue: self.queue,
                process: Mutex::new(process),
                generation: AtomicU32::new(1),
                faults: Faults::default(),
                log: Log::default(),
                board: Arc::default(),
                clock: Clock::new(),
            });
            inner = Some(Arc::clone(&made));
            let handler: Handler =
                Arc::new(move |request| Box::pin(Arc::clone(&made).serve(request)));
            handler
        })?;
        let inner = inner.ok_or(io::ErrorKind::Other)?;
        server.up()?;
        Ok(Workload { inner, server })
    }
}

/// A running workload. Dropping it kills it.
pub struct Workload {
    inner: Arc<Inner>,
    server: Server,
}

impl Workload {
    /// Returns a builder for a workload of that name.
    #[must_use]
    pub fn builder(name: impl Into<String>) -> Builder {
        Builder {
            name: name.into(),
            replica: "1".to_owned(),
            kind: Kind::default(),
            oidc: None,
            names_itself: false,
            port: 0,
            idle: None,
            keep_alive: Duration::from_secs(30),
            request_timeout: Duration::from_secs(60),
            session_ttl: Duration::from_secs(2 * 3_600),
            queue: 100,
        }
    }

    /// Returns where it listens, whether it is alive or not.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Returns the address of its MCP endpoint.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address())
    }

    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Returns which replica it is.
    #[must_use]
    pub fn replica(&self) -> &str {
        &self.inner.replica
    }

    /// Kills it: every connection is reset, its address refuses, its sessions are lost.
    pub async fn kill(&self) {
        self.inner.board.pause(true);
        lock(&self.inner.process).end();
        self.server.down().await;
        self.inner.board.pause(false);
    }

    /// Starts it again on the same port, as a new process that knows no session. Kills it first if
    /// it is alive.
    ///
    /// # Errors
    ///
    /// When another process took the port meanwhile.
    pub async fn restart(&self) -> io::Result<()> {
        self.kill().await;
        let generation = self.inner.generation.fetch_add(1, Ordering::SeqCst) + 1;
        let instance = Instance {
            workload: self.inner.name.clone(),
            replica: self.inner.replica.clone(),
            generation,
        };
        *lock(&self.inner.process) =
            Process::start(instance, self.inner.session_ttl, self.inner.queue);
        self.server.up()
    }

    /// Lets every request meet a fault, until [`Self::heal`].
    pub fn fault(&self, fault: Fault) {
        self.inner.faults.plan(fault, None);
    }

    /// Lets the next `times` requests meet a fault.
    pub fn fault_times(&self, fault: Fault, times: usize) {
        if times > 0 {
            self.inner.faults.plan(fault, Some(times));
        }
    }

    /// Takes all faults away.
    pub fn heal(&self) {
        self.inner.faults.clear();
    }

    /// Returns the ids of the sessions it knows.
    #[must_use]
    pub fn sessions(&self) -> Vec<String> {
        lock(&self.inner.process).sessions()
    }

    /// Forgets every session, as an expired memory does, without a restart.
    pub fn forget_sessions(&self) {
        let process = Arc::clone(&lock(&self.inner.process));
        for session in process.sessions() {
            process.close_session(&session);
        }
    }

    /// Returns how many standalone streams are open.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        lock(&self.inner.process).streams()
    }

    /// Returns the requests seen, oldest first; the oldest are forgotten beyond some thousands.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.inner.log.all()
    }

    /// Returns the requests seen other than health checks.
    #[must_use]
    pub fn mcp_requests(&self) -> Vec<Recorded> {
        let mut requests = self.requests();
        requests.retain(|request| request.path != "/health");
        requests
    }

    /// Whether a request that `wanted` accepts was seen.
    #[must_use]
    pub fn saw(&self, wanted: impl Fn(&Recorded) -> bool) -> bool {
        self.requests().iter().any(wanted)
    }

    /// Waits for a request that `wanted` accepts, at most `within`.
    pub async fn wait_for(
        &self,
        within: Duration,
        wanted: impl Fn(&Recorded) -> bool,
    ) -> Option<Recorded> {
        self.inner.log.wait_for(within, wanted).await
    }

    /// Forgets the requests seen.
    pub fn forget_requests(&self) {
        self.inner.log.clear();
    }

    /// Returns the clients that left before their answer was complete.
    #[must_use]
    pub fn disconnects(&self) -> Vec<Disconnect> {
        self.inner.board.all()
    }

    /// Waits until `wanted` holds for [`Self::disconnects`], at most `within`; says whether it does.
    pub async fn wait_for_disconnects(
        &self,
        within: Duration,
        wanted: impl Fn(&[Disconnect]) -> bool,
    ) -> bool {
        self.inner.board.wait_until(within, wanted).await
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        self.inner.board.pause(true);
        lock(&self.inner.process).end();
    }
}
