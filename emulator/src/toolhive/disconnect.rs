//! Clients that went away before their answer was complete.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::Method;
use tokio::sync::Notify;

use crate::net::lock;

/// Disconnects remembered.
const CAPACITY: usize = 4096;

/// A client that left.
#[derive(Debug, Clone)]
pub struct Disconnect {
    /// When the proxy saw it.
    pub at: Instant,
    /// The method of the request that was being answered.
    pub method: Method,
    /// Its `Mcp-Session-Id`.
    pub session: Option<String>,
}

/// Where disconnects are noted.
#[derive(Debug, Default)]
pub(super) struct Board {
    /// Set while the workload itself is being killed, which is nobody's disconnect.
    paused: AtomicBool,
    seen: Mutex<Vec<Disconnect>>,
    grown: Notify,
}

impl Board {
    pub(super) fn pause(&self, on: bool) {
        self.paused.store(on, Ordering::SeqCst);
    }

    pub(super) fn all(&self) -> Vec<Disconnect> {
        lock(&self.seen).clone()
    }

    /// Waits until `wanted` holds for what was seen, at most `within`.
    pub(super) async fn wait_until(
        &self,
        within: Duration,
        wanted: impl Fn(&[Disconnect]) -> bool,
    ) -> bool {
        let reached = async {
            loop {
                let grown = self.grown.notified();
                tokio::pin!(grown);
                grown.as_mut().enable();
                if wanted(&lock(&self.seen)) {
                    return;
                }
                grown.await;
            }
        };
        tokio::time::timeout(within, reached).await.is_ok()
    }
}

/// Notes a disconnect when it is dropped before [`Watch::finish`].
pub(super) struct Watch {
    board: Arc<Board>,
    method: Method,
    session: Option<String>,
    finished: bool,
}

impl Watch {
    pub(super) fn new(board: &Arc<Board>, method: Method, session: Option<String>) -> Self {
        Self {
            board: Arc::clone(board),
            method,
            session,
            finished: false,
        }
    }

    /// The answer is complete.
    pub(super) fn finish(&mut self) {
        self.finished = true;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.finished || self.board.paused.load(Ordering::SeqCst) {
            return;
        }
        let mut seen = lock(&self.board.seen);
        if seen.len() < CAPACITY {
            seen.push(Disconnect {
                at: Instant::now(),
                method: self.method.clone(),
                session: self.session.take(),
            });
        }
        drop(seen);
        self.board.grown.notify_waiters();
    }
}
