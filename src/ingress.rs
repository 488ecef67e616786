//! The first layer: what a request head must be before anything else looks at it.
//!
//! Nothing is repaired here. A head that two readers could read in two ways is refused, because one
//! of the two readers stands behind the gateway. No socket is touched: bytes come in, a verdict
//! comes out.

mod body;
mod head;
mod target;

use std::fmt;

use http::StatusCode;

pub use body::{BodyScan, Framing};
pub use head::{check_fields, check_head};
pub use target::check_target;

/// The largest request head in bytes.
pub const HEAD_LIMIT: usize = 64 * 1024;
/// The most header fields of a request.
pub const FIELDS_LIMIT: usize = 100;
/// The largest value of one header field in bytes: an Entra ID token with 200 groups has 12 KiB.
pub const VALUE_LIMIT: usize = 16 * 1024;
/// The longest request target in bytes.
pub const TARGET_LIMIT: usize = 8 * 1024;

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
    const fn new(status: StatusCode, reason: &'static str, description: &'static str) -> Self {
        Self {
            status,
            reason,
            description,
        }
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
