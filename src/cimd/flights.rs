//! One fetch per document at a time, and few at once.
//!
//! Those who want the same document take turns; the first to have the turn fetches, and the others
//! find what it brought. When a client leaves in the middle of its turn, the next one has it.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use tokio::sync::{MutexGuard, Semaphore, SemaphorePermit};

/// Documents that are fetched at once; whoever wants another one waits.
const AT_ONCE: usize = 8;
/// Who may fetch or wait.
const MAX_WAITING: usize = 64;

/// The documents that are wanted now.
pub(super) struct Flights {
    wanted: Mutex<HashMap<Box<str>, Weak<Turns>>>,
    waiting: Semaphore,
    fetching: Semaphore,
}

#[derive(Default)]
struct Turns(tokio::sync::Mutex<()>);

/// A place among those who want a document.
pub(super) struct Flight<'a> {
    flights: &'a Flights,
    url: Box<str>,
    turns: Option<Arc<Turns>>,
    _place: SemaphorePermit<'a>,
}

/// The turn to fetch; nobody else fetches the same document.
pub(super) struct Turn<'a> {
    _alone: MutexGuard<'a, ()>,
    _fetching: Option<SemaphorePermit<'a>>,
}

impl Default for Flights {
    fn default() -> Self {
        Self {
            wanted: Mutex::default(),
            waiting: Semaphore::new(MAX_WAITING),
            fetching: Semaphore::new(AT_ONCE),
        }
    }
}

impl Flights {
    /// Joins those who want a document; `None` when too many want one.
    pub(super) fn join(&self, url: &str) -> Option<Flight<'_>> {
        let place = self.waiting.try_acquire().ok()?;
        let mut wanted = self.wanted.lock();
        let turns = wanted.get(url).and_then(Weak::upgrade).unwrap_or_default();
        wanted.insert(url.into(), Arc::downgrade(&turns));
        Some(Flight {
            flights: self,
            url: url.into(),
            turns: Some(turns),
            _place: place,
        })
    }
}

impl Flight<'_> {
    /// Waits for the turn.
    pub(super) async fn turn(&self) -> Option<Turn<'_>> {
        let alone = self.turns.as_ref()?.0.lock().await;
        Some(Turn {
            _alone: alone,
            // It is never closed.
            _fetching: self.flights.fetching.acquire().await.ok(),
        })
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut wanted = self.flights.wanted.lock();
        self.turns = None;
        // The last one leaves nothing behind.
        if wanted
            .get(&self.url)
            .is_some_and(|turns| turns.strong_count() == 0)
        {
            wanted.remove(&self.url);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn turns_for_one_document_follow_each_other() {
        let flights = Flights::default();
        let (first, second) = (flights.join("a").unwrap(), flights.join("a").unwrap());
        let other = flights.join("b").unwrap();
        let turn = first.turn().await;
        assert!(
            other.turn().await.is_some(),
            "another document waits for nothing"
        );
        let waiting = async {
            tokio::select! { biased; _ = second.turn() => false, () = async {} => true }
        };
        assert!(waiting.await, "the second waits");
        drop(turn);
        assert!(second.turn().await.is_some());
    }

    #[test]
    fn few_may_wait_and_nothing_is_left_behind() {
        let flights = Flights::default();
        let places: Vec<_> = (0..MAX_WAITING)
            .map(|number| flights.join(&number.to_string()).unwrap())
            .collect();
        assert!(flights.join("one more").is_none());
        drop(places);
        assert!(flights.wanted.lock().is_empty());
        assert!(flights.join("one more").is_some());
    }
}
