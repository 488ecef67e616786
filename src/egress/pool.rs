//! Connections kept between requests, by origin.
//!
//! Origins come from the configuration, so there are few; what is bounded is how many connections
//! each may leave behind, and for how long.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::dial::Stream;

/// Idle connections kept per origin.
const MAX_IDLE: usize = 16;

#[derive(Debug)]
struct Idle {
    stream: Stream,
    since: Instant,
}

/// The idle connections of one egress.
#[derive(Debug)]
pub(super) struct Pool {
    idle_timeout: Duration,
    idle: Mutex<HashMap<Arc<str>, Vec<Idle>>>,
}

impl Pool {
    /// Keeps connections for at most `idle_timeout`.
    pub(super) fn new(idle_timeout: Duration) -> Self {
        Self {
            idle_timeout,
            idle: Mutex::default(),
        }
    }

    /// Returns the connection used last that still stands.
    pub(super) fn take(&self, origin: &str, now: Instant) -> Option<Stream> {
        let mut idle = self.idle.lock();
        let streams = idle.get_mut(origin)?;
        while let Some(mut found) = streams.pop() {
            if now.duration_since(found.since) < self.idle_timeout && !found.stream.is_stale() {
                return Some(found.stream);
            }
        }
        None
    }

    /// Keeps a connection on which nothing is outstanding.
    pub(super) fn put(&self, origin: &Arc<str>, stream: Stream, now: Instant) {
        let mut idle = self.idle.lock();
        let streams = idle.entry(Arc::clone(origin)).or_default();
        streams.retain(|kept| now.duration_since(kept.since) < self.idle_timeout);
        if streams.len() >= MAX_IDLE {
            streams.remove(0);
        }
        streams.push(Idle { stream, since: now });
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn pair() -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, server) = tokio::join!(client, listener.accept());
        (Stream::Plain(client.unwrap()), server.unwrap().0)
    }

    #[tokio::test]
    async fn keeps_a_bounded_number_for_a_bounded_time() {
        let pool = Pool::new(Duration::from_secs(60));
        let origin: Arc<str> = "https://a.test".into();
        let now = Instant::now();
        let mut servers = Vec::new();
        for _ in 0..MAX_IDLE + 3 {
            let (stream, server) = pair().await;
            servers.push(server);
            pool.put(&origin, stream, now);
        }
        assert_eq!(pool.idle.lock()[&origin].len(), MAX_IDLE);
        assert!(pool.take("https://b.test", now).is_none());
        assert!(pool.take(&origin, now).is_some());
        let later = now + Duration::from_secs(60);
        assert!(pool.take(&origin, later).is_none());
        assert!(pool.idle.lock()[&origin].is_empty());
    }

    #[tokio::test]
    async fn a_connection_that_was_closed_is_not_given_out() {
        let pool = Pool::new(Duration::from_secs(60));
        let origin: Arc<str> = "https://a.test".into();
        let (mut stream, server) = pair().await;
        drop(server);
        // The close travels through the kernel: wait for it rather than for a while.
        if let Stream::Plain(tcp) = &mut stream {
            tcp.readable().await.unwrap();
        }
        pool.put(&origin, stream, Instant::now());
        assert!(pool.take(&origin, Instant::now()).is_none());
    }
}
