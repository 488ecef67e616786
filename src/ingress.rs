//! The first layer: what a request head must be before anything else looks at it.
//!
//! Nothing is repaired here. A head that two readers could read in two ways is refused, because one
//! of the two readers stands behind the gateway. No socket is touched: bytes come in, a verdict
//! comes out.

mod body;
mod client;
mod frames;
mod head;
mod limits;
mod pressure;
mod proxy_protocol;
mod target;

use std::fmt;

use http::StatusCode;

pub use body::{BodyScan, Framing};
pub use client::{ClientAddress, contains};
pub use frames::FrameScan;
pub use head::{BODY_UNEXPECTED, check_fields, check_head, head_end};
pub use limits::Limits;
pub use pressure::{NO_MEMORY, Pressure, Watermark};
pub use proxy_protocol::{NoPreface, Preface, parse_preface};
pub use target::check_target;

/// The path that answers while everything else is refused for want of room.
pub const HEALTH_PATH: &str = "/health";

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The status of the answer.
    pub status: StatusCode,
    /// The metric's `reason`.
    pub reason: &'static str,
    /// A sentence for the client; never bytes of the request.
    pub description: &'static str,
}

impl Refused {
    /// Says why.
    #[must_use]
    pub const fn new(status: StatusCode, reason: &'static str, description: &'static str) -> Self {
        Self {
            status,
            reason,
            description,
        }
    }

    /// The OAuth error code of the answer (RFC 6749 §4.1.2.1, §5.2).
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self.retry_after() {
            Some(_) => "temporarily_unavailable",
            None => "invalid_request",
        }
    }

    /// After how many seconds it may be otherwise, when it may.
    #[must_use]
    pub fn retry_after(&self) -> Option<u16> {
        matches!(self.status.as_u16(), 429 | 503).then_some(5)
    }

    const fn bad(reason: &'static str, description: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason, description)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.description)
    }
}

impl std::error::Error for Refused {}
