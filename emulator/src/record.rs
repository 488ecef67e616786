//! What a stand-in was asked: the requests as they arrived, for tests to look at.
//!
//! Bounded in number and bytes: the oldest entries go first. `Debug` names method and path only, since queries and
//! bodies carry codes and tokens.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method};
use tokio::sync::Notify;

use crate::net::lock;

/// Requests kept per log.
const CAPACITY: usize = 4096;

/// Bytes of bodies kept per log.
const BYTES: usize = 64 << 20;

/// One request as a stand-in received it.
#[derive(Clone)]
pub struct Recorded {
    /// When its head had been read.
    pub at: Instant,
    /// The method.
    pub method: Method,
    /// The path, byte for byte.
    pub path: String,
    /// The query, byte for byte, without the question mark.
    pub query: String,
    /// All headers.
    pub headers: HeaderMap,
    /// The body, if it was read.
    pub body: Bytes,
}

impl Recorded {
    /// Returns the decoded parameters of the query, in order.
    #[must_use]
    pub fn query_pairs(&self) -> Vec<(String, String)> {
        pairs(self.query.as_bytes())
    }

    /// Returns the decoded fields of a form body, in order.
    #[must_use]
    pub fn form_pairs(&self) -> Vec<(String, String)> {
        pairs(&self.body)
    }

    /// Finds the first query parameter of that name.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<String> {
        first(self.query_pairs(), name)
    }

    /// Finds the first form field of that name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<String> {
        first(self.form_pairs(), name)
    }

    /// Finds a header whose value is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Reads the body as JSON.
    #[must_use]
    pub fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

impl fmt::Debug for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

fn pairs(encoded: &[u8]) -> Vec<(String, String)> {
    url::form_urlencoded::parse(encoded).into_owned().collect()
}

fn first(pairs: Vec<(String, String)>, name: &str) -> Option<String> {
    pairs
        .into_iter()
        .find_map(|(key, value)| (key == name).then_some(value))
}

/// The requests of one stand-in.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: Mutex<Entries>,
    grown: Notify,
}

/// What is kept, and how many bytes of bodies that is.
#[derive(Debug, Default)]
struct Entries {
    kept: VecDeque<Recorded>,
    bytes: usize,
}

impl Entries {
    fn push(&mut self, recorded: Recorded) {
        self.bytes += recorded.body.len();
        self.kept.push_back(recorded);
        // The newest stays, however long it is.
        while self.kept.len() > 1 && (self.kept.len() > CAPACITY || self.bytes > BYTES) {
            if let Some(oldest) = self.kept.pop_front() {
                self.bytes -= oldest.body.len();
            }
        }
    }
}

impl Log {
    pub(crate) fn push(&self, recorded: Recorded) {
        lock(&self.inner.entries).push(recorded);
        self.inner.grown.notify_waiters();
    }

    pub(crate) fn all(&self) -> Vec<Recorded> {
        lock(&self.inner.entries).kept.iter().cloned().collect()
    }

    fn find(&self, wanted: impl Fn(&Recorded) -> bool) -> Option<Recorded> {
        let entries = lock(&self.inner.entries);
        entries.kept.iter().find(|entry| wanted(entry)).cloned()
    }

    pub(crate) fn clear(&self) {
        *lock(&self.inner.entries) = Entries::default();
    }

    /// Waits for a request that `wanted` accepts, at most `within`.
    pub(crate) async fn wait_for(
        &self,
        within: Duration,
        wanted: impl Fn(&Recorded) -> bool,
    ) -> Option<Recorded> {
        let found = async {
            loop {
                let grown = self.inner.grown.notified();
                tokio::pin!(grown);
                // Registered before looking, or an entry between the two would be missed.
                grown.as_mut().enable();
                if let Some(found) = self.find(&wanted) {
                    return found;
                }
                grown.await;
            }
        };
        tokio::time::timeout(within, found).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(body: usize) -> Recorded {
        Recorded {
            at: Instant::now(),
            method: Method::GET,
            path: "/".to_owned(),
            query: "code=secret".to_owned(),
            headers: HeaderMap::new(),
            body: vec![0; body].into(),
        }
    }

    #[test]
    fn the_oldest_are_forgotten_by_number_and_by_bytes() {
        let log = Log::default();
        for _ in 0..=CAPACITY {
            log.push(recorded(0));
        }
        assert_eq!(log.all().len(), CAPACITY);
        for _ in 0..20 {
            log.push(recorded(8 << 20));
        }
        assert_eq!(log.all().len(), BYTES / (8 << 20));
    }

    #[test]
    fn a_query_is_not_printed() {
        assert_eq!(format!("{:?}", recorded(0)), "GET /");
    }
}
