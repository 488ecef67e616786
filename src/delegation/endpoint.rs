//! One token endpoint, asked by the gateway for itself.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use mcp_gateway_filters::Problem;
use parking_lot::Mutex;
use prometheus::IntCounterVec;
use serde::Deserialize;
use tokio::sync::Semaphore;
use url::form_urlencoded;

use crate::{
    egress::{Egress, Limits, Request, Target},
    oauth::{self, ClientCredentials},
    secret::Secret,
    telemetry::{metrics::Metrics, provider_errors::ProviderErrors},
};

/// The limits of one call: 256 KiB within 10 s.
const LIMITS: Limits = Limits {
    total: Duration::from_secs(10),
    body: 256 * 1024,
    decoded: 256 * 1024,
};
/// Calls under way at once; one more is told to come back.
const CALLS: usize = 64;
/// The longest token taken, in bytes: what fits into a header of most servers.
const MAX_TOKEN: usize = 16 * 1024;
/// The longest `claims` passed on, in bytes.
const MAX_CLAIMS: usize = 4 * 1024;
/// How long a token is taken to be good whose answer does not say so, in seconds.
const SHORT: u64 = 60;
/// When to ask again where the server does not say so, in seconds, and the longest it may say.
const RETRY: u64 = 2;
const RETRY_MAX: u64 = 60;
/// How long nobody asks again after the gateway itself was refused, in seconds.
const OWN_FAULT: u64 = 5;
/// What stands for the caller's tenant in a URL.
const TENANT: &str = "{tenantid}";

/// Codes of Entra that a new sign-in cures: an assertion that ended or was revoked, a sign-in that
/// is too old, a changed password.
const SIGN_IN_CODES: [u32; 8] = [
    50_078, 50_133, 50_173, 70_043, 70_044, 500_133, 700_082, 700_084,
];

/// Whom the gateway acts as.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its client id, where the server asks for one.
    pub id: Option<String>,
    /// How it proves that.
    pub credentials: Option<ClientCredentials>,
}

/// A token endpoint.
pub struct TokenEndpoint {
    url: String,
    /// By tenant where the URL has one, else under the empty name.
    targets: HashMap<String, (Target, String)>,
    client: Client,
    egress: Arc<Egress>,
    calls: Semaphore,
    /// What is wrong with the gateway itself, whoever calls, and until when that stands.
    own_fault: Mutex<Option<(Declined, u64)>>,
    purpose: &'static str,
    outcomes: IntCounterVec,
    errors: ProviderErrors,
}

/// A token that was given.
#[derive(Clone, Debug)]
pub struct Granted {
    /// The token.
    pub access_token: Secret<String>,
    /// How long it is good from now, in seconds.
    pub expires_in: u64,
}

/// Why there is no token. No variant holds text of the server but `claims`, which is for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Declined {
    /// The user must do more than sign in: what, is in `claims`, in JSON.
    Interaction {
        /// Entra's `claims`, to be sent with the next sign-in.
        claims: Option<Arc<str>>,
    },
    /// The user must sign in again.
    SignIn,
    /// The server will not give this gateway such a token: a setting is wrong, here or there.
    Refused {
        /// The OAuth error, one of a closed set.
        error: &'static str,
        /// The AADSTS number, 0 where there is none.
        code: u32,
    },
    /// The server cannot be asked, or not now.
    Unavailable {
        /// Why, one of a closed set.
        reason: &'static str,
        /// When to ask again, in seconds.
        retry_after: u64,
    },
    /// The answer is none.
    Malformed,
}

impl Declined {
    /// The name in metrics and access lines.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Interaction { .. } => "interaction_required",
            Self::SignIn => "sign_in_required",
            Self::Refused { error, .. } => error,
            Self::Unavailable { reason, .. } => reason,
            Self::Malformed => "malformed",
        }
    }

    /// When to ask again, in seconds, where waiting helps.
    #[must_use]
    pub const fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Unavailable { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }

    /// Whether no other caller would fare better: the gateway's credentials or registration are wrong.
    fn is_own_fault(&self) -> bool {
        let own = ["invalid_client", "unauthorized_client", "unsigned"];
        matches!(self, Self::Refused { error, .. } if own.contains(error))
    }

    const fn unavailable(reason: &'static str) -> Self {
        Self::Unavailable {
            reason,
            retry_after: RETRY,
        }
    }
}

#[derive(Deserialize)]
struct Success {
    access_token: String,
    expires_in: Option<Seconds>,
}

/// Some servers write the number as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(u64),
    Text(String),
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    error: String,
    error_codes: Vec<u32>,
    claims: Option<String>,
}

impl TokenEndpoint {
    /// Reads the URL; where it holds `{tenantid}`, there is one endpoint for each tenant. `purpose`
    /// is the label under which calls are counted.
    ///
    /// # Errors
    /// When the URL cannot be called.
    pub fn build(
        url: &str,
        tenants: &[String],
        client: Client,
        egress: Arc<Egress>,
        metrics: &Metrics,
        purpose: &'static str,
    ) -> Result<Self, Problem> {
        let names = if url.contains(TENANT) {
            tenants.to_vec()
        } else {
            vec![String::new()]
        };
        let targets = names.into_iter().map(|name| {
            let url = url.replace(TENANT, &name);
            let target =
                Target::parse(&url).map_err(|error| Problem::new("url", error.to_string()))?;
            Ok((name, (target, url)))
        });
        Ok(Self {
            url: url.to_owned(),
            targets: targets.collect::<Result<_, Problem>>()?,
            client,
            egress,
            calls: Semaphore::new(CALLS),
            own_fault: Mutex::default(),
            purpose,
            outcomes: metrics.delegations.clone(),
            errors: metrics.provider_errors.clone(),
        })
    }

