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

use std::borrow::Cow;

pub use denied::Denied;
pub use source::{KeySource, Timing};
pub use verifier::Verifier;

/// The claim that says for whom a token is (RFC 7519 §4.1.3).
pub const AUDIENCE: &str = "aud";

/// What stands for the tenant's id in an issuer, as Entra's documents and keys write it.
const TENANT: &str = "{tenantid}";

/// What a token must say to be one of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// The `iss`, compared byte for byte; with several tenants it holds `{tenantid}`, which stands
    /// for the token's own.
    pub issuer: String,
    /// The `iss` of tokens of version 1.0, which Entra gives for applications that do not ask for
    /// version 2.0; with none, such tokens are refused.
    pub v1_issuer: Option<String>,
    /// The audiences that are us; one of them must be in the audience claim.
    pub audiences: Vec<String>,
    /// The claim that says for whom a token is: `aud`, unless an issuer leaves that out.
    pub audience_claim: String,
    /// Claims that must be there with exactly this text, where they tell kinds of tokens apart.
    pub claims: Vec<(String, String)>,
    /// The `tid`s that are ours; with none, `tid` is not asked for.
    pub tenants: Vec<String>,
    /// Scopes of which `scp` must hold at least one; with none, it is not asked for.
    pub scopes: Vec<String>,
}

/// Writes the tenant's id into an issuer that holds `{tenantid}`.
fn issuer_of<'a>(template: &'a str, tenant: Option<&str>) -> Cow<'a, str> {
    match tenant {
        Some(tenant) if template.contains(TENANT) => template.replace(TENANT, tenant).into(),
        _ => template.into(),
    }
}

/// Returns how many keys of a key set could verify a token.
///
/// # Errors
/// Why the document is no key set, as a sentence.
pub fn usable_keys(document: &[u8]) -> Result<usize, String> {
    keys::KeySet::parse(document)
        .map(|set| set.len())
        .map_err(|error| error.to_string())
}
