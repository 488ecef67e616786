//! Connections to backends that wait for their next request.
//!
//! Pingora's pool has a task watch each connection that waits, and a request that takes one waits
//! for that task to let it go. Here nobody watches: a connection is looked at when it is taken, and
//! all are once a second, so that what a backend has closed or what has waited too long does not stay.
//! Time is counted in these rounds: no clock is read for a request.
//!
//! INVARIANT: a connection is in exactly one shard or with exactly one request. Each thread has a
//! shard that it asks first, so that threads seldom meet at a lock.

use std::{
    collections::HashMap,
    num::NonZero,
    pin::Pin,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Waker},
    thread,
    time::Duration,
};

use ahash::RandomState;
use parking_lot::Mutex;
use pingora_core::protocols::Stream;
use tokio::{
    io::{AsyncRead, ReadBuf},
    time::interval,
};

/// How often connections that have ended are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Idle connections, by what makes one as good as another.
pub(super) struct Idle {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    /// How many wait, in all shards.
    waiting: AtomicUsize,
    /// How often all were looked at.
    rounds: AtomicU64,
    limit: usize,
    sweeper: OnceLock<()>,
}

type Shard = HashMap<u64, Vec<Waiting>, RandomState>;

struct Waiting {
    io: Stream,
    /// The last round that leaves it here.
    last: u64,
}

impl Waiting {
    /// Whether a request can be sent: the backend has neither closed the connection nor sent what
    /// nobody asked for. Costs no system call as long as nothing has come.
    fn is_usable(&mut self) -> bool {
        let mut byte = [0];
        let mut context = Context::from_waker(Waker::noop());
        Pin::new(&mut self.io)
            .poll_read(&mut context, &mut ReadBuf::new(&mut byte))
            .is_pending()
    }
}

impl Idle {
    /// Keeps at most `limit` connections in all.
    pub(super) fn new(limit: usize) -> Arc<Self> {
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        let hasher = RandomState::new();
        Arc::new(Self {
            shards: (0..threads)
                .map(|_| Mutex::new(Shard::with_hasher(hasher.clone())))
                .collect(),
            hasher,
            waiting: AtomicUsize::new(0),
            rounds: AtomicU64::new(0),
            limit,
            sweeper: OnceLock::new(),
        })
    }

    /// Takes the connection that waited the least.
    pub(super) fn take(&self, key: u64) -> Option<Stream> {
        let own = self.own_shard();
        let (before, after) = self.shards.split_at(own);
        after
            .iter()
            .chain(before)
            .find_map(|shard| self.take_from(shard, key))
    }

    fn take_from(&self, shard: &Mutex<Shard>, key: u64) -> Option<Stream> {
        loop {
            let mut waiting = shard.lock().get_mut(&key)?.pop()?;
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            if waiting.is_usable() {
                return Some(waiting.io);
            }
        }
    }

