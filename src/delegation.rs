//! Tokens that the gateway asks for itself: in the name of a caller, for a workload, or in its own.
//!
//! An upstream may need another token than the caller's: one for its own audience, which Entra
//! gives on behalf of the user who called (RFC 7523 §2.1 with `requested_token_use`), and other
//! authorization servers in exchange for the caller's (RFC 8693). A token is asked for once for
//! everyone who waits, kept until shortly before it ends, and never kept past the caller's own.
//! Nothing here reads a request or writes an answer, and no token is logged.

mod endpoint;
mod kept;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use aws_lc_rs::digest;
use http::HeaderValue;
use log::{error, warn};
use mcp_gateway_filters::Problem;

use crate::{
    egress::Egress,
    oauth::ClientCredentials,
    telemetry::{metrics::Metrics, seldom::Seldom},
};

pub use endpoint::{Client, Declined, Granted, TokenEndpoint};
pub use kept::{Kept, Key};

/// Tokens kept for one route.
const TOKENS: usize = 10_000;
/// What they may weigh, in bytes.
const TOKENS_BYTES: u64 = 32 * 1024 * 1024;
/// How long before its end a token is asked for anew, in seconds: it has a way to go, and tools
/// that call further services need it for a while.
const MARGIN: u64 = 60;
/// How long a refusal stands, in seconds: a client that asks again at once gets the same answer.
const REFUSED: u64 = 5;

/// How an upstream's token is had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Entra's on-behalf-of flow, for these scopes.
    OnBehalfOf {
        /// The scopes, of one API.
        scopes: Vec<String>,
    },
    /// A token exchange (RFC 8693).
    Exchange(Exchange),
}

/// The parameters of a token exchange (RFC 8693 §2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// What kind of token the caller's is.
    pub subject_token_type: String,
    /// The name of the service that the new token is for.
    pub audience: Option<String>,
    /// The URL of the service that the new token is for.
    pub resource: Option<String>,
    /// What the new token may be used for.
    pub scopes: Vec<String>,
    /// What kind of token is asked for.
    pub requested_token_type: Option<String>,
}

/// Where a route's upstream tokens come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The URL of the token endpoint; `{tenantid}` in it stands for the caller's tenant.
    pub url: String,
    /// Whom the gateway acts as.
    pub client_id: Option<String>,
    /// How it proves that.
    pub credentials: Option<ClientCredentials>,
    /// What it asks for.
    pub grant: Grant,
}

/// The tokens for the upstream of one route.
pub struct Delegation {
    endpoint: TokenEndpoint,
    grant: Grant,
    kept: Kept<Result<Arc<HeaderValue>, Declined>>,
    logged: Seldom<&'static str>,
}

/// The caller in whose name a token is asked for.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    /// The verified token.
    pub token: &'a str,
    /// Its `tid`.
    pub tenant: Option<&'a str>,
    /// Its `exp`, in seconds since the Unix epoch.
    pub expires_at: u64,
}

impl Delegation {
    /// Makes the tokens of a route available; nothing is asked for yet. `tenants` are those whose
    /// users may call.
    ///
    /// # Errors
    /// When the URL cannot be called.
    pub fn build(
        config: &Config,
        tenants: &[String],
        egress: &Arc<Egress>,
        metrics: &Metrics,
    ) -> Result<Self, Problem> {
        let client = Client {
            id: config.client_id.clone(),
            credentials: config.credentials.clone(),
        };
        let purpose = match config.grant {
            Grant::OnBehalfOf { .. } => "on_behalf_of",
            Grant::Exchange(_) => "exchange",
        };
        let egress = Arc::clone(egress);
        Ok(Self {
            endpoint: TokenEndpoint::build(&config.url, tenants, client, egress, metrics, purpose)?,
            grant: config.grant.clone(),
            kept: Kept::new(TOKENS, TOKENS_BYTES),
            logged: Seldom::default(),
        })
    }

