//! Client ID metadata documents: clients whose id is the https URL of a document that describes them
//! (draft-ietf-oauth-client-id-metadata-document, MCP 2026-07-28).
//!
//! A document is fetched when a client shows up with its URL, checked, and kept for a while. The URL
//! comes from a stranger, so everything about the fetch is bounded: where it may go, how often, how
//! long, how much; and it follows no redirect. What a document claims is a claim: it is worth what
//! its host is worth, and a redirect URI must be allowed here as well as named there.
//!
//! It does not fetch logos, and does not know the proxy.

mod client_id;
mod config;
mod document;
mod flights;

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use log::info;
use prometheus::IntCounterVec;
use quick_cache::sync::Cache;

use crate::{
    egress::{Egress, EgressError, Guard, Limits, Request, Target},
    telemetry::metrics::Metrics,
};

pub use config::{Config, Hosts};
pub use document::{Document, Fault};

use flights::Flights;

/// The limits of one fetch: 16 KiB within 5 s.
const LIMITS: Limits = Limits {
    total: Duration::from_secs(5),
    body: 16 * 1024,
    decoded: 16 * 1024,
};
/// Documents and refusals that are kept.
const KEPT: usize = 1024;
/// Seconds for which a document is at least kept, whatever its server says.
const FRESH_MIN: u64 = 60;
/// Seconds for which it is at most kept.
const FRESH_MAX: u64 = 24 * 3600;
/// Seconds for which it is kept when its server says nothing.
const FRESH: u64 = 3600;
/// Seconds for which a document is used further while its server cannot be asked.
const STALE: u64 = 24 * 3600;
/// Seconds for which a refusal is kept.
const REFUSED: u64 = 60;
/// Seconds after which a server that could not be asked is asked again.
const RETRY: u64 = 10;

/// The documents of clients, fetched and kept.
pub struct Documents {
    hosts: Hosts,
    guard: Guard,
    egress: Arc<Egress>,
    kept: Cache<Box<str>, Kept>,
    flights: Flights,
    outcomes: IntCounterVec,
}

/// What is known of a URL, and until when.
#[derive(Clone)]
struct Kept {
    verdict: Result<Arc<Document>, Error>,
    /// Until then nobody asks again.
    fresh_until: u64,
    /// Until then it is better than nothing.
    usable_until: u64,
}

/// Why a client id leads to no client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a URL that can be a client id.
    #[error("the client id is no usable URL: {0}")]
    Url(&'static str),
    /// The host is not one that documents are fetched from.
    #[error("client metadata is not fetched from this host")]
    Host,
    /// The host leads into the house.
    #[error("client metadata is fetched from public addresses only")]
    Address,
    /// The server answered with something else than a document.
    #[error("the client's metadata cannot be used: {0}")]
    Document(#[from] Fault),
    /// The server has no such document.
    #[error("the client's metadata is not there: its server answered {0}")]
    Status(StatusCode),
    /// The server cannot be asked now.
    #[error("the client's metadata cannot be fetched now")]
    Unreachable,
    /// Too many documents are being fetched.
    #[error("too many clients are being looked up: try again in a moment")]
    Busy,
}

impl Error {
    /// Tells whether the client may be all right, and asking again may help.
    #[must_use]
    pub const fn is_temporary(&self) -> bool {
        matches!(self, Self::Unreachable | Self::Busy)
    }

    /// The error's name in metrics and logs: one of a closed set.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Url(_) => "url",
            Self::Host => "host",
            Self::Address => "address",
            Self::Document(_) => "document",
            Self::Status(_) => "status",
            Self::Unreachable => "unreachable",
            Self::Busy => "busy",
        }
    }
}

impl Documents {
    /// Makes an empty store that fetches through `egress`.
    #[must_use]
    pub fn new(config: &Config, egress: Arc<Egress>, metrics: &Metrics) -> Self {
        Self {
            hosts: config.hosts.clone(),
            guard: Guard::new(config.networks.clone()),
            egress,
            kept: Cache::new(KEPT),
            flights: Flights::default(),
            outcomes: metrics.client_documents.clone(),
        }
    }

    /// Tells whether a client id means a document.
    #[must_use]
    pub fn concerns(client_id: &str) -> bool {
        client_id.starts_with("https://")
    }

