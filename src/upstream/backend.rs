//! One backend: its addresses, its health and its load, read without a lock by every request.
//!
//! Decides when a backend is ejected and taken back; asking it is [`super::check`]'s.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    time::Instant,
};

use arc_swap::ArcSwap;
use log::{info, warn};
use parking_lot::Mutex;
use pingora::upstreams::peer::HttpPeer;
use prometheus::{IntCounter, IntGauge};
use tokio::sync::Notify;

use super::{address::Address, peer::Template, reason::Reason};
use crate::telemetry::metrics::Metrics;

/// The most addresses kept of one name.
pub(super) const MAX_ADDRESSES: usize = 16;

/// One address of an upstream, alive as long as its pool.
#[derive(Debug)]
pub struct Backend {
    upstream: Arc<str>,
    address: Address,
    weight: u32,
    template: Arc<Template>,
    /// The address that answered last stands first.
    peers: ArcSwap<Vec<Arc<HttpPeer>>>,
    standing: AtomicU8,
    inflight: AtomicU32,
    /// Microseconds from `born` to the last failure.
    failed_at: AtomicU64,
    born: Instant,
    record: Mutex<Record>,
    /// Wakes the checks of this backend.
    pub(super) checks_due: Notify,
    healthy: IntGauge,
    picks: IntCounter,
    ejections: IntCounter,
}

/// How many checks in a row change the standing of a backend.
#[derive(Clone, Copy, Debug)]
pub(super) struct Thresholds {
    /// Failures until it is ejected.
    pub(super) unhealthy_after: u32,
    /// Successes until it is taken back.
    pub(super) healthy_after: u32,
}

/// Whether a backend may be picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Standing {
    /// Takes requests.
    Healthy = 0,
    /// Not checked yet: takes requests when none is healthy.
    Unchecked = 1,
    /// Ejected because connecting fails: the last resort.
    Unreachable = 2,
    /// Ejected because it is not what it should be, or has no address: never picked.
    Unfit = 3,
}

/// What the checks have seen; only checks and failures touch it.
#[derive(Debug, Default)]
struct Record {
    failures: u32,
    successes: u32,
    reason: Option<Reason>,
    /// Whether the log says that it is out.
    logged: bool,
}

impl Backend {
    /// Makes a backend of which nothing is known yet.
    pub(super) fn new(
        upstream: &Arc<str>,
        address: Address,
        weight: u32,
        template: &Arc<Template>,
        metrics: &Metrics,
    ) -> Self {
        let labels = [&**upstream, address.as_str()];
        let reason = match address.name() {
            Some(_) => Reason::NotLookedUp,
            None => Reason::NotChecked,
        };
        let backend = Self {
            upstream: Arc::clone(upstream),
            weight,
            template: Arc::clone(template),
            peers: ArcSwap::default(),
            standing: AtomicU8::new(Standing::of(Some(reason)) as u8),
            inflight: AtomicU32::new(0),
            failed_at: AtomicU64::new(0),
            born: Instant::now(),
            record: Mutex::new(Record {
                reason: Some(reason),
                ..Record::default()
            }),
            checks_due: Notify::new(),
            healthy: metrics.backend_healthy.with_label_values(&labels),
            picks: metrics.backend_picks.with_label_values(&labels),
            ejections: metrics.backend_ejections.with_label_values(&labels),
            address,
        };
        if let Some(addresses) = backend.address.literal() {
            backend.publish(&addresses);
        }
        backend.healthy.set(0);
        backend
    }

    /// Returns `host:port` as configured: what a sealed session names.
    #[must_use]
    pub fn address(&self) -> &str {
        self.address.as_str()
    }

    /// Returns its share of the requests relative to the others.
    #[must_use]
    pub const fn weight(&self) -> u32 {
        self.weight
    }

    /// Returns how many requests it is working on.
    #[must_use]
    pub fn inflight(&self) -> u32 {
        self.inflight.load(Ordering::Relaxed)
    }

