//! Where the keys come from: fetched, kept, and fetched again when a token names an unknown one.
//!
//! The rules, so that neither an outage nor a stranger's tokens can do harm: keys are replaced only
//! by a set that can verify something; while the source fails, the keys at hand stay; one fetch runs
//! at a time and all who wait share it; tokens cause at most one fetch per interval, whatever they
//! name. A key may be published right after a fetch, so only a set that was asked for later speaks
//! against a token: a request waits for it, and few requests may.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::{ArcSwap, Guard};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header::ACCEPT};
use log::{debug, info, warn};
use parking_lot::Mutex;
use prometheus::{IntCounterVec, IntGauge};
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};

use super::keys::{KeySet, KeySetError};
use crate::{
    egress::{Egress, EgressError, Limits, Request, Target},
    telemetry::metrics::Metrics,
};

/// The limits of one fetch: 1 MiB within 5 s.
const LIMITS: Limits = Limits {
    total: Duration::from_secs(5),
    body: 1024 * 1024,
    decoded: 1024 * 1024,
};

/// Requests that may wait until tokens can cause a fetch again.
const MAX_WAITING: usize = 64;

/// How often keys are fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The time between fetches that tokens with unknown keys can cause.
    pub min_interval: Duration,
    /// The time between fetches in the background, give or take a tenth.
    pub refresh: Duration,
    /// The first pause after a failure while there are no keys at all; it doubles up to
    /// `retry_max`. With keys at hand the first pause is `min_interval`.
    pub retry: Duration,
    /// The longest pause after a failure.
    pub retry_max: Duration,
}

impl Default for Timing {
    /// 10 s, 1 h, 1 s and 5 min; an hour is what Entra advises, for a rollover may come unannounced.
    fn default() -> Self {
        Self {
            min_interval: Duration::from_secs(10),
            refresh: Duration::from_secs(3600),
            retry: Duration::from_secs(1),
            retry_max: Duration::from_secs(300),
        }
    }
}

/// The keys of one issuer, kept fresh; a clone is the same source.
#[derive(Clone, Debug)]
pub struct KeySource(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    jwks: Target,
    egress: Arc<Egress>,
    timing: Timing,
    current: ArcSwap<Keys>,
    /// The last fetch did not bring a usable set.
    failing: AtomicBool,
    gate: Mutex<Gate>,
    /// The number of the last fetch that ended.
    ended: watch::Sender<u64>,
    waiting: Semaphore,
    fetches: IntCounterVec,
    fetched: IntGauge,
}

/// A key set and its number: a verdict counts only as long as the number is the same.
#[derive(Debug, Default)]
pub(super) struct Keys {
    pub(super) epoch: u64,
    pub(super) set: KeySet,
}

/// The fetches so far; one is under way while more have begun than ended.
#[derive(Debug, Default)]
struct Gate {
    /// The number of the last fetch that began.
    begun: u64,
    /// When that was.
    at: Option<Instant>,
}

/// The fetch one may wait for.
enum Next {
    /// Under way, with its number.
    Now(u64),
    /// Not before this.
    NotBefore(Instant),
}

/// Marks a fetch as ended, however its task ends.
struct Running {
    source: Arc<Inner>,
    number: u64,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.source.ended.send_replace(self.number);
    }
}

/// As many requests wait for keys as may.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Crowded;

#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error(transparent)]
    Egress(#[from] EgressError),
    #[error("expected status 200, found {0}")]
    Status(StatusCode),
    #[error(transparent)]
    Keys(#[from] KeySetError),
}

impl FetchError {
    const fn outcome(&self) -> &'static str {
        match self {
            Self::Egress(error) => error.reason(),
            Self::Status(_) => "status",
            Self::Keys(KeySetError::Malformed) => "malformed",
            Self::Keys(KeySetError::Empty) => "empty",
        }
    }
}

impl KeySource {
    /// Makes a source that has no keys yet; [`run`](Self::run) fetches them.
    #[must_use]
    pub fn new(jwks: Target, egress: Arc<Egress>, metrics: &Metrics) -> Self {
        Self::with_timing(jwks, egress, metrics, Timing::default())
    }

    /// Makes a source with other intervals than the default ones.
    #[must_use]
    pub fn with_timing(
        jwks: Target,
        egress: Arc<Egress>,
        metrics: &Metrics,
        timing: Timing,
    ) -> Self {
        Self(Arc::new(Inner {
            jwks,
            egress,
            timing,
            current: ArcSwap::default(),
            failing: AtomicBool::new(false),
            gate: Mutex::default(),
            ended: watch::Sender::default(),
            waiting: Semaphore::new(MAX_WAITING),
            fetches: metrics.key_set_fetches.clone(),
            fetched: metrics.key_set_fetched.clone(),
        }))
    }

