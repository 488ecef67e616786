//! Values that travel with others and come back: encrypted, authenticated, for one purpose each.
//!
//! The gateway stores nothing. What must outlive a request leaves it sealed, inside a session id, a
//! `state`, a cookie or a token, and any replica with the same keys opens it. A sealed value is, in
//! base64url without padding:
//!
//! ```text
//! version (1) │ key id (4) │ nonce (12) │ AES-256-GCM-SIV( plain ) │ tag (16)
//! ```
//!
//! with version, key id, and whatever the caller binds it to as associated data. The keys in use are
//! derived (HKDF, RFC 5869) from the configured ones for each [`Purpose`], so that nothing sealed
//! for one opens as another. AES-GCM-SIV (RFC 8452) rather than AES-GCM, since many replicas draw
//! random nonces for one key: GCM gives its key away when a nonce repeats and must therefore stop at
//! 2^32 seals (NIST SP 800-38D §8.3), while here a repeated nonce tells at most that the same value
//! was sealed for the same holder twice.
//!
//! What stands in a value, and how long it is good, is the business of who seals it; [`join`],
//! [`split`] and the pair [`Seal::until`] and [`Seal::at`] are there for that.

mod key;

use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    error::Unspecified,
    hkdf::{HKDF_SHA256, KeyType, Salt},
    rand,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

pub use key::{Key, KeyError, load_or_create, parse_key};

const VERSION: u8 = 1;
const KEY_ID_LEN: usize = 4;
const TAG_LEN: usize = 16;
const HEAD_LEN: usize = 1 + KEY_ID_LEN;
const EXPIRY_LEN: usize = 8;

/// What a value is sealed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// An `Mcp-Session-Id`.
    Session,
    /// A client id that holds its registration.
    Registration,
    /// The sign-in that a consent page asks about.
    Consent,
    /// The consents that a browser remembers.
    Approvals,
    /// The `state` of an authorization request.
    State,
    /// An authorization code.
    Code,
    /// A refresh token.
    RefreshToken,
}

impl Purpose {
    /// The name from which keys are derived; changing one makes everything sealed for it worthless.
    const fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Registration => "registration",
            Self::Consent => "consent",
            Self::Approvals => "approvals",
            Self::State => "state",
            Self::Code => "code",
            Self::RefreshToken => "refresh token",
        }
    }

    /// The longest sealed value in bytes, and the longest text that is looked at.
    ///
    /// Each has to fit where it travels: a header field, a cookie (4,096 bytes with its name), a
    /// request target, a form of 64 KiB.
    #[must_use]
    pub const fn limit(self) -> usize {
        match self {
            Self::Session => 1024,
            Self::Registration => 2048,
            Self::Approvals => 3072,
            Self::Consent | Self::RefreshToken => 16 * 1024,
            Self::State | Self::Code => 8 * 1024,
        }
    }
}

/// Seals and opens the values of one purpose; replicas with the same keys open each other's.
pub struct Seal {
    purpose: Purpose,
    first: SealingKey,
    others: Box<[SealingKey]>,
}

struct SealingKey {
    id: [u8; KEY_ID_LEN],
    key: LessSafeKey,
}

/// Why a value cannot be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Longer than what may travel.
    #[error("the value is too long to be sealed")]
    TooLong,
    /// The system's random number generator or the cipher failed.
    #[error("the value cannot be encrypted")]
    Cipher,
}

/// Why a text does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Longer than anything sealed for this purpose.
    #[error("the value is too long")]
    TooLong,
    /// Never sealed by a gateway.
    #[error("the value is not a sealed one")]
    Malformed,
    /// Sealed with a key that is not configured here.
    #[error("the value is sealed with an unknown key")]
    UnknownKey,
    /// Changed, or sealed for another holder or purpose.
    #[error("the value was changed, or is sealed for something else")]
    Forged,
    /// Was good once.
    #[error("the value has expired")]
    Expired,
}

