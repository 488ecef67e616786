//! The TLS side of a listener: versions, application protocols, resumption.

use std::sync::Arc;

use mcp_gateway_filters::Problem;
use pingora_core::listeners::tls::Acceptor;
use rustls::{ServerConfig, crypto::CryptoProvider, server::ServerSessionMemoryCache};

use super::{TlsConfig, certificates::Certificates};

/// How many sessions of TLS 1.2 clients are remembered; TLS 1.3 and tickets need no memory.
const SESSIONS: usize = 10_000;

/// What a listener needs to speak TLS.
pub(super) struct Tls {
    /// Makes the handshake.
    pub(super) acceptor: Acceptor,
    /// The same without HTTP/2, whose connections are not over after one request.
    pub(super) health_acceptor: Acceptor,
    /// The first name of each certificate and when it expires, in seconds since the Unix epoch.
    pub(super) expiries: Vec<(String, i64)>,
}

impl Tls {
    /// Reads the certificates and prepares handshakes for TLS 1.2 and 1.3 with HTTP/2 and HTTP/1.1.
    pub(super) fn build(
        config: &TlsConfig,
        provider: &Arc<CryptoProvider>,
        now: i64,
    ) -> Result<Self, Vec<Problem>> {
        let within = |problem: Problem| Problem {
            at: format!("tls.{}", problem.at),
            ..problem
        };
        let mut certificates = Certificates::load(&config.certificates, provider, now)
            .map_err(|problems| problems.into_iter().map(within).collect::<Vec<_>>())?;
        let expiries = std::mem::take(&mut certificates.expiries);
        let failed = |error: rustls::Error| vec![Problem::new("tls", error.to_string())];
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(failed)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(certificates));
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        server.session_storage = ServerSessionMemoryCache::new(SESSIONS);
        server.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(failed)?;
        // One ticket is enough for a client that keeps its connection; each costs bytes and keys.
        server.send_tls13_tickets = 1;
        let mut health = server.clone();
        health.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            acceptor: Acceptor::from_server_config(Arc::new(server)),
            health_acceptor: Acceptor::from_server_config(Arc::new(health)),
            expiries,
        })
    }
}