    /// Returns where the keys come from.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.0.jwks
    }

    /// Fetches at once and then again and again, until `shutdown` turns true or its sender is gone.
    pub async fn run(&self, mut shutdown: watch::Receiver<bool>) {
        let refreshing = async {
            let mut failures = 0;
            loop {
                self.fetch().await;
                failures = if self.is_failing() { failures + 1 } else { 0 };
                tokio::time::sleep(self.0.pause(failures)).await;
            }
        };
        tokio::select! {
            () = refreshing => {}
            _ = shutdown.wait_for(|stop| *stop) => {}
        }
    }

    /// Fetches now, or waits for the fetch that is under way; tells whether there are keys after it.
    pub async fn fetch(&self) -> bool {
        if let Next::Now(number) = self.0.start(Duration::ZERO) {
            let mut ended = self.0.ended.subscribe();
            // The sender lives as long as `self`: this cannot fail.
            let _ = ended.wait_for(|ended| *ended >= number).await;
        }
        self.is_ready()
    }

    /// Tells whether there are keys to verify tokens with.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.current().set.is_empty()
    }

    /// Tells whether the last fetch failed; the keys at hand are still in use.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.0.failing.load(Ordering::Acquire)
    }

    /// Waits until the key `kid` is at hand, or a fetch that began after this call has ended; makes
    /// one begin as soon as tokens may. Without any keys it waits for no later fetch than the one
    /// under way: there it is an outage that one would wait for.
    ///
    /// # Errors
    /// When a later fetch must be waited for and too many wait already.
    pub(super) async fn look_for(&self, kid: &str) -> Result<(), Crowded> {
        let source = &self.0;
        let before = source.gate.lock().begun;
        let mut ended = source.ended.subscribe();
        let mut place = None;
        while *ended.borrow_and_update() <= before && self.current().set.find(kid).is_none() {
            match source.start(source.timing.min_interval) {
                Next::Now(_) => {
                    let _ = ended.changed().await;
                }
                Next::NotBefore(_) if !self.is_ready() => break,
                Next::NotBefore(at) => {
                    if place.is_none() {
                        // Given back when this future ends or is dropped.
                        place = Some(source.waiting.try_acquire().map_err(|_| Crowded)?);
                    }
                    // A fetch in the background may come first.
                    tokio::select! {
                        _ = ended.changed() => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn current(&self) -> Guard<Arc<Keys>> {
        self.0.current.load()
    }

    /// When a token can cause the next fetch, at least 1 s.
    pub(super) fn retry_after(&self) -> Duration {
        let begun = self.0.gate.lock().at;
        let left = begun.map_or(Duration::ZERO, |at| {
            self.0.timing.min_interval.saturating_sub(at.elapsed())
        });
        left.max(Duration::from_secs(1))
    }
}

impl Inner {
    /// Names the fetch under way, or starts one unless the last began less than `interval` ago.
    fn start(self: &Arc<Self>, interval: Duration) -> Next {
        let mut gate = self.gate.lock();
        if gate.begun > *self.ended.borrow() {
            return Next::Now(gate.begun);
        }
        let now = Instant::now();
        if let Some(at) = gate.at.and_then(|at| at.checked_add(interval))
            && now < at
        {
            return Next::NotBefore(at);
        }
        gate.begun += 1;
        gate.at = Some(now);
        let running = Running {
            source: Arc::clone(self),
            number: gate.begun,
        };
        // A task of its own: a client that leaves must not cancel what others wait for.
        tokio::spawn(async move { running.source.fetch().await });
        Next::Now(gate.begun)
    }

    async fn fetch(&self) {
        let jwks = &self.jwks;
        let outcome = match self.load().await {
            Ok(set) => {
                self.replace(set);
                "ok"
            }
            Err(error) => {
                self.failing.store(true, Ordering::Release);
                let kept = self.current.load().set.len();
                warn!(jwks:%, error:%, kept; "the issuer's keys were not fetched");
                error.outcome()
            }
        };
        self.fetches.with_label_values(&[outcome]).inc();
    }

    async fn load(&self) -> Result<KeySet, FetchError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let request = Request {
            method: Method::GET,
            target: &self.jwks,
            headers,
            body: Bytes::new(),
        };
        let answer = self.egress.fetch(&request, LIMITS).await?;
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Status(answer.status()));
        }
        Ok(KeySet::parse(answer.body())?)
    }

    fn replace(&self, set: KeySet) {
        let jwks = &self.jwks;
        let current = self.current.load();
        // Same keys, same epoch: an hourly refresh does not empty the verdict cache.
        if current.set.same_as(&set) {
            debug!(jwks:%; "the issuer's keys are unchanged");
        } else {
            let (keys, epoch) = (set.len(), current.epoch + 1);
            self.current.store(Arc::new(Keys { epoch, set }));
            info!(jwks:%, keys; "the issuer's keys are in use");
        }
        self.failing.store(false, Ordering::Release);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        self.fetched.set(i64::try_from(now).unwrap_or(i64::MAX));
    }

    fn pause(&self, failures: u32) -> Duration {
        let timing = &self.timing;
        if failures == 0 {
            return jittered(timing.refresh);
        }
        let first = if self.current.load().set.is_empty() {
            timing.retry
        } else {
            timing.min_interval
        };
        let factor = 2_u32.saturating_pow(failures - 1);
        jittered(first.saturating_mul(factor).min(timing.retry_max))
    }
}

/// Spreads a period by a tenth either way, so that replicas do not ask in step.
fn jittered(period: Duration) -> Duration {
    // Every `RandomState` has keys of its own.
    let random = ahash::RandomState::new().hash_one(0_u8);
    let thousandths = u32::try_from(random % 201).unwrap_or(100) + 900;
    period.saturating_mul(thousandths) / 1000
}

#[cfg(test)]
mod tests;
