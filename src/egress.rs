//! Calls out of the house: to the authorization server, through the corporate proxy when there is one.
//!
//! One request, one whole answer from memory, within a deadline and within bounds. It follows no
//! redirect, keeps no cookie, and repeats nothing that a server may have acted upon. HTTP is
//! hyper's; TLS and pooling are its own, for Pingora's connector replaces the system's authorities
//! when it is given others, and a pool that tells which request the server's kernel never took is
//! not to be had.

mod bypass;
mod config;
mod decode;
mod dial;
mod exchange;
mod guard;
mod pool;
mod proxy;
mod target;
mod trust;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use log::debug;
use mcp_gateway_filters::Problem;
use rustls::ClientConfig;

use bypass::Bypass;
use dial::Stream;
use exchange::Exchanged;
use pool::Pool;
use proxy::Proxy;

pub use config::Config;
pub use guard::Guard;
pub use target::{Target, TargetError};
pub use trust::roots;

/// How long a connection out may take: name, TCP, proxy and TLS together.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_secs(60);

/// The way out, shared by everything that calls out.
#[derive(Debug)]
pub struct Egress {
    proxy: Option<Proxy>,
    bypass: Bypass,
    tls: Arc<ClientConfig>,
    pool: Pool,
    connect: Duration,
}

/// One request.
#[derive(Clone)]
pub struct Request<'a> {
    /// The method; only GET, HEAD and OPTIONS are ever sent twice.
    pub method: Method,
    /// Where it goes.
    pub target: &'a Target,
    /// Headers beside those of the message itself (`host`, `content-length`, `accept-encoding`,
    /// hop-by-hop ones), which are set here and ignored in this map.
    pub headers: HeaderMap,
    /// The body, possibly empty.
    pub body: Bytes,
}

/// Without headers and body, which hold codes and secrets.
impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("target", self.target)
            .finish_non_exhaustive()
    }
}

/// What one call may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From the call to the last byte of the answer, connecting included.
    pub total: Duration,
    /// The largest body as it travels, in bytes.
    pub body: usize,
    /// The largest body after decoding, in bytes.
    pub decoded: usize,
}

impl Default for Limits {
    /// 15 s, and 1 MiB in either form.
    fn default() -> Self {
        Self {
            total: Duration::from_secs(15),
            body: 1024 * 1024,
            decoded: 1024 * 1024,
        }
    }
}

/// Why there is no answer. No variant holds anything of the request or of the answer's body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// The deadline passed; whether the server acted is unknown.
    #[error("no whole answer within {} ms", after.as_millis())]
    Timeout {
        /// The deadline.
        after: Duration,
    },
    /// No connection, or one that ended before the first byte of an answer.
    #[error("not reached: {cause}")]
    Unreachable {
        /// Host, port and what failed: fit for a log, not for a client.
        cause: String,
    },
    /// The target may not be called: it was not chosen by the operator, and is inside the house.
    #[error("not called: {cause}")]
    Forbidden {
        /// Host and address: fit for a log, not for a client.
        cause: String,
    },
    /// The connection ended inside the answer.
    #[error("the answer was cut short")]
    Truncated,
    /// The answer is longer than allowed, as it travels or decoded.
    #[error("the answer is longer than {limit} bytes")]
    TooLarge {
        /// The limit that was passed.
        limit: usize,
    },
    /// The answer is encoded in a way that was not asked for and is not understood.
    #[error("the answer's encoding is not understood: {what}")]
    Encoding {
        /// What was found.
        what: &'static str,
    },
    /// The answer is not HTTP/1 as expected.
    #[error("the answer is not well formed: {what}")]
    Protocol {
        /// What was found.
        what: &'static str,
    },
}

impl EgressError {
    /// The error's name in metrics and logs: one of a closed set.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Timeout { .. } => "timeout",
            Self::Unreachable { .. } => "unreachable",
            Self::Forbidden { .. } => "forbidden",
            Self::Truncated => "truncated",
            Self::TooLarge { .. } => "too_large",
            Self::Encoding { .. } => "encoding",
            Self::Protocol { .. } => "protocol",
        }
    }

    const fn unreachable(cause: String) -> Self {
        Self::Unreachable { cause }
    }
}

/// An exchange that failed, and whether it may be tried again.
struct Failure {
    error: EgressError,
    /// The connection ended before an answer, and either the server did not take the whole
    /// request or repeating it does no harm.
    repeatable: bool,
}

