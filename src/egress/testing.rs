//! Servers that answer as a test tells them to.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use rustls::{ServerConfig, crypto::aws_lc_rs};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

/// What the server does with one request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Writes these bytes and reads on.
    Reply(Vec<u8>),
    /// Writes these bytes and closes.
    Last(Vec<u8>),
    /// Keeps silent until the client leaves.
    Hang,
}

/// Returns a whole answer.
pub(crate) fn reply(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut wire = format!(
        "HTTP/1.1 {status} Test\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    wire.extend_from_slice(body);
    wire
}

/// A server on loopback, which ends with the test's runtime.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    requests: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    /// Serves plain HTTP; `act` gets the number of the request, from 0, and its head and body.
    pub(crate) async fn start(act: impl Fn(usize, &str) -> Act + Send + Sync + 'static) -> Self {
        Self::listen(None, act).await
    }

    /// Serves HTTPS.
    pub(crate) async fn start_tls(
        tls: Arc<ServerConfig>,
        act: impl Fn(usize, &str) -> Act + Send + Sync + 'static,
    ) -> Self {
        Self::listen(Some(tls.into()), act).await
    }

    async fn listen(
        tls: Option<TlsAcceptor>,
        act: impl Fn(usize, &str) -> Act + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            requests: Arc::default(),
            connections: Arc::default(),
        };
        let (running, act) = (server.clone(), Arc::new(act));
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                running.connections.fetch_add(1, Ordering::SeqCst);
                let (running, act, tls) = (running.clone(), Arc::clone(&act), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => running.serve(tcp, &*act).await,
                        Some(tls) => {
                            // A client that does not trust the certificate leaves here.
                            if let Ok(stream) = tls.accept(tcp).await {
                                running.serve(stream, &*act).await;
                            }
                        }
                    }
                });
            }
        });
        server
    }

    async fn serve(
        &self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        act: &(impl Fn(usize, &str) -> Act + ?Sized),
    ) {
        while let Some(request) = read_request(&mut stream).await {
            let number = self.requests.fetch_add(1, Ordering::SeqCst);
            match act(number, &request) {
                Act::Reply(bytes) => {
                    if stream.write_all(&bytes).await.is_err() || stream.flush().await.is_err() {
                        return;
                    }
                }
                Act::Last(bytes) => {
                    let _ = stream.write_all(&bytes).await;
                    let _ = stream.shutdown().await;
                    return;
                }
                Act::Hang => {
                    let _ = stream.read(&mut [0]).await;
                    return;
                }
            }
        }
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// A URL of this server.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// Reads one request, or nothing when the client leaves.
pub(crate) async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut read = Vec::new();
    loop {
        if let Some(end) = memchr::memmem::find(&read, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse::<usize>().unwrap());
            if read.len() >= end + 4 + length {
                return Some(String::from_utf8(read).unwrap());
            }
        }
        match stream.read_buf(&mut read).await {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

/// A CONNECT proxy that reaches `upstream` whatever it is asked for.
///
/// `answer` gets the head of the request and returns what is written; a 200 opens the tunnel.
pub(crate) async fn start_proxy(
    upstream: SocketAddr,
    answer: impl Fn(&str) -> Option<&'static str> + Send + Sync + 'static,
) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server {
        address: listener.local_addr().unwrap(),
        requests: Arc::default(),
        connections: Arc::default(),
    };
    let (running, answer) = (server.clone(), Arc::new(answer));
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            running.connections.fetch_add(1, Ordering::SeqCst);
            let (running, answer) = (running.clone(), Arc::clone(&answer));
            tokio::spawn(async move {
                let Some(head) = read_request(&mut client).await else {
                    return;
                };
                running.requests.fetch_add(1, Ordering::SeqCst);
                let Some(reply) = answer(&head) else {
                    let _ = client.read(&mut [0]).await;
                    return;
                };
                let _ = client.write_all(reply.as_bytes()).await;
                if reply.starts_with("HTTP/1.1 200") {
                    let mut upstream = TcpStream::connect(upstream).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut upstream).await;
                }
            });
        }
    });
    server
}

/// An authority in PEM, and a server's configuration with a certificate of it.
pub(crate) fn certificate(name: &str) -> (String, Arc<ServerConfig>) {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec![name.to_owned()])
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            key.serialize_der().try_into().unwrap(),
        )
        .unwrap();
    (pem, Arc::new(config))
}
