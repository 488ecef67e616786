//! What an authorization server remembers of a sign-in.

use std::collections::{HashMap, VecDeque};

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Codes and refresh tokens remembered; the oldest are forgotten first.
const REMEMBERED: usize = 65_536;

/// A PKCE challenge (RFC 7636).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    Plain(String),
    S256(String),
}

impl Challenge {
    /// Says whether it was made from this verifier.
    pub(crate) fn is_met_by(&self, verifier: &str) -> bool {
        match self {
            Self::Plain(expected) => expected == verifier,
            Self::S256(expected) => {
                let hash = digest::digest(&digest::SHA256, verifier.as_bytes());
                *expected == URL_SAFE_NO_PAD.encode(hash)
            }
        }
    }
}

/// A bounded map that forgets its oldest entry.
#[derive(Debug)]
pub(crate) struct Store<T> {
    entries: HashMap<String, T>,
    order: VecDeque<String>,
}

impl<T> Default for Store<T> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            order: VecDeque::new(),
        }
    }
}

impl<T> Store<T> {
    pub(crate) fn insert(&mut self, key: String, value: T) {
        if self.order.len() == REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
        self.order.push_back(key.clone());
        self.entries.insert(key, value);
    }

    pub(crate) fn find(&self, key: &str) -> Option<&T> {
        self.entries.get(key)
    }

    pub(crate) fn find_mut(&mut self, key: &str) -> Option<&mut T> {
        self.entries.get_mut(key)
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.values_mut()
    }
}
