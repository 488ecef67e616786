//! Sealing and opening session ids.
//!
//! Inside stands the length of the backend's address (2), the address, and the workload's id; the
//! seal ([`Seal`]) is bound to route and user, so that it opens for that user on that route only.
//! At 1,000 sessions a second random nonces repeat after longer than any key lives, and a repeated
//! one tells at most that the same session was sealed for the same user twice.

use mcp_gateway_filters::Identity;

use crate::seal::{self, Key, KeyError, OpenError, Purpose, Seal};

/// The longest sealed id in bytes, and the longest text that is looked at.
pub const MAX_SEALED: usize = Purpose::Session.limit();

/// The longest id of a workload in bytes.
const MAX_ID: usize = 256;

/// The longest backend address: a name of 253 bytes, its trailing dot, a colon and a port.
const MAX_BACKEND: usize = 260;

const LENGTH_LEN: usize = 2;

/// Seals and opens session ids; replicas with the same keys open each other's.
#[derive(Debug)]
pub struct Sealer(Seal);

/// What is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim<'a> {
    /// The backend's address as configured.
    pub backend: &'a str,
    /// The id that the workload issued.
    pub id: &'a str,
}

/// What was sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The backend's address as configured when it was sealed.
    pub backend: String,
    /// The id that the workload issued.
    pub id: String,
}

/// Why an id of a workload cannot be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// MCP asks for visible ASCII (streamable HTTP, session management).
    #[error("the workload's session id is not made of visible ASCII characters")]
    NotVisible,
    /// Longer than what can be sealed.
    #[error("the workload's session id has {0} bytes, expected at most 256")]
    TooLong(usize),
    /// Not an address that a pool could have.
    #[error("the backend's address cannot be sealed")]
    Backend,
    /// The system's random number generator or the cipher failed.
    #[error("the session id cannot be encrypted")]
    Cipher,
}

/// Why a session id of a client does not open. To the client these are all the same: a session
/// that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// Longer than anything this module seals.
    #[error("the session id is too long")]
    TooLong,
    /// Not a sealed id: perhaps a workload's own, from before the gateway.
    #[error("the session id is not a sealed one")]
    Malformed,
    /// Sealed with a key that is not configured here.
    #[error("the session id is sealed with an unknown key")]
    UnknownKey,
    /// Changed, or sealed for another user or route.
    #[error("the session id is not of this user and route")]
    Forged,
}

impl SessionError {
    /// Returns the value of the metric's `reason` label.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::TooLong => "session_too_long",
            Self::Malformed => "session_malformed",
            Self::UnknownKey => "session_unknown_key",
            Self::Forged => "session_forged",
        }
    }
}

impl Sealer {
    /// Seals with the first of the keys and opens with all.
    ///
    /// # Errors
    /// When there is no key.
    pub fn new(keys: &[Key]) -> Result<Self, KeyError> {
        Seal::new(keys, Purpose::Session).map(Self)
    }

    /// Seals `claim` for `user` on `route`; at most [`MAX_SEALED`] visible ASCII bytes.
    ///
    /// # Errors
    /// When the claim is not what a workload may issue.
    pub fn seal(
        &self,
        claim: &Claim<'_>,
        user: &Identity,
        route: &str,
    ) -> Result<String, SealError> {
        let Claim { backend, id } = *claim;
        if id.len() > MAX_ID {
            return Err(SealError::TooLong(id.len()));
        }
        if !is_visible(id) {
            return Err(SealError::NotVisible);
        }
        if backend.len() > MAX_BACKEND || !is_visible(backend) {
            return Err(SealError::Backend);
        }
        let length = u16::try_from(backend.len()).map_err(|_| SealError::Backend)?;
        let mut plain = Vec::with_capacity(LENGTH_LEN + backend.len() + id.len());
        plain.extend_from_slice(&length.to_be_bytes());
        plain.extend_from_slice(backend.as_bytes());
        plain.extend_from_slice(id.as_bytes());
        self.0
            .seal(&plain, &bound(user, route))
            .map_err(|_| SealError::Cipher)
    }

    /// Opens what [`Sealer::seal`] made for the same user and route, here or on a replica.
    ///
    /// # Errors
    /// For every other text; the client learns none of the reasons.
    pub fn open(&self, text: &str, user: &Identity, route: &str) -> Result<Opened, SessionError> {
        let plain = self.0.open(text, &bound(user, route))?;
        split(&plain).ok_or(SessionError::Malformed)
    }
}

