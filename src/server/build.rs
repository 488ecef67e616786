//! From a configuration to the parts of a gateway: files are read, nothing is bound.

use std::{io, net::SocketAddr, sync::Arc, time::SystemTime};

use mcp_gateway_filters::Problem;
use parking_lot::Mutex;
use rustls::crypto::CryptoProvider;

use super::{
    Server,
    machine::{self, Machine},
    routes::Parts,
};
use crate::{
    config::{self, AccessLog, Gateway},
    directory::Directory,
    egress::{Egress, Target},
    listener::{self, Listener, Serve},
    oidc::{Issuer, KeySource, Verifier},
    proxy::Proxy,
    relay::Seals,
    seal::load_or_create,
    session::Sealer,
    telemetry::{access, metrics::Metrics},
    upstream::Pool,
};

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
        let machine = Machine::read();
        problems.0.extend(machine.problems());
        let pressure = Arc::default();
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
        let tenants = config.identity.as_ref().map(config::Identity::tenants);
        let tenants = tenants.unwrap_or_default();
        let directory = egress.as_ref().and_then(|egress| {
            let directory = config.directory.as_ref()?;
            let built = Directory::build(directory, &tenants, egress, &metrics);
            problems.take(
                "authorization_server",
                built.map_err(|problem| vec![problem]),
            )
        });
        let directory = directory.map(Arc::new);
        for (place, credentials) in &config.credentials {
            let problem = credentials.problem_at(u64::try_from(now).unwrap_or_default());
            problems.take(place, problem.map_or(Ok(()), |problem| Err(vec![problem])));
        }
        let (Some(admin), Some(egress), true) = (admin, egress, problems.0.is_empty()) else {
            return Err(problems.0);
        };
        // Last, since it may write a key to disk: a gateway that cannot start leaves nothing behind.
        let Some((sealer, seals)) = problems.take("sessions", seals(&config.sessions)) else {
            return Err(problems.0);
        };
        let (verifier, keys) = identity.unzip();
        let parts = Parts {
            pools: &pools,
            egress: &egress,
            verifier: verifier.as_ref(),
            directory: directory.as_ref(),
            tenants: &tenants,
            step_up: config
                .identity
                .as_ref()
                .and_then(|one| one.step_up.as_ref()),
            metrics: &metrics,
            pressure: &pressure,
            seals: &Arc::new(seals),
            documents: Mutex::default(),
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
            limits: Arc::clone(&config.limits),
            machine,
            pressure,
            sampler: Box::new(machine::held),
            client_address: config.client_address.clone(),
        })
    }
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
        proxy_protocol: None,
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

/// Derives what seals session ids, and what seals everything else that travels.
fn seals(config: &config::Sessions) -> Result<(Sealer, Seals), Vec<Problem>> {
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
    let sealer = Sealer::new(&keys);
    sealer
        .and_then(|sealer| Ok((sealer, Seals::new(&keys)?)))
        .map_err(|error| vec![Problem::new("keys", error.to_string())])
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
        v1_issuer: identity.v1_issuer.clone(),
        audiences: identity.audiences.clone(),
        audience_claim: identity.audience_claim.clone(),
        claims: identity.claims.clone().into_iter().collect(),
        tenants: identity.tenants(),
        scopes: identity.token_scopes.clone(),
    };
    let keys = KeySource::new(jwks, egress, metrics);
    let verifier = Verifier::new(issuer, keys.clone(), metrics);
    Ok((Arc::new(verifier), keys))
}
