//! Signing in through the gateway's own callback: what travels, what a person is asked, what is
//! handed out.
//!
//! One application of the provider serves every client here, so the provider cannot ask a person
//! which of them may act for her; the gateway does, and sends codes only where she was told they go
//! (confused deputy, MCP security best practices). Nothing is stored: a registration is its own
//! client id, a sign-in travels in `state`, and a code holds the provider's own, unredeemed one, so
//! that the provider's single use holds across replicas. All of it is sealed, expires, and opens
//! for one purpose and one client only.
//!
//! ```text
//! client ─ authorize ─▶ page ─ approval ─▶ provider ─ callback ─▶ client ─ code ─▶ token
//!            ▲ Clients    ▲ Consent  State ▲              ▲ State     Code ▲   ▲ Grants
//! ```
//!
//! This module reads requests and writes answers; it has no sockets, and calls nobody. Time comes
//! in, randomness from the system.

mod answer;
mod approvals;
mod asked;
mod client;
mod consent;
mod cookie;
mod flight;
mod grant;
mod sign_in;

use aws_lc_rs::{
    digest::{SHA256, digest},
    error::Unspecified,
    rand,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::seal::{Key, KeyError, Purpose, Seal};

pub use answer::Answer;
pub use client::{Client, Clients, Place, Resolved, Source};
pub use grant::Grants;
pub use sign_in::{Endpoints, SignIn};

/// Everything that a relay seals with; replicas with the same keys open each other's.
#[derive(Debug)]
pub struct Seals {
    registration: Seal,
    consent: Seal,
    approvals: Seal,
    state: Seal,
    code: Seal,
    refresh_token: Seal,
}

impl Seals {
    /// Derives the keys of each purpose.
    ///
    /// # Errors
    /// When there is no key.
    pub fn new(keys: &[Key]) -> Result<Self, KeyError> {
        let seal = |purpose| Seal::new(keys, purpose);
        Ok(Self {
            registration: seal(Purpose::Registration)?,
            consent: seal(Purpose::Consent)?,
            approvals: seal(Purpose::Approvals)?,
            state: seal(Purpose::State)?,
            code: seal(Purpose::Code)?,
            refresh_token: seal(Purpose::RefreshToken)?,
        })
    }
}

/// A hash that stands for something long.
type Hash = [u8; 32];

fn hash(bytes: &[u8]) -> Hash {
    let mut hash = [0; 32];
    for (to, from) in hash.iter_mut().zip(digest(&SHA256, bytes).as_ref()) {
        *to = *from;
    }
    hash
}

/// The challenge of a verifier (RFC 7636 §4.2, S256).
fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(hash(verifier.as_bytes()))
}

/// Returns 43 characters that nobody can guess: a verifier, or the value of a cookie.
fn unguessable() -> Result<String, Unspecified> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_that_of_rfc_7636_appendix_b() {
        assert_eq!(
            challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }
}
