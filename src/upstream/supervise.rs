//! What runs beside the requests of a pool: health checks and name lookups, until shutdown.

use std::{future::Future, sync::Arc, time::Duration};

use log::debug;
use tokio::{
    net::lookup_host,
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};

use super::{
    backend::{Backend, Thresholds},
    check::Check,
    config::Config,
    pool::Pool,
    random::Random,
};

/// An ejected backend is checked this often, where the configured interval is longer: the sooner it
/// is back the better, and asking a server that nobody else asks costs nothing.
const EJECTED_INTERVAL: Duration = Duration::from_secs(1);

/// The shortest time between two checks, however often requests report failures.
const PAUSE: Duration = Duration::from_millis(100);

/// The time between two lookups of a name. The resolver tells no lifetime.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(30);

/// The time to the next lookup when one failed or the backend is ejected.
const LOOKUP_AGAIN: Duration = Duration::from_secs(2);

impl Pool {
    /// Checks the backends and looks their names up until `shutdown` turns true or its sender is
    /// gone.
    ///
    /// A pool that nobody runs stays as it was built: literal addresses healthy, names unknown.
    pub async fn run(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        let config = self.config();
        let check = Arc::new(Check::new(config));
        let mut tasks = JoinSet::new();
        for backend in self.backends() {
            let watcher = Watcher {
                backend: Arc::clone(backend),
                interval: config.health_check.interval.0,
                thresholds: thresholds(config),
                random: Random::new(self.random_seed()),
                check: Arc::clone(&check),
            };
            tasks.spawn(watcher.run());
            if let Some((name, port)) = backend.parsed_address().name() {
                let name = name.to_owned();
                let lookup = move || {
                    let name = name.clone();
                    async move {
                        let found = lookup_host((name.as_str(), port)).await?;
                        Ok(found.collect())
                    }
                };
                tasks.spawn(resolve(Arc::clone(backend), lookup));
            }
        }
        // The sender being gone is a shutdown too.
        let _ = shutdown.wait_for(|stop| *stop).await;
        tasks.shutdown().await;
    }
}

fn thresholds(config: &Config) -> Thresholds {
    Thresholds {
        unhealthy_after: config.health_check.unhealthy_after,
        healthy_after: config.health_check.healthy_after,
    }
}

/// Checks one backend.
struct Watcher {
    backend: Arc<Backend>,
    interval: Duration,
    thresholds: Thresholds,
    random: Random,
    check: Arc<Check>,
}

impl Watcher {
    async fn run(self) {
        loop {
            let peers = self.backend.peers();
            if !peers.is_empty() {
                self.check_once(&peers).await;
            }
            let pause = Instant::now() + self.pause();
            // Whoever ejects the backend wants to know soon whether that was right.
            let _ = timeout_at(pause, self.backend.ejected.notified()).await;
            sleep(PAUSE.min(self.interval)).await;
        }
    }

    async fn check_once(&self, peers: &[Arc<pingora::upstreams::peer::HttpPeer>]) {
        let began = std::time::Instant::now();
        match self.check.run(self.backend.address(), peers).await {
            Ok(answered) => {
                self.backend.prefer(&answered);
                self.backend.succeeded(began, self.thresholds);
            }
            Err(reason) => {
                let now = std::time::Instant::now();
                self.backend
                    .failed(reason, now, self.thresholds.unhealthy_after);
            }
        }
    }

    /// Returns the time to the next check, give or take a tenth.
    fn pause(&self) -> Duration {
        let interval = if self.backend.is_healthy() {
            self.interval
        } else {
            self.interval.min(EJECTED_INTERVAL)
        };
        let permille = 900 + self.random.below(201);
        (interval / 1000 * permille).saturating_sub(PAUSE.min(self.interval))
    }
}

/// Looks a name up again and again, one lookup at a time: a resolver that hangs holds one blocking
/// thread and no more.
async fn resolve<L, F>(backend: Arc<Backend>, lookup: L)
where
    L: Fn() -> F,
    F: Future<Output = std::io::Result<Vec<std::net::SocketAddr>>>,
{
    loop {
        let found = match lookup().await {
            Ok(addresses) => addresses,
            Err(error) => {
                debug!(backend = backend.address(), error:%; "name lookup failed");
                vec![]
            }
        };
        if found.is_empty() {
            backend.unresolved();
        } else {
            backend.publish(&found);
        }
        let pause = if backend.is_healthy() && !found.is_empty() {
            LOOKUP_INTERVAL
        } else {
            LOOKUP_AGAIN
        };
        sleep(pause).await;
    }
}
