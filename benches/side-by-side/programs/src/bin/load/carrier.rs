//! Connections, plain and over TLS.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::{
    Failure,
    plan::{Protocol, Target},
};

/// A byte stream in both directions.
pub(crate) trait Carrier: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Carrier for T {}

/// Connects to one target, again and again.
pub(crate) struct Dialer {
    target: Target,
    tls: Option<TlsConnector>,
}

/// A connection, and whether its handshake resumed a session.
pub(crate) struct Connection {
    pub(crate) carrier: Box<dyn Carrier>,
    pub(crate) resumed: bool,
}

impl Dialer {
    /// Returns a dialer that offers the session of its last connection when `resume` is set.
    pub(crate) fn new(target: &Target, resume: bool) -> Result<Self, Failure> {
        let tls = match target.protocol {
            Protocol::Http1 => None,
            Protocol::Https1 => Some(connector(target, b"http/1.1", resume)?),
            Protocol::Https2 => Some(connector(target, b"h2", resume)?),
        };
        Ok(Self {
            target: target.clone(),
            tls,
        })
    }

    /// Connects.
    pub(crate) async fn connect(&self) -> Result<Connection, Failure> {
        let stream = TcpStream::connect(self.target.address).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            return Ok(Connection {
                carrier: Box::new(stream),
                resumed: false,
            });
        };
        let stream = tls
            .connect(ServerName::try_from("localhost")?, stream)
            .await?;
        let session = stream.get_ref().1;
        if self.target.protocol == Protocol::Https2 && session.alpn_protocol() != Some(b"h2") {
            return Err("the server does not speak HTTP/2".into());
        }
        let resumed = session.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
        Ok(Connection {
            carrier: Box::new(stream),
            resumed,
        })
    }
}

fn connector(target: &Target, protocol: &[u8], resume: bool) -> Result<TlsConnector, Failure> {
    let file = target
        .certificate
        .as_ref()
        .ok_or("TLS needs a certificate")?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file)?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    if !resume {
        config.resumption = Resumption::disabled();
    }
    Ok(TlsConnector::from(Arc::new(config)))
}
