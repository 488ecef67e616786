//! Sealing and opening session ids.
//!
//! A sealed id is, in base64url without padding:
//!
//! ```text
//! version (1) │ key id (4) │ nonce (12) │ AES-256-GCM-SIV( length of backend (2) │ backend │ id ) │ tag (16)
//! ```
//!
//! with version, key id, route and user as associated data, so that it opens for that user on that
//! route only. AES-GCM-SIV (RFC 8452) rather than AES-GCM, since many replicas draw random nonces
//! for one key: GCM gives its key away when a nonce repeats and must therefore stop at 2^32 seals
//! (NIST SP 800-38D §8.3), while here a repeated nonce tells at most that the same session was
//! sealed for the same user twice. At 1,000 sessions a second that is 50 days against longer than
//! any key lives. The keys in use are derived (HKDF, RFC 5869) from the configured ones for this
//! purpose alone.

use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    error::Unspecified,
    hkdf::{HKDF_SHA256, KeyType, Salt},
    rand,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use mcp_gateway_filters::Identity;

use super::key::{Key, KeyError};

/// The longest sealed id in bytes, and the longest text that is looked at.
pub const MAX_SEALED: usize = 1024;

/// The longest id of a workload in bytes.
const MAX_ID: usize = 256;

/// The longest backend address: a name of 253 bytes, its trailing dot, a colon and a port.
const MAX_BACKEND: usize = 260;

const VERSION: u8 = 1;
const KEY_ID_LEN: usize = 4;
const TAG_LEN: usize = 16;
const LENGTH_LEN: usize = 2;
const HEAD_LEN: usize = 1 + KEY_ID_LEN;

/// The most bytes that [`MAX_SEALED`] characters of base64 can stand for.
const MAX_BYTES: usize = MAX_SEALED / 4 * 3;

/// Seals and opens session ids; replicas with the same keys open each other's.
pub struct Sealer {
    first: SealingKey,
    others: Box<[SealingKey]>,
}

struct SealingKey {
    id: [u8; KEY_ID_LEN],
    key: LessSafeKey,
}

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
        let mut keys = keys.iter().map(SealingKey::derive);
        let first = keys
            .next()
            .ok_or(KeyError::None)?
            .map_err(|_| KeyError::Unusable)?;
        let others = keys
            .collect::<Result<_, _>>()
            .map_err(|_| KeyError::Unusable)?;
        Ok(Self { first, others })
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
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| SealError::Cipher)?;

        let head_len = HEAD_LEN + NONCE_LEN;
        let mut sealed =
            Vec::with_capacity(head_len + LENGTH_LEN + backend.len() + id.len() + TAG_LEN);
        sealed.push(VERSION);
        sealed.extend_from_slice(&self.first.id);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&length.to_be_bytes());
        sealed.extend_from_slice(backend.as_bytes());
        sealed.extend_from_slice(id.as_bytes());
        let aad = associated(self.first.id, user, route);
        let (_, plain) = sealed
            .split_at_mut_checked(head_len)
            .ok_or(SealError::Cipher)?;
        let tag = self
            .first
            .key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), plain)
            .map_err(|_| SealError::Cipher)?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// Opens what [`Sealer::seal`] made for the same user and route, here or on a replica.
    ///
    /// # Errors
    /// For every other text; the client learns none of the reasons.
    pub fn open(&self, text: &str, user: &Identity, route: &str) -> Result<Opened, SessionError> {
        if text.len() > MAX_SEALED {
            return Err(SessionError::TooLong);
        }
        let mut bytes = [0; MAX_BYTES];
        let length = URL_SAFE_NO_PAD
            .decode_slice(text, &mut bytes)
            .map_err(|_| SessionError::Malformed)?;
        let sealed = bytes.get(..length).ok_or(SessionError::Malformed)?;
        let (&version, rest) = sealed.split_first().ok_or(SessionError::Malformed)?;
        let (key_id, rest) = rest.split_first_chunk().ok_or(SessionError::Malformed)?;
        let (nonce, cipher) = rest.split_first_chunk().ok_or(SessionError::Malformed)?;
        if version != VERSION || cipher.len() < LENGTH_LEN + TAG_LEN {
            return Err(SessionError::Malformed);
        }
        let mut error = SessionError::UnknownKey;
        // Usually one: key ids are a hash, so two keys share one by chance only.
        for key in self.keys().filter(|key| key.id == *key_id) {
            let mut plain = [0; MAX_BYTES];
            let plain = plain
                .get_mut(..cipher.len())
                .ok_or(SessionError::Malformed)?;
            plain.copy_from_slice(cipher);
            let nonce = Nonce::assume_unique_for_key(*nonce);
            let aad = Aad::from(associated(key.id, user, route));
            match key.key.open_in_place(nonce, aad, plain) {
                Ok(plain) => return split(plain).ok_or(SessionError::Malformed),
                Err(Unspecified) => error = SessionError::Forged,
            }
        }
        Err(error)
    }

    fn keys(&self) -> impl Iterator<Item = &SealingKey> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer")
            .field("keys", &self.keys().count())
            .finish()
    }
}

