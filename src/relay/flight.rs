//! A sign-in that is under way at the provider: what stands behind `state`.

use super::{Hash, Seals, asked::Back};
use crate::seal::{self, OpenError, SealError};

/// A sign-in that is under way at the provider.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flight {
    /// Where the answer goes.
    pub(super) back: Back,
    /// The verifier of the challenge that the provider was given.
    pub(super) verifier: String,
    /// A hash of the cookie of the browser that approved.
    pub(super) browser: Hash,
}

impl Flight {
    /// Seals it for the way there and back.
    pub(super) fn seal(&self, seals: &Seals, expires_at: u64) -> Result<String, SealError> {
        let plain = seal::join(&[
            &self.back.to_bytes(),
            self.verifier.as_bytes(),
            &self.browser,
        ]);
        seals.state.until(expires_at, &plain, b"")
    }

    /// Opens what came back.
    pub(super) fn open(seals: &Seals, text: &str, now: u64) -> Result<Self, OpenError> {
        let plain = seals.state.at(now, text, b"")?;
        let read = || {
            let parts = seal::split(&plain)?;
            let [back, verifier, browser] = parts.as_slice() else {
                return None;
            };
            Some(Self {
                back: Back::of_bytes(back)?,
                verifier: String::from_utf8(verifier.to_vec()).ok()?,
                browser: (*browser).try_into().ok()?,
            })
        };
        read().ok_or(OpenError::Malformed)
    }
}
