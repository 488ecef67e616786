//! One health check: connect, GET, judge.
//!
//! Every check makes a connection of its own, since that is what a backend that hangs or is gone
//! fails at. When to check, and what follows, is decided by [`super::supervise`] and
//! [`super::backend`].

use std::{io, sync::Arc, time::Duration};

use bytes::BytesMut;
use http::{HeaderMap, Method, StatusCode, header};
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
        let (peer, stream) = self.first(peers).await?;
        timeout(self.timeout, self.ask(address, stream))
            .await
            .unwrap_or(Err(Reason::NoAnswer))?;
        Ok(Arc::clone(peer))
    }

    /// Posts JSON to a path instead, and returns status and fields of the answer.
    pub(super) async fn post(
        &self,
        address: &str,
        peers: &[Arc<HttpPeer>],
        path: &str,
        body: &[u8],
    ) -> Result<(u16, HeaderMap), Reason> {
        let (_, stream) = self.first(peers).await?;
        let asked = async {
            let mut session = HttpSession::new(stream);
            let mut head = head(Method::POST, path.as_bytes(), address).ok_or(Reason::Broken)?;
            let length = body.len().to_string();
            // Workloads ask of a POST that both are taken.
            head.insert_header(header::ACCEPT, "application/json, text/event-stream")
                .and_then(|()| head.insert_header(header::CONTENT_TYPE, "application/json"))
                .and_then(|()| head.insert_header(header::CONTENT_LENGTH, length))
                .map_err(|_| Reason::Broken)?;
            let _ = session.write_request_header(Box::new(head)).await;
            let _ = session.write_body(body).await;
            answered(&mut session).await?;
            let head = session.resp_header().ok_or(Reason::Broken)?;
            Ok((head.status.as_u16(), head.headers.clone()))
        };
        timeout(self.timeout, asked)
            .await
            .unwrap_or(Err(Reason::NoAnswer))
    }

    /// Connects to the first address that takes a connection.
    async fn first<'p>(
        &self,
        peers: &'p [Arc<HttpPeer>],
    ) -> Result<(&'p Arc<HttpPeer>, Stream), Reason> {
        let mut failure = Reason::Unresolved;
        for peer in peers {
            match self.connect(peer).await {
                Ok(stream) => return Ok((peer, stream)),
                Err(reason) => failure = reason,
            }
        }
        Err(failure)
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
        let head = head(Method::GET, &self.path, address).ok_or(Reason::Broken)?;
        // A server that answers and closes early may make the write fail; its answer still counts.
        let _ = session.write_request_header(Box::new(head)).await;
        answered(&mut session).await?;
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

    /// Judges the head; returns whether the body has to be judged too.
    fn wants_body(&self, head: &ResponseHeader) -> Result<bool, Reason> {
        let status = head.status;
        let is_management_api =
            status == StatusCode::NO_CONTENT && head.headers.contains_key(MANAGEMENT_API);
        match self.expect {
            // Whoever expects any success may mean the management API: `toolhive_api` does.
            Expect::Success if status.is_success() => Ok(false),
            Expect::Toolhive if is_management_api => Err(Reason::ManagementApi),
            Expect::Toolhive if status == StatusCode::OK => Ok(true),
            Expect::Toolhive | Expect::Success => Err(Reason::Status(status.as_u16())),
        }
    }
}

fn head(method: Method, path: &[u8], address: &str) -> Option<RequestHeader> {
    let mut head = RequestHeader::build(method, path, Some(6)).ok()?;
    head.insert_header(header::HOST, address).ok()?;
    head.insert_header(header::ACCEPT, "application/json")
        .ok()?;
    let agent = concat!("mcp-gateway/", env!("CARGO_PKG_VERSION"));
    head.insert_header(header::USER_AGENT, agent).ok()?;
    head.insert_header(header::CONNECTION, "close").ok()?;
    Some(head)
}