impl Seal {
    /// Seals with the first of the keys and opens with all.
    ///
    /// # Errors
    /// When there is no key.
    pub fn new(keys: &[Key], purpose: Purpose) -> Result<Self, KeyError> {
        let mut keys = keys.iter().map(|key| SealingKey::derive(key, purpose));
        let first = keys
            .next()
            .ok_or(KeyError::None)?
            .map_err(|_| KeyError::Unusable)?;
        let others = keys
            .collect::<Result<_, _>>()
            .map_err(|_| KeyError::Unusable)?;
        Ok(Self {
            purpose,
            first,
            others,
        })
    }

    /// Seals `plain`, to be opened with the same `bound` only.
    ///
    /// # Errors
    /// When it is too long for its purpose, or the system fails.
    pub fn seal(&self, plain: &[u8], bound: &[u8]) -> Result<String, SealError> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| SealError::Cipher)?;
        let head_len = HEAD_LEN + NONCE_LEN;
        let mut sealed = Vec::with_capacity(head_len + plain.len() + TAG_LEN);
        sealed.push(VERSION);
        sealed.extend_from_slice(&self.first.id);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let (_, inside) = sealed
            .split_at_mut_checked(head_len)
            .ok_or(SealError::Cipher)?;
        let tag = self
            .first
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(associated(self.first.id, bound)),
                inside,
            )
            .map_err(|_| SealError::Cipher)?;
        sealed.extend_from_slice(tag.as_ref());
        let text = URL_SAFE_NO_PAD.encode(sealed);
        if text.len() > self.purpose.limit() {
            return Err(SealError::TooLong);
        }
        Ok(text)
    }

    /// Opens what [`Seal::seal`] made with the same `bound`, here or on a replica.
    ///
    /// # Errors
    /// For every other text.
    pub fn open(&self, text: &str, bound: &[u8]) -> Result<Vec<u8>, OpenError> {
        if text.len() > self.purpose.limit() {
            return Err(OpenError::TooLong);
        }
        let mut sealed = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| OpenError::Malformed)?;
        let (&version, rest) = sealed.split_first().ok_or(OpenError::Malformed)?;
        let (&key_id, rest) = rest.split_first_chunk().ok_or(OpenError::Malformed)?;
        let (&nonce, cipher) = rest
            .split_first_chunk::<NONCE_LEN>()
            .ok_or(OpenError::Malformed)?;
        if version != VERSION || cipher.len() < TAG_LEN {
            return Err(OpenError::Malformed);
        }
        let mut error = OpenError::UnknownKey;
        // Usually one: key ids are a hash, so two keys share one by chance only.
        let mut candidates = self.keys().filter(|key| key.id == key_id).peekable();
        while let Some(key) = candidates.next() {
            let mut attempt = match candidates.peek() {
                Some(_) => sealed.clone(),
                None => std::mem::take(&mut sealed),
            };
            let (_, cipher) = attempt
                .split_at_mut_checked(HEAD_LEN + NONCE_LEN)
                .ok_or(OpenError::Malformed)?;
            let nonce = Nonce::assume_unique_for_key(nonce);
            let aad = Aad::from(associated(key_id, bound));
            if key.key.open_in_place(nonce, aad, cipher).is_ok() {
                attempt.truncate(attempt.len() - TAG_LEN);
                attempt.drain(..HEAD_LEN + NONCE_LEN);
                return Ok(attempt);
            }
            error = OpenError::Forged;
        }
        Err(error)
    }

    /// Seals a value that is good before `expires_at`, in seconds since the Unix epoch.
    ///
    /// # Errors
    /// As [`Seal::seal`].
    pub fn until(&self, expires_at: u64, plain: &[u8], bound: &[u8]) -> Result<String, SealError> {
        let mut dated = Vec::with_capacity(EXPIRY_LEN + plain.len());
        dated.extend_from_slice(&expires_at.to_be_bytes());
        dated.extend_from_slice(plain);
        self.seal(&dated, bound)
    }

    /// Opens what [`Seal::until`] made, as long as it is good.
    ///
    /// # Errors
    /// As [`Seal::open`]; and when its time is over.
    pub fn at(&self, now: u64, text: &str, bound: &[u8]) -> Result<Vec<u8>, OpenError> {
        let mut plain = self.open(text, bound)?;
        let (expires_at, _) = plain.split_first_chunk().ok_or(OpenError::Malformed)?;
        if now >= u64::from_be_bytes(*expires_at) {
            return Err(OpenError::Expired);
        }
        plain.drain(..EXPIRY_LEN);
        Ok(plain)
    }

    fn keys(&self) -> impl Iterator<Item = &SealingKey> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seal")
            .field("purpose", &self.purpose)
            .field("keys", &self.keys().count())
            .finish_non_exhaustive()
    }
}

