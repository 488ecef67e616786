//! Who may talk to a workload: bearer tokens and origins.
//!
//! ToolHive is stricter here than most: RS and ES algorithms only, a key id, one exact issuer, no
//! clock skew.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Response, StatusCode};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::record::Recorded;
use crate::reply;
use crate::tls;

/// What is waited for keys.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// `--oidc-*` of `thv run`.
#[derive(Debug, Clone)]
pub struct Oidc {
    /// `--oidc-issuer`, compared exactly.
    pub issuer: String,
    /// `--oidc-audience`; none: any.
    pub audience: Option<String>,
    /// `--oidc-jwks-url`.
    pub jwks_url: String,
    /// `--resource-url`, named in challenges and in the metadata document.
    pub resource_url: Option<String>,
}

/// Checks bearer tokens.
pub(super) struct Guard {
    oidc: Oidc,
    http: reqwest::Client,
    keys: Mutex<Option<Arc<JwkSet>>>,
}

/// Why a caller is turned away.
struct Denial {
    error: &'static str,
    description: String,
}

impl Denial {
    fn token(reason: impl std::fmt::Display) -> Self {
        Self {
            error: "invalid_token",
            description: format!("Invalid token: {reason}"),
        }
    }
}

#[derive(Serialize)]
struct Problem<'a> {
    error: &'a str,
    error_description: &'a str,
}

impl Guard {
    /// Returns a guard that fetches keys when it first needs them.
    ///
    /// # Errors
    ///
    /// When no HTTP client can be made.
    pub(super) fn new(oidc: Oidc) -> Result<Self, reqwest::Error> {
        tls::install_provider();
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(FETCH_TIMEOUT)
            .build()?;
        Ok(Self {
            oidc,
            http,
            keys: Mutex::default(),
        })
    }

    /// Names the resource in challenges and metadata.
    pub(super) fn set_resource_url(&mut self, url: String) {
        self.oidc.resource_url = Some(url);
    }

    pub(super) fn oidc(&self) -> &Oidc {
        &self.oidc
    }

    /// Returns the refusal, if the request is refused.
    pub(super) async fn refuse(&self, request: &Recorded) -> Option<Response<Body>> {
        match self.check(request).await {
            Ok(()) => None,
            Err(denial) => Some(self.challenge(&denial)),
        }
    }

    /// The refusal of a token that would have been good.
    pub(super) fn refuse_anyway(&self) -> Response<Body> {
        self.challenge(&Denial::token("refused on purpose"))
    }

    async fn check(&self, request: &Recorded) -> Result<(), Denial> {
        let invalid = |description: &str| Denial {
            error: "invalid_request",
            description: description.to_owned(),
        };
        let header = request
            .header("authorization")
            .ok_or_else(|| invalid("authorization header required"))?;
        let token = header
            .strip_prefix("Bearer ")
            .ok_or_else(|| invalid("invalid authorization header format"))?;
        let header = decode_header(token)
            .map_err(|error| Denial::token(format!("failed to parse token: {error}")))?;
        if !matches!(
            header.alg,
            Algorithm::RS256
                | Algorithm::RS384
                | Algorithm::RS512
                | Algorithm::ES256
                | Algorithm::ES384
        ) {
            return Err(Denial::token(
                "failed to parse token: unexpected signing method",
            ));
        }
        let kid = header
            .kid
            .ok_or_else(|| Denial::token("failed to parse token: token header missing kid"))?;
        let key = self.key(&kid).await?;
        let mut validation = Validation::new(header.alg);
        validation.leeway = 0;
        validation.validate_nbf = true;
        validation.set_issuer(&[self.oidc.issuer.trim()]);
        // The library lets a token without `aud` or `iss` pass unless they are required by name.
        if let Some(audience) = &self.oidc.audience {
            validation.set_audience(&[audience]);
            validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        } else {
            validation.validate_aud = false;
            validation.set_required_spec_claims(&["exp", "iss"]);
        }
        let claims = decode::<Value>(token, &key, &validation)
            .map_err(|error| Denial::token(format!("failed to parse token: {error}")))?
            .claims;
        match claims.get("sub").and_then(Value::as_str) {
            Some(subject) if !subject.is_empty() => Ok(()),
            _ => Err(Denial {
                error: "invalid_token",
                description: "Invalid authentication claims".to_owned(),
            }),
        }
    }

    /// Returns a key; the set is fetched when the key is not in it.
    async fn key(&self, kid: &str) -> Result<DecodingKey, Denial> {
        let mut keys = self.keys.lock().await;
        if keys.as_ref().is_none_or(|known| known.find(kid).is_none()) {
            let fetched = self.fetch().await.map_err(|error| {
                Denial::token(format!(
                    "failed to parse token: failed to lookup key: {error}"
                ))
            })?;
            *keys = Some(Arc::new(fetched));
        }
        let known = keys.as_ref().and_then(|known| known.find(kid));
        let jwk = known.ok_or_else(|| {
            Denial::token(format!(
                "failed to parse token: key ID {kid} not found in JWKS"
            ))
        })?;
        DecodingKey::from_jwk(jwk)
            .map_err(|error| Denial::token(format!("failed to parse token: {error}")))
    }

    async fn fetch(&self) -> Result<JwkSet, reqwest::Error> {
        let response = self.http.get(&self.oidc.jwks_url).send().await?;
        response.error_for_status()?.json().await
    }

    fn challenge(&self, denial: &Denial) -> Response<Body> {
        let mut parameters = vec![format!("realm=\"{}\"", self.oidc.issuer)];
        if let Some(resource) = &self.oidc.resource_url {
            parameters.push(format!("resource_metadata=\"{}\"", metadata_url(resource)));
        }
        parameters.push(format!("error=\"{}\"", denial.error));
        parameters.push(format!(
            "error_description=\"{}\"",
            denial.description.replace('"', "'")
        ));
        let mut response = reply::json(
            StatusCode::UNAUTHORIZED,
            "application/json",
            &Problem {
                error: denial.error,
                error_description: &denial.description,
            },
        );
        let challenge = format!("Bearer {}", parameters.join(", "));
        reply::set(&mut response, "www-authenticate", &challenge);
        response
    }
}

/// Inserts the well-known path between host and path (RFC 9728 §3.1).
fn metadata_url(resource: &str) -> String {
    match url::Url::parse(resource) {
        Ok(mut url) => {
            let path = url.path().trim_end_matches('/').to_owned();
            url.set_path(&format!("/.well-known/oauth-protected-resource{path}"));
            url.into()
        }
        Err(_) => resource.to_owned(),
    }
}

/// Whether a browser's origin may talk to a proxy on loopback. No origin may, too.
pub(super) fn admits_origin(request: &Recorded, address: SocketAddr) -> bool {
    let Some(origin) = request.headers.get("origin") else {
        return true;
    };
    let port = address.port();
    ["localhost", "127.0.0.1", "[::1]"]
        .iter()
        .any(|host| origin.as_bytes() == format!("http://{host}:{port}").as_bytes())
}
