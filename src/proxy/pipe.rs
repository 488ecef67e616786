//! The body of an upstream's answer on its way to the client.
//!
//! One loop reads and writes in turn, so a client that does not read stops the upstream, and a
//! client that leaves ends it at once. It knows nothing of MCP and does not choose who is asked.

use std::{future::pending, time::Duration};

use bytes::Bytes;
use http::{Method, StatusCode, header};
use mcp_gateway_filters::Transform;
use pingora::http::ResponseHeader;
use pingora_core::protocols::http::ServerSession;
use tokio::{sync::watch, time::sleep};

use super::{
    answer::{self, Held, Rewriting},
    call::Call,
    failure::Failure,
    leg::{Reader, gone_error},
};

/// The connection to the upstream while the body of its answer passes.
pub(super) struct Pipe {
    upstream: Reader,
    is_stream: bool,
    draining: watch::Receiver<bool>,
    /// When the caller's token ends, for streams that would outlive it.
    expires: Option<Duration>,
}

/// What comes next.
enum Next {
    Data(Bytes, bool),
    /// The stream has to end now, politely.
    Over,
}

impl Pipe {
    /// Prepares for an answer with this head.
    pub(super) fn new(
        upstream: Reader,
        call: &Call,
        session: &ServerSession,
        head: &ResponseHeader,
        draining: watch::Receiver<bool>,
    ) -> Self {
        Self {
            upstream,
            is_stream: is_event_stream(head),
            draining,
            expires: expiry(call, session, head),
        }
    }

    /// Returns the connection, once the answer was read whole.
    pub(super) fn into_upstream(self) -> Reader {
        self.upstream
    }

    /// Passes the body on piece by piece. Returns whether the upstream's answer was read whole.
    pub(super) async fn streamed(
        &mut self,
        session: &mut ServerSession,
        call: &mut Call,
        head: Box<ResponseHeader>,
        end: bool,
        mut transforms: Vec<Box<dyn Transform>>,
    ) -> Result<bool, Failure> {
        call.status = head.status.as_u16();
        answer::write_head(session, head, end).await?;
        if end {
            return Ok(true);
        }
        let _open = self
            .is_stream
            .then(|| Open::count(call.metrics().streams().clone()));
        let over = expired(self.expires);
        tokio::pin!(over);
        loop {
            let next = tokio::select! {
                biased;
                piece = self.upstream.piece() => read(piece)?,
                gone = session.read_body_or_idle(true) => return Err(Failure::Gone(gone_error(gone))),
                () = &mut over => Next::Over,
                _ = self.draining.wait_for(|draining| *draining), if self.is_stream => Next::Over,
            };
            match next {
                Next::Over => {
                    answer::write_body(session, Bytes::new(), true).await?;
                    session.set_keepalive(None);
                    return Ok(false);
                }
                Next::Data(data, end) => {
                    let data = if transforms.is_empty() {
                        data
                    } else {
                        answer::transform(&mut transforms, data, end)
                            .map_err(|refusal| Failure::Cut(refusal.code))?
                    };
                    answer::write_body(session, data, end).await?;
                    if end {
                        return Ok(true);
                    }
                }
            }
        }
    }

    /// Holds the body, lets the steps rewrite it, and sends it with its new length.
    pub(super) async fn held(
        &mut self,
        session: &mut ServerSession,
        call: &mut Call,
        mut head: Box<ResponseHeader>,
        end: bool,
        rewriting: Rewriting,
        limit: usize,
    ) -> Result<bool, Failure> {
        let too_large = || {
            Failure::oauth(
                StatusCode::BAD_GATEWAY,
                "server_error",
                "the answer of the server behind the gateway is too large",
                "upstream_too_large",
            )
        };
        let mut collected = Held::default();
        let mut done = end;
        while !done {
            let next = tokio::select! {
                biased;
                piece = self.upstream.piece() => read(piece),
                gone = session.read_body_or_idle(true) => return Err(Failure::Gone(gone_error(gone))),
            };
            // Nothing has left yet: a broken answer can still be told.
            let Ok(Next::Data(data, end)) = next else {
                return Err(Failure::oauth(
                    StatusCode::BAD_GATEWAY,
                    "server_error",
                    "the server behind the gateway broke off its answer",
                    "upstream_broken",
                ));
            };
            if !collected.push(&data, limit) {
                return Err(too_large());
            }
            done = end;
        }
        let body = rewriting.whole(call, session, &head, collected.finish())?;
        head.remove_header(&header::TRANSFER_ENCODING);
        answer::send(session, call, head, body).await?;
        Ok(true)
    }
}

fn read(piece: pingora_core::Result<(Bytes, bool)>) -> Result<Next, Failure> {
    match piece {
        Ok((data, end)) => Ok(Next::Data(data, end)),
        Err(_) => Err(Failure::Cut("upstream_broken")),
    }
}

/// Counts an open stream for as long as it lives.
struct Open(prometheus::IntGauge);

impl Open {
    fn count(streams: prometheus::IntGauge) -> Self {
        streams.inc();
        Self(streams)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A GET stream is an open ear: it must not outlive the token that opened it. The answer to a POST
/// ends by itself.
fn expiry(call: &Call, session: &ServerSession, head: &ResponseHeader) -> Option<Duration> {
    let identity = call.identity.as_deref()?;
    let listens = session.req_header().method == Method::GET && is_event_stream(head);
    listens.then(|| Duration::from_secs(identity.expires_at.saturating_sub(call.later())))
}

/// Waits for as long as a token lives; for ever where none ends the stream.
async fn expired(expires: Option<Duration>) {
    match expires {
        Some(left) => sleep(left).await,
        None => pending().await,
    }
}

fn is_event_stream(head: &ResponseHeader) -> bool {
    head.headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"))
}
