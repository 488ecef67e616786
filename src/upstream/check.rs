//! One health check: connect, GET, judge.
//!
//! Every check makes a connection of its own, since that is what a backend that hangs or is gone
//! fails at. When to check, and what follows, is decided by [`super::supervise`] and
//! [`super::backend`].

use std::{io, sync::Arc, time::Duration};

use bytes::BytesMut;
use http::{Method, StatusCode, header};
use log::debug;
use pingora::{
    ErrorType,
    connectors::{ConnectorOptions, TransportConnector},
    http::{RequestHeader, ResponseHeader},
    protocols::{Stream, http::v1::client::HttpSession, l4},
    upstreams::peer::HttpPeer,
};
use serde::Deserialize;
use tokio::{net::TcpStream, time::timeout};

use super::{
    config::{Config, Expect},
    reason::Reason,
};

/// The longest answer read; ToolHive's is about 200 bytes.
const ANSWER_LIMIT: usize = 64 * 1024;

/// The header by which ToolHive's management API introduces itself.
const MANAGEMENT_API: &str = "x-toolhive-nonce";

/// How the backends of one upstream are checked.
pub(super) struct Check {
    path: Box<[u8]>,
    expect: Expect,
    timeout: Duration,
    connect_timeout: Duration,
    tls: Option<TransportConnector>,
}

/// What ToolHive's workload proxies answer; other members do not matter.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    status: std::borrow::Cow<'a, str>,
}

impl Check {
    /// Prepares the checks that `config` asks for.
    pub(super) fn new(config: &Config) -> Self {
        let tls = config.tls.as_ref().map(|tls| {
            // No connection is ever given back, so there is nothing to keep.
            let mut options = ConnectorOptions::new(1);
            // The peers carry the authorities of `ca_file`. An empty file spares reading the
            // system's beside them, which Pingora does with an `unwrap`; where the system's are
            // used, the peer template has read them before.
            options.ca_file = tls.ca_file.as_ref().map(|_| "/dev/null".to_owned());
            TransportConnector::new(Some(options))
        });
        Self {
            path: config.health_check.path.as_bytes().into(),
            expect: config.health_check.expect,
            timeout: config.health_check.timeout.0,
            connect_timeout: config.connect_timeout.0,
            tls,
        }
    }

    /// Checks a backend and returns the peer that answered well.
    ///
    /// The peers are addresses of one backend: the first that can be connected to is judged.
    pub(super) async fn run(
        &self,
        address: &str,
        peers: &[Arc<HttpPeer>],
    ) -> Result<Arc<HttpPeer>, Reason> {
        let mut failure = Reason::Unresolved;
        let connected = async {
            for peer in peers {
                match self.connect(peer).await {
                    Ok(stream) => return Ok((peer, stream)),
                    Err(reason) => failure = reason,
                }
            }
            Err(failure)
        };
        let (peer, stream) = connected.await?;
        timeout(self.timeout, self.ask(address, stream))
            .await
            .unwrap_or(Err(Reason::NoAnswer))?;
        Ok(Arc::clone(peer))
    }

    async fn connect(&self, peer: &HttpPeer) -> Result<Stream, Reason> {
        let connect = async {
            if let Some(connector) = &self.tls {
                return connector.new_stream(peer).await.map_err(|error| {
                    debug!(error:%; "health check cannot connect");
                    tls_reason(error.etype())
                });
            }
            let address = peer._address.as_inet().ok_or(Reason::Unreachable)?;
            let stream = TcpStream::connect(address).await.map_err(|error| {
                debug!(error:%; "health check cannot connect");
                tcp_reason(&error)
            })?;
            Ok(Box::new(l4::stream::Stream::from(stream)) as Stream)
        };
        timeout(self.connect_timeout.min(self.timeout), connect)
            .await
            .unwrap_or(Err(Reason::ConnectTimeout))
    }

    async fn ask(&self, address: &str, stream: Stream) -> Result<(), Reason> {
        let mut session = HttpSession::new(stream);
        let head = self.request(address).ok_or(Reason::Broken)?;
        // A server that answers and closes early may make the write fail; its answer still counts.
        let _ = session.write_request_header(Box::new(head)).await;
        loop {
            session.read_response().await.map_err(|_| Reason::Broken)?;
            match session.get_status() {
                Some(status) if status.is_informational() => {}
                _ => break,
            }
        }
        let head = session.resp_header().ok_or(Reason::Broken)?;
        if !self.wants_body(head)? {
            return Ok(());
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = session
            .read_body_bytes()
            .await
            .map_err(|_| Reason::Broken)?
        {
            if body.len() + chunk.len() > ANSWER_LIMIT {
                return Err(Reason::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        judge(&body)
    }

    fn request(&self, address: &str) -> Option<RequestHeader> {
        let mut head = RequestHeader::build(Method::GET, &self.path, Some(4)).ok()?;
        head.insert_header(header::HOST, address).ok()?;
        head.insert_header(header::ACCEPT, "application/json")
            .ok()?;
        let agent = concat!("mcp-gateway/", env!("CARGO_PKG_VERSION"));
        head.insert_header(header::USER_AGENT, agent).ok()?;
        head.insert_header(header::CONNECTION, "close").ok()?;
        Some(head)
    }

    /// Judges the head; returns whether the body has to be judged too.
    fn wants_body(&self, head: &ResponseHeader) -> Result<bool, Reason> {
        let status = head.status;
        if status == StatusCode::NO_CONTENT && head.headers.contains_key(MANAGEMENT_API) {
            return Err(Reason::ManagementApi);
        }
        match self.expect {
            Expect::Toolhive if status == StatusCode::OK => Ok(true),
            Expect::Success if status.is_success() => Ok(false),
            Expect::Toolhive | Expect::Success => Err(Reason::Status(status.as_u16())),
        }
    }
}

fn judge(body: &[u8]) -> Result<(), Reason> {
    let answer: Answer<'_> = serde_json::from_slice(body).map_err(|_| Reason::NotToolhive)?;
    match &*answer.status {
        "healthy" => Ok(()),
        "degraded" => Err(Reason::Degraded),
        _ => Err(Reason::Unhealthy),
    }
}

fn tcp_reason(error: &io::Error) -> Reason {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Reason::Refused,
        io::ErrorKind::TimedOut => Reason::ConnectTimeout,
        _ => Reason::Unreachable,
    }
}

fn tls_reason(error: &ErrorType) -> Reason {
    match error {
        ErrorType::ConnectRefused => Reason::Refused,
        ErrorType::ConnectTimedout => Reason::ConnectTimeout,
        ErrorType::TLSHandshakeFailure
        | ErrorType::TLSHandshakeTimedout
        | ErrorType::InvalidCert
        | ErrorType::HandshakeError => Reason::Tls,
        _ => Reason::Unreachable,
    }
}
