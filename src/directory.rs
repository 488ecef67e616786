//! The groups of users whose tokens do not list them, from Microsoft Graph.
//!
//! A token with more than about 200 groups only says that there are more. Graph is then asked at its
//! configured address, never at the one that the token names, and by the user's object id, which was
//! signed. Answers are kept for minutes, failures for seconds, and a user is asked for once for
//! everyone who waits.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::digest;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use log::{error, warn};
use mcp_gateway_filters::{Groups, Identity, Problem};
use prometheus::IntCounterVec;
use serde::Deserialize;

use crate::{
    delegation::{Client, Declined, Granted, Kept, Key, TokenEndpoint},
    egress::{Egress, Limits, Request, Target},
    oauth::{ClientCredentials, Overage},
    telemetry::{metrics::Metrics, seldom::Seldom},
};

/// The limits of one lookup: 1 MiB within 10 s; a user is in 11,000 groups at most.
const LIMITS: Limits = Limits {
    total: Duration::from_secs(10),
    body: 1024 * 1024,
    decoded: 1024 * 1024,
};
/// Users whose groups are kept.
const USERS: usize = 10_000;
/// What they may weigh, in bytes: 300 groups of 10,000 users.
const USERS_BYTES: u64 = 192 * 1024 * 1024;
/// How long groups are taken to be right, in seconds.
const FRESH: u64 = 300;
/// How long a failure stands, in seconds.
const FAILED: u64 = 5;
/// The longest id of a group, in bytes.
const MAX_GROUP: usize = 256;

/// Whom to ask, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// In whose name.
    pub asker: Asker,
    /// The base of Microsoft Graph.
    pub graph: String,
    /// The token endpoint; `{tenantid}` in it stands for the user's tenant.
    pub url: String,
    /// The application that asks.
    pub client_id: String,
    /// How it proves that.
    pub credentials: ClientCredentials,
}

/// In whose name Graph is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// The application's own.
    Application,
    /// The user's.
    User,
}

impl Asker {
    /// Returns in whose name, unless nobody is asked.
    #[must_use]
    pub const fn of(overage: Overage) -> Option<Self> {
        match overage {
            Overage::Graph => Some(Self::Application),
            Overage::OnBehalfOf => Some(Self::User),
            Overage::Unresolved => None,
        }
    }
}

/// The groups of users.
pub struct Directory {
    asker: Asker,
    graph: String,
    me: Target,
    scope: String,
    endpoint: TokenEndpoint,
    egress: Arc<Egress>,
    tokens: Kept<Result<Granted, Declined>>,
    groups: Kept<Result<Arc<[String]>, Unknown>>,
    lookups: IntCounterVec,
    logged: Seldom<&'static str>,
}

/// Why a user's groups are not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// The token does not name a user of a tenant.
    #[error("the token names no user that groups could be asked for")]
    NoUser,
    /// Graph, or the token endpoint, cannot be asked now.
    #[error("the user's groups cannot be asked for now")]
    Unavailable {
        /// When to ask again, in seconds.
        retry_after: u64,
    },
    /// Graph does not answer this gateway: a permission or a setting is missing.
    #[error("the directory does not tell this server the user's groups")]
    Refused,
}

impl Unknown {
    const fn outcome(self) -> &'static str {
        match self {
            Self::NoUser => "no_user",
            Self::Unavailable { .. } => "unavailable",
            Self::Refused => "refused",
        }
    }
}

#[derive(Deserialize)]
struct Members {
    value: Vec<String>,
}

