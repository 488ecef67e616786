//! Verdicts on tokens, and the memory of the good ones.
//!
//! A verdict is remembered under the whole token, compared byte for byte; it is never used past the
//! token's `exp`, before its `nbf`, or after the issuer's keys have changed. Refusals are not
//! remembered: a forged token costs its sender more than it costs us.

use std::{collections::HashMap, fmt, sync::Arc, time::Instant};

use log::debug;
use mcp_gateway_filters::Identity;
use prometheus::IntCounter;
use quick_cache::{
    Weighter,
    sync::{Cache, DefaultLifecycle},
};

use super::{
    Denied, Issuer, KeySource,
    source::Crowded,
    token::{SKEW, Unverified},
};
use crate::telemetry::metrics::Metrics;

/// Verdicts the cache is laid out for.
const CACHE_ITEMS: usize = 10_000;
/// What the cache may weigh, in bytes: 10,000 tokens of 1.6 KiB with their claims.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// What a verdict weighs beside the token, in units of the token: its claims as a tree.
const CLAIMS_WEIGHT: u64 = 3;

/// Judges the tokens of one issuer.
pub struct Verifier {
    issuer: Issuer,
    keys: KeySource,
    cache: Cache<Box<str>, Arc<Verdict>, ByToken, ahash::RandomState>,
    counters: Counters,
}

/// A token that was accepted once.
struct Verdict {
    identity: Arc<Identity>,
    not_before: u64,
    /// The keys it was verified with.
    epoch: u64,
}

struct Counters {
    valid: IntCounter,
    cached: IntCounter,
    denied: HashMap<&'static str, IntCounter>,
}

#[derive(Clone)]
struct ByToken;

impl Weighter<Box<str>, Arc<Verdict>> for ByToken {
    fn weight(&self, token: &Box<str>, _: &Arc<Verdict>) -> u64 {
        (token.len() as u64).saturating_mul(1 + CLAIMS_WEIGHT)
    }
}

impl Verifier {
    /// Judges tokens by an issuer's keys.
    #[must_use]
    pub fn new(issuer: Issuer, keys: KeySource, metrics: &Metrics) -> Self {
        let counter = |reason: &str| metrics.token_verdicts.with_label_values(&[reason]);
        let counters = Counters {
            valid: counter("valid"),
            cached: counter("cached"),
            denied: Denied::REASONS
                .iter()
                .map(|denied| (denied.reason(), counter(denied.reason())))
                .collect(),
        };
        // The hash is keyed anew in every process: nobody outside can aim at one bucket.
        let hasher = ahash::RandomState::new();
        Self {
            issuer,
            keys,
            cache: Cache::with(
                CACHE_ITEMS,
                CACHE_BYTES,
                ByToken,
                hasher,
                DefaultLifecycle::default(),
            ),
            counters,
        }
    }

    /// Returns the keys this verifier judges by.
    #[must_use]
    pub const fn keys(&self) -> &KeySource {
        &self.keys
    }

    /// Returns whose token this is if it was verified before and still counts at `now`, in seconds
    /// since the Unix epoch. Nothing is allocated and nothing awaited.
    #[must_use]
    pub fn cached(&self, token: &str, now: u64) -> Option<Arc<Identity>> {
        let verdict = self.cache.get(token)?;
        let timely =
            now < verdict.identity.expires_at && now.saturating_add(SKEW) >= verdict.not_before;
        if !timely || verdict.epoch != self.keys.current().epoch {
            return None;
        }
        self.counters.cached.inc();
        Some(Arc::clone(&verdict.identity))
    }

    /// Judges a token at `now`, in seconds since the Unix epoch. A token that names an unknown key
    /// makes the keys be fetched again, at most once per interval, and waits for that: no longer
    /// than the interval and one fetch.
    ///
    /// # Errors
    /// When the token is not to be accepted, or when there are no keys to judge it by.
    pub async fn verify(&self, token: &str, now: u64) -> Result<Arc<Identity>, Denied> {
        if let Some(identity) = self.cached(token, now) {
            return Ok(identity);
        }
        let verdict = self.judge(token, now).await;
        match &verdict {
            Ok(_) => self.counters.valid.inc(),
            Err(denied) => {
                let reason = denied.reason();
                debug!(reason; "a token was refused");
                if let Some(counter) = self.counters.denied.get(reason) {
                    counter.inc();
                }
            }
        }
        verdict
    }

    async fn judge(&self, token: &str, now: u64) -> Result<Arc<Identity>, Denied> {
        let unverified = Unverified::parse(token)?;
        let mut now = now;
        if self.keys.current().set.find(&unverified.kid).is_none() {
            let arrived = Instant::now();
            let looked = self.keys.look_for(&unverified.kid).await;
            looked.map_err(|Crowded| self.no_keys())?;
            // The token grew older while it waited.
            now = now.saturating_add(arrived.elapsed().as_secs());
        }
        let keys = self.keys.current();
        let Some(key) = keys.set.find(&unverified.kid) else {
            // While the source fails the key may well be a new one: that is not the token's fault.
            return Err(if keys.set.is_empty() || self.keys.is_failing() {
                self.no_keys()
            } else {
                Denied::UnknownKey
            });
        };
        if !key.verifies(&unverified) {
            return Err(Denied::Signature);
        }
        let accepted = unverified.accept(&self.issuer, now)?;
        if !key.belongs_to(&accepted.key_issuer, accepted.identity.tenant.as_deref()) {
            return Err(Denied::KeyIssuer);
        }
        let identity = Arc::new(accepted.identity);
        let verdict = Verdict {
            identity: Arc::clone(&identity),
            not_before: accepted.not_before,
            epoch: keys.epoch,
        };
        self.cache.insert(token.into(), Arc::new(verdict));
        Ok(identity)
    }

    fn no_keys(&self) -> Denied {
        Denied::NoKeys {
            retry_after: self.keys.retry_after(),
        }
    }
}

/// Without the cache, whose keys are tokens.
impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("issuer", &self.issuer)
            .field("cached", &self.cache.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