/// Reads the head of the final answer.
async fn answered(session: &mut HttpSession) -> Result<(), Reason> {
    loop {
        session.read_response().await.map_err(|_| Reason::Broken)?;
        match session.get_status() {
            Some(status) if status.is_informational() => {}
            _ => return Ok(()),
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

#[cfg(test)]
mod tests {
    use super::{
        super::{
            fake::{Fake, HEALTHY, hold, json},
            peer::Template,
        },
        *,
    };

    fn config(more: &str) -> Config {
        serde_yaml::from_str(&format!("{{backends: [], {more}}}")).unwrap()
    }

    async fn run(config: &Config, addresses: &[std::net::SocketAddr]) -> Result<u16, Reason> {
        let template = Template::build(config).unwrap();
        let peers: Vec<Arc<HttpPeer>> = addresses
            .iter()
            .map(|address| Arc::new(template.at(*address)))
            .collect();
        let answered = Check::new(config).run("backend.test:1", &peers).await?;
        Ok(answered._address.as_inet().unwrap().port())
    }

    /// Checks a backend that answers `answer`.
    async fn check(more: &str, answer: &str, expect: Result<(), Reason>) {
        let fake = Fake::start(answer.to_owned());
        let found = run(&config(more), &[fake.address]).await;
        let shown = &answer[..answer.len().min(200)];
        assert_eq!(found, expect.map(|()| fake.address.port()), "{shown}");
    }

    const SUCCESS: &str = "health_check: {expect: success, timeout: 20s}";

    #[tokio::test]
    async fn a_workload_must_say_healthy() {
        let toolhive = "health_check: {timeout: 20s}";
        check(toolhive, &json(200, HEALTHY), Ok(())).await;
        for (body, reason) in [
            (r#"{"status":"degraded"}"#, Reason::Degraded),
            (r#"{"status":"unhealthy"}"#, Reason::Unhealthy),
            (r#"{"status":"ok"}"#, Reason::Unhealthy),
            (r#"{"state":"healthy"}"#, Reason::NotToolhive),
            (r#"{"status":true}"#, Reason::NotToolhive),
            ("healthy", Reason::NotToolhive),
            ("", Reason::NotToolhive),
        ] {
            check(toolhive, &json(200, body), Err(reason)).await;
        }
        let escaped = r#"{"mcp":{"available":true},"status":"he\u0061lthy"}"#;
        check(toolhive, &json(200, escaped), Ok(())).await;
        check(toolhive, &json(201, HEALTHY), Err(Reason::Status(201))).await;
        check(toolhive, &json(503, HEALTHY), Err(Reason::Status(503))).await;
        check(toolhive, &json(302, ""), Err(Reason::Status(302))).await;
    }

    #[tokio::test]
    async fn chunked_and_unframed_answers_are_read() {
        let (first, second) = HEALTHY.split_at(10);
        let chunked = format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
            first.len(),
            second.len()
        );
        check(SUCCESS, &chunked, Ok(())).await;
        let toolhive = "health_check: {timeout: 20s}";
        check(toolhive, &chunked, Ok(())).await;
        let unframed = format!("HTTP/1.1 200 OK\r\n\r\n{HEALTHY}");
        check(toolhive, &unframed, Ok(())).await;
        let hinted = format!("HTTP/1.1 103 Early Hints\r\n\r\n{}", json(200, HEALTHY));
        check(toolhive, &hinted, Ok(())).await;
    }

    #[tokio::test]
    async fn any_success_will_do_where_that_is_asked() {
        check(SUCCESS, &json(200, "fine"), Ok(())).await;
        check(SUCCESS, "HTTP/1.1 204 No Content\r\n\r\n", Ok(())).await;
        check(SUCCESS, &json(404, ""), Err(Reason::Status(404))).await;
    }

    #[tokio::test]
    async fn the_management_api_is_recognised_where_a_workload_is_expected() {
        let answer = "HTTP/1.1 204 No Content\r\nX-Toolhive-Nonce: 8d1f\r\n\r\n";
        let workload = "health_check: {timeout: 20s}";
        check(workload, answer, Err(Reason::ManagementApi)).await;
        check(SUCCESS, answer, Ok(())).await;
        assert_eq!(
            Reason::ManagementApi.describe("github", "127.0.0.1:8080"),
            "`127.0.0.1:8080` is ToolHive's management API, not a workload: point \
             `upstreams.github.backends` at the workload's proxy port (9100 and up)"
        );
    }

    #[tokio::test]
    async fn answers_are_bounded_in_size_and_time() {
        let toolhive = "health_check: {timeout: 20s}";
        let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", " ".repeat(ANSWER_LIMIT + 1));
        check(toolhive, &endless, Err(Reason::TooLong)).await;
        let hangs = "health_check: {timeout: 20ms}, connect_timeout: 20s";
        let found = run_hanging(hangs).await;
        assert!(
            matches!(found, Reason::NoAnswer | Reason::ConnectTimeout),
            "{found:?}"
        );
    }

    async fn run_hanging(more: &str) -> Reason {
        let fake = Fake::start(String::new());
        run(&config(more), &[fake.address]).await.unwrap_err()
    }

    #[tokio::test]
    async fn what_is_not_whole_http_fails() {
        let toolhive = "health_check: {timeout: 20s}";
        for answer in [
            "SSH-2.0-OpenSSH_9.9\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-len",
            "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{",
        ] {
            check(toolhive, answer, Err(Reason::Broken)).await;
        }
    }

    #[tokio::test]
    async fn every_address_of_a_backend_is_tried() {
        let nobody = hold();
        let fake = Fake::start(json(200, HEALTHY));
        let config = config("health_check: {timeout: 20s}");
        let found = run(&config, &[nobody.address, fake.address]).await;
        assert_eq!(found, Ok(fake.address.port()));
        assert_eq!(run(&config, &[nobody.address]).await, Err(Reason::Refused));
        assert_eq!(run(&config, &[]).await, Err(Reason::Unresolved));
    }

    #[tokio::test]
    async fn the_request_is_a_plain_get() {
        let fake = Fake::start(json(200, HEALTHY));
        let config = config("health_check: {path: '/ready?full=1', timeout: 20s}");
        run(&config, &[fake.address]).await.unwrap();
        let head = fake.last_request().to_ascii_lowercase();
        assert!(head.starts_with("get /ready?full=1 http/1.1\r\n"), "{head}");
        assert!(head.contains("host: backend.test:1\r\n"), "{head}");
        assert!(!head.contains("authorization"), "{head}");
    }

    mod tls {
        use std::path::Path;

        use pingora::tls::TlsAcceptor;
        use rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer};

        use super::*;

        /// Starts a backend whose certificate is for `mcp.test`, and writes its authority.
        fn start(ca_file: &Path) -> Fake {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            let ca = params.self_signed(&key).unwrap();
            std::fs::write(ca_file, ca.pem()).unwrap();
            let issuer = rcgen::Issuer::new(params, key);
            let key = rcgen::KeyPair::generate().unwrap();
            let leaf = rcgen::CertificateParams::new(vec!["mcp.test".to_owned()])
                .unwrap()
                .signed_by(&key, &issuer)
                .unwrap();
            let provider = Arc::new(aws_lc_rs::default_provider());
            let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            let config = ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![leaf.der().clone()], key)
                .unwrap();
            let acceptor = TlsAcceptor::from(Arc::new(config));
            Fake::serve(hold(), json(200, HEALTHY), move |stream| {
                let accept = acceptor.accept(stream);
                async { accept.await.ok() }
            })
        }

        #[tokio::test]
        async fn the_name_and_the_authority_must_be_right() {
            let directory = tempfile::tempdir().unwrap();
            let ca = directory.path().join("ca.pem");
            let other = directory.path().join("other.pem");
            let fake = start(&ca);
            drop(start(&other));
            let run = |sni: &'static str, ca: &Path| {
                let more = format!(
                    "connect_timeout: 20s, health_check: {{timeout: 20s}}, tls: {{sni: {sni}, ca_file: '{}'}}",
                    ca.display()
                );
                let address = fake.address;
                async move { run(&config(&more), &[address]).await }
            };
            assert_eq!(run("mcp.test", &ca).await, Ok(fake.address.port()));
            assert_eq!(run("other.test", &ca).await, Err(Reason::Tls));
            assert_eq!(run("mcp.test", &other).await, Err(Reason::Tls));
        }

        #[tokio::test]
        async fn a_backend_without_tls_is_a_failed_handshake() {
            let directory = tempfile::tempdir().unwrap();
            let ca = directory.path().join("ca.pem");
            drop(start(&ca));
            let plain = Fake::start(json(200, HEALTHY));
            let more = format!(
                "connect_timeout: 20s, health_check: {{timeout: 20s}}, tls: {{sni: mcp.test, ca_file: '{}'}}",
                ca.display()
            );
            assert_eq!(
                run(&config(&more), &[plain.address]).await,
                Err(Reason::Tls)
            );
        }
    }
}
