//! The upstream leg: one request to one backend over HTTP/1.1, head and body in one write.
//!
//! Connections and TLS are Pingora's. What is decided here is when a request may be sent
//! again: on a connection that had waited in the pool, when no byte of an answer came and the
//! backend cannot have acted on the request. It does not choose the backend.

mod idle;
mod reader;
mod wire;

use std::{sync::Arc, time::Duration};

use bytes::{Buf, Bytes};
use http::Method;
use pingora::http::ResponseHeader;
use pingora_core::{
    BError, Error, ErrorType,
    connectors::TransportConnector,
    protocols::{Stream, http::ServerSession},
    upstreams::peer::{HttpPeer, Peer},
};
use tokio::{
    io::AsyncWriteExt,
    time::{error::Elapsed, timeout},
};

use super::{deadline::within, forward::RequestHead};
use idle::Idle;
pub(super) use reader::Reader;
use wire::Wire;

/// How long a backend may refuse to take the bytes of a request.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long to look for an early answer, such as 413, when a request could not be written whole.
const EARLY_ANSWER: Duration = Duration::from_secs(1);
/// Idle connections kept in all.
const IDLE_LIMIT: usize = 1024;
/// How long one is kept for a peer that does not say it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Sends requests to backends over pooled connections.
pub(super) struct Leg {
    connector: TransportConnector,
    idle: Arc<Idle>,
}

/// The head of an answer, and the connection its body comes from.
pub(super) struct Answered {
    pub(super) upstream: Reader,
    /// Whom the connection goes to, for the pool.
    pub(super) peer: Arc<HttpPeer>,
    pub(super) head: Box<ResponseHeader>,
    /// Whether the head is the whole answer.
    pub(super) end: bool,
    /// Whether a stale connection made a second sending necessary.
    pub(super) resent: bool,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum LegError {
    /// No connection could be made: nothing was sent, another backend may be asked.
    Connect(BError),
    /// The connection failed before an answer began; the backend may have acted on the request.
    Broken(BError),
    /// The answer did not begin in time.
    Timeout,
    /// The client left, so the upstream connection was closed.
    Gone(BError),
}

impl Leg {
    pub(super) fn new() -> Self {
        Self {
            connector: TransportConnector::new(None),
            idle: Idle::new(IDLE_LIMIT),
        }
    }

    /// Sends the request to the first of `peers` that can be connected to, and waits for the head
    /// of the answer. A client that leaves meanwhile ends the request at once.
    pub(super) async fn send(
        &self,
        client: &mut ServerSession,
        peers: &[Arc<HttpPeer>],
        head: &RequestHead,
        body: &Bytes,
        head_timeout: Option<Duration>,
    ) -> Result<Answered, LegError> {
        let mut fresh = false;
        loop {
            let (mut stream, peer, reused) = self.connect(client, peers, fresh).await?;
            let before = Wire::received(&stream);
            let sent = write(&mut stream, head, body).await;
            let mut upstream = Reader::new(stream);
            let limit = if sent.is_ok() {
                head_timeout
            } else {
                Some(EARLY_ANSWER)
            };
            let answer = tokio::select! {
                biased;
                answer = in_time(limit, upstream.head(&head.method)) => answer,
                gone = client.read_body_or_idle(true) => return Err(LegError::Gone(gone_error(gone))),
            };
            match answer {
                Ok(Ok((head, end))) => {
                    return Ok(Answered {
                        upstream,
                        peer: Arc::clone(peer),
                        head,
                        end,
                        resent: fresh,
                    });
                }
                Err(_) if sent.is_ok() => return Err(LegError::Timeout),
                Err(_) => {
                    return Err(LegError::Broken(sent.err().unwrap_or_else(unwritten)));
                }
                Ok(Err(error)) => {
                    let silent = reused && Wire::received(upstream.stream()) == before;
                    if silent && (is_repeatable(&head.method) || is_undelivered(upstream.stream()))
                    {
                        fresh = true;
                        continue;
                    }
                    return Err(LegError::Broken(sent.err().unwrap_or(error)));
                }
            }
        }
    }

