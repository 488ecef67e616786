//! What one running tenant remembers: codes, refresh tokens, keys, faults, and the switches.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::directory::{Directory, Grant, Platform};
use super::error::Aadsts;
use super::fault::Faults;
use super::redirect::LoopbackPorts;
use super::told::{Separator, Told};
use crate::clock::Clock;
use crate::keys::{Key, POOL};
use crate::net::lock;
use crate::record::Log;
use crate::store::{Challenge, Store};

/// What Entra does with a `resource` parameter. It changed in early 2026.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResourceMode {
    /// It must name the API whose scopes are asked for, else AADSTS9010010.
    #[default]
    Enforce,
    /// Any is refused with AADSTS901002, as until the end of 2025.
    Legacy,
    /// It is not looked at.
    Ignore,
}

/// The switches of a tenant.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) resource_mode: ResourceMode,
    pub(super) loopback: LoopbackPorts,
    pub(super) emit_iss: bool,
    pub(super) separator: Separator,
    pub(super) auto_approve: bool,
    pub(super) gzip: bool,
    /// None: random, 60 to 90 minutes.
    pub(super) access_lifetime: Option<Duration>,
    pub(super) id_lifetime: Duration,
    pub(super) code_lifetime: Duration,
    pub(super) refresh_lifetime: Duration,
    pub(super) error_page_status: u16,
    /// Scheme and host in `iss`, when it is not where the emulator listens.
    pub(super) issuer_authority: Option<String>,
}

/// An authorization code.
#[derive(Debug, Clone)]
pub(super) struct Code {
    pub(super) client: String,
    pub(super) redirect_uri: String,
    pub(super) oid: String,
    pub(super) scope: String,
    pub(super) nonce: Option<String>,
    pub(super) challenge: Option<Challenge>,
    pub(super) platform: Platform,
    pub(super) issued: i64,
    pub(super) redeemed: bool,
}

/// A refresh token. Using it does not end it.
#[derive(Debug, Clone)]
pub(super) struct Refresh {
    pub(super) client: String,
    pub(super) oid: String,
    pub(super) scope: String,
    pub(super) platform: Platform,
    pub(super) issued: i64,
    pub(super) revoked: bool,
}

/// What a token for Microsoft Graph is good for.
#[derive(Debug, Clone)]
pub(super) struct GraphAccess {
    pub(super) tenant: String,
    /// Object id of the user; none: the application itself.
    pub(super) user: Option<String>,
    /// The application's own, without a user.
    pub(super) permissions: Vec<String>,
    pub(super) expires: i64,
}

/// One running tenant.
#[derive(Debug)]
pub(super) struct State {
    /// Where it listens: `http://127.0.0.1:PORT`.
    pub(super) authority: String,
    pub(super) settings: Settings,
    pub(super) clock: Clock,
    pub(super) faults: Faults,
    pub(super) log: Log,
    pub(super) codes: Mutex<Store<Code>>,
    pub(super) refresh_tokens: Mutex<Store<Refresh>>,
    /// Access tokens for Microsoft Graph.
    pub(super) graph_tokens: Mutex<Store<GraphAccess>>,
    directory: Mutex<Arc<Directory>>,
    keys: [Arc<Key>; POOL],
    /// Index of the signing key; the next one is published beside it.
    signing: Mutex<usize>,
}

impl State {
    pub(super) fn new(
        authority: String,
        settings: Settings,
        directory: Directory,
        keys: [Arc<Key>; POOL],
    ) -> Self {
        Self {
            authority,
            settings,
            clock: Clock::new(),
            faults: Faults::default(),
            log: Log::default(),
            codes: Mutex::default(),
            refresh_tokens: Mutex::default(),
            graph_tokens: Mutex::default(),
            directory: Mutex::new(Arc::new(directory)),
            keys,
            signing: Mutex::new(0),
        }
    }

    pub(super) fn directory(&self) -> Arc<Directory> {
        Arc::clone(&lock(&self.directory))
    }

    pub(super) fn grant(&self, grant: Grant) {
        Arc::make_mut(&mut lock(&self.directory)).grants.push(grant);
    }

    /// Returns `iss` of v2.0 tokens.
    pub(super) fn issuer(&self, tenant: &str) -> String {
        let authority = self
            .settings
            .issuer_authority
            .as_deref()
            .unwrap_or(&self.authority);
        format!("{authority}/{tenant}/v2.0")
    }

    /// Returns a key by its distance from the signing key: 0 signs, 1 is published, 2 is neither.
    pub(super) fn key(&self, distance: usize) -> Arc<Key> {
        let [first, second, third, fourth] = &self.keys;
        Arc::clone(match lock(&self.signing).wrapping_add(distance) % POOL {
            0 => first,
            1 => second,
            2 => third,
            _ => fourth,
        })
    }

    /// Returns what the tenant publishes; the signing key comes last, since order means nothing.
    pub(super) fn published(&self) -> Vec<Arc<Key>> {
        vec![self.key(1), self.key(0)]
    }

    pub(super) fn rotate(&self, by: usize) {
        let mut signing = lock(&self.signing);
        *signing = signing.wrapping_add(by);
    }

    /// Gives an error the ids and the time of one answer.
    pub(super) fn tell(&self, aadsts: Aadsts) -> Told {
        Told::new(aadsts, self.clock.now(), self.settings.separator)
    }
}

/// Seconds of a duration, as claims count them.
pub(super) fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
