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
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, timeout, timeout_at},
};

use crate::ingress::{self, Refused};

/// How long the TLS handshake may take in all.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request head may take in all, from its first byte.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a connection may be silent before its first request and between two.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
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

    /// Reads the next head; `None` when the client is gone or was told why it is refused.
    async fn head(
        &self,
        io: &mut Stream,
        first: bool,
        shutdown: &ShutdownWatch,
    ) -> Option<BytesMut> {
        let mut buffer = BytesMut::with_capacity(2048);
        match read_head(io, &mut buffer, first, shutdown).await {
            Ok(Some(length)) => match ingress::check_head(buffer.get(..length)?) {
                Ok(()) => Some(buffer),
                Err(refused) => {
                    self.answer(io, &refused).await;
                    None
                }
            },
            Ok(None) => None,
            Err(refused) => {
                self.answer(io, &refused).await;
                None
            }
        }
    }

    /// Tells a client why its head is refused, and closes: what follows cannot be framed.
    async fn answer(&self, io: &mut Stream, refused: &Refused) {
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
            io.write_all(answer.as_bytes()).await?;
            // The client learns at once that nothing follows; but closing over unread bytes would
            // reset the connection before the answer is read.
            io.shutdown().await?;
            let mut rest = [0; 4096];
            for _ in 0..16 {
                if io.read(&mut rest).await? == 0 {
                    break;
                }
            }
            Ok::<_, std::io::Error>(())
        };
        if !matches!(timeout(REFUSAL_TIMEOUT, write).await, Ok(Ok(()))) {
            debug!("a refusal was not taken");
        }
    }
}

/// Reads until the empty line; returns the length of the head, or `None` when nothing came.
async fn read_head(
    io: &mut Stream,
    buffer: &mut BytesMut,
    first: bool,
    shutdown: &ShutdownWatch,
) -> Result<Option<usize>, Refused> {
    let mut stop = shutdown.clone();
    let mut until = Instant::now() + if first { HEAD_TIMEOUT } else { IDLE_TIMEOUT };
    let mut searched = 0;
    loop {
        let idle = buffer.is_empty();
        let read = tokio::select! {
            biased;
            read = timeout_at(until, io.read_buf(buffer)) => read,
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
        // The end may straddle two reads.
        let from = searched.max(3) - 3;
        if let Some(at) = memchr::memmem::find(buffer.get(from..).unwrap_or_default(), b"\r\n\r\n")
        {
            return Ok(Some(from + at + 4));
        }
        searched = buffer.len();
        if searched > ingress::HEAD_LIMIT {
            return Err(Refused {
                status: http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                reason: "head_too_large",
                description: "the request head is too large",
            });
        }
        // A head with bare line feeds never ends: it is refused as soon as it would have ended.
        if memchr::memmem::find(buffer.get(from..).unwrap_or_default(), b"\n\n").is_some() {
            return Ok(Some(searched));
        }
    }
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
        let mut io = self.handshake(tcp).await?;
        if matches!(io.selected_alpn_proto(), Some(ALPN::H2)) {
            return ServerApp::process_new(&self.app, io, shutdown).await;
        }
        let mut settings: Option<HttpPersistentSettings> = None;
        loop {
            let head = self.head(&mut io, settings.is_none(), shutdown).await?;
            let mut session = ServerSession::new_http1(io);
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
            io = stream;
            settings = kept;
        }
    }

    async fn cleanup(&self) {
        self.app.http_cleanup().await;
    }
}