impl From<OpenError> for SessionError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::TooLong => Self::TooLong,
            // Session ids do not expire.
            OpenError::Malformed | OpenError::Expired => Self::Malformed,
            OpenError::UnknownKey => Self::UnknownKey,
            OpenError::Forged => Self::Forged,
        }
    }
}

/// What a sealed id is bound to, every part with its length, so that no two differ only in where
/// one ends and the next begins.
///
/// The user is the object id in the tenant, which is the same for every application, else the
/// subject; both are only unique within their issuer.
fn bound(user: &Identity, route: &str) -> Vec<u8> {
    let (kind, scope, name) = match (&user.tenant, &user.object) {
        (Some(tenant), Some(object)) => (b'o', tenant.as_str(), object.as_str()),
        _ => (b's', "", user.subject.as_str()),
    };
    let parts = [route, &user.issuer, scope, name].map(str::as_bytes);
    let mut bytes = vec![kind];
    bytes.append(&mut seal::join(&parts));
    bytes
}

fn split(plain: &[u8]) -> Option<Opened> {
    let (length, rest) = plain.split_first_chunk::<LENGTH_LEN>()?;
    let (backend, id) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    Some(Opened {
        backend: str::from_utf8(backend).ok()?.to_owned(),
        id: str::from_utf8(id).ok()?.to_owned(),
    })
}

