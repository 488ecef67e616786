//! What the authorization server refused lately: counts by number, and when the last one was.
//!
//! Numbers that are not explained share one entry, so that neither the metric's label nor the memory
//! grows with what a server answers. What a number means is for those who hand it in.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use prometheus::IntCounterVec;

use super::seldom::Seldom;

/// The label of every error that is not explained.
const OTHER: &str = "other";

/// The errors of one gateway; a clone is the same.
#[derive(Clone, Debug)]
pub struct ProviderErrors {
    total: IntCounterVec,
    seen: Arc<Mutex<BTreeMap<Option<u32>, Seen>>>,
    logged: Arc<Seldom<Option<u32>>>,
}

/// How often an error was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Since the gateway started.
    pub count: u64,
    /// When it was seen last, in seconds since the Unix epoch.
    pub last: u64,
}

impl ProviderErrors {
    /// Counts into a counter by number.
    pub(super) fn new(total: IntCounterVec) -> Self {
        Self {
            total,
            seen: Arc::default(),
            logged: Arc::default(),
        }
    }

    /// Counts an error: its number when it is explained, `None` for any other.
    ///
    /// Returns whether the log should name it, as [`Seldom::due`] does. `now` is in seconds since the
    /// Unix epoch.
    #[must_use]
    pub fn count(&self, code: Option<u32>, now: u64) -> Option<u64> {
        match code {
            Some(code) => self.total.with_label_values(&[&*code.to_string()]).inc(),
            None => self.total.with_label_values(&[OTHER]).inc(),
        }
        let mut seen = self.seen.lock();
        let fresh = Seen {
            count: 0,
            last: now,
        };
        let entry = seen.entry(code).or_insert(fresh);
        entry.count += 1;
        entry.last = now;
        self.logged.due(code, now)
    }

    /// Returns what was seen since the start, the latest first; the number of those that are not
    /// explained is `None`.
    #[must_use]
    pub fn seen(&self) -> Vec<(Option<u32>, Seen)> {
        let mut seen: Vec<_> = self
            .seen
            .lock()
            .iter()
            .map(|(code, seen)| (*code, *seen))
            .collect();
        seen.sort_by_key(|(_, seen)| std::cmp::Reverse(seen.last));
        seen
    }
}

#[cfg(test)]
mod tests {
    use crate::telemetry::metrics::Metrics;

    #[test]
    fn an_error_is_logged_once_a_minute_and_counted_each_time() {
        let errors = Metrics::new().provider_errors;
        let logged = [0, 1, 59, 60, 61, 121].map(|now| errors.count(Some(50011), 1_000 + now));
        assert_eq!(logged, [Some(0), None, None, Some(2), None, Some(1)]);
        // Another one has a minute of its own.
        assert_eq!(errors.count(None, 1_001), Some(0));
        assert_eq!(errors.count(None, 1_002), None);
        let seen = errors.seen();
        let counts: Vec<_> = seen
            .iter()
            .map(|(code, seen)| (*code, seen.count))
            .collect();
        assert_eq!(counts, [(Some(50011), 6), (None, 2)]);
        assert_eq!(seen[0].1.last, 1_121);
    }

    #[test]
    fn what_is_not_explained_shares_a_label() {
        let metrics = Metrics::new();
        let _ = metrics.provider_errors.count(None, 1);
        let _ = metrics.provider_errors.count(Some(65001), 1);
        let text = metrics.render().unwrap();
        assert!(text.contains("gateway_provider_errors_total{aadsts=\"other\"} 1"));
        assert!(text.contains("gateway_provider_errors_total{aadsts=\"65001\"} 1"));
    }
}
