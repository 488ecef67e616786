//! A pool: which of its backends is asked next.
//!
//! Two backends are drawn at random, by weight, and the one with less to do is asked ("the power
//! of two choices"): nearly as even as knowing the least loaded one, without all requests running
//! to it at once. Nothing here waits or allocates.

use std::{collections::HashSet, sync::Arc};

use aws_lc_rs::rand;
use mcp_gateway_filters::Problem;
use serde::Serialize;

use super::{
    address::{Address, AddressError},
    backend::{Backend, Picked, Standing},
    config::Config,
    peer::Template,
    random::Random,
};
use crate::telemetry::metrics::Metrics;

/// A running upstream.
#[derive(Debug)]
pub struct Pool {
    name: Arc<str>,
    config: Config,
    template: Arc<Template>,
    backends: Box<[Arc<Backend>]>,
    random: Random,
}

/// One backend as the status page shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackendStatus {
    /// `host:port` as configured.
    pub address: String,
    /// Whether a check has found it well, and nothing ill since.
    pub healthy: bool,
    /// Why not, as a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How many requests it is working on.
    pub inflight: u32,
}

impl Pool {
    /// Builds the upstream `name`, with every backend unchecked.
    ///
    /// # Errors
    /// Every mistake in `config`, each named by where it stands.
    pub fn build(
        name: &str,
        config: &Config,
        metrics: &Metrics,
    ) -> Result<Arc<Self>, Vec<Problem>> {
        let mut seed = [0; 8];
        // The seed only spreads load: when the system has no randomness, any will do.
        let _ = rand::fill(&mut seed);
        Self::seeded(name, config, metrics, u64::from_le_bytes(seed))
    }

    /// Builds what follows this pool after a reload.
    ///
    /// It is this very pool when nothing changed, the content of `ca_file` included; else a new
    /// one, in which backends that stay as they were keep their health and their load. The old
    /// one is then to be stopped and [retired](Self::retire).
    ///
    /// # Errors
    /// Every mistake in `config`; this pool goes on as before.
    pub fn rebuild(
        self: &Arc<Self>,
        config: &Config,
        metrics: &Metrics,
    ) -> Result<Arc<Self>, Vec<Problem>> {
        let Parsed {
            addresses,
            template,
        } = parse(config)?;
        let same = *template == *self.template;
        if same && *config == self.config {
            return Ok(Arc::clone(self));
        }
        let keep = |address: &Address, weight| {
            let stays = |backend: &&Arc<Backend>| same && backend.weight() == weight;
            self.find(address.as_str()).filter(stays).cloned()
        };
        let backends = addresses
            .into_iter()
            .map(|(address, weight)| {
                keep(&address, weight).unwrap_or_else(|| {
                    Arc::new(Backend::new(
                        &self.name, address, weight, &template, metrics,
                    ))
                })
            })
            .collect();
        Ok(Arc::new(Self {
            name: Arc::clone(&self.name),
            config: config.clone(),
            template,
            backends,
            random: Random::new(self.random.next()),
        }))
    }

    /// Builds with choices that follow from `seed`.
    pub(super) fn seeded(
        name: &str,
        config: &Config,
        metrics: &Metrics,
        seed: u64,
    ) -> Result<Arc<Self>, Vec<Problem>> {
        let Parsed {
            addresses,
            template,
        } = parse(config)?;
        let name = Arc::<str>::from(name);
        let backends = addresses
            .into_iter()
            .map(|(address, weight)| {
                Arc::new(Backend::new(&name, address, weight, &template, metrics))
            })
            .collect();
        Ok(Arc::new(Self {
            name,
            config: config.clone(),
            template,
            backends,
            random: Random::new(seed),
        }))
    }

    /// Returns the name of the upstream.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the configuration it was built from.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Returns every backend, in the order of the configuration.
    #[must_use]
    pub fn backends(&self) -> &[Arc<Backend>] {
        &self.backends
    }

    /// Picks the backend for a request that any of them can serve, but none of `excluding`, which
    /// were tried already.
    ///
    /// When none is healthy, those that were not checked yet are asked, so that a gateway that has just
    /// started refuses nobody. When there are none, either, the one whose connections failed longest
    /// ago gets another try: it may be back before the next check says so. A backend that answered a
    /// check wrongly never does.
    #[must_use]
    pub fn pick(&self, excluding: &[Arc<Backend>]) -> Option<Picked> {
        let open = |backend: &Arc<Backend>, standing| {
            backend.standing() == standing && !excluding.iter().any(|b| Arc::ptr_eq(b, backend))
        };
        let drawn = |standing| Some((self.draw(|one| open(one, standing))?, standing));
        let Some((first, standing)) =
            drawn(Standing::Healthy).or_else(|| drawn(Standing::Unchecked))
        else {
            return self
                .backends
                .iter()
                .filter(|backend| open(backend, Standing::Unreachable))
                .min_by_key(|backend| backend.failed_at())
                .map(Backend::enter);
        };
        let second = self.draw(|one| open(one, standing) && !Arc::ptr_eq(one, first));
        let least = match second {
            Some(second) if load(second, first) < load(first, second) => second,
            _ => first,
        };
        Some(least.enter())
    }