impl Directory {
    /// Makes groups available; nothing is asked for yet. `tenants` are those whose users may call.
    ///
    /// # Errors
    /// When an address cannot be called.
    pub fn build(
        config: &Config,
        tenants: &[String],
        egress: &Arc<Egress>,
        metrics: &Metrics,
    ) -> Result<Self, Problem> {
        let client = Client {
            id: Some(config.client_id.clone()),
            credentials: Some(config.credentials.clone()),
        };
        let graph = config.graph.trim_end_matches('/').to_owned();
        let me = Target::parse(&format!("{graph}/v1.0/me/getMemberObjects"))
            .map_err(|error| Problem::new("graph", error.to_string()))?;
        Ok(Self {
            asker: config.asker,
            me,
            scope: format!("{graph}/.default"),
            endpoint: TokenEndpoint::build(
                &config.url,
                tenants,
                client,
                Arc::clone(egress),
                metrics,
                "groups",
            )?,
            graph,
            egress: Arc::clone(egress),
            tokens: Kept::new(tenants.len().max(1), 1024 * 1024),
            groups: Kept::new(USERS, USERS_BYTES),
            lookups: metrics.group_lookups.clone(),
            logged: Seldom::default(),
        })
    }

    /// Returns the identity with its groups known; `token` is the one that it was read from, `now`
    /// is in seconds since the Unix epoch.
    ///
    /// # Errors
    /// When nobody says which groups these are.
    pub async fn resolve(
        &self,
        identity: &Arc<Identity>,
        token: &str,
        now: u64,
    ) -> Result<Arc<Identity>, Unknown> {
        if identity.groups != Groups::Unresolved {
            return Ok(Arc::clone(identity));
        }
        let user = User::of(identity).ok_or(Unknown::NoUser)?;
        let fetch = async || {
            let found = self.look_up(user, token, now).await;
            let outcome = found.as_ref().map_or_else(|why| why.outcome(), |_| "ok");
            self.lookups.with_label_values(&[outcome]).inc();
            let (kept, weight) = match &found {
                Ok(groups) => (FRESH, groups.iter().map(|group| group.len() + 16).sum()),
                Err(Unknown::Unavailable { retry_after }) => (*retry_after, 0),
                Err(_) => (FAILED, 0),
            };
            (found, now.saturating_add(kept), weight as u64)
        };
        let groups = self.groups.get(&user.key(), now, fetch).await?;
        Ok(Arc::new(Identity {
            groups: Groups::Known(groups),
            ..Identity::clone(identity)
        }))
    }

