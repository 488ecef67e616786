//! The first bytes of a request, read from the wire under a deadline. What they say is for others.

use http::StatusCode;
use pingora_core::server::ShutdownWatch;
use tokio::time::{Instant, timeout_at};

use super::wire::Wire;
use crate::ingress::{Limits, Refused, head_end};

/// Reads the first bytes of an HTTP/2 client (RFC 9113 §3.4); false when it sends none or others.
pub(super) async fn http2_preface(wire: &mut Wire) -> bool {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    while wire.ahead().len() < PREFACE.len() {
        if !matches!(wire.read_ahead().await, Ok(n) if n > 0) {
            return false;
        }
    }
    wire.ahead().starts_with(PREFACE)
}

/// Reads until the empty line; returns the length of the head, or `None` when nothing came.
pub(super) async fn read_head(
    wire: &mut Wire,
    first: bool,
    limits: &Limits,
    shutdown: &ShutdownWatch,
) -> Result<Option<usize>, Refused> {
    let mut stop = shutdown.clone();
    // A request that came with the one before it has begun already.
    let begun = first || !wire.ahead().is_empty();
    let wait = if begun {
        limits.head_timeout
    } else {
        limits.idle_timeout
    };
    let mut until = Instant::now() + wait.0;
    let mut searched = 0;
    loop {
        let end = head_end(wire.ahead(), &mut searched);
        if end.unwrap_or(wire.ahead().len()) > limits.head_size.0 {
            return Err(Refused {
                status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                reason: "head_too_large",
                description: "the request head is too large",
            });
        }
        if end.is_some() {
            return Ok(end);
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
                    until = Instant::now() + limits.head_timeout.0;
                }
            }
            Err(_) if !idle => {
                return Err(Refused {
                    status: StatusCode::REQUEST_TIMEOUT,
                    reason: "head_timeout",
                    description: "the request head took too long",
                });
            }
            _ => return Ok(None),
        }
    }
}