    /// Returns the URL as configured.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Asks for a token with the parameters of a grant, as the gateway's own client; `now` is in
    /// seconds since the Unix epoch. While the gateway's own credentials are refused, the server is
    /// asked once in a few seconds, however many callers there are.
    ///
    /// # Errors
    /// When there is no token.
    pub async fn request(
        &self,
        tenant: Option<&str>,
        grant: &[(&str, &str)],
        now: u64,
    ) -> Result<Granted, Declined> {
        let known = self.own_fault.lock().clone();
        if let Some((declined, until)) = known
            && now < until
        {
            return Err(declined);
        }
        let answer = self.ask(tenant, grant, now).await;
        if let Err(declined) = &answer
            && declined.is_own_fault()
        {
            let until = now.saturating_add(OWN_FAULT);
            *self.own_fault.lock() = Some((declined.clone(), until));
        }
        let outcome = answer.as_ref().map_or_else(Declined::reason, |_| "success");
        self.outcomes
            .with_label_values(&[self.purpose, outcome])
            .inc();
        answer
    }

    async fn ask(
        &self,
        tenant: Option<&str>,
        grant: &[(&str, &str)],
        now: u64,
    ) -> Result<Granted, Declined> {
        let name = if self.url.contains(TENANT) {
            tenant.unwrap_or_default()
        } else {
            ""
        };
        let Some((target, url)) = self.targets.get(name) else {
            return Err(Declined::Refused {
                error: "unknown_tenant",
                code: 0,
            });
        };
        let _place = self
            .calls
            .try_acquire()
            .map_err(|_| Declined::unavailable("crowded"))?;
        let request = Request {
            method: Method::POST,
            target,
            headers: headers(),
            body: self.form(url, grant, now)?,
        };
        let answer = self.egress.fetch(&request, LIMITS).await;
        let answer = answer.map_err(|error| Declined::unavailable(error.reason()))?;
        if !answer.status().is_success()
            && let Some(code) = oauth::aadsts::in_body(answer.body())
        {
            oauth::noticed(&self.errors, code, now);
        }
        judge(&answer)
    }

    fn form(&self, url: &str, grant: &[(&str, &str)], now: u64) -> Result<Bytes, Declined> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(grant);
        let id = self.client.id.as_deref();
        if let Some(id) = id {
            form.append_pair("client_id", id);
        }
        if let Some(credentials) = &self.client.credentials {
            let client = oauth::Client {
                id: id.unwrap_or_default(),
                token_endpoint: url,
            };
            let signed = credentials
                .parameters(client, now)
                .map_err(|_| Declined::Refused {
                    error: "unsigned",
                    code: 0,
                })?;
            form.extend_pairs(signed.iter().map(|(name, value)| (name, value.reveal())));
        }
        Ok(Bytes::from(form.finish()))
    }
}

fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/x-www-form-urlencoded"),
    );
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers
}

/// Reads what the server says, and who can do something about it.
pub(super) fn judge(answer: &Response<Bytes>) -> Result<Granted, Declined> {
    let status = answer.status();
    if status == StatusCode::OK {
        return granted(answer.body()).ok_or(Declined::Malformed);
    }
    if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
        let reason = if status == StatusCode::TOO_MANY_REQUESTS {
            "throttled"
        } else {
            "server_error"
        };
        return Err(Declined::Unavailable {
            reason,
            retry_after: retry_after(answer.headers()),
        });
    }
    if !status.is_client_error() {
        return Err(Declined::Malformed);
    }
    let refusal: Refusal =
        serde_json::from_slice(answer.body()).map_err(|_| Declined::Malformed)?;
    Err(refused(refusal))
}

fn granted(body: &[u8]) -> Option<Granted> {
    let success: Success = serde_json::from_slice(body).ok()?;
    let token = success.access_token;
    let is_token = !token.is_empty()
        && token.len() <= MAX_TOKEN
        && token.bytes().all(|byte| byte.is_ascii_graphic());
    let expires_in = match success.expires_in {
        None => SHORT,
        Some(Seconds::Number(seconds)) => seconds,
        Some(Seconds::Text(text)) => text.parse().ok()?,
    };
    is_token.then(|| Granted {
        access_token: Secret::new(token),
        expires_in,
    })
}

fn refused(refusal: Refusal) -> Declined {
    let code = refusal.error_codes.first().copied().unwrap_or_default();
    let claims = refusal
        .claims
        .filter(|claims| !claims.is_empty() && claims.len() <= MAX_CLAIMS);
    if claims.is_some() || refusal.error == "interaction_required" {
        return Declined::Interaction {
            claims: claims.map(Arc::from),
        };
    }
    if refusal
        .error_codes
        .iter()
        .any(|code| SIGN_IN_CODES.contains(code))
    {
        return Declined::SignIn;
    }
    // A closed set, since it becomes a label.
    let known = [
        "invalid_client",
        "invalid_grant",
        "invalid_request",
        "invalid_resource",
        "invalid_scope",
        "invalid_target",
        "unauthorized_client",
        "unsupported_grant_type",
        "consent_required",
    ];
    let error = known.into_iter().find(|known| *known == refusal.error);
    let error = error.unwrap_or("other_error");
    if code == 65_001 || error == "consent_required" {
        return Declined::Refused {
            error: "consent_required",
            code,
        };
    }
    Declined::Refused { error, code }
}

fn retry_after(headers: &HeaderMap) -> u64 {
    let seconds = headers
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    seconds.unwrap_or(RETRY).clamp(1, RETRY_MAX)
}

/// Without the client's credentials.
impl fmt::Debug for TokenEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenEndpoint")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}
