//! A running gateway: everything built, then bound, then served, then drained.
//!
//! The three steps are apart so that a broken configuration is known before a socket is bound, and
//! so that tests start the same gateway in their own process on port 0.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use http::HeaderValue;
use mcp_gateway_filters::Problem;
use rustls::crypto::CryptoProvider;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    admin::Admin,
    config::{self, AccessLog, Gateway, UpstreamToken},
    egress::{Egress, Target},
    listener::{self, Listener, Serve},
    oidc::{Issuer, KeySource, Verifier},
    proxy::{Proxy, RedirectToHttps},
    router::Router,
    session::{Sealer, load_or_create},
    snapshot::{self, Route, RouteMetrics, Snapshot, Step},
    telemetry::{access, metrics::Metrics},
    upstream::Pool,
};

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
    inflight: Arc<AtomicUsize>,
}

/// Collects problems while the parts are built.
#[derive(Default)]
struct Problems(Vec<Problem>);

impl Problems {
    /// Keeps the value, or the problems with the place of the part before theirs.
    fn take<T>(&mut self, place: &str, built: Result<T, Vec<Problem>>) -> Option<T> {
        match built {
            Ok(value) => Some(value),
            Err(problems) => {
                self.0.extend(problems.into_iter().map(|problem| {
                    let at = if problem.at.is_empty() {
                        place.to_owned()
                    } else {
                        format!("{place}.{}", problem.at)
                    };
                    Problem { at, ..problem }
                }));
                None
            }
        }
    }
}

impl Server {
    /// Builds everything that the configuration names.
    ///
    /// # Errors
    /// Every problem that shows only when files are read: certificates, authorities, keys. Each
    /// stands at its path in the configuration.
    pub fn build(config: &Gateway) -> Result<Self, Vec<Problem>> {
        let log = match config.access_log {
            AccessLog::Stdout => access::Log::to(Box::new(io::stdout())),
            AccessLog::Stderr => access::Log::to(Box::new(io::stderr())),
            AccessLog::Off => access::Log::off(),
        };
        Self::build_with(config, log)
    }