    /// Returns whether a check has found it well, and nothing ill since. An ejected backend still
    /// serves its sessions.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.standing() == Standing::Healthy
    }

    /// Returns the peer to connect to first, or `None` while its name has no address.
    #[must_use]
    pub fn peer(&self) -> Option<Arc<HttpPeer>> {
        self.peers.load().first().cloned()
    }

    /// Returns every peer, the one that answered last first; empty while its name has no address.
    ///
    /// A backend with several addresses is unreachable when none of them can be connected to.
    #[must_use]
    pub fn peers(&self) -> Arc<Vec<Arc<HttpPeer>>> {
        self.peers.load_full()
    }

    /// Ejects the backend because a request could not connect to any of its peers, until a check
    /// succeeds that began after `now`.
    pub fn connect_failed(&self, now: Instant) {
        self.failed(Reason::Traffic, now, 1);
    }

    /// Counts a request to this backend until the returned guard is dropped.
    #[must_use]
    pub fn enter(self: &Arc<Self>) -> Picked {
        self.inflight.fetch_add(1, Ordering::Relaxed);
        self.picks.inc();
        Picked {
            backend: Arc::clone(self),
        }
    }

    /// Returns the sentence that says why it is ejected.
    pub(super) fn reason(&self) -> Option<String> {
        let reason = self.record.lock().reason?;
        Some(reason.describe(&self.upstream, self.address()).into_owned())
    }

    pub(super) fn standing(&self) -> Standing {
        match self.standing.load(Ordering::Relaxed) {
            0 => Standing::Healthy,
            1 => Standing::Unchecked,
            2 => Standing::Unreachable,
            _ => Standing::Unfit,
        }
    }

    /// Returns the order in which ejected backends are tried when there is no other.
    pub(super) fn failed_at(&self) -> u64 {
        self.failed_at.load(Ordering::Relaxed)
    }

    pub(super) const fn parsed_address(&self) -> &Address {
        &self.address
    }

    /// Replaces the addresses; a name that had none is checked at once.
    ///
    /// The address in use stays first, and peers that stay are the same, so that a refresh of a
    /// name whose addresses rotate moves no traffic.
    pub(super) fn publish(&self, addresses: &[SocketAddr]) {
        let old = self.peers.load();
        let find = |address: &SocketAddr| {
            old.iter()
                .find(|peer| peer._address.as_inet() == Some(address))
        };
        let mut peers: Vec<Arc<HttpPeer>> = addresses
            .iter()
            .take(MAX_ADDRESSES)
            .map(|address| {
                find(address)
                    .cloned()
                    .unwrap_or_else(|| Arc::new(self.template.at(*address)))
            })
            .collect();
        if let Some(first) = old.first()
            && let Some(index) = peers.iter().position(|peer| Arc::ptr_eq(peer, first))
        {
            peers.swap(0, index);
        }
        if peers.is_empty() {
            return;
        }
        self.peers.store(Arc::new(peers));
        let mut record = self.record.lock();
        if matches!(
            record.reason,
            Some(Reason::NotLookedUp | Reason::Unresolved)
        ) {
            record.reason = Some(Reason::NotChecked);
            self.standing
                .store(Standing::Unchecked as u8, Ordering::Relaxed);
            self.checks_due.notify_one();
        }
    }

    /// Notes that its name has no address; an address that was known before stays in use.
    pub(super) fn unresolved(&self) {
        if self.peers.load().is_empty() {
            self.eject(&mut self.record.lock(), Reason::Unresolved);
        }
    }

    /// Puts the peer that answered first.
    pub(super) fn prefer(&self, answered: &Arc<HttpPeer>) {
        let old = self.peers.load();
        let index = old.iter().position(|peer| Arc::ptr_eq(peer, answered));
        if let Some(index @ 1..) = index {
            let mut peers = Vec::clone(&old);
            peers.swap(0, index);
            // A lookup that finished meanwhile knows better: its addresses stay.
            self.peers.compare_and_swap(&*old, Arc::new(peers));
        }
    }

    /// Notes a check that succeeded and began at `began`.
    pub(super) fn succeeded(&self, began: Instant, thresholds: Thresholds) {
        let mut record = self.record.lock();
        record.failures = 0;
        // A check that began before the last failure says nothing about the time after it.
        if record.reason.is_none() || self.micros(began) < self.failed_at() {
            return;
        }
        record.successes = record.successes.saturating_add(1);
        // What was never found ill has nothing to make up for.
        let new = record.reason == Some(Reason::NotChecked);
        if new || record.successes >= thresholds.healthy_after {
            self.take_back(&mut record);
        }
    }

    /// Notes a failure; the `unhealthy_after`th in a row ejects.
    pub(super) fn failed(&self, reason: Reason, now: Instant, unhealthy_after: u32) {
        self.failed_at
            .fetch_max(self.micros(now), Ordering::Relaxed);
        let mut record = self.record.lock();
        record.successes = 0;
        record.failures = record.failures.saturating_add(1);
        let out = record
            .reason
            .is_some_and(|before| before != Reason::NotChecked);
        if out || record.failures >= unhealthy_after || reason.is_certain() {
            self.eject(&mut record, reason);
        }
    }

    fn eject(&self, record: &mut Record, reason: Reason) {
        let before = record.reason.replace(reason);
        self.standing
            .store(Standing::of(record.reason) as u8, Ordering::Relaxed);
        let text = || reason.describe(&self.upstream, self.address());
        match before {
            None | Some(Reason::NotLookedUp | Reason::NotChecked) => {
                self.healthy.set(0);
                record.logged = true;
                self.ejections.inc();
                self.checks_due.notify_one();
                warn!(upstream = &*self.upstream, backend = self.address(), reason = &*text();
                    "backend is ejected");
            }
            // Whoever repairs one cause must see the next one; causes of one kind are not told
            // apart, or a backend that is refused now and times out then would fill the log.
            Some(before)
                if before != reason && !(before.is_connecting() && reason.is_connecting()) =>
            {
                warn!(upstream = &*self.upstream, backend = self.address(), reason = &*text();
                    "backend stays out for another reason");
            }
            Some(_) => {}
        }
    }

    fn take_back(&self, record: &mut Record) {
        let logged = record.logged;
        *record = Record::default();
        self.standing
            .store(Standing::Healthy as u8, Ordering::Relaxed);
        self.healthy.set(1);
        if logged {
            info!(upstream = &*self.upstream, backend = self.address();
                "backend is healthy again");
        }
    }

    fn micros(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.born);
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }
}

