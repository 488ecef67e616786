//! Clients that follow nothing and hide nothing: HTTP/1.1, HTTP/2, and bare sockets.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use reqwest::{Method, RequestBuilder, header::HeaderMap};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{Authority, Gateway, PATIENCE};

/// What a client takes of an answer over HTTP/2 before anybody reads it, in bytes.
const STREAM_WINDOW: u32 = 64 * 1024;

/// A client of one gateway.
pub(crate) struct Client {
    address: SocketAddr,
    base: String,
    http: reqwest::Client,
    h2: Option<reqwest::Client>,
}

impl Client {
    pub(super) fn of(address: SocketAddr, tls: bool) -> Self {
        install_provider();
        let builder = || {
            let builder = reqwest::Client::builder()
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .timeout(PATIENCE);
            if tls {
                let pem = Authority::shared().pem();
                let authority = reqwest::Certificate::from_pem(pem.as_bytes()).unwrap();
                builder
                    .tls_certs_only([authority])
                    .resolve("localhost", SocketAddr::new(address.ip(), 0))
            } else {
                builder
            }
        };
        let base = if tls {
            format!("https://localhost:{}", address.port())
        } else {
            format!("http://{address}")
        };
        let h2 = || {
            builder()
                .http2_prior_knowledge()
                .http2_initial_stream_window_size(STREAM_WINDOW)
                .build()
                .unwrap()
        };
        Self {
            address,
            base,
            http: builder().http1_only().build().unwrap(),
            h2: tls.then(h2),
        }
    }

    /// Where the gateway listens, not what it is told its URL is.
    pub(crate) fn url(&self, target: &str) -> String {
        format!("{}{target}", self.base)
    }

    /// Starts a request over HTTP/1.1.
    pub(crate) fn request(&self, method: Method, target: &str) -> RequestBuilder {
        self.http.request(method, self.url(target))
    }

    /// Starts a request to any server.
    pub(crate) fn elsewhere(&self, method: Method, url: &str) -> RequestBuilder {
        self.http.request(method, url)
    }

    /// Starts a request over HTTP/2, which needs a gateway with TLS.
    pub(crate) fn h2(&self, method: Method, target: &str) -> RequestBuilder {
        let h2 = self.h2.as_ref().expect("HTTP/2 needs TLS");
        h2.request(method, self.url(target))
    }
}

impl Gateway {
    /// Where it listens; [`Gateway::public_url`] is what clients are told.
    pub(crate) fn url(&self, target: &str) -> String {
        self.client().url(target)
    }

    /// Sends a GET.
    pub(crate) async fn get(&self, target: &str) -> Answer {
        send(self.client().request(Method::GET, target)).await
    }

    /// Posts a form.
    pub(crate) async fn post_form(&self, target: &str, fields: &[(&str, &str)]) -> Answer {
        send(self.client().request(Method::POST, target).form(fields)).await
    }

    /// Posts JSON without a token.
    pub(crate) async fn post_json(&self, target: &str, body: &Value) -> Answer {
        send(self.client().request(Method::POST, target).json(body)).await
    }

    /// Opens a bare TCP connection to the first listener.
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.client().address).await.unwrap()
    }

    /// Opens a TLS connection to the first listener, as `name`.
    pub(crate) async fn connect_tls(
        &self,
        name: &str,
        versions: &[&'static rustls::SupportedProtocolVersion],
        alpn: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        install_provider();
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_slice(Authority::shared().pem().as_bytes());
        roots.add(authority.unwrap()).unwrap();
        let mut config = ClientConfig::builder_with_protocol_versions(versions)
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, self.connect().await)
            .await
    }

    /// Writes bytes to a plain listener and reads until it closes.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        exchange(self.connect().await, bytes).await
    }
}

/// Writes bytes and reads until the other side closes.
pub(crate) async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    bytes: &[u8],
) -> String {
    stream.write_all(bytes).await.unwrap();
    let mut answer = vec![];
    // What came before a reset counts.
    let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    let _ = read.expect("the other side closes");
    String::from_utf8_lossy(&answer).into_owned()
}

/// An answer that was read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) version: reqwest::Version,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    /// A header's value; panics when it stands there twice.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next().map(|value| value.to_str().unwrap());
        assert!(values.next().is_none(), "`{name}` stands there twice");
        value
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// `error` of an OAuth error.
    #[track_caller]
    pub(crate) fn error(&self) -> String {
        let body = self.json();
        let described = body["error_description"].as_str();
        assert!(described.is_some_and(|text| !text.is_empty()), "{self:?}");
        body["error"].as_str().unwrap().to_owned()
    }
}

/// Sends a request and reads the answer whole.
pub(crate) async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    Answer {
        status: response.status().as_u16(),
        version: response.version(),
        headers: response.headers().clone(),
        body: response.text().await.unwrap(),
    }
}

/// The crypto provider of the clients.
pub(crate) fn install_provider() {
    static PROVIDER: OnceLock<()> = OnceLock::new();
    PROVIDER.get_or_init(|| {
        // Another test's gateway may have been first.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    });
}