    /// Returns the client whose id is `url`, at `now` in seconds since the Unix epoch. Of several who
    /// ask for the same at once, one fetches and the others wait.
    ///
    /// # Errors
    /// When the URL cannot be a client id, or there is no usable document behind it.
    pub async fn resolve(&self, url: &str, now: u64) -> Result<Arc<Document>, Error> {
        let target = self.target(url).inspect_err(|error| self.count(error))?;
        if let Some(verdict) = self.fresh(url, now) {
            return verdict;
        }
        let Some(flight) = self.flights.join(url) else {
            self.count(&Error::Busy);
            return Err(Error::Busy);
        };
        let _turn = flight.turn().await;
        // Whoever had the turn before may have brought it.
        if let Some(verdict) = self.fresh(url, now) {
            return verdict;
        }
        let fetched = self.fetch(url, &target).await;
        let kept = self.keep(url, now, fetched);
        let verdict = kept.verdict.clone();
        self.kept.insert(url.into(), kept);
        verdict
    }

    fn target(&self, url: &str) -> Result<Target, Error> {
        client_id::check(url).map_err(Error::Url)?;
        let target = Target::parse(url).map_err(|_| Error::Url("it cannot be called"))?;
        if !self.hosts.admit(target.host()) {
            return Err(Error::Host);
        }
        // The proxy looks names up, and nobody checks what it finds.
        if self.hosts.is_any() && self.egress.proxy_for(&target).is_some() {
            return Err(Error::Host);
        }
        Ok(target)
    }

    fn fresh(&self, url: &str, now: u64) -> Option<Result<Arc<Document>, Error>> {
        let kept = self.kept.get(url)?;
        (now < kept.fresh_until).then_some(kept.verdict)
    }

    async fn fetch(&self, url: &str, target: &Target) -> Result<(Document, u64), Error> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let request = Request {
            method: Method::GET,
            target,
            headers,
            body: bytes::Bytes::new(),
        };
        let answer = self.egress.fetch_guarded(&request, LIMITS, &self.guard);
        let answer = answer.await.map_err(|error| {
            info!(host = target.host(), error:%; "a client's metadata could not be fetched");
            match error {
                EgressError::Forbidden { .. } => Error::Address,
                EgressError::TooLarge { .. } => Error::Document(Fault::TooLarge),
                _ => Error::Unreachable,
            }
        })?;
        let (head, body) = answer.into_parts();
        if head.status.is_server_error() || head.status == StatusCode::TOO_MANY_REQUESTS {
            return Err(Error::Unreachable);
        }
        // No redirect is followed: the document's URL is its client's name.
        if head.status != StatusCode::OK {
            return Err(Error::Status(head.status));
        }
        document::check_type(&head.headers)?;
        let document = Document::parse(url, &body)?;
        Ok((document, lifetime(&head.headers)))
    }

    /// Decides what is known from now on, given what a fetch brought.
    fn keep(&self, url: &str, now: u64, fetched: Result<(Document, u64), Error>) -> Kept {
        match fetched {
            Ok((document, lifetime)) => {
                self.outcomes.with_label_values(&["fetched"]).inc();
                let fresh_until = now.saturating_add(lifetime);
                Kept {
                    verdict: Ok(Arc::new(document)),
                    fresh_until,
                    usable_until: fresh_until.saturating_add(STALE),
                }
            }
            Err(error) => {
                self.count(&error);
                let before = self.kept.get(url).filter(|kept| {
                    error.is_temporary() && kept.verdict.is_ok() && now < kept.usable_until
                });
                let pause = if error.is_temporary() { RETRY } else { REFUSED };
                let fresh_until = now.saturating_add(pause);
                match before {
                    Some(kept) => Kept {
                        fresh_until,
                        ..kept
                    },
                    None => Kept {
                        verdict: Err(error),
                        fresh_until,
                        usable_until: fresh_until,
                    },
                }
            }
        }
    }

    fn count(&self, error: &Error) {
        self.outcomes.with_label_values(&[error.reason()]).inc();
    }
}

/// Without the documents, of which there are many.
impl fmt::Debug for Documents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Documents")
            .field("hosts", &self.hosts)
            .field("kept", &self.kept.len())
            .finish_non_exhaustive()
    }
}

/// Returns for how many seconds an answer may be kept (RFC 9111 §5.2.2), within what we allow.
fn lifetime(headers: &HeaderMap) -> u64 {
    let directives = headers
        .get_all(header::CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let mut lifetime = FRESH;
    for directive in directives {
        let directive = directive.trim().to_ascii_lowercase();
        if matches!(directive.as_str(), "no-store" | "no-cache") {
            return FRESH_MIN;
        }
        if let Some(seconds) = directive.strip_prefix("max-age=") {
            lifetime = seconds.trim_matches('"').parse().unwrap_or(FRESH_MIN);
        }
    }
    lifetime.clamp(FRESH_MIN, FRESH_MAX)
}

#[cfg(test)]
mod tests;
