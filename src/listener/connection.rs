//! One client connection: permit, handshake, then one request head after the other.
//!
//! It reads HTTP/1 heads itself, under a total deadline, and hands on only heads that the first
//! layer has accepted. HTTP/2 frames are left to Pingora; its requests are checked by whoever
//! serves them.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::BytesMut;
use http::StatusCode;
use ipnet::IpNet;
use log::debug;
use pingora_core::{
    apps::{HttpPersistentSettings, ServerApp},
    protocols::{ALPN, Stream, http::ServerSession, l4::stream::Stream as TcpStream},
    server::ShutdownWatch,
};
use prometheus::{IntCounterVec, IntGauge};
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, timeout, timeout_at},
};

use super::{
    admission::{AddressPermit, Admission, Admitted, Permit},
    app::{App, Http2},
    head::{http2_preface, read_head},
    preface,
    tls::Tls,
    wire::Wire,
};
use crate::ingress::{self, HEALTH_PATH, Limits, Refused, contains};

/// How much of what a refused client still sends is read, so that it sees the answer.
const REFUSAL_DRAIN: usize = 64 * 1024;
/// How long a refusal may take to be taken.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a connection of the reserve may take in all.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// What serves the connections of one listener.
pub(super) struct Connections<A> {
    pub(super) app: Arc<A>,
    pub(super) http2: Arc<Http2<A>>,
    /// Missing on a plain listener.
    pub(super) tls: Option<Tls>,
    /// Who speaks the PROXY protocol.
    pub(super) balancers: Vec<IpNet>,
    pub(super) limits: Arc<Limits>,
    pub(super) admission: Arc<Admission>,
    pub(super) active: IntGauge,
    pub(super) refusals: IntCounterVec,
}

/// Nobody more is taken from this address.
const TOO_MANY_OF_ADDRESS: Refused = Refused::new(
    StatusCode::TOO_MANY_REQUESTS,
    "too_many_connections_of_address",
    "there are too many connections from this address",
);

/// Makes a session the last one of its connection. `set_keepalive` would be forgotten when the head
/// is read.
fn end_after(session: &mut ServerSession) {
    session.set_keepalive_reuses_remaining(Some(0));
}

/// Whether a head that was checked asks for health.
fn asks_for_health(head: &[u8]) -> bool {
    let target = [&b"GET "[..], b"HEAD "]
        .iter()
        .find_map(|method| head.strip_prefix(*method));
    target
        .and_then(|target| target.strip_prefix(HEALTH_PATH.as_bytes()))
        .is_some_and(|rest| rest.first() == Some(&b' '))
}

/// Shows a connection in the metrics for as long as it lives.
struct Active(IntGauge);