    /// Takes the connection back into the pool when the whole answer was read.
    pub(super) fn release(&self, upstream: Reader, peer: &HttpPeer) {
        if let Some(stream) = upstream.reuse() {
            let timeout = peer.options.idle_timeout.unwrap_or(IDLE_TIMEOUT);
            self.idle.put(peer.reuse_hash(), stream, timeout);
        }
    }

    async fn connect<'a>(
        &self,
        client: &mut ServerSession,
        peers: &'a [Arc<HttpPeer>],
        fresh: bool,
    ) -> Result<(Stream, &'a Arc<HttpPeer>, bool), LegError> {
        let mut failed = None;
        for peer in peers {
            if !fresh && let Some(stream) = self.idle.take(peer.reuse_hash()) {
                return Ok((stream, peer, true));
            }
            // Boxed, because few requests need it and all would have to carry its nine kilobytes.
            let connecting = Box::pin(self.connector.new_stream(&**peer));
            let connected = tokio::select! {
                biased;
                connected = connecting => connected,
                gone = client.read_body_or_idle(true) => return Err(LegError::Gone(gone_error(gone))),
            };
            match connected {
                Ok(io) => return Ok((Box::new(Wire::new(io)), peer, false)),
                Err(error) => failed = Some(error),
            }
        }
        Err(LegError::Connect(failed.unwrap_or_else(|| {
            Error::explain(ErrorType::ConnectError, "the backend has no address")
        })))
    }
}

/// Waits for the end of the request's sender: `read_body_or_idle` only returns when it is gone.
#[expect(clippy::unnecessary_box_returns, reason = "Pingora's errors are boxed")]
pub(super) fn gone_error(gone: Result<Option<Bytes>, BError>) -> BError {
    gone.err()
        .unwrap_or_else(|| Error::new(ErrorType::ConnectionClosed))
        .into_down()
}

#[expect(clippy::unnecessary_box_returns, reason = "Pingora's errors are boxed")]
fn unwritten() -> BError {
    Error::explain(ErrorType::WriteError, "the request was not taken")
}

/// Writes head and body.
async fn write(stream: &mut Stream, head: &RequestHead, body: &Bytes) -> Result<(), BError> {
    let write = async {
        if stream.is_write_vectored() {
            // One system call, and the body is not copied.
            let mut whole = head.bytes.clone().chain(body.clone());
            stream.write_all_buf(&mut whole).await?;
        } else {
            // TLS copies anyway; one buffer makes one record of head and small body.
            stream.write_all(&[&head.bytes[..], body].concat()).await?;
        }
        stream.flush().await
    };
    match within(WRITE_TIMEOUT, write).await {
        Ok(written) => {
            written.map_err(|error| Error::because(ErrorType::WriteError, "to the backend", error))
        }
        Err(_) => Err(Error::explain(ErrorType::WriteTimedout, "to the backend")),
    }
}

async fn in_time<T>(limit: Option<Duration>, work: impl Future<Output = T>) -> Result<T, Elapsed> {
    match limit {
        Some(limit) => timeout(limit, work).await,
        None => Ok(work.await),
    }
}

/// Safe methods may be repeated whatever became of the first sending (RFC 9110 §9.2.1).
fn is_repeatable(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Whether the kernel says that the peer never took the last byte of the request: it had closed
/// before, so nothing behind it can have acted.
fn is_undelivered(stream: &Stream) -> bool {
    let info = stream
        .get_socket_digest()
        .and_then(|digest| digest.tcp_info());
    info.is_some_and(|info| {
        // What was sent counts retransmissions, what was acknowledged counts the SYN.
        let sent = info.tcpi_bytes_sent.saturating_sub(info.tcpi_bytes_retrans);
        info.tcpi_notsent_bytes > 0 || info.tcpi_bytes_acked.saturating_sub(1) < sent
    })
}