    /// Returns the `Authorization` for the upstream, `Bearer …`; `now` is in seconds since the Unix
    /// epoch.
    ///
    /// # Errors
    /// When the authorization server gives no token for this caller, or none at all now.
    pub async fn authorization(
        &self,
        caller: Caller<'_>,
        now: u64,
    ) -> Result<Arc<HeaderValue>, Declined> {
        let fetch = async || {
            let answer = self.ask(caller, now).await;
            let (value, until) = match answer {
                Ok(granted) => match bearer(&granted) {
                    Some(value) => (Ok(Arc::new(value)), kept_until(&granted, caller, now)),
                    None => (Err(Declined::Malformed), now + REFUSED),
                },
                Err(declined) => {
                    let wait = declined.retry_after().unwrap_or(REFUSED);
                    self.report(&declined, now);
                    (Err(declined), now.saturating_add(wait))
                }
            };
            let weight = value.as_ref().map_or(0, |value| value.len());
            (value, until, weight as u64)
        };
        self.kept.get(&key(caller.token), now, fetch).await
    }

    /// Forgets a caller's token: the upstream did not accept it.
    pub fn forget(&self, caller_token: &str) {
        self.kept.forget(&key(caller_token));
    }

    async fn ask(&self, caller: Caller<'_>, now: u64) -> Result<Granted, Declined> {
        let scopes;
        let mut form = vec![];
        match &self.grant {
            Grant::OnBehalfOf { scopes: wanted } => {
                scopes = wanted.join(" ");
                form.extend([
                    ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
                    ("requested_token_use", "on_behalf_of"),
                    ("assertion", caller.token),
                    ("scope", &scopes),
                ]);
            }
            Grant::Exchange(exchange) => {
                scopes = exchange.scopes.join(" ");
                form.extend([
                    (
                        "grant_type",
                        "urn:ietf:params:oauth:grant-type:token-exchange",
                    ),
                    ("subject_token", caller.token),
                    ("subject_token_type", &exchange.subject_token_type),
                ]);
                let wanted = (!scopes.is_empty()).then_some(scopes.as_str());
                let optional = [
                    ("audience", exchange.audience.as_deref()),
                    ("resource", exchange.resource.as_deref()),
                    ("scope", wanted),
                    (
                        "requested_token_type",
                        exchange.requested_token_type.as_deref(),
                    ),
                ];
                form.extend(
                    optional
                        .into_iter()
                        .filter_map(|(name, value)| Some((name, value?))),
                );
            }
        }
        self.endpoint.request(caller.tenant, &form, now).await
    }

    /// Tells the operator what a user cannot mend. Refusals are kept for a while, each for one caller:
    /// of many callers there would be as many lines.
    fn report(&self, declined: &Declined, now: u64) {
        if matches!(declined, Declined::Interaction { .. } | Declined::SignIn) {
            return;
        }
        let Some(left_out) = self.logged.due(declined.reason(), now) else {
            return;
        };
        let url = self.endpoint.url();
        match declined {
            Declined::Interaction { .. } | Declined::SignIn => {}
            Declined::Refused { error, code } => error!(
                url, error = *error, code, left_out;
                "the authorization server refuses a token for an upstream: see `upstream_token` in docs/configuration.md"
            ),
            Declined::Unavailable { reason, .. } => {
                warn!(url, reason = *reason, left_out; "no token for an upstream can be had now");
            }
            Declined::Malformed => {
                error!(url, left_out; "the authorization server's answer holds no token for an upstream");
            }
        }
    }
}

/// Neither the margin nor the caller's end is passed; a token shorter than the margin serves for
/// half its life.
fn kept_until(granted: &Granted, caller: Caller<'_>, now: u64) -> u64 {
    let life = granted.expires_in;
    let kept = life.saturating_sub(MARGIN).max(life / 2);
    now.saturating_add(kept).min(caller.expires_at)
}

fn bearer(granted: &Granted) -> Option<HeaderValue> {
    let mut value =
        HeaderValue::try_from(format!("Bearer {}", granted.access_token.reveal())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The name under which things are kept for a token, which cannot be read back from it.
fn key(token: &str) -> Key {
    let hash = digest::digest(&digest::SHA256, token.as_bytes());
    let mut key = Key::default();
    key.copy_from_slice(hash.as_ref());
    key
}
