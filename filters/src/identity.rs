//! Who a verified token speaks for, in one shape whatever its issuer and version.

use std::sync::Arc;

/// The verified bearer of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The token's `iss`.
    pub issuer: String,
    /// The token's `sub`.
    pub subject: String,
    /// The token's `tid`, where the issuer has tenants.
    pub tenant: Option<String>,
    /// The token's `oid`: the user across all applications of a tenant.
    pub object: Option<String>,
    /// The token's `exp`, in seconds since the Unix epoch.
    pub expires_at: u64,
    /// The groups that the user is in.
    pub groups: Groups,
    /// The token's `roles`: what the user is to the application.
    pub roles: Vec<String>,
    /// Every claim of the token.
    pub claims: serde_json::Map<String, serde_json::Value>,
}

/// The groups of a user, or that nobody knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Groups {
    /// All of them, as the issuer names them.
    Known(Arc<[String]>),
    /// There are more than fit into the token, and nobody was asked for them. Not the same as
    /// none: a rule that depends on groups must refuse.
    Unresolved,
}

impl Groups {
    /// Says whether the user is in one of the groups; `None` when that cannot be said.
    #[must_use]
    pub fn any_of(&self, wanted: &[String]) -> Option<bool> {
        match self {
            Self::Known(held) => Some(held.iter().any(|group| wanted.contains(group))),
            Self::Unresolved => None,
        }
    }
}

impl Default for Groups {
    /// None at all.
    fn default() -> Self {
        Self::Known(Arc::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(groups: &Groups, wanted: &[&str], expect: Option<bool>) {
        let wanted: Vec<String> = wanted.iter().map(|&group| group.to_owned()).collect();
        assert_eq!(groups.any_of(&wanted), expect, "{groups:?}");
    }

    #[test]
    fn what_is_unknown_is_neither_in_nor_out() {
        let known = Groups::Known(["a".to_owned(), "b".to_owned()].into());
        check(&known, &["b", "c"], Some(true));
        check(&known, &["c"], Some(false));
        check(&known, &[], Some(false));
        check(&Groups::default(), &["a"], Some(false));
        check(&Groups::Unresolved, &["a"], None);
        check(&Groups::Unresolved, &[], None);
    }
}
