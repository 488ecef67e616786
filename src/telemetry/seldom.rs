//! Lines of the log that a peer could repeat at will: one a minute of each kind, and how many others
//! were left out.
//!
//! How often something happens is for a counter to tell, which stands beside every such line.

use std::{collections::BTreeMap, time::Duration};

use parking_lot::Mutex;

/// How long the log stays silent about a kind that it has named.
pub const SILENCE: Duration = Duration::from_secs(60);

/// When each kind of line was written last. Kinds come from a closed set, never from a peer.
#[derive(Debug)]
pub struct Seldom<K>(Mutex<BTreeMap<K, Told>>);

#[derive(Clone, Copy, Debug)]
struct Told {
    at: u64,
    left_out: u64,
}

impl<K> Default for Seldom<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Ord> Seldom<K> {
    /// Asks to write a line of a kind at `now`, in seconds since any epoch.
    ///
    /// Returns how many of its kind were left out since the last one, or `None` when this one is to be
    /// left out, too. A clock that jumps back is no reason to speak.
    pub fn due(&self, kind: K, now: u64) -> Option<u64> {
        let mut told = self.0.lock();
        let Some(last) = told.get_mut(&kind) else {
            let first = Told {
                at: now,
                left_out: 0,
            };
            told.insert(kind, first);
            return Some(0);
        };
        if now.saturating_sub(last.at) < SILENCE.as_secs() {
            last.left_out += 1;
            return None;
        }
        last.at = now;
        Some(std::mem::take(&mut last.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_named_once_a_minute_with_the_count_of_the_others() {
        let seldom = Seldom::default();
        let due = [0, 1, 59, 60, 61, 119, 120, 300].map(|now| seldom.due("a", 1_000 + now));
        let expect = [Some(0), None, None, Some(2), None, None, Some(2), Some(0)];
        assert_eq!(due, expect);
    }

    #[test]
    fn every_kind_has_a_minute_of_its_own() {
        let seldom = Seldom::default();
        assert_eq!(seldom.due("a", 1_000), Some(0));
        assert_eq!(seldom.due("b", 1_001), Some(0));
        assert_eq!(seldom.due("a", 900), None, "a clock that jumps back");
    }
}