impl Egress {
    /// Reads the proxies, the exceptions and the certificate authorities.
    ///
    /// # Errors
    /// Everything that is wrong with the section, at once.
    pub fn build(config: &Config) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let proxy = Proxy::parse("https_proxy", &config.https_proxy, &mut problems);
        // Plain http is for loopback, which is always direct: checked, and never used.
        Proxy::parse("http_proxy", &config.http_proxy, &mut problems);
        let bypass = Bypass::parse(&config.no_proxy, &mut problems);
        let tls = trust::build(config.ca_file.as_deref())
            .map_err(|problem| problems.push(problem))
            .ok();
        match tls {
            Some(tls) if problems.is_empty() => Ok(Self {
                proxy,
                bypass,
                tls,
                pool: Pool::new(IDLE),
                connect: CONNECT,
            }),
            _ => Err(problems),
        }
    }

    /// Returns `host:port` of the proxy that requests to a target go through.
    #[must_use]
    pub fn proxy_for(&self, target: &Target) -> Option<String> {
        self.route(target)
            .map(|proxy| format!("{}:{}", proxy.host, proxy.port))
    }

    /// Sends a request and reads the whole answer; any status is an answer.
    ///
    /// # Errors
    /// When there is no whole answer within the limits.
    pub async fn fetch(
        &self,
        request: &Request<'_>,
        limits: Limits,
    ) -> Result<Response<Bytes>, EgressError> {
        let late = EgressError::Timeout {
            after: limits.total,
        };
        tokio::time::timeout(limits.total, self.exchange(request, limits))
            .await
            .unwrap_or(Err(late))
    }

    /// Sends a request to a target that a stranger chose: over a connection of its own, and only to
    /// an address that the guard admits. A proxy looks names up by itself; whoever calls must then
    /// know the host, see [`proxy_for`](Self::proxy_for).
    ///
    /// # Errors
    /// As [`fetch`](Self::fetch), and when one of the target's addresses is not admitted.
    pub async fn fetch_guarded(
        &self,
        request: &Request<'_>,
        limits: Limits,
        guard: &Guard,
    ) -> Result<Response<Bytes>, EgressError> {
        let late = EgressError::Timeout {
            after: limits.total,
        };
        let exchange = async {
            let stream = self.connect(request.target, Some(guard)).await?;
            let answer = self.over(stream, request, limits).await;
            answer
                .map(|(response, _)| response)
                .map_err(|failure| failure.error)
        };
        tokio::time::timeout(limits.total, exchange)
            .await
            .unwrap_or(Err(late))
    }

    async fn exchange(
        &self,
        request: &Request<'_>,
        limits: Limits,
    ) -> Result<Response<Bytes>, EgressError> {
        let origin = request.target.origin();
        if let Some(stream) = self.pool.take(origin, Instant::now()) {
            match self.once(stream, request, limits).await {
                Err(failure) if failure.repeatable => {
                    debug!(origin:% = origin; "a kept connection had been closed, using a new one");
                }
                done => return done.map_err(|failure| failure.error),
            }
        }
        let stream = self.connect(request.target, None).await?;
        self.once(stream, request, limits)
            .await
            .map_err(|failure| failure.error)
    }

    async fn connect(&self, target: &Target, guard: Option<&Guard>) -> Result<Stream, EgressError> {
        let open = dial::open(target, self.route(target), &self.tls, guard);
        let after = self.connect;
        tokio::time::timeout(after, open).await.unwrap_or_else(|_| {
            Err(EgressError::unreachable(format!(
                "{}:{}: no connection within {} ms",
                target.host(),
                target.port(),
                after.as_millis()
            )))
        })
    }

    async fn once(
        &self,
        stream: Stream,
        request: &Request<'_>,
        limits: Limits,
    ) -> Result<Response<Bytes>, Failure> {
        let (response, kept) = self.over(stream, request, limits).await?;
        if let Some(stream) = kept {
            self.pool
                .put(request.target.origin(), stream, Instant::now());
        }
        Ok(response)
    }

    /// Sends a request over a connection, and returns that when it can carry another.
    async fn over(
        &self,
        stream: Stream,
        request: &Request<'_>,
        limits: Limits,
    ) -> Result<(Response<Bytes>, Option<Stream>), Failure> {
        let target = request.target;
        let fatal = |error| Failure {
            error,
            repeatable: false,
        };
        let Exchanged {
            answer,
            stream,
            reusable,
            sent,
            heard,
        } = exchange::run(stream, request, limits.body)
            .await
            .map_err(fatal)?;
        let response = answer.map_err(|error| {
            let safe = matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS);
            Failure {
                error: if heard {
                    error
                } else {
                    EgressError::unreachable(format!(
                        "{}:{}: connection closed before an answer",
                        target.host(),
                        target.port()
                    ))
                },
                repeatable: !sent || (!heard && (safe || stream.unacknowledged())),
            }
        })?;
        let response = decode::decode(response, limits.decoded).map_err(fatal)?;
        Ok((response, reusable.then_some(stream)))
    }

    fn route(&self, target: &Target) -> Option<&Proxy> {
        self.proxy.as_ref().filter(|_| !self.bypass.covers(target))
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
