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
    /// A pool that nobody runs stays as it was built: literal addresses unchecked, names unknown.
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
            // Whoever ejects the backend wants to know soon whether that was right, and so does who
            // waits for a name that has its first address.
            let _ = timeout_at(pause, self.backend.checks_due.notified()).await;
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

#[cfg(test)]
mod tests {
    use std::{
        io,
        net::SocketAddr,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use parking_lot::Mutex;
    use tokio::task::JoinHandle;

    use super::{
        super::{
            address::Address,
            backend::Standing,
            fake::{Fake, HEALTHY, json, until},
            peer::Template,
        },
        *,
    };
    use crate::telemetry::metrics::Metrics;

    /// A pool that is being supervised until dropped.
    struct Running {
        pool: Arc<Pool>,
        stop: watch::Sender<bool>,
        task: JoinHandle<()>,
    }

    /// Checks every 10 ms; a check that is late under load must not fail the test.
    fn start(fakes: &[&Fake]) -> Running {
        let backends: Vec<String> = fakes.iter().map(|f| format!("'{}'", f.text())).collect();
        let config = serde_yaml::from_str(&format!(
            "{{backends: [{}], connect_timeout: 20s, \
               health_check: {{interval: 10ms, timeout: 20s, unhealthy_after: 2}}}}",
            backends.join(", ")
        ))
        .unwrap();
        let pool = Pool::build("github", &config, &Metrics::new()).unwrap();
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(Arc::clone(&pool).run(stopped));
        Running { pool, stop, task }
    }

    impl Running {
        fn healthy(&self, address: &str) -> bool {
            self.pool.find(address).unwrap().is_healthy()
        }

        fn reason(&self, address: &str) -> Option<String> {
            let mut status = self.pool.status().into_iter();
            status.find(|b| b.address == address).unwrap().reason
        }
    }

    #[tokio::test]
    async fn a_backend_that_falls_ill_is_ejected_and_taken_back() {
        let (one, two) = (
            Fake::start(json(200, HEALTHY)),
            Fake::start(json(200, HEALTHY)),
        );
        let running = start(&[&one, &two]);
        until("both were checked", || {
            one.requests() > 1 && two.requests() > 1
        })
        .await;
        until("both are well", || {
            running.healthy(&one.text()) && running.healthy(&two.text())
        })
        .await;

        one.answer(json(200, r#"{"status":"degraded"}"#));
        until("it is ejected", || !running.healthy(&one.text())).await;
        assert_eq!(
            running.reason(&one.text()).unwrap(),
            "the workload says `degraded`: its MCP server does not answer"
        );
        for _ in 0..20 {
            let picked = running.pool.pick(&[]).unwrap();
            assert_eq!(picked.backend().address(), two.text());
        }

        one.answer(json(200, HEALTHY));
        until("it is back", || running.healthy(&one.text())).await;
        assert_eq!(running.reason(&one.text()), None);
    }

    #[tokio::test]
    async fn a_backend_that_is_killed_is_ejected_and_found_again() {
        let fake = Fake::start(json(200, HEALTHY));
        let running = start(&[&fake]);
        let text = fake.text();
        until("it was checked", || fake.requests() > 0).await;
        let held = fake.stop().await;
        until("it is ejected", || !running.healthy(&text)).await;
        let resort = running.pool.pick(&[]).unwrap();
        assert_eq!(resort.backend().address(), text, "it may be back any time");
        let _fake = Fake::start_at(held, json(200, HEALTHY));
        until("it is back", || running.healthy(&text)).await;
    }

    #[tokio::test]
    async fn the_management_api_is_named_and_gets_no_request() {
        let api = Fake::start("HTTP/1.1 204 No Content\r\nX-Toolhive-Nonce: 1\r\n\r\n".to_owned());
        let running = start(&[&api]);
        let named = |reason: String| reason.contains("is ToolHive's management API");
        until("it is named", || {
            running.reason(&api.text()).is_some_and(named)
        })
        .await;
        assert!(running.pool.pick(&[]).is_none());
    }

    #[tokio::test]
    async fn a_failed_request_is_checked_at_once() {
        let fake = Fake::start(json(200, HEALTHY));
        let config = serde_yaml::from_str(&format!(
            "{{backends: ['{}'], health_check: {{interval: 1h, timeout: 20s}}}}",
            fake.text()
        ))
        .unwrap();
        let pool = Pool::build("github", &config, &Metrics::new()).unwrap();
        let (_stop, stopped) = watch::channel(false);
        let task = tokio::spawn(Arc::clone(&pool).run(stopped));
        until("it was checked", || fake.requests() == 1).await;
        let backend = pool.find(&fake.text()).unwrap();
        backend.connect_failed(std::time::Instant::now());
        assert!(!backend.is_healthy());
        until("it is back long before the hour", || backend.is_healthy()).await;
        task.abort();
    }

    #[tokio::test]
    async fn everything_stops_at_shutdown() {
        let fake = Fake::start(json(200, HEALTHY));
        let Running { pool, stop, task } = start(&[&fake]);
        until("it was checked", || fake.requests() > 0).await;
        stop.send(true).unwrap();
        task.await.unwrap();
        assert_eq!(Arc::strong_count(&pool), 1, "no task holds the pool");
        let backend = pool.find(&fake.text()).unwrap();
        assert_eq!(Arc::strong_count(backend), 1, "no task holds a backend");
    }

    #[tokio::test]
    async fn a_lost_shutdown_sender_stops_too() {
        let fake = Fake::start(json(200, HEALTHY));
        let Running { stop, task, .. } = start(&[&fake]);
        drop(stop);
        task.await.unwrap();
    }

    #[test]
    fn intervals_vary_by_a_tenth() {
        let config = serde_yaml::from_str("backends: ['127.0.0.1:1']").unwrap();
        let pool = Pool::build("github", &config, &Metrics::new()).unwrap();
        let watcher = Watcher {
            backend: Arc::clone(&pool.backends()[0]),
            interval: Duration::from_secs(5),
            thresholds: thresholds(&config),
            random: Random::new(1),
            check: Arc::new(Check::new(&config)),
        };
        let now = std::time::Instant::now();
        watcher.backend.succeeded(now, watcher.thresholds);
        let pauses: Vec<f64> = (0..1000)
            .map(|_| (watcher.pause() + PAUSE).as_secs_f64())
            .collect();
        let (low, high) = pauses.iter().fold((f64::MAX, 0.0_f64), |(low, high), &p| {
            (low.min(p), high.max(p))
        });
        assert!(
            (4.5..4.6).contains(&low) && (5.4..=5.5).contains(&high),
            "{low} {high}"
        );
        watcher.backend.connect_failed(std::time::Instant::now());
        assert!(watcher.pause() < Duration::from_millis(1100));
    }

    /// Looks up what `answers` says, the last answer for ever.
    async fn lookups(
        answers: Vec<io::Result<Vec<SocketAddr>>>,
        until_ports: &[u16],
    ) -> Arc<Backend> {
        let config = serde_yaml::from_str("backends: []").unwrap();
        let backend = Arc::new(Backend::new(
            &"github".into(),
            Address::parse("github.test:1").unwrap(),
            1,
            &Arc::new(Template::build(&config).unwrap()),
            &Metrics::new(),
        ));
        let count = answers.len();
        let answers = Mutex::new(answers.into_iter());
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let lookup = move || {
            counted.fetch_add(1, Ordering::SeqCst);
            let answer = answers.lock().next();
            async { answer.unwrap_or(Ok(vec![])) }
        };
        let task = tokio::spawn(resolve(Arc::clone(&backend), lookup));
        // Time is paused, so the waits between lookups take none.
        while asked.load(Ordering::SeqCst) <= count {
            sleep(Duration::from_millis(100)).await;
        }
        task.abort();
        let ports: Vec<u16> = backend
            .peers()
            .iter()
            .map(|peer| peer._address.as_inet().unwrap().port())
            .collect();
        assert_eq!(ports, until_ports);
        backend
    }

    fn at(ports: &[u16]) -> Vec<SocketAddr> {
        ports.iter().map(|&p| ([127, 0, 0, 1], p).into()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn names_are_looked_up_until_they_have_an_address() {
        let failed = || Err(io::Error::other("no such host"));
        let backend = lookups(vec![failed(), Ok(at(&[])), Ok(at(&[1, 2]))], &[1, 2]).await;
        assert_eq!(backend.standing(), Standing::Unchecked);
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_moves_is_followed_and_a_failed_lookup_changes_nothing() {
        let failed = Err(io::Error::other("server failure"));
        let backend = lookups(vec![Ok(at(&[1])), Ok(at(&[2])), failed], &[2]).await;
        assert_eq!(backend.standing(), Standing::Unchecked);
    }
}