    async fn look_up(
        &self,
        user: User<'_>,
        token: &str,
        now: u64,
    ) -> Result<Arc<[String]>, Unknown> {
        let granted = match self.asker {
            Asker::Application => self.application_token(user, now).await,
            Asker::User => self.user_token(user, token, now).await,
        };
        let granted = granted.map_err(|declined| self.no_token(&declined, now))?;
        let path;
        let target = match self.asker {
            Asker::User => &self.me,
            Asker::Application => {
                let url = format!("{}/v1.0/users/{}/getMemberObjects", self.graph, user.object);
                path = Target::parse(&url).map_err(|_| Unknown::NoUser)?;
                &path
            }
        };
        let mut headers = HeaderMap::new();
        let bearer = HeaderValue::try_from(format!("Bearer {}", granted.access_token.reveal()));
        headers.insert(header::AUTHORIZATION, bearer.map_err(|_| Unknown::Refused)?);
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json.clone());
        headers.insert(header::ACCEPT, json);
        let request = Request {
            method: Method::POST,
            target,
            headers,
            // Lists for mail have no say in who may do what.
            body: Bytes::from_static(b"{\"securityEnabledOnly\":true}"),
        };
        match self.egress.fetch(&request, LIMITS).await {
            Ok(answer) => {
                if answer.status() == StatusCode::UNAUTHORIZED {
                    self.tokens.forget(&hash(&[user.tenant]));
                }
                self.judge(&answer, now)
            }
            Err(error) => {
                if let Some(left_out) = self.logged.due("graph_unreachable", now) {
                    warn!(graph = self.graph.as_str(), error:%, left_out; "a user's groups were not fetched");
                }
                Err(Unknown::Unavailable {
                    retry_after: FAILED,
                })
            }
        }
    }

    async fn application_token(&self, user: User<'_>, now: u64) -> Result<Granted, Declined> {
        let form = [
            ("grant_type", "client_credentials"),
            ("scope", self.scope.as_str()),
        ];
        let fetch = async || {
            let answer = self.endpoint.request(Some(user.tenant), &form, now).await;
            let kept = match &answer {
                Ok(granted) => granted.expires_in.saturating_sub(60),
                Err(declined) => declined.retry_after().unwrap_or(FAILED),
            };
            (answer, now.saturating_add(kept), 2048)
        };
        self.tokens.get(&hash(&[user.tenant]), now, fetch).await
    }

    /// Not kept: the groups are, and for longer.
    async fn user_token(&self, user: User<'_>, token: &str, now: u64) -> Result<Granted, Declined> {
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("requested_token_use", "on_behalf_of"),
            ("assertion", token),
            ("scope", self.scope.as_str()),
        ];
        self.endpoint.request(Some(user.tenant), &form, now).await
    }

    fn no_token(&self, declined: &Declined, now: u64) -> Unknown {
        let (url, reason) = (self.endpoint.url(), declined.reason());
        let due = self.logged.due(reason, now);
        if let Some(retry_after) = declined.retry_after() {
            if let Some(left_out) = due {
                warn!(url, reason, left_out; "no token to ask for groups with can be had now");
            }
            return Unknown::Unavailable { retry_after };
        }
        let code = match declined {
            Declined::Refused { code, .. } => *code,
            _ => 0,
        };
        if let Some(left_out) = due {
            error!(url, reason, code, left_out; "the authorization server gives no token to ask for groups with");
        }
        Unknown::Refused
    }

    fn judge(&self, answer: &Response<Bytes>, now: u64) -> Result<Arc<[String]>, Unknown> {
        let status = answer.status();
        if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
            if let Some(left_out) = self.logged.due("graph_unavailable", now) {
                warn!(status = status.as_u16(), left_out; "Microsoft Graph did not tell a user's groups");
            }
            let wait = answer.headers().get(header::RETRY_AFTER);
            let wait = wait.and_then(|value| value.to_str().ok()?.parse().ok());
            let retry_after = wait.unwrap_or(FAILED).clamp(1, 60);
            return Err(Unknown::Unavailable { retry_after });
        }
        if status != StatusCode::OK {
            if let Some(left_out) = self.logged.due("graph_refused", now) {
                error!(
                    status = status.as_u16(), left_out;
                    "Microsoft Graph did not tell a user's groups: on 403 the application lacks `GroupMember.Read.All`, consented to by an administrator"
                );
            }
            return Err(Unknown::Refused);
        }
        let members: Members =
            serde_json::from_slice(answer.body()).map_err(|_| Unknown::Unavailable {
                retry_after: FAILED,
            })?;
        if members.value.iter().any(|group| group.len() > MAX_GROUP) {
            return Err(Unknown::Refused);
        }
        Ok(members.value.into())
    }
}

/// A user of a tenant.
#[derive(Clone, Copy)]
struct User<'a> {
    tenant: &'a str,
    object: &'a str,
}

impl<'a> User<'a> {
    /// Both become part of a URL, so nothing but the ids that Entra gives is taken.
    fn of(identity: &'a Identity) -> Option<Self> {
        let is_id = |text: &&str| {
            (1..=64).contains(&text.len())
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
        };
        Some(Self {
            tenant: identity.tenant.as_deref().filter(is_id)?,
            object: identity.object.as_deref().filter(is_id)?,
        })
    }

    fn key(self) -> Key {
        hash(&[self.tenant, self.object])
    }
}

fn hash(parts: &[&str]) -> Key {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part.as_bytes());
        context.update(b"\0");
    }
    let mut key = Key::default();
    key.copy_from_slice(context.finish().as_ref());
    key
}

#[cfg(test)]
mod tests;
