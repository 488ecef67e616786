//! The consents that a browser remembers.
//!
//! One sealed cookie holds a hash of client, redirect URI and scopes for each, and until when it
//! counts. Only consents for https are put here: on a loopback port or a scheme of its own, any
//! application of the machine may be listening next time (RFC 8252 §8.6).

use super::{Hash, Seals, hash};
use crate::seal;

/// How long a consent is remembered, in seconds: 30 days.
pub(super) const LIFETIME: u64 = 30 * 86_400;

/// The most consents of one browser; the oldest go first.
const MOST: usize = 32;

/// What a person consented to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Consent(Hash);

impl Consent {
    /// The consent to hand codes for `scopes` to a client at a redirect URI.
    pub(super) fn to(client: &Hash, redirect_uri: &str, scopes: &str) -> Self {
        let mut scopes: Vec<&str> = scopes.split_ascii_whitespace().collect();
        scopes.sort_unstable();
        scopes.dedup();
        let scopes = scopes.join(" ");
        Self(hash(&seal::join(&[
            client,
            redirect_uri.as_bytes(),
            scopes.as_bytes(),
        ])))
    }
}

/// The consents of one browser, oldest first.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Approvals(Vec<(u64, Consent)>);

const ENTRY: usize = 8 + 32;

impl Approvals {
    /// Reads a cookie; empty when it is missing, forged or of an unknown key.
    pub(super) fn open(seals: &Seals, cookie: Option<&str>, now: u64) -> Self {
        let opened = cookie.and_then(|text| seals.approvals.open(text, b"").ok());
        let entries = opened.unwrap_or_default();
        let entries = entries.chunks_exact(ENTRY).filter_map(|entry| {
            let (until, consent) = entry.split_first_chunk()?;
            let until = u64::from_be_bytes(*until);
            (until > now).then_some((until, Consent(consent.try_into().ok()?)))
        });
        Self(entries.take(MOST).collect())
    }

    /// Says whether the consent was given and still counts.
    pub(super) fn remember(&self, consent: Consent) -> bool {
        self.0.iter().any(|(_, known)| *known == consent)
    }

    /// Adds a consent; returns the cookie's value.
    pub(super) fn with(mut self, seals: &Seals, consent: Consent, now: u64) -> Option<String> {
        self.0.retain(|(_, known)| *known != consent);
        let surplus = (self.0.len() + 1).saturating_sub(MOST);
        self.0.drain(..surplus);
        self.0.push((now + LIFETIME, consent));
        let mut plain = Vec::with_capacity(self.0.len() * ENTRY);
        for (until, Consent(hash)) in &self.0 {
            plain.extend_from_slice(&until.to_be_bytes());
            plain.extend_from_slice(hash);
        }
        seals.approvals.seal(&plain, b"").ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    const NOW: u64 = 1_800_000_000;

    fn seals() -> Seals {
        Seals::new(&[Secret::new([1; 32])]).unwrap()
    }

    fn consent(number: usize) -> Consent {
        Consent::to(&[0; 32], &format!("https://app.test/{number}"), "openid")
    }

    #[test]
    fn a_consent_is_for_one_client_address_and_set_of_scopes() {
        let one = Consent::to(&[1; 32], "https://a.test/cb", "openid profile");
        for (client, uri, scopes, same) in [
            ([1; 32], "https://a.test/cb", "profile openid openid", true),
            ([2; 32], "https://a.test/cb", "openid profile", false),
            ([1; 32], "https://a.test/cb2", "openid profile", false),
            ([1; 32], "https://a.test/cb", "openid profile email", false),
        ] {
            assert_eq!(
                one == Consent::to(&client, uri, scopes),
                same,
                "{uri} {scopes}"
            );
        }
    }

    #[test]
    fn a_consent_is_remembered_for_its_time() {
        let seals = seals();
        let cookie = Approvals::default().with(&seals, consent(1), NOW).unwrap();
        let remembers = |at| Approvals::open(&seals, Some(&cookie), at).remember(consent(1));
        assert!(remembers(NOW));
        assert!(remembers(NOW + LIFETIME - 1));
        assert!(!remembers(NOW + LIFETIME));
        assert!(!Approvals::open(&seals, Some(&cookie), NOW).remember(consent(2)));
    }

    #[test]
    fn the_oldest_consents_make_room() {
        let seals = seals();
        let mut cookie = None;
        for number in 0..100 {
            let known = Approvals::open(&seals, cookie.as_deref(), NOW);
            cookie = known.with(&seals, consent(number), NOW);
        }
        let known = Approvals::open(&seals, cookie.as_deref(), NOW);
        assert_eq!(known.0.len(), MOST);
        assert!(known.remember(consent(99)) && !known.remember(consent(67)));
        assert!(cookie.unwrap().len() < 3072);
    }

    #[test]
    fn a_forged_cookie_remembers_nothing() {
        let seals = seals();
        for forged in [None, Some(""), Some("AAAA"), Some("x y")] {
            assert_eq!(Approvals::open(&seals, forged, NOW), Approvals::default());
        }
    }
}
