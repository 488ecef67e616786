//! Why a token is refused: a closed set, for the metric, for the client and for the operator.

use std::{fmt, time::Duration};

/// Why a token was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Longer than 16 KiB.
    TooLong,
    /// Not three parts of unpadded base64url, or not JSON objects within.
    Malformed,
    /// A member occurs twice, and readers would disagree which one counts.
    Duplicate,
    /// `alg` is not `RS256`.
    Algorithm,
    /// `crit`, `b64` or `zip` is present, or `typ` or `kid` is not as expected.
    Header,
    /// Issued for Microsoft Graph; only Graph can verify it.
    GraphToken,
    /// Signed with a key that the issuer does not publish.
    UnknownKey,
    /// The key belongs to another issuer or tenant.
    KeyIssuer,
    /// The signature does not match.
    Signature,
    /// A required claim is missing.
    Missing,
    /// A claim has another type than its definition says.
    ClaimType,
    /// `iss` is another.
    Issuer,
    /// A token of version 1.0, where only those of version 2.0 are taken.
    Version,
    /// `aud` does not name us.
    Audience,
    /// A claim that tells kinds of tokens apart says another one.
    Kind,
    /// `tid` is another.
    Tenant,
    /// `scp` holds none of our scopes: an id token, or one that was asked for without them.
    Scope,
    /// `exp` has passed.
    Expired,
    /// `nbf` or `iat` is more than 60 s ahead.
    NotYetValid,
    /// The issuer's keys cannot be had now, so nothing can be said about the token.
    NoKeys {
        /// When to ask again.
        retry_after: Duration,
    },
}

impl Denied {
    /// Every reason, for whoever counts them.
    pub(super) const REASONS: [Self; 20] = [
        Self::TooLong,
        Self::Malformed,
        Self::Duplicate,
        Self::Algorithm,
        Self::Header,
        Self::GraphToken,
        Self::UnknownKey,
        Self::KeyIssuer,
        Self::Signature,
        Self::Missing,
        Self::ClaimType,
        Self::Issuer,
        Self::Version,
        Self::Audience,
        Self::Kind,
        Self::Tenant,
        Self::Scope,
        Self::Expired,
        Self::NotYetValid,
        Self::NoKeys {
            retry_after: Duration::ZERO,
        },
    ];

    /// The reason in metrics and logs.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::Duplicate => "duplicate_member",
            Self::Algorithm => "algorithm",
            Self::Header => "header",
            Self::GraphToken => "graph_token",
            Self::UnknownKey => "unknown_key",
            Self::KeyIssuer => "key_issuer",
            Self::Signature => "signature",
            Self::Missing => "missing_claim",
            Self::ClaimType => "claim_type",
            Self::Issuer => "issuer",
            Self::Version => "version",
            Self::Audience => "audience",
            Self::Kind => "kind",
            Self::Tenant => "tenant",
            Self::Scope => "scope",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::NoKeys { .. } => "no_keys",
        }
    }

    /// A sentence for the client; it repeats nothing of the token.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::TooLong => "the token is longer than 16384 bytes",
            Self::Malformed => "the token is not a signed JWT of three parts",
            Self::Duplicate => "the token names a member twice",
            Self::Algorithm => "the token is not signed with RS256",
            Self::Header => "the token's header has members that are not accepted, or lacks `kid`",
            Self::GraphToken => {
                "the token was issued for Microsoft Graph and not for this server: \
                 sign in again with a scope of this server's application"
            }
            Self::UnknownKey => "the token is signed with a key that its issuer does not publish",
            Self::KeyIssuer => "the token is signed with a key of another issuer",
            Self::Signature => "the token's signature does not match",
            Self::Missing => "the token lacks one of the required claims exp, aud, iss, tid, sub",
            Self::ClaimType => "a claim of the token has the wrong type",
            Self::Issuer => "the token is from another issuer",
            Self::Version => {
                "the token is of version 1.0: the manifest of the API's app registration must ask \
                 for `requestedAccessTokenVersion` 2"
            }
            Self::Audience => "the token is for another audience",
            Self::Kind => "the token is of another kind than is accepted here",
            Self::Tenant => "the token is from another tenant",
            Self::Scope => "the token holds no scope of this server: sign in again",
            Self::Expired => "the token has expired",
            Self::NotYetValid => "the token is not valid yet",
            Self::NoKeys { .. } => {
                "the issuer's keys cannot be fetched now, so tokens cannot be verified"
            }
        }
    }

    /// Tells whether the fault is not the token's: answer 503, never 401, or clients throw their
    /// sign-in away.
    #[must_use]
    pub const fn is_unavailable(self) -> bool {
        matches!(self, Self::NoKeys { .. })
    }

    /// When to ask again, where waiting helps.
    #[must_use]
    pub const fn retry_after(self) -> Option<Duration> {
        match self {
            Self::NoKeys { retry_after } => Some(retry_after),
            _ => None,
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.description())
    }
}

impl std::error::Error for Denied {}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_reason_has_a_name_and_a_sentence_of_its_own() {
        let reasons: HashSet<_> = Denied::REASONS.iter().map(|d| d.reason()).collect();
        let sentences: HashSet<_> = Denied::REASONS.iter().map(|d| d.description()).collect();
        assert_eq!(reasons.len(), Denied::REASONS.len());
        assert_eq!(sentences.len(), Denied::REASONS.len());
    }

    #[test]
    fn only_missing_keys_are_not_the_tokens_fault() {
        for denied in Denied::REASONS {
            assert_eq!(denied.is_unavailable(), denied.reason() == "no_keys");
            assert_eq!(denied.retry_after().is_some(), denied.is_unavailable());
        }
    }
}