    /// Returns the backend at `address` as configured: the one that a session is pinned to.
    ///
    /// `None` means that it is no longer part of the upstream, and its sessions are gone. A
    /// backend that is merely ejected is found.
    #[must_use]
    pub fn find(&self, address: &str) -> Option<&Arc<Backend>> {
        self.backends
            .iter()
            .find(|backend| backend.address() == address)
    }

    /// Returns whether a request could be sent somewhere.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let takes =
            |one: &Arc<Backend>| matches!(one.standing(), Standing::Healthy | Standing::Unchecked);
        self.backends.iter().any(takes)
    }

    /// Returns what the status page shows.
    #[must_use]
    pub fn status(&self) -> Vec<BackendStatus> {
        self.backends
            .iter()
            .map(|backend| {
                let reason = backend.reason();
                BackendStatus {
                    address: backend.address().to_owned(),
                    healthy: reason.is_none(),
                    reason,
                    inflight: backend.inflight(),
                }
            })
            .collect()
    }

    /// Forgets the metrics of backends that `successor`, built for the same upstream after a
    /// reload, does not have: what is gone must not be shown as healthy for ever.
    pub fn retire(&self, successor: Option<&Self>, metrics: &Metrics) {
        for backend in &self.backends {
            let address = backend.address();
            let stays = |pool: &Self| pool.name == self.name && pool.find(address).is_some();
            if successor.is_some_and(stays) {
                continue;
            }
            let labels = [&*self.name, address];
            // An error says that there is no such series, which is what is wanted.
            let _ = metrics.backend_healthy.remove_label_values(&labels);
            let _ = metrics.backend_picks.remove_label_values(&labels);
            let _ = metrics.backend_ejections.remove_label_values(&labels);
        }
    }

    /// Returns a seed for a sequence of its own.
    pub(super) fn random_seed(&self) -> u64 {
        self.random.next()
    }

    /// Draws one of the eligible backends by weight.
    fn draw(&self, eligible: impl Fn(&Arc<Backend>) -> bool) -> Option<&Arc<Backend>> {
        let total = self
            .backends
            .iter()
            .filter(|backend| eligible(backend))
            .map(|backend| backend.weight())
            .sum();
        let mut point = self.random.below(total);
        let mut last = None;
        for backend in self.backends.iter().filter(|backend| eligible(backend)) {
            if point < backend.weight() {
                return Some(backend);
            }
            point -= backend.weight();
            last = Some(backend);
        }
        // Only when a backend was ejected between the two walks.
        last
    }
}

/// The load of one backend per unit of weight, scaled by the weight of the other so that whole
/// numbers compare.
fn load(one: &Backend, other: &Backend) -> u64 {
    u64::from(one.inflight()) * u64::from(other.weight())
}

/// What a configuration means.
pub(super) struct Parsed {
    /// With the weight of each.
    pub(super) addresses: Vec<(Address, u32)>,
    pub(super) template: Arc<Template>,
}

/// Reads everything that `config` says, and finds every mistake in it.
pub(super) fn parse(config: &Config) -> Result<Parsed, Vec<Problem>> {
    let mut problems = config.problems();
    let addresses = addresses(config, &mut problems);
    match Template::build(config) {
        Ok(template) if problems.is_empty() => Ok(Parsed {
            addresses,
            template: Arc::new(template),
        }),
        Ok(_) => Err(problems),
        Err(found) => {
            problems.extend(found);
            Err(problems)
        }
    }
}

fn addresses(config: &Config, problems: &mut Vec<Problem>) -> Vec<(Address, u32)> {
    let mut seen = HashSet::new();
    let mut addresses = vec![];
    for (index, backend) in config.backends.iter().enumerate() {
        let at = format!("backends[{index}]");
        let text = backend.address();
        match Address::parse(text) {
            Ok(_) if !seen.insert(text) => problems.push(
                Problem::new(at, format!("`{text}` is listed twice"))
                    .help("to give it a larger share, list it once with `weight: 2`"),
            ),
            Ok(address) => addresses.push((address, backend.weight())),
            Err(error) => problems.push(help(&error, Problem::new(at, error.to_string()))),
        }
    }
    addresses
}

fn help(error: &AddressError, problem: Problem) -> Problem {
    match error {
        AddressError::Url(text) => match url::Url::parse(text).ok().as_ref() {
            Some(url) if url.has_host() => {
                let host = url.host_str().unwrap_or_default();
                let port = url.port_or_known_default().unwrap_or(80);
                problem.help(format!(
                    "write `{host}:{port}`; for https add `tls: {{ sni: {host} }}` to the upstream"
                ))
            }
            _ => problem,
        },
        AddressError::NoPort(_) => problem.help("`thv list` shows the port of each workload"),
        AddressError::Port(_) | AddressError::Host(_) | AddressError::Unspecified(_) => problem,
    }
}

#[cfg(test)]
mod tests;
