//! A gateway that lets everyone through to a judge: an upstream that keeps what arrives, and reads
//! it as strictly as HTTP can be read.

use std::{
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    sync::{Arc, LazyLock, Mutex, OnceLock},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use mcp_gateway::{
    config,
    server::{Running, Server},
    telemetry::access,
};
use mcp_gateway_filters::Catalog;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Longer than anything a test waits for on purpose.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// What the judge answers to `/big`: more than the buffers of the kernel hold.
static BIG: LazyLock<Vec<u8>> = LazyLock::new(|| vec![b'x'; 16 * 1024 * 1024]);

/// Waits until a condition holds; panics, naming it, when it does not within [`PATIENCE`].
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// A running gateway before a judge.
pub(crate) struct Edge {
    pub(crate) judge: Judge,
    address: SocketAddr,
    running: Running,
    lines: Lines,
    certificate: String,
    _folder: TempDir,
}

impl Edge {
    /// Starts it on plain HTTP with default limits.
    pub(crate) async fn plain() -> Self {
        Self::start("", "").await
    }

    /// Starts it with TLS.
    pub(crate) async fn tls() -> Self {
        Self::start("TLS", "").await
    }

    /// Starts it with settings of the listener (`TLS` stands for a certificate) and sections.
    pub(crate) async fn start(listener: &str, sections: &str) -> Self {
        Self::start_with(listener, sections, |server| server).await
    }

    /// Starts it after the last touch to what was built.
    pub(crate) async fn start_with(
        listener: &str,
        sections: &str,
        touch: impl FnOnce(Server) -> Server,
    ) -> Self {
        let judge = Judge::start().await;
        let folder = tempfile::tempdir().unwrap();
        let (certificate, tls) = certify(folder.path());
        let listener = match listener {
            "" => String::new(),
            settings => format!(", {}", settings.replace("TLS", &tls)),
        };
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        let text = format!(
            "public_url: http://{address}\n\
             listeners: [{{ address: \"{address}\"{listener} }}]\n\
             admin: {{ address: \"127.0.0.1:0\" }}\n\
             sessions: {{ keys: [{{ env: SESSION_KEY }}] }}\n\
             upstreams: {{ judge: {{ backends: [\"{}\"], health_check: {{ path: /judge }} }} }}\n\
             routes:\n  - path: /*\n    filters: [{{ proxy: {{ upstream: judge }} }}]\n{sections}\n",
            judge.address()
        );
        let env = |name: &str| (name == "SESSION_KEY").then(|| STANDARD.encode([7; 32]));
        let loaded = config::parse("gateway.yaml", &text, &env, &Catalog::builtin())
            .unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        let lines = Lines::default();
        let log = access::Log::to(Box::new(lines.clone()));
        let server = Server::build_with(&loaded.gateway, log)
            .unwrap_or_else(|problems| panic!("{problems:?}\n{text}"));
        Self {
            running: touch(server).start_with(vec![socket]).unwrap(),
            judge,
            address,
            lines,
            certificate,
            _folder: folder,
        }
    }

    /// Everything that was written to the access log.
    pub(crate) fn access_log(&self) -> String {
        String::from_utf8(self.lines.0.lock().unwrap().clone()).unwrap()
    }

    /// Opens a connection.
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Makes the TLS handshake on a connection.
    pub(crate) async fn handshake(
        &self,
        tcp: TcpStream,
        alpn: &str,
    ) -> io::Result<TlsStream<TcpStream>> {
        handshake(&self.certificate, tcp, alpn).await
    }

    /// Opens a TLS connection.
    pub(crate) async fn connect_tls(&self, alpn: &str) -> TlsStream<TcpStream> {
        self.handshake(self.connect().await, alpn).await.unwrap()
    }

    /// Sends bytes on a connection of their own.
    pub(crate) async fn ask(&self, bytes: &[u8]) -> Answer {
        ask(&mut self.connect().await, bytes).await
    }

    /// The text of `/metrics`.
    pub(crate) fn metrics(&self) -> String {
        self.running.metrics().render().unwrap()
    }

    /// The address of the admin listener.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.running.admin()
    }

    /// How often the first layer has refused for a reason.
    pub(crate) fn refusals(&self, reason: &str) -> usize {
        self.metric(&format!(
            "gateway_ingress_refusals_total{{reason=\"{reason}\"}}"
        ))
    }

    /// The value of a metric, named with its labels; 0 when there is none.
    pub(crate) fn metric(&self, name: &str) -> usize {
        let metrics = self.metrics();
        let value = metrics
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// How many connections of the public listener are open.
    pub(crate) fn connections(&self) -> usize {
        self.metric(&format!(
            "gateway_connections_active{{listener=\"{}\"}}",
            self.address
        ))
    }
}

/// Writes a certificate for `localhost` and its key; returns the certificate and the settings of
/// a listener that uses them.
pub(crate) fn certify(folder: &Path) -> (String, String) {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = pair.cert.pem();
    let (file, key) = (folder.join("c.pem"), folder.join("c.key"));
    std::fs::write(&file, &certificate).unwrap();
    std::fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
    let settings = format!(
        "tls: {{ certificates: [{{ certificate: {}, key: {} }}] }}",
        file.display(),
        key.display()
    );
    (certificate, settings)
}

/// Makes the TLS handshake with a server that has this certificate.
pub(crate) async fn handshake(
    certificate: &str,
    tcp: TcpStream,
    alpn: &str,
) -> io::Result<TlsStream<TcpStream>> {
    static PROVIDER: OnceLock<()> = OnceLock::new();
    PROVIDER.get_or_init(|| {
        // The gateway of another test may have been first.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    });
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    roots.add(certificate).unwrap();
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Missing when the connection was closed without an answer.
    pub(crate) status: Option<u16>,
    /// Whether the gateway has closed the connection, or says that it will.
    pub(crate) closed: bool,
    pub(crate) text: String,
}

/// Sends bytes and reads one whole answer, or until the other side closes.
pub(crate) async fn ask(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    bytes: &[u8],
) -> Answer {
    // A refusal may come before everything is sent.
    let _ = timeout(PATIENCE, stream.write_all(bytes)).await;
    let _ = stream.flush().await;
    read(stream, bytes.starts_with(b"HEAD ")).await
}

/// Reads one whole answer, or until the other side closes.
pub(crate) async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> Answer {
    read(stream, false).await
}

async fn read(stream: &mut (impl AsyncRead + Unpin), bodyless: bool) -> Answer {
    let mut read = vec![];
    let mut closed = false;
    while !closed && !is_whole(&read, bodyless) {
        let more = timeout(PATIENCE, stream.read_buf(&mut read)).await;
        let Ok(more) = more else {
            let text = String::from_utf8_lossy(&read);
            panic!("no whole answer in time, so far: {text:?}");
        };
        closed = !matches!(more, Ok(n) if n > 0);
    }
    let text = String::from_utf8_lossy(&read).into_owned();
    let status = text.get(9..12).and_then(|status| status.parse().ok());
    Answer {
        status,
        closed: closed
            || text
                .to_ascii_lowercase()
                .contains("\r\nconnection: close\r\n"),
        text,
    }
}

fn is_whole(answer: &[u8], bodyless: bool) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    bodyless || body.len() >= length(head).unwrap_or(usize::MAX)
}

fn length(head: &str) -> Option<usize> {
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map(|(_, value)| value.trim().parse().unwrap())
}

/// An upstream that keeps every request, and says what is doubtful about it.
pub(crate) struct Judge {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// What two readers could read in two ways.
    pub(crate) doubts: Vec<String>,
}

impl Judge {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::default();
        let kept = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(judge(stream, Arc::clone(&kept)));
            }
        });
        Self {
            address,
            seen,
            task,
        }
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn judge(mut stream: TcpStream, seen: Arc<Mutex<Vec<Seen>>>) {
    let mut bytes: Vec<u8> = vec![];
    loop {
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            match stream.read_buf(&mut bytes).await {
                Ok(n) if n > 0 => {}
                _ => return,
            }
        };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let length = length(&head).unwrap_or(0);
        while bytes.len() < end + length {
            match stream.read_buf(&mut bytes).await {
                Ok(n) if n > 0 => {}
                _ => return,
            }
        }
        let rest = bytes.split_off(end + length);
        let mut doubts = doubts(&head);
        if !rest.is_empty() {
            doubts.push(format!("{} bytes too many", rest.len()));
        }
        let body = bytes.split_off(end);
        bytes = rest;
        let answer: &[u8] = match head.split(' ').nth(1) {
            Some("/never") => std::future::pending().await,
            Some("/big") => &BIG,
            _ => b"ok",
        };
        let bodyless = head.starts_with("HEAD ");
        if !head.starts_with("GET /judge ") {
            seen.lock().unwrap().push(Seen { head, body, doubts });
        }
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            answer.len()
        );
        let answer = if bodyless { b"" } else { answer };
        for piece in [head.as_bytes(), answer] {
            if stream.write_all(piece).await.is_err() {
                return;
            }
        }
    }
}