impl Standing {
    const fn of(reason: Option<Reason>) -> Self {
        match reason {
            None => Self::Healthy,
            Some(Reason::NotChecked) => Self::Unchecked,
            Some(reason) if reason.is_connecting() => Self::Unreachable,
            Some(_) => Self::Unfit,
        }
    }
}

/// A backend that one request is being sent to; counted as its load until dropped.
#[derive(Debug)]
pub struct Picked {
    backend: Arc<Backend>,
}

impl Picked {
    /// Returns the backend.
    #[must_use]
    pub const fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        self.backend.inflight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const THRESHOLDS: Thresholds = Thresholds {
        unhealthy_after: 2,
        healthy_after: 2,
    };

    fn backend(address: &str) -> (Metrics, Backend) {
        let metrics = Metrics::new();
        let config = serde_yaml::from_str("backends: []").unwrap();
        let backend = Backend::new(
            &"github".into(),
            Address::parse(address).unwrap(),
            1,
            &Arc::new(Template::build(&config).unwrap()),
            &metrics,
        );
        (metrics, backend)
    }

    fn ports(backend: &Backend) -> Vec<u16> {
        let port = |peer: &Arc<HttpPeer>| peer._address.as_inet().unwrap().port();
        backend.peers().iter().map(port).collect()
    }

    fn addresses(ports: &[u16]) -> Vec<SocketAddr> {
        ports.iter().map(|&p| ([127, 0, 0, 1], p).into()).collect()
    }

    /// Feeds checks (`+` well, `-` failed, `!` the management API) and compares the standing
    /// after each (`n`ot checked, `h`ealthy, `u`nreachable, un`f`it).
    fn check(checks: &str, expect: &str) {
        let (_metrics, backend) = backend("127.0.0.1:1");
        let standings: String = checks
            .chars()
            .map(|outcome| {
                let now = Instant::now();
                let after = THRESHOLDS.unhealthy_after;
                match outcome {
                    '+' => backend.succeeded(now, THRESHOLDS),
                    '-' => backend.failed(Reason::Refused, now, after),
                    '!' => backend.failed(Reason::ManagementApi, now, after),
                    't' => backend.connect_failed(now),
                    other => panic!("{other}"),
                }
                match backend.standing() {
                    Standing::Healthy => 'h',
                    Standing::Unchecked => 'n',
                    Standing::Unreachable => 'u',
                    Standing::Unfit => 'f',
                }
            })
            .collect();
        assert_eq!(standings, expect, "{checks}");
    }

    #[test]
    fn failures_in_a_row_eject_and_successes_in_a_row_take_back() {
        check("+-+-+", "hhhhh");
        check("+--++", "hhuuh");
        check("+--+-++", "hhuuuuh");
        check("+--+++-", "hhuuhhh");
    }