    /// Keeps a connection for as long as `timeout`, and up to two seconds more, unless there are too
    /// many.
    pub(super) fn put(self: &Arc<Self>, key: u64, io: Stream, timeout: Duration) {
        self.sweeper.get_or_init(|| {
            tokio::spawn(sweep(Arc::downgrade(self)));
        });
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.limit {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let seconds = timeout.as_secs() + u64::from(timeout.subsec_nanos() > 0);
        let last = self.rounds.load(Ordering::Relaxed) + seconds;
        if let Some(shard) = self.shards.get(self.own_shard()) {
            let waiting = Waiting { io, last };
            shard.lock().entry(key).or_default().push(waiting);
        }
    }

    /// Closes what has ended.
    fn sweep(&self) {
        let round = self.rounds.fetch_add(1, Ordering::Relaxed) + 1;
        for shard in &self.shards {
            let mut ended = vec![];
            shard.lock().retain(|_, waiting| {
                ended.extend(
                    waiting.extract_if(.., |waiting| waiting.last < round || !waiting.is_usable()),
                );
                !waiting.is_empty()
            });
            self.waiting.fetch_sub(ended.len(), Ordering::Relaxed);
        }
    }

    fn own_shard(&self) -> usize {
        let thread = self.hasher.hash_one(thread::current().id());
        usize::try_from(thread).unwrap_or_default() % self.shards.len()
    }
}

async fn sweep(idle: Weak<Idle>) {
    let mut ticks = interval(SWEEP_INTERVAL);
    loop {
        ticks.tick().await;
        let Some(idle) = idle.upgrade() else {
            return;
        };
        idle.sweep();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn connection() -> (Stream, DuplexStream) {
        let (gateway, backend) = duplex(64);
        (Box::new(gateway), backend)
    }

    /// Says by a byte which connection it is.
    async fn name(mut io: Stream, backend: &mut DuplexStream) -> u8 {
        io.write_all(b"x").await.unwrap();
        backend.read_u8().await.unwrap()
    }

    #[tokio::test]
    async fn gives_what_waited_the_least_and_each_once() {
        let idle = Idle::new(10);
        let (first, mut old) = connection();
        let (second, mut young) = connection();
        idle.put(1, first, LONG);
        idle.put(1, second, LONG);
        assert!(idle.take(2).is_none());
        assert_eq!(name(idle.take(1).unwrap(), &mut young).await, b'x');
        assert_eq!(name(idle.take(1).unwrap(), &mut old).await, b'x');
        assert!(idle.take(1).is_none());
    }

    #[tokio::test]
    async fn gives_none_that_was_closed_or_sent_what_nobody_asked_for() {
        let idle = Idle::new(10);
        let (closed, backend) = connection();
        drop(backend);
        let (loud, mut backend) = connection();
        backend.write_all(b"?").await.unwrap();
        idle.put(1, closed, LONG);
        idle.put(1, loud, LONG);
        assert!(idle.take(1).is_none());
        assert_eq!(idle.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn closes_what_waited_too_long() {
        let idle = Idle::new(10);
        let (io, mut backend) = connection();
        idle.put(1, io, Duration::from_millis(5));
        assert_eq!(backend.read(&mut [0]).await.unwrap(), 0);
        assert!(idle.take(1).is_none());
    }

    #[tokio::test]
    async fn closes_what_the_backend_has_closed() {
        let idle = Idle::new(10);
        let (io, _stays) = connection();
        let (closed, mut backend) = connection();
        idle.put(1, io, LONG);
        idle.put(1, closed, LONG);
        backend.shutdown().await.unwrap();
        assert_eq!(backend.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(idle.waiting.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn keeps_no_more_than_its_limit() {
        let idle = Idle::new(1);
        let (first, _one) = connection();
        let (second, mut other) = connection();
        idle.put(1, first, LONG);
        idle.put(2, second, LONG);
        assert_eq!(other.read(&mut [0]).await.unwrap(), 0);
        assert!(idle.take(1).is_some());
        let (third, _third) = connection();
        idle.put(2, third, LONG);
        assert!(idle.take(2).is_some());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn whichever_thread_kept_it_another_finds_it() {
        let idle = Idle::new(1000);
        let mut backends = vec![];
        for _ in 0..100 {
            let (io, backend) = connection();
            backends.push(backend);
            let idle = Arc::clone(&idle);
            tokio::spawn(async move { idle.put(1, io, LONG) })
                .await
                .unwrap();
        }
        for _ in 0..100 {
            assert!(idle.take(1).is_some());
        }
        assert!(idle.take(1).is_none());
    }

    #[tokio::test]
    async fn nothing_stays_when_it_is_dropped() {
        let idle = Idle::new(10);
        let (io, mut backend) = connection();
        idle.put(1, io, LONG);
        drop(idle);
        assert_eq!(backend.read(&mut [0]).await.unwrap(), 0);
    }
}