    /// Builds with an access log of one's own.
    ///
    /// # Errors
    /// As [`Server::build`].
    pub fn build_with(config: &Gateway, log: access::Log) -> Result<Self, Vec<Problem>> {
        let provider = crypto_provider();
        let metrics = Arc::new(Metrics::new());
        let mut problems = Problems::default();
        let now = unix_now();

        let listeners = listeners(config, &provider, now, &mut problems);
        let admin = problems.take(
            "admin",
            Listener::build(&plain(config.admin.address), &provider, now),
        );
        let pools: Vec<Arc<Pool>> = config
            .upstreams
            .iter()
            .filter_map(|(name, upstream)| {
                problems.take(
                    &format!("upstreams.{name}"),
                    Pool::build(name, upstream, &metrics),
                )
            })
            .collect();
        let egress = problems
            .take("egress", Egress::build(&config.egress))
            .map(Arc::new);
        let identity = egress.as_ref().and_then(|egress| {
            let identity = config.identity.as_ref()?;
            problems.take(
                "authorization_server",
                verifier(identity, Arc::clone(egress), &metrics),
            )
        });
        let sealer = problems.take("sessions", sealer(&config.sessions));
        let (Some(admin), Some(egress), Some(sealer), true) =
            (admin, egress, sealer, problems.0.is_empty())
        else {
            return Err(problems.0);
        };
        let (verifier, keys) = identity.unzip();
        let parts = Parts {
            pools: &pools,
            egress: &egress,
            verifier: verifier.as_ref(),
            metrics: &metrics,
        };
        let snapshot = parts.snapshot(config).map_err(|problem| vec![problem])?;
        let proxy = Arc::new(Proxy::new(
            Arc::new(snapshot),
            Arc::new(sealer),
            &metrics,
            log,
        ));
        Ok(Self {
            listeners,
            admin,
            origin: config.public_url.as_str().to_owned(),
            inflight: proxy.inflight(),
            proxy,
            metrics,
            pools,
            keys,
        })
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
        for (listener, serve) in bound {
            let (metrics, stopped) = (Arc::clone(&self.metrics), stopped.clone());
            match serve {
                Serve::Routes => {
                    let app = Arc::clone(&self.proxy);
                    tasks.spawn(async move { listener.serve(app, &metrics, stopped).await });
                }
                Serve::RedirectToHttps => {
                    let app = Arc::new(RedirectToHttps::to(self.origin.clone()));
                    tasks.spawn(async move { listener.serve(app, &metrics, stopped).await });
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
        let app = Arc::new(Admin::new(
            Arc::clone(&self.metrics),
            self.pools.clone(),
            Arc::clone(&draining),
        ));
        let metrics = Arc::clone(&self.metrics);
        let mut admin_tasks = JoinSet::new();
        admin_tasks.spawn(async move { admin.serve(app, &metrics, admin_stopped).await });
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

/// Returns the one crypto provider of the process, and makes it the default for the libraries
/// that ask for one.
fn crypto_provider() -> Arc<CryptoProvider> {
    // An embedding program may have chosen already; its choice then holds for the libraries.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn unix_now() -> i64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        })
}

fn plain(address: SocketAddr) -> listener::Config {
    listener::Config {
        address,
        tls: None,
        serve: Serve::Routes,
    }
}

fn listeners(
    config: &Gateway,
    provider: &Arc<CryptoProvider>,
    now: i64,
    problems: &mut Problems,
) -> Vec<(Listener, Serve)> {
    config
        .listeners
        .iter()
        .enumerate()
        .filter_map(|(index, listener)| {
            let built = Listener::build(listener, provider, now);
            let built = problems.take(&format!("listeners[{index}]"), built)?;
            Some((built, listener.serve))
        })
        .collect()
}

fn sealer(config: &config::Sessions) -> Result<Sealer, Vec<Problem>> {
    let keys = if config.keys.is_empty() {
        let key = load_or_create(&config.state_directory).map_err(|error| {
            vec![
                Problem::new("state_directory", error.to_string())
                    .help("make it a directory of the gateway's own user, or set `sessions.keys`"),
            ]
        })?;
        vec![key]
    } else {
        config.keys.clone()
    };
    Sealer::new(&keys).map_err(|error| vec![Problem::new("keys", error.to_string())])
}

fn verifier(
    identity: &config::Identity,
    egress: Arc<Egress>,
    metrics: &Metrics,
) -> Result<(Arc<Verifier>, KeySource), Vec<Problem>> {
    let jwks = Target::parse(identity.jwks_uri.as_str())
        .map_err(|error| vec![Problem::new("", error.to_string())])?;
    let issuer = Issuer {
        issuer: identity.issuer.clone(),
        audiences: identity.audiences.clone(),
        tenant: Some(identity.tenant.clone()),
    };
    let keys = KeySource::new(jwks, egress, metrics);
    let verifier = Verifier::new(issuer, keys.clone(), metrics);
    Ok((Arc::new(verifier), keys))
}

/// The live things that a snapshot refers to.
struct Parts<'a> {
    pools: &'a [Arc<Pool>],
    egress: &'a Arc<Egress>,
    verifier: Option<&'a Arc<Verifier>>,
    metrics: &'a Metrics,
}

impl Parts<'_> {
    fn snapshot(&self, config: &Gateway) -> Result<Snapshot, Problem> {
        let routes = config
            .routes
            .iter()
            .enumerate()
            .map(|(index, route)| {
                let built = self.route(route).map_err(|problem| Problem {
                    at: format!("routes[{index}]"),
                    ..problem
                })?;
                Ok((route.path.clone(), Arc::new(built)))
            })
            .collect::<Result<Vec<_>, Problem>>()?;
        Ok(Snapshot {
            router: Router::new(routes),
            unrouted: RouteMetrics::of("-", self.metrics),
            public_host: HeaderValue::try_from(config.public_url.authority())
                .map_err(|error| Problem::new("public_url", error.to_string()))?,
            public_scheme: if config.public_url.is_https() {
                "https"
            } else {
                "http"
            },
        })
    }

    fn route(&self, route: &config::Route) -> Result<Route, Problem> {
        let allow = route
            .methods
            .iter()
            .map(http::Method::as_str)
            .collect::<Vec<_>>()
            .join(", ");
        Ok(Route {
            path: route.path.clone(),
            methods: route.methods.clone(),
            allow: HeaderValue::try_from(allow)
                .map_err(|error| Problem::new("methods", error.to_string()))?,
            steps: route
                .steps
                .iter()
                .map(|step| self.step(step))
                .collect::<Result<_, _>>()?,
            metrics: RouteMetrics::of(&route.path, self.metrics),
        })
    }

    fn step(&self, step: &config::Step) -> Result<Step, Problem> {
        Ok(match step {
            config::Step::Filter { name, filter } => Step::Filter {
                name,
                filter: Arc::clone(filter),
            },
            config::Step::Authenticate(gate) => Step::Authenticate(self.authenticate(gate)?),
            config::Step::Proxy(proxy) => Step::Proxy(Box::new(self.proxy(proxy)?)),
            config::Step::Exchange(exchange) => Step::Exchange(Box::new(snapshot::Exchange {
                egress: Arc::clone(self.egress),
                target: Target::parse(exchange.url.as_str())
                    .map_err(|error| Problem::new("", error.to_string()))?,
                timeout: exchange.timeout.0,
                response_limit: exchange.response_limit.0,
                outcomes: self.metrics.token_exchanges.clone(),
            })),
        })
    }

    fn authenticate(&self, gate: &config::Authenticate) -> Result<snapshot::Authenticate, Problem> {
        let verifier = self
            .verifier
            .ok_or_else(|| Problem::new("", "`authenticate` needs an `authorization_server`"))?;
        let mut challenge = format!("Bearer resource_metadata=\"{}\"", gate.resource_metadata);
        if !gate.scopes.is_empty() {
            challenge = format!("{challenge}, scope=\"{}\"", gate.scopes.join(" "));
        }
        Ok(snapshot::Authenticate {
            verifier: Arc::clone(verifier),
            challenge,
            groups: gate.groups.clone(),
        })
    }

    fn proxy(&self, proxy: &config::Proxy) -> Result<snapshot::Proxy, Problem> {
        let pool = self
            .pools
            .iter()
            .find(|pool| pool.name() == proxy.upstream)
            .ok_or_else(|| Problem::new("", format!("no upstream named `{}`", proxy.upstream)))?;
        Ok(snapshot::Proxy {
            pool: Arc::clone(pool),
            path: proxy.path.as_ref().map(|path| path.as_str().to_owned()),
            sessions: proxy.sessions,
            with_token: proxy.upstream_token == UpstreamToken::Caller,
            request_body_limit: proxy.request_body_limit.0,
            response_head_timeout: proxy.response_head_timeout.map(|period| period.0),
            allow: proxy.allow.clone(),
            retries: self.metrics.upstream_retries.clone(),
            failures: self.metrics.upstream_failures.clone(),
        })
    }
}