struct KeyIdLength;

impl KeyType for KeyIdLength {
    fn len(&self) -> usize {
        KEY_ID_LEN
    }
}

impl SealingKey {
    fn derive(key: &Key) -> Result<Self, Unspecified> {
        let extracted = Salt::new(HKDF_SHA256, &[]).extract(key.reveal());
        let key = extracted.expand(&[b"mcp-gateway session v1"], &AES_256_GCM_SIV)?;
        let mut id = [0; KEY_ID_LEN];
        extracted
            .expand(&[b"mcp-gateway session v1 key id"], KeyIdLength)?
            .fill(&mut id)?;
        Ok(Self {
            id,
            key: LessSafeKey::new(UnboundKey::from(key)),
        })
    }
}

/// What a sealed id is bound to, every part with its length, so that no two differ only in where
/// one ends and the next begins.
///
/// The user is the object id in the tenant, which is the same for every application, else the
/// subject; both are only unique within their issuer.
fn associated(key_id: [u8; KEY_ID_LEN], user: &Identity, route: &str) -> Vec<u8> {
    let (kind, scope, name) = match (&user.tenant, &user.object) {
        (Some(tenant), Some(object)) => (b'o', tenant.as_str(), object.as_str()),
        _ => (b's', "", user.subject.as_str()),
    };
    let parts = [route, &user.issuer, scope, name];
    let length: usize = parts.iter().map(|part| 8 + part.len()).sum();
    let mut bytes = Vec::with_capacity(HEAD_LEN + 1 + length);
    bytes.push(VERSION);
    bytes.extend_from_slice(&key_id);
    bytes.push(kind);
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
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
    fn a_key_id_that_two_keys_share_does_not_hide_the_second() {
        let ada = user("ada");
        let old = sealer(&[1]);
        let text = seal(&old, &ada);
        let mut both = sealer(&[2, 1]);
        both.first.id = old.first.id;
        assert!(both.open(&text, &ada, ROUTE).is_ok());
    }

    #[test]
    fn what_was_never_sealed_is_refused() {
        let open = |text: &str| sealer(&[1]).open(text, &user("ada"), ROUTE).unwrap_err();
        assert_eq!(open(""), SessionError::Malformed);
        assert_eq!(open(CLAIM.id), SessionError::Malformed);
        assert_eq!(open(&"A".repeat(MAX_SEALED)), SessionError::Malformed);
        assert_eq!(open(&"A".repeat(MAX_SEALED + 1)), SessionError::TooLong);
        let unknown = [&[VERSION][..], &[0; 60]].concat();
        assert_eq!(
            open(&URL_SAFE_NO_PAD.encode(unknown)),
            SessionError::UnknownKey
        );
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
        assert_eq!(format!("{:?}", sealer(&[1, 2])), "Sealer { keys: 2 }");
    }

    #[test]
    fn two_seals_of_one_session_share_nothing_but_the_head() {
        let (sealer, ada) = (sealer(&[1]), user("ada"));
        let decode = |text| URL_SAFE_NO_PAD.decode(text).unwrap();
        let (one, two) = (decode(seal(&sealer, &ada)), decode(seal(&sealer, &ada)));
        assert_eq!(one[..HEAD_LEN], two[..HEAD_LEN]);
        assert_ne!(one[HEAD_LEN..], two[HEAD_LEN..]);
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
        fn any_flipped_bit_is_refused(at: proptest::sample::Index, bit in 0_u8..8) {
            let (sealer, ada) = (sealer(&[1]), user("ada"));
            let mut bytes = URL_SAFE_NO_PAD.decode(seal(&sealer, &ada)).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(sealer.open(&URL_SAFE_NO_PAD.encode(bytes), &ada, ROUTE).is_err());
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
        fn arbitrary_input_never_opens(text in "\\PC*", bytes: Vec<u8>) {
            let (sealer, ada) = (sealer(&[1]), user("ada"));
            prop_assert!(sealer.open(&text, &ada, ROUTE).is_err());
            let bytes = [&[VERSION][..], &sealer.first.id, &bytes].concat();
            prop_assert!(sealer.open(&URL_SAFE_NO_PAD.encode(bytes), &ada, ROUTE).is_err());
        }
    }
}
