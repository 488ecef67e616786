//! Values that are fetched when they are asked for, once for everyone who waits, and kept for a
//! while.
//!
//! Bounded in number and weight. Whoever asks first fetches; should that request end early, the
//! next one that waits takes over. A refusal is a value, too: it spares the server that refused.

use quick_cache::{
    Weighter,
    sync::{Cache, DefaultLifecycle},
};

/// What a value is kept under: a hash, so that nobody can choose it.
pub type Key = [u8; 32];

/// What an entry weighs beside its value, in bytes.
const OVERHEAD: u64 = 256;

/// A bounded memory of fetched values.
pub struct Kept<V> {
    cache: Cache<Key, Entry<V>, ByWeight, ahash::RandomState>,
}

#[derive(Clone)]
struct Entry<V> {
    value: V,
    /// In seconds since the Unix epoch.
    until: u64,
    weight: u64,
}

#[derive(Clone)]
struct ByWeight;

impl<V> Weighter<Key, Entry<V>> for ByWeight {
    fn weight(&self, _: &Key, entry: &Entry<V>) -> u64 {
        entry.weight.saturating_add(OVERHEAD)
    }
}

impl<V: Clone> Kept<V> {
    /// Makes an empty memory, laid out for `items` and limited to `bytes`.
    #[must_use]
    pub fn new(items: usize, bytes: u64) -> Self {
        let hasher = ahash::RandomState::new();
        Self {
            cache: Cache::with(items, bytes, ByWeight, hasher, DefaultLifecycle::default()),
        }
    }

    /// Returns the value under `key`, from memory or from `fetch`, which says beside it until when
    /// it is kept and what it weighs in bytes. Times are in seconds since the Unix epoch.
    pub async fn get(&self, key: &Key, now: u64, fetch: impl AsyncFnOnce() -> (V, u64, u64)) -> V {
        loop {
            match self.cache.get_value_or_guard_async(key).await {
                Ok(entry) if now < entry.until => return entry.value,
                Ok(entry) => {
                    let stale = entry.until;
                    self.cache.remove_if(key, |found| found.until <= stale);
                }
                Err(guard) => {
                    let (value, until, weight) = fetch().await;
                    let entry = Entry {
                        value: value.clone(),
                        until,
                        weight,
                    };
                    // Removed meanwhile, it is not kept: the caller has it all the same.
                    let _ = guard.insert(entry);
                    return value;
                }
            }
        }
    }

    /// Forgets the value under `key`.
    pub fn forget(&self, key: &Key) {
        self.cache.remove(key);
    }
}