    #[test]
    fn a_backend_is_unchecked_until_one_success_or_failures_in_a_row() {
        check("+", "h");
        check("-+", "nh");
        check("--++", "nuuh");
        check("t", "u");
    }

    #[test]
    fn a_failed_connection_ejects_at_once() {
        check("t++", "uuh");
        check("+t", "hu");
    }

    #[test]
    fn the_management_api_needs_no_second_look() {
        check("!++", "ffh");
        check("--!-", "nufu");
    }

    #[test]
    fn a_check_that_began_before_the_failure_proves_nothing() {
        let (_metrics, backend) = backend("127.0.0.1:1");
        let began = Instant::now();
        let once = Thresholds {
            healthy_after: 1,
            ..THRESHOLDS
        };
        backend.connect_failed(began + Duration::from_millis(1));
        backend.succeeded(began, once);
        assert!(!backend.is_healthy());
        backend.succeeded(began + Duration::from_millis(2), once);
        assert!(backend.is_healthy());
    }

    #[test]
    fn ejections_are_counted_once_each() {
        let (metrics, backend) = backend("127.0.0.1:1");
        backend.succeeded(Instant::now(), THRESHOLDS);
        let expect = |healthy: i64, ejections: u64| {
            let labels = ["github", "127.0.0.1:1"];
            let gauge = metrics.backend_healthy.with_label_values(&labels).get();
            let count = metrics.backend_ejections.with_label_values(&labels).get();
            assert_eq!((gauge, count), (healthy, ejections));
        };
        expect(1, 0);
        for _ in 0..5 {
            backend.connect_failed(Instant::now());
        }
        expect(0, 1);
        backend.succeeded(Instant::now(), THRESHOLDS);
        backend.succeeded(Instant::now(), THRESHOLDS);
        expect(1, 1);
        backend.connect_failed(Instant::now());
        expect(0, 2);
    }

    #[test]
    fn picks_are_counted_and_the_load_is_given_back() {
        let (metrics, backend) = backend("127.0.0.1:1");
        let backend = Arc::new(backend);
        let (one, two) = (backend.enter(), backend.enter());
        assert_eq!(backend.inflight(), 2);
        drop((one, two));
        assert_eq!(backend.inflight(), 0);
        let picks = metrics
            .backend_picks
            .with_label_values(&["github", "127.0.0.1:1"]);
        assert_eq!(picks.get(), 2);
    }

    #[test]
    fn a_name_is_checked_once_it_has_an_address() {
        let (_metrics, backend) = backend("github.test:1");
        assert_eq!(backend.standing(), Standing::Unfit);
        backend.unresolved();
        assert_eq!(backend.reason().unwrap(), "its name has no address");
        backend.publish(&addresses(&[1, 2]));
        assert_eq!(backend.standing(), Standing::Unchecked);
        backend.succeeded(Instant::now(), THRESHOLDS);
        assert!(backend.is_healthy());
        backend.unresolved();
        assert!(backend.is_healthy(), "what was known stays in use");
        assert_eq!(ports(&backend), [1, 2]);
    }

    #[test]
    fn the_address_that_answers_stays_first() {
        let (_metrics, backend) = backend("github.test:1");
        backend.publish(&addresses(&[1, 2, 3]));
        let answered = Arc::clone(&backend.peers()[1]);
        backend.prefer(&answered);
        assert_eq!(ports(&backend), [2, 1, 3]);
        backend.publish(&addresses(&[3, 2, 4]));
        assert_eq!(ports(&backend), [2, 3, 4]);
        assert!(Arc::ptr_eq(&answered, &backend.peer().unwrap()));
        backend.publish(&addresses(&[5]));
        backend.prefer(&answered);
        assert_eq!(
            ports(&backend),
            [5],
            "an address that is gone does not come back"
        );
        backend.publish(&[]);
        assert_eq!(ports(&backend), [5]);
    }

    #[test]
    fn addresses_are_bounded() {
        let (_metrics, backend) = backend("github.test:1");
        let many: Vec<u16> = (1..=100).collect();
        backend.publish(&addresses(&many));
        assert_eq!(ports(&backend).len(), MAX_ADDRESSES);
    }

    #[test]
    fn new_addresses_do_not_vouch_for_health() {
        let (_metrics, backend) = backend("github.test:1");
        backend.publish(&addresses(&[1]));
        backend.connect_failed(Instant::now());
        backend.publish(&addresses(&[2]));
        assert!(!backend.is_healthy());
    }
}