/// NOTE: MCP's session ids are visible ASCII, 0x21 to 0x7E, and not empty.
fn is_visible(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::secret::Secret;

    const ROUTE: &str = "/mcp";
    const CLAIM: Claim<'static> = Claim {
        backend: "127.0.0.1:9100",
        id: "5e0cbd9e-9c1c-4f0e-8a44-6ad6f0fbb1d3",
    };

    fn sealer(keys: &[u8]) -> Sealer {
        let keys: Vec<Key> = keys.iter().map(|&byte| Secret::new([byte; 32])).collect();
        Sealer::new(&keys).unwrap()
    }

    fn user(subject: &str) -> Identity {
        Identity {
            issuer: "https://login.test/v2.0".to_owned(),
            subject: subject.to_owned(),
            tenant: None,
            object: None,
            expires_at: 0,
            groups: mcp_gateway_filters::Groups::default(),
            roles: vec![],
            claims: serde_json::Map::new(),
        }
    }

    fn entra(tenant: &str, object: &str, subject: &str) -> Identity {
        Identity {
            tenant: Some(tenant.to_owned()),
            object: Some(object.to_owned()),
            ..user(subject)
        }
    }

    fn seal(sealer: &Sealer, user: &Identity) -> String {
        sealer.seal(&CLAIM, user, ROUTE).unwrap()
    }

    /// Checks whether what `sealed_for` got opens for `user` on `route`.
    fn check(
        sealed_for: &Identity,
        user: &Identity,
        route: &str,
        expect: Result<(), SessionError>,
    ) {
        let sealer = sealer(&[1]);
        let opened = sealer.open(&seal(&sealer, sealed_for), user, route);
        assert_eq!(opened.map(|_| ()), expect, "{user:?} {route}");
    }

    #[test]
    fn opens_for_its_user_on_its_route_only() {
        let forged = Err(SessionError::Forged);
        let ada = user("ada");
        check(&ada, &ada, "/mcp", Ok(()));
        check(&ada, &user("bob"), "/mcp", forged);
        check(&ada, &ada, "/mcp/github", forged);
        check(&ada, &ada, "", forged);
    }

    #[test]
    fn an_entra_user_is_the_object_in_the_tenant() {
        let forged = Err(SessionError::Forged);
        let ada = entra("t", "ada", "pairwise-1");
        check(&ada, &entra("t", "ada", "pairwise-2"), ROUTE, Ok(()));
        check(&ada, &entra("t", "bob", "pairwise-1"), ROUTE, forged);
        check(&ada, &entra("u", "ada", "pairwise-1"), ROUTE, forged);
        check(&ada, &entra("ta", "da", "pairwise-1"), ROUTE, forged);
        check(&ada, &user("pairwise-1"), ROUTE, forged);
    }

    #[test]
    fn an_issuer_cannot_speak_for_anothers_users() {
        let ada = entra("t", "ada", "x");
        let imposter = Identity {
            issuer: "https://evil.test".to_owned(),
            ..ada.clone()
        };
        check(&ada, &imposter, ROUTE, Err(SessionError::Forged));
    }

    #[test]
    fn replicas_and_rotated_keys_open_each_others() {
        let ada = user("ada");
        let old = seal(&sealer(&[1]), &ada);
        let opened = Opened {
            backend: CLAIM.backend.to_owned(),
            id: CLAIM.id.to_owned(),
        };
        assert_eq!(sealer(&[1]).open(&old, &ada, ROUTE), Ok(opened.clone()));
        assert_eq!(sealer(&[2, 1]).open(&old, &ada, ROUTE), Ok(opened));
        assert_eq!(
            sealer(&[2]).open(&old, &ada, ROUTE),
            Err(SessionError::UnknownKey)
        );
        let new = seal(&sealer(&[2, 1]), &ada);
        assert!(sealer(&[2]).open(&new, &ada, ROUTE).is_ok());
    }

    #[test]
    fn what_was_never_sealed_is_refused() {
        let open = |text: &str| sealer(&[1]).open(text, &user("ada"), ROUTE).unwrap_err();
        assert_eq!(open(""), SessionError::Malformed);
        assert_eq!(open(CLAIM.id), SessionError::Malformed);
        assert_eq!(open(&"A".repeat(MAX_SEALED)), SessionError::Malformed);
        assert_eq!(open(&"A".repeat(MAX_SEALED + 1)), SessionError::TooLong);
    }

    #[test]
    fn only_what_a_workload_may_issue_is_sealed() {
        let seal = |backend: &str, id: &str| {
            let claim = Claim { backend, id };
            sealer(&[1])
                .seal(&claim, &user("ada"), ROUTE)
                .map(|text| text.len())
        };
        let (long, longer) = ("x".repeat(MAX_ID), "x".repeat(MAX_ID + 1));
        assert_eq!(seal("a:1", &longer), Err(SealError::TooLong(257)));
        for id in ["", "a b", "a\n", "é", "a\x7f"] {
            assert_eq!(seal("a:1", id), Err(SealError::NotVisible), "{id:?}");
        }
        assert_eq!(seal("", "id"), Err(SealError::Backend));
        let backend = "b".repeat(MAX_BACKEND);
        assert!(seal(&backend, &long).unwrap() <= MAX_SEALED);
        assert_eq!(seal(&(backend + "b"), "id"), Err(SealError::Backend));
    }

    #[test]
    fn no_key_is_an_error_and_keys_are_not_shown() {
        assert!(matches!(Sealer::new(&[]), Err(KeyError::None)));
        assert_eq!(
            format!("{:?}", sealer(&[1, 2])),
            "Sealer(Seal { purpose: Session, keys: 2, .. })"
        );
    }

    proptest! {
        #[test]
        fn every_claim_comes_back(backend in "[!-~]{1,260}", id in "[!-~]{1,256}", name in ".*", route in ".*") {
            let (sealer, user) = (sealer(&[1, 2]), user(&name));
            let claim = Claim { backend: &backend, id: &id };
            let text = sealer.seal(&claim, &user, &route).unwrap();
            prop_assert!(text.len() <= MAX_SEALED && is_visible(&text));
            prop_assert_eq!(sealer.open(&text, &user, &route), Ok(Opened { backend, id }));
        }

        #[test]
        fn any_changed_character_is_refused(at: proptest::sample::Index, to in "[!-~]") {
            let (sealer, ada) = (sealer(&[1]), user("ada"));
            let mut text = seal(&sealer, &ada);
            let at = at.index(text.len());
            prop_assume!(text[at..=at] != *to);
            text.replace_range(at..=at, &to);
            prop_assert!(sealer.open(&text, &ada, ROUTE).is_err());
        }

        #[test]
        fn any_cut_is_refused(at: proptest::sample::Index) {
            let (sealer, ada) = (sealer(&[1]), user("ada"));
            let text = seal(&sealer, &ada);
            prop_assert!(sealer.open(&text[..at.index(text.len())], &ada, ROUTE).is_err());
        }

        #[test]
        fn other_keys_users_and_routes_are_refused(key in 2_u8.., name in ".*", route in ".*") {
            let (one, ada) = (sealer(&[1]), user("ada"));
            let text = seal(&one, &ada);
            prop_assert!(sealer(&[key]).open(&text, &ada, ROUTE).is_err());
            prop_assert!(name == "ada" || one.open(&text, &user(&name), ROUTE).is_err());
            prop_assert!(route == ROUTE || one.open(&text, &ada, &route).is_err());
        }

        #[test]
        fn arbitrary_input_never_opens(text in "\\PC*") {
            let (sealer, ada) = (sealer(&[1]), user("ada"));
            prop_assert!(sealer.open(&text, &ada, ROUTE).is_err());
        }
    }
}
