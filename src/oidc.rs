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

/// Returns how many keys of a key set could verify a token.
///
/// # Errors
/// Why the document is no key set, as a sentence.
pub fn usable_keys(document: &[u8]) -> Result<usize, String> {
    keys::KeySet::parse(document)
        .map(|set| set.len())
        .map_err(|error| error.to_string())
}

/// What a token must say to be one of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// The exact `iss`, compared byte for byte.
    pub issuer: String,
    /// The audiences that are us; one of them must be in `aud`.
    pub audiences: Vec<String>,
    /// The exact `tid`, for issuers that have tenants; with none, `tid` is not asked for.
    pub tenant: Option<String>,
}
