//! Bearer tokens: the issuer's keys, and verdicts on tokens.
//!
//! Nothing here reads a request or writes an answer: a token and the time come in, an identity or
//! a closed reason comes out. Tokens are never logged, in whole or in part.

mod denied;
mod keys;
mod source;
mod token;
mod verifier;

#[cfg(test)]
mod testing;

pub use denied::Denied;
pub use source::{KeySource, Timing};
pub use verifier::Verifier;

/// The claim that says for whom a token is (RFC 7519 §4.1.3).
pub const AUDIENCE: &str = "aud";

/// What a token must say to be one of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// The exact `iss`, compared byte for byte.
    pub issuer: String,
    /// The audiences that are us; one of them must be in the audience claim.
    pub audiences: Vec<String>,
    /// The claim that says for whom a token is: `aud`, unless an issuer leaves that out.
    pub audience_claim: String,
    /// Claims that must be there with exactly this text, where they tell kinds of tokens apart.
    pub claims: Vec<(String, String)>,
    /// The exact `tid`, for issuers that have tenants; with none, `tid` is not asked for.
    pub tenant: Option<String>,
}
