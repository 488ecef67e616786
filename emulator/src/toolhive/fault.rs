//! What can be made to go wrong at a workload.
//!
//! Beyond these, a workload can be killed and restarted; see [`Workload`](super::Workload).

use std::sync::Mutex;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::Response;

use crate::net::{Cut, lock};

/// How a workload misbehaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Requests are accepted and never answered, while `/health` is fine: the container is gone and
    /// the proxy has not noticed.
    Hang,
    /// The head of every answer comes that much later.
    SlowFirstByte(Duration),
    /// The connection is cut after that many bytes of the body.
    CutAfter(usize),
    /// The connection is cut instead of an answer.
    Cut,
    /// Bodies come in pieces of three bytes, so that lines and characters are torn.
    Torn,
    /// Every MCP request gets `401`, whatever token it has.
    Unauthorized,
    /// Every MCP request gets that status without a body.
    Status(u16),
    /// `/health` says that the server behind the proxy is gone, with `200` as ever.
    Degraded,
    /// `/health` never answers.
    HealthHangs,
    /// `/health` answers like the management API, as when ports were mixed up.
    ManagementHealth,
}

impl Fault {
    /// Whether it is `/health` that it changes, and not MCP.
    pub(super) fn is_about_health(&self) -> bool {
        matches!(
            self,
            Self::Degraded | Self::HealthHangs | Self::ManagementHealth
        )
    }
}

/// The faults that are planned, each for a number of requests or for all.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<Vec<(Fault, Option<usize>)>>);

impl Faults {
    pub(super) fn plan(&self, fault: Fault, times: Option<usize>) {
        lock(&self.0).push((fault, times));
    }

    pub(super) fn clear(&self) {
        lock(&self.0).clear();
    }

    /// Takes the fault that the next request meets.
    pub(super) fn take(&self, health: bool) -> Option<Fault> {
        let mut planned = lock(&self.0);
        let index = planned
            .iter()
            .position(|(fault, _)| fault.is_about_health() == health)?;
        let (fault, left) = planned.get_mut(index)?;
        let fault = fault.clone();
        if let Some(left) = left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                planned.remove(index);
            }
        }
        Some(fault)
    }
}

/// Cuts a body after that many bytes.
pub(super) fn cut_after(response: Response<Body>, bytes: usize) -> Response<Body> {
    response.map(|body| {
        let chunks = body.into_data_stream();
        Body::from_stream(stream::unfold(
            (chunks, bytes),
            async |(mut chunks, left)| {
                if left == 0 {
                    // Lets what came before leave before the connection goes.
                    tokio::task::yield_now().await;
                    return Some((Err(Cut), (chunks, 0)));
                }
                let mut chunk = chunks.next().await?.ok()?;
                chunk.truncate(left);
                let left = left - chunk.len();
                Some((Ok(chunk), (chunks, left)))
            },
        ))
    })
}

/// Tears a body into pieces of three bytes.
pub(super) fn torn(response: Response<Body>) -> Response<Body> {
    response.map(|body| {
        let chunks = body.into_data_stream();
        Body::from_stream(stream::unfold(
            (chunks, Bytes::new()),
            async |(mut chunks, mut rest)| {
                while rest.is_empty() {
                    rest = chunks.next().await?.ok()?;
                }
                // Lets the piece before leave by itself.
                tokio::time::sleep(Duration::from_millis(1)).await;
                let piece = rest.split_to(rest.len().min(3));
                Some((Ok::<_, Cut>(piece), (chunks, rest)))
            },
        ))
    })
}