impl Active {
    fn count(active: &IntGauge) -> Self {
        active.inc();
        Self(active.clone())
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// What a connection is counted by, for as long as it lives.
struct Counted {
    _active: Active,
    _permit: Permit,
    _of_address: AddressPermit,
}

impl<A: App> Connections<A> {
    fn refuse(&self, reason: &str) {
        self.refusals.with_label_values(&[reason]).inc();
    }

    /// Makes the connection ready for HTTP, or says why not by a metric: who it is, whether they
    /// have too many, and the TLS handshake.
    async fn handshake(
        &self,
        mut tcp: TcpStream,
        admitted: Admitted,
    ) -> Option<(Stream, AddressPermit)> {
        let until = Instant::now() + self.limits.handshake_timeout.0;
        if contains(&self.balancers, preface::peer(&tcp)) {
            match timeout_at(until, preface::read(&mut tcp)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    debug!(error:%; "a load balancer is refused");
                    self.refuse("proxy_protocol");
                    return None;
                }
                Err(_) => {
                    self.refuse("handshake_timeout");
                    return None;
                }
            }
        }
        let Some(permit) = self.admission.enter_from(preface::peer(&tcp)) else {
            // Over TLS there is nothing to say before a handshake that costs more than the answer.
            if self.tls.is_none() {
                let mut wire = Wire::new(Box::new(tcp), self.refusals.clone());
                self.answer(&mut wire, &TOO_MANY_OF_ADDRESS).await;
            } else {
                self.refuse(TOO_MANY_OF_ADDRESS.reason);
            }
            return None;
        };
        let Some(tls) = &self.tls else {
            return Some((Box::new(tcp), permit));
        };
        let acceptor = match admitted {
            Admitted::Fully => &tls.acceptor,
            Admitted::ForHealth(_) => &tls.health_acceptor,
        };
        match timeout_at(until, acceptor.tls_handshake(tcp)).await {
            Ok(Ok(tls)) => Some((Box::new(tls), permit)),
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

    /// Answers one health request; everything else is told why there is no room.
    async fn serve_health(
        &self,
        tcp: TcpStream,
        refused: &Refused,
        shutdown: &ShutdownWatch,
    ) -> Option<()> {
        let (io, _counted) = self.handshake(tcp, Admitted::ForHealth(*refused)).await?;
        let mut wire = Box::new(Wire::new(io, self.refusals.clone()));
        let head = self.head(&mut wire, true, shutdown).await?;
        if !asks_for_health(&head) {
            self.answer(&mut wire, refused).await;
            return None;
        }
        let mut session = ServerSession::new_http1(wire);
        end_after(&mut session);
        session.set_pipelined_prefix(head);
        self.app.serve(session, shutdown).await?;
        Some(())
    }

    /// Reads the next head and checks it; returns it with what was read of the body. `None` when
    /// the client is gone or was told why it is refused.
    async fn head(
        &self,
        wire: &mut Wire,
        first: bool,
        shutdown: &ShutdownWatch,
    ) -> Option<BytesMut> {
        let begun = match read_head(wire, first, &self.limits, shutdown).await {
            Ok(None) => return None,
            Ok(Some(length)) => ingress::check_head(wire.ahead().get(..length)?, &self.limits)
                .and_then(|framing| wire.begin(length, framing)),
            Err(refused) => Err(refused),
        };
        match begun {
            Ok(head) => Some(head),
            Err(refused) => {
                Box::pin(self.answer(wire, &refused)).await;
                None
            }
        }
    }

    /// Serves an HTTP/1 connection to its end.
    async fn http1(self: Arc<Self>, io: Stream, counted: Counted, shutdown: ShutdownWatch) {
        let _counted = counted;
        let mut wire = Some(Box::new(Wire::new(io, self.refusals.clone())));
        let mut settings = None;
        while let Some(next) = wire.take() {
            wire = self.request(next, &mut settings, &shutdown).await;
        }
    }

    /// Serves the next request; gives the connection back when another one can follow.
    async fn request(
        &self,
        mut wire: Box<Wire>,
        settings: &mut Option<HttpPersistentSettings>,
        shutdown: &ShutdownWatch,
    ) -> Option<Box<Wire>> {
        let head = self.head(&mut wire, settings.is_none(), shutdown).await?;
        let mut session = ServerSession::new_http1(wire);
        match settings.take() {
            Some(settings) => settings.apply_to_session(&mut session),
            None => session.set_keepalive(Some(self.limits.idle_timeout.0.as_secs().max(1))),
        }
        if *shutdown.borrow() {
            end_after(&mut session);
        }
        session.set_pipelined_prefix(head);
        let (stream, kept) = self.app.serve(session, shutdown).await?.consume();
        *settings = kept;
        Wire::back(stream)
    }

    /// Serves an HTTP/2 connection to its end.
    async fn http2(self: Arc<Self>, io: Stream, counted: Counted, shutdown: ShutdownWatch) {
        let _counted = counted;
        let mut wire = Wire::http2(io, self.refusals.clone());
        // Pingora would wait for it for ever.
        let preface = timeout(self.limits.head_timeout.0, http2_preface(&mut wire)).await;
        if !preface.unwrap_or(false) {
            self.refuse("http2_preface");
            return;
        }
        ServerApp::process_new(&self.http2, Box::new(wire), &shutdown).await;
    }

    /// Tells a client why its head is refused, and closes: what follows cannot be framed.
    async fn answer(&self, wire: &mut Wire, refused: &Refused) {
        self.refuse(refused.reason);
        let body = serde_json::json!({
            "error": refused.code(),
            "error_description": refused.description,
        })
        .to_string();
        let answer = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nCache-Control: no-store\r\n{}Connection: close\r\n\r\n{content}",
            refused.status.as_str(),
            refused.status.canonical_reason().unwrap_or_default(),
            body.len(),
            refused
                .retry_after()
                .map_or_else(String::new, |seconds| format!("Retry-After: {seconds}\r\n")),
            // RFC 9110 §9.3.2: a client that asked for the head alone takes more for another answer.
            content = if wire.ahead().starts_with(b"HEAD ") {
                ""
            } else {
                &body
            },
        );
        let write = async {
            wire.write_all(answer.as_bytes()).await?;
            // The client learns at once that nothing follows; but closing over unread bytes would
            // reset the connection before the answer is read.
            wire.shutdown().await?;
            wire.discard(REFUSAL_DRAIN).await
        };
        if !matches!(timeout(REFUSAL_TIMEOUT, write).await, Ok(Ok(()))) {
            debug!("a refusal was not taken");
        }
    }
}

#[async_trait]
impl<A: App> ServerApp for Connections<A> {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let active = Active::count(&self.active);
        let permit = match self.admission.enter() {
            Ok(permit) => permit,
            Err(refused) => {
                self.refuse(refused.reason);
                return None;
            }
        };
        // The handshake needs the stream itself; what the listener accepted is always one.
        let tcp = *stream.into_any().downcast::<TcpStream>().ok()?;
        if let Admitted::ForHealth(refused) = permit.admitted() {
            let health = Box::pin(self.serve_health(tcp, &refused, shutdown));
            let served = timeout(HEALTH_TIMEOUT, health).await;
            if served.is_err() {
                self.refuse(refused.reason);
            }
            return None;
        }
        let (io, of_address) = self.handshake(tcp, permit.admitted()).await?;
        let counted = Counted {
            _active: active,
            _permit: permit,
            _of_address: of_address,
        };
        // In a task of its own: this one has room for two handshakes, Pingora's and ours, and would
        // hold it for as long as the connection lives.
        let (this, shutdown) = (Arc::clone(self), shutdown.clone());
        if matches!(io.selected_alpn_proto(), Some(ALPN::H2)) {
            tokio::spawn(this.http2(io, counted, shutdown));
        } else {
            tokio::spawn(this.http1(io, counted, shutdown));
        }
        None
    }
}