struct KeyIdLength;

impl KeyType for KeyIdLength {
    fn len(&self) -> usize {
        KEY_ID_LEN
    }
}

impl SealingKey {
    fn derive(key: &Key, purpose: Purpose) -> Result<Self, Unspecified> {
        let label = format!("mcp-gateway {} v1", purpose.name());
        let info = [label.as_bytes()];
        let extracted = Salt::new(HKDF_SHA256, &[]).extract(key.reveal());
        let key = extracted.expand(&info, &AES_256_GCM_SIV)?;
        let mut id = [0; KEY_ID_LEN];
        extracted
            .expand(&[label.as_bytes(), b" key id"], KeyIdLength)?
            .fill(&mut id)?;
        Ok(Self {
            id,
            key: LessSafeKey::new(UnboundKey::from(key)),
        })
    }
}

fn associated(key_id: [u8; KEY_ID_LEN], bound: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD_LEN + bound.len());
    bytes.push(VERSION);
    bytes.extend_from_slice(&key_id);
    bytes.extend_from_slice(bound);
    bytes
}

/// Writes parts one behind the other, each with its length, so that no two lists look the same.
#[must_use]
pub fn join(parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| 8 + part.len()).sum();
    let mut bytes = Vec::with_capacity(length);
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

/// Reads what [`join`] wrote; `None` for anything else.
#[must_use]
pub fn split(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut parts = vec![];
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk()?;
        let length = usize::try_from(u64::from_be_bytes(*length)).ok()?;
        let (part, rest) = rest.split_at_checked(length)?;
        parts.push(part);
        bytes = rest;
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::secret::Secret;

    const NOW: u64 = 1_800_000_000;

    fn seal(keys: &[u8], purpose: Purpose) -> Seal {
        let keys: Vec<Key> = keys.iter().map(|&byte| Secret::new([byte; 32])).collect();
        Seal::new(&keys, purpose).unwrap()
    }

    fn states(keys: &[u8]) -> Seal {
        seal(keys, Purpose::State)
    }

    #[test]
    fn opens_with_what_it_is_bound_to_only() {
        let text = states(&[1]).seal(b"hello", b"ada").unwrap();
        assert_eq!(states(&[1]).open(&text, b"ada"), Ok(b"hello".to_vec()));
        assert_eq!(states(&[1]).open(&text, b"bob"), Err(OpenError::Forged));
        assert_eq!(states(&[1]).open(&text, b""), Err(OpenError::Forged));
    }

    #[test]
    fn nothing_opens_for_another_purpose() {
        const ALL: [Purpose; 7] = [
            Purpose::Session,
            Purpose::Registration,
            Purpose::Consent,
            Purpose::Approvals,
            Purpose::State,
            Purpose::Code,
            Purpose::RefreshToken,
        ];
        for made in ALL {
            let text = seal(&[1], made).seal(b"x", b"").unwrap();
            for other in ALL.into_iter().filter(|other| *other != made) {
                assert_eq!(
                    seal(&[1], other).open(&text, b""),
                    Err(OpenError::UnknownKey),
                    "{made:?} {other:?}"
                );
            }
        }
    }

    #[test]
    fn replicas_and_rotated_keys_open_each_others() {
        let old = states(&[1]).seal(b"x", b"").unwrap();
        assert!(states(&[2, 1]).open(&old, b"").is_ok());
        assert_eq!(states(&[2]).open(&old, b""), Err(OpenError::UnknownKey));
        let new = states(&[2, 1]).seal(b"x", b"").unwrap();
        assert!(states(&[2]).open(&new, b"").is_ok());
    }

    #[test]
    fn a_key_id_that_two_keys_share_does_not_hide_the_second() {
        let old = states(&[1]);
        let text = old.seal(b"x", b"").unwrap();
        let mut both = states(&[2, 1]);
        both.first.id = old.first.id;
        assert_eq!(both.open(&text, b""), Ok(b"x".to_vec()));
    }

    #[test]
    fn a_value_is_good_before_its_end() {
        let seal = states(&[1]);
        let text = seal.until(NOW, b"x", b"").unwrap();
        assert_eq!(seal.at(NOW - 1, &text, b""), Ok(b"x".to_vec()));
        assert_eq!(seal.at(NOW, &text, b""), Err(OpenError::Expired));
        let undated = seal.seal(b"x", b"").unwrap();
        assert_eq!(seal.at(NOW, &undated, b""), Err(OpenError::Malformed));
    }

    #[test]
    fn what_was_never_sealed_is_refused() {
        let open = |text: &str| states(&[1]).open(text, b"").unwrap_err();
        assert_eq!(open(""), OpenError::Malformed);
        assert_eq!(open("a sentence"), OpenError::Malformed);
        let limit = Purpose::State.limit();
        assert_eq!(open(&"A".repeat(limit)), OpenError::Malformed);
        assert_eq!(open(&"A".repeat(limit + 1)), OpenError::TooLong);
        let unknown = [&[VERSION][..], &[0; 60]].concat();
        assert_eq!(
            open(&URL_SAFE_NO_PAD.encode(unknown)),
            OpenError::UnknownKey
        );
    }

    #[test]
    fn what_would_not_fit_is_not_sealed() {
        let long = vec![0; Purpose::State.limit()];
        assert_eq!(states(&[1]).seal(&long, b""), Err(SealError::TooLong));
    }

    #[test]
    fn no_key_is_an_error_and_keys_are_not_shown() {
        assert!(matches!(
            Seal::new(&[], Purpose::State),
            Err(KeyError::None)
        ));
        assert_eq!(
            format!("{:?}", states(&[1, 2])),
            "Seal { purpose: State, keys: 2, .. }"
        );
    }

    #[test]
    fn two_seals_of_one_value_share_nothing_but_the_head() {
        let seal = states(&[1]);
        let decode = |text| URL_SAFE_NO_PAD.decode(text).unwrap();
        let one = decode(seal.seal(b"x", b"").unwrap());
        let two = decode(seal.seal(b"x", b"").unwrap());
        assert_eq!(one[..HEAD_LEN], two[..HEAD_LEN]);
        assert_ne!(one[HEAD_LEN..], two[HEAD_LEN..]);
    }

    proptest! {
        #[test]
        fn every_value_comes_back(plain: Vec<u8>, bound: Vec<u8>) {
            let seal = states(&[1, 2]);
            let text = seal.seal(&plain, &bound).unwrap();
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
            prop_assert_eq!(seal.open(&text, &bound), Ok(plain));
        }

        #[test]
        fn any_flipped_bit_is_refused(at: proptest::sample::Index, bit in 0_u8..8) {
            let seal = states(&[1]);
            let mut bytes = URL_SAFE_NO_PAD.decode(seal.seal(b"hello", b"ada").unwrap()).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(seal.open(&URL_SAFE_NO_PAD.encode(bytes), b"ada").is_err());
        }

        #[test]
        fn any_cut_is_refused(at: proptest::sample::Index) {
            let seal = states(&[1]);
            let text = seal.seal(b"hello", b"ada").unwrap();
            prop_assert!(seal.open(&text[..at.index(text.len())], b"ada").is_err());
        }

        #[test]
        fn arbitrary_input_never_opens(text in "\\PC*", bytes: Vec<u8>) {
            let seal = states(&[1]);
            prop_assert!(seal.open(&text, b"").is_err());
            let bytes = [&[VERSION][..], &seal.first.id, &bytes].concat();
            prop_assert!(seal.open(&URL_SAFE_NO_PAD.encode(bytes), b"").is_err());
        }

        #[test]
        fn parts_come_back_and_nothing_else_reads(parts: Vec<Vec<u8>>, noise: Vec<u8>) {
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            let joined = join(&parts);
            prop_assert_eq!(split(&joined), Some(parts));
            if let Some(parts) = split(&noise) {
                prop_assert_eq!(join(&parts), noise.clone());
            }
        }
    }
}
