//! One client connection: permit, handshake, then one request head after the other.
//!
//! It reads HTTP/1 heads itself, under a total deadline, and hands on only heads that the first
//! layer has accepted. HTTP/2 frames are left to Pingora; its requests are checked by whoever
//! serves them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::BytesMut;
use log::debug;
use pingora_core::{
    apps::{HttpPersistentSettings, HttpServerApp, ServerApp},
    listeners::tls::Acceptor,
    protocols::{ALPN, Stream, http::ServerSession, l4::stream::Stream as TcpStream},
    server::ShutdownWatch,
};
use prometheus::{IntCounterVec, IntGauge};
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, timeout, timeout_at},
};

use super::wire::Wire;
use crate::ingress::{self, Refused};

/// How long the TLS handshake may take in all.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request head may take in all, from its first byte.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a connection may be silent before its first request and between two.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How much of what a refused client still sends is read, so that it sees the answer.
const REFUSAL_DRAIN: usize = 64 * 1024;
/// How long a refusal may take to be taken.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);
/// The most connections of one listener.
pub(super) const CONNECTIONS: usize = 16_384;

/// What serves the connections of one listener.
pub(super) struct Connections<A> {
    pub(super) app: Arc<A>,
    /// Missing on a plain listener.
    pub(super) acceptor: Option<Acceptor>,
    pub(super) open: Arc<AtomicUsize>,
    pub(super) active: IntGauge,
    pub(super) refusals: IntCounterVec,
}

/// Counts a connection for as long as it lives.
struct Permit<'a> {
    open: &'a AtomicUsize,
    active: &'a IntGauge,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.active.dec();
    }
}

impl<A: HttpServerApp + Send + Sync + 'static> Connections<A> {
    fn permit(&self) -> Option<Permit<'_>> {
        let permit = Permit {
            open: &self.open,
            active: &self.active,
        };
        self.active.inc();
        // Dropping the permit takes both counts back.
        (self.open.fetch_add(1, Ordering::Relaxed) < CONNECTIONS).then_some(permit)
    }

    fn refuse(&self, reason: &str) {
        self.refusals.with_label_values(&[reason]).inc();
    }

    /// Makes the connection ready for HTTP, or says why not by a metric.
    async fn handshake(&self, tcp: TcpStream) -> Option<Stream> {
        let Some(acceptor) = &self.acceptor else {
            return Some(Box::new(tcp));
        };
        match timeout(HANDSHAKE_TIMEOUT, acceptor.tls_handshake(tcp)).await {
            Ok(Ok(tls)) => Some(Box::new(tls)),
            Ok(Err(error)) => {
                debug!(error:%; "a TLS handshake failed");
                self.refuse("handshake_failed");
                None
            }
            Err(_) => {
                self.refuse("handshake_timeout");
                None
            }
        }
    }

    /// Reads the next head and checks it; returns it with what was read of the body. `None` when
    /// the client is gone or was told why it is refused.
    async fn head(
        &self,
        wire: &mut Wire,
        first: bool,
        shutdown: &ShutdownWatch,
    ) -> Option<BytesMut> {
        let begun = match read_head(wire, first, shutdown).await {
            Ok(None) => return None,
            Ok(Some(length)) => ingress::check_head(wire.ahead().get(..length)?)
                .and_then(|framing| wire.begin(length, framing)),
            Err(refused) => Err(refused),
        };
        match begun {
            Ok(head) => Some(head),
            Err(refused) => {
                self.answer(wire, &refused).await;
                None
            }
        }
    }

    /// Tells a client why its head is refused, and closes: what follows cannot be framed.
    async fn answer(&self, wire: &mut Wire, refused: &Refused) {
        self.refuse(refused.reason);
        let body = serde_json::json!({
            "error": "invalid_request",
            "error_description": refused.description,
        })
        .to_string();
        let answer = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n{body}",
            refused.status.as_str(),
            refused.status.canonical_reason().unwrap_or_default(),
            body.len(),
        );
        let write = async {
            wire.write_all(answer.as_bytes()).await?;
            wire.flush().await?;
            // Closing over unread bytes would reset the connection before the answer is read.
            wire.discard(REFUSAL_DRAIN).await?;
            wire.shutdown().await
        };
        if !matches!(timeout(REFUSAL_TIMEOUT, write).await, Ok(Ok(()))) {
            debug!("a refusal was not taken");
        }
    }
}

