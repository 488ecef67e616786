//! A running gateway: everything built, then bound, then served, then drained.
//!
//! The three steps are apart so that a broken configuration is known before a socket is bound, and
//! so that tests start the same gateway in their own process on port 0.

mod build;
mod machine;
mod memory;
mod routes;
mod status;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    admin::Admin,
    ingress::{ClientAddress, Limits, Pressure},
    listener::{self, Admission, Gate, Listener, Serve},
    oidc::KeySource,
    proxy::{Proxy, RedirectToHttps},
    telemetry::metrics::Metrics,
    upstream::Pool,
};

pub use machine::{Machine, raise_files};

use memory::{Guard, Sampler};

/// The most connections of the admin listener.
const ADMIN_CONNECTIONS: usize = 256;
/// How often a drain looks whether it is over.
const DRAIN_TICK: Duration = Duration::from_millis(20);

/// A gateway that is built: its configuration is good, and no socket is bound.
pub struct Server {
    listeners: Vec<(Listener, Serve)>,
    admin: Listener,
    origin: String,
    proxy: Arc<Proxy>,
    metrics: Arc<Metrics>,
    pools: Vec<Arc<Pool>>,
    keys: Option<KeySource>,
    limits: Arc<Limits>,
    machine: Machine,
    pressure: Arc<Pressure>,
    sampler: Sampler,
    client_address: Option<ClientAddress>,
    inflight: Arc<AtomicUsize>,
}

impl Server {
    /// Lets `sampler` say how many bytes the process holds, in place of the system. A program that
    /// embeds the gateway may hold memory of its own.
    #[must_use]
    pub fn sampling_memory(
        mut self,
        sampler: impl FnMut() -> Option<usize> + Send + 'static,
    ) -> Self {
        self.sampler = Box::new(sampler);
        self
    }

    /// Binds every socket and serves, on the runtime of the caller.
    ///
    /// # Errors
    /// When an address cannot be bound, with the address.
    pub fn start(self) -> Result<Running, BindError> {
        self.start_with(vec![])
    }

    /// Serves on sockets that are bound already where a listener has the address of one; binds
    /// the others.
    ///
    /// # Errors
    /// When an address cannot be bound, with the address.
    pub fn start_with(self, mut sockets: Vec<TcpListener>) -> Result<Running, BindError> {
        let mut bound = vec![];
        for (listener, serve) in self.listeners {
            bound.push((bind(listener, &mut sockets)?, serve));
        }
        let admin = bind(self.admin, &mut sockets)?;
        let (stop, stopped) = watch::channel(false);
        let (stop_admin, admin_stopped) = watch::channel(false);
        let draining = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        let addresses = bound.iter().map(|(bound, _)| bound.address()).collect();
        let mark = self.machine.memory_mark(&self.limits);
        if let Some(mark) = mark {
            let pressure = Arc::clone(&self.pressure);
            let mut guard = Guard::new(mark, self.sampler, pressure, &self.metrics);
            // Who comes first finds it decided.
            guard.look(std::time::Instant::now());
            tasks.spawn(guard.run(stopped.clone()));
        }
        let gate = Gate {
            admission: Admission::new(
                self.machine.connections(&self.limits),
                &self.limits,
                self.client_address.as_ref(),
                self.pressure,
            ),
            limits: self.limits,
        };
        for (listener, serve) in bound {
            let gate = gate.clone();
            let (metrics, stopped) = (Arc::clone(&self.metrics), stopped.clone());
            match serve {
                Serve::Routes => {
                    let app = Arc::clone(&self.proxy);
                    tasks.spawn(async move { listener.serve(app, gate, &metrics, stopped).await });
                }
                Serve::RedirectToHttps => {
                    let app = Arc::new(RedirectToHttps::to(self.origin.clone()));
                    tasks.spawn(async move { listener.serve(app, gate, &metrics, stopped).await });
                }
            }
        }
        for pool in &self.pools {
            tasks.spawn(Arc::clone(pool).run(stopped.clone()));
        }
        if let Some(keys) = self.keys {
            tasks.spawn(async move { keys.run(stopped).await });
        }
        let admin_address = admin.address();
        let (metrics, pools) = (Arc::clone(&self.metrics), self.pools.clone());
        let status = Box::new(move || status::of(&metrics, &pools, status::now()));
        let app = Arc::new(Admin::new(
            Arc::clone(&self.metrics),
            status,
            Arc::clone(&draining),
        ));
        let metrics = Arc::clone(&self.metrics);
        let mut admin_tasks = JoinSet::new();
        admin_tasks.spawn(async move {
            admin
                .serve(app, admin_gate(), &metrics, admin_stopped)
                .await;
        });
        Ok(Running {
            addresses,
            admin: admin_address,
            metrics: self.metrics,
            draining,
            stop,
            stop_admin,
            inflight: self.inflight,
            tasks,
            admin_tasks,
        })
    }
}

/// An address that cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on `{address}`: {source}")]
pub struct BindError {
    /// The address as configured.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

fn bind(listener: Listener, sockets: &mut Vec<TcpListener>) -> Result<listener::Bound, BindError> {
    let address = listener.address();
    let inherited = sockets
        .iter()
        .position(|socket| socket.local_addr().is_ok_and(|local| local == address))
        .map(|index| sockets.swap_remove(index));
    let socket = inherited.map_or_else(|| TcpListener::bind(address), Ok);
    socket
        .and_then(|socket| listener.bound(socket))
        .map_err(|source| BindError { address, source })
}

/// A gateway that serves.
pub struct Running {
    addresses: Vec<SocketAddr>,
    admin: SocketAddr,
    metrics: Arc<Metrics>,
    draining: Arc<AtomicBool>,
    stop: watch::Sender<bool>,
    stop_admin: watch::Sender<bool>,
    inflight: Arc<AtomicUsize>,
    tasks: JoinSet<()>,
    admin_tasks: JoinSet<()>,
}

impl Running {
    /// The addresses of the listeners, in the order of the configuration, with their real ports.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The address of the admin listener.
    #[must_use]
    pub const fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The metrics, as `/metrics` shows them.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Stops taking connections, ends event streams, and waits until every request is answered or
    /// `deadline` has passed. Returns how many requests were cut.
    pub async fn drain(mut self, deadline: Duration) -> usize {
        self.draining.store(true, Ordering::Relaxed);
        // Without receivers there is nobody left to stop.
        let _ = self.stop.send(true);
        let until = Instant::now() + deadline;
        while self.inflight.load(Ordering::Relaxed) > 0 && Instant::now() < until {
            sleep(DRAIN_TICK).await;
        }
        let cut = self.inflight.load(Ordering::Relaxed);
        let _ = self.stop_admin.send(true);
        self.tasks.shutdown().await;
        self.admin_tasks.shutdown().await;
        cut
    }
}

/// The admin listener has limits of its own: what happens to the public ones is seen there.
fn admin_gate() -> Gate {
    let limits = Limits {
        connections_per_address: ADMIN_CONNECTIONS,
        ..Limits::default()
    };
    Gate {
        admission: Admission::new(ADMIN_CONNECTIONS, &limits, None, Arc::default()),
        limits: Arc::new(limits),
    }
}