/// Everything in a head that another reader could take for something else.
fn doubts(head: &str) -> Vec<String> {
    let mut found = vec![];
    let mut lines = head.trim_end_matches("\r\n").split("\r\n");
    let first: Vec<_> = lines.next().unwrap().split(' ').collect();
    if !matches!(first[..], [method, target, "HTTP/1.1"]
        if method.bytes().all(|b| b.is_ascii_uppercase()) && target.starts_with('/'))
    {
        found.push(format!("request line {first:?}"));
    }
    let fields: Vec<_> = lines
        .map(|line| line.split_once(": ").unwrap_or((line, "")))
        .collect();
    for (name, value) in &fields {
        let token = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b"!#$%&'*+.^`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(token) {
            found.push(format!("field name {name:?}"));
        }
        if value.chars().any(|c| c.is_control() && c != '\t') {
            found.push(format!("field value {value:?}"));
        }
    }
    let count = |wanted: &str| {
        let same = |(name, _): &&(&str, &str)| name.eq_ignore_ascii_case(wanted);
        fields.iter().filter(same).count()
    };
    if count("host") != 1 {
        found.push(format!("{} hosts", count("host")));
    }
    if count("content-length") > 1 || count("transfer-encoding") > 0 {
        found.push("framing".to_owned());
    }
    for hop in ["upgrade", "te", "trailer", "keep-alive", "proxy-connection"] {
        if count(hop) > 0 {
            found.push(format!("hop-by-hop field {hop}"));
        }
    }
    found
}

/// What was written to the access log.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