/// Reads until the empty line; returns the length of the head, or `None` when nothing came.
async fn read_head(
    wire: &mut Wire,
    first: bool,
    shutdown: &ShutdownWatch,
) -> Result<Option<usize>, Refused> {
    let mut stop = shutdown.clone();
    // A request that came with the one before it has begun already.
    let begun = first || !wire.ahead().is_empty();
    let mut until = Instant::now() + if begun { HEAD_TIMEOUT } else { IDLE_TIMEOUT };
    let mut searched = 0;
    loop {
        if let Some(length) = find_end(wire.ahead(), &mut searched)? {
            return Ok(Some(length));
        }
        let idle = wire.ahead().is_empty();
        let read = tokio::select! {
            biased;
            read = timeout_at(until, wire.read_ahead()) => read,
            _ = stop.wait_for(|stop| *stop), if idle => return Ok(None),
        };
        match read {
            Ok(Ok(n)) if n > 0 => {
                if idle {
                    until = Instant::now() + HEAD_TIMEOUT;
                }
            }
            Err(_) if !idle => {
                return Err(Refused {
                    status: http::StatusCode::REQUEST_TIMEOUT,
                    reason: "head_timeout",
                    description: "the request head took too long",
                });
            }
            _ => return Ok(None),
        }
    }
}

/// Looks for the end of a head in what was not searched before.
fn find_end(buffer: &[u8], searched: &mut usize) -> Result<Option<usize>, Refused> {
    // The end may straddle two reads.
    let from = searched.saturating_sub(3);
    let fresh = buffer.get(from..).unwrap_or_default();
    *searched = buffer.len();
    let end = memchr::memmem::find(fresh, b"\r\n\r\n").map(|at| from + at + 4);
    if end.unwrap_or(buffer.len()) > ingress::HEAD_LIMIT {
        return Err(Refused {
            status: http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            reason: "head_too_large",
            description: "the request head is too large",
        });
    }
    // A head with bare line feeds never ends: it is refused as soon as it would have ended.
    let bare = memchr::memmem::find(fresh, b"\n\n").map(|at| from + at + 2);
    Ok(match (end, bare) {
        (Some(end), Some(bare)) => Some(end.min(bare)),
        (end, bare) => end.or(bare),
    })
}

#[async_trait]
impl<A: HttpServerApp + Send + Sync + 'static> ServerApp for Connections<A> {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let Some(_permit) = self.permit() else {
            self.refuse("too_many_connections");
            return None;
        };
        // The handshake needs the stream itself; what the listener accepted is always one.
        let tcp = *stream.into_any().downcast::<TcpStream>().ok()?;
        let io = self.handshake(tcp).await?;
        if matches!(io.selected_alpn_proto(), Some(ALPN::H2)) {
            return ServerApp::process_new(&self.app, io, shutdown).await;
        }
        let mut wire = Box::new(Wire::new(io, self.refusals.clone()));
        let mut settings: Option<HttpPersistentSettings> = None;
        loop {
            let head = self.head(&mut wire, settings.is_none(), shutdown).await?;
            let mut session = ServerSession::new_http1(wire);
            match settings.take() {
                Some(settings) => settings.apply_to_session(&mut session),
                None => session.set_keepalive(Some(IDLE_TIMEOUT.as_secs())),
            }
            if *shutdown.borrow() {
                session.set_keepalive(None);
            }
            session.set_pipelined_prefix(head);
            let (stream, kept) = self
                .app
                .process_new_http(session, shutdown)
                .await?
                .consume();
            wire = Wire::back(stream)?;
            settings = kept;
        }
    }

    async fn cleanup(&self) {
        self.app.http_cleanup().await;
    }
}
