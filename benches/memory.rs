//! What an idle connection and an open stream cost the gateway, in resident memory.
//!
//! `cargo bench --bench memory` starts the `mcp-gateway` binary as a process of its own and reads
//! its resident set before and after; kernel buffers are not in it.

#![expect(clippy::unwrap_used, reason = "a bench that cannot run has failed")]

mod bed;

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use bed::{Client, get};
use mcp_gateway_emulator::entra::Entra;
use rustls::pki_types::{CertificateDer, ServerName};

const IDLE: usize = 1000;
const STREAMS: usize = 200;

struct Process(Child);

impl Process {
    fn resident_kib(&self) -> usize {
        let text = fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        text.lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            .unwrap()
    }

    /// Waits until the figure has stopped moving.
    fn settled_kib(&self) -> usize {
        let mut last = self.resident_kib();
        for _ in 0..20 {
            thread::sleep(Duration::from_millis(100));
            let now = self.resident_kib();
            if now.abs_diff(last) < 64 {
                return now;
            }
            last = now;
        }
        last
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already gone is gone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

fn main() {
    // `cargo test --benches` runs this too: with `--test` there is nothing to measure.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let entra = runtime.block_on(Entra::builder().start()).unwrap();
    let state = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    fs::write(state.path().join("c.pem"), certificate.pem()).unwrap();
    fs::write(state.path().join("c.key"), key.serialize_pem()).unwrap();
    let (plain, tls) = (free_port(), free_port());
    let listeners = format!(
        "  - address: 127.0.0.1:{plain}
  - address: 127.0.0.1:{tls}
    tls: {{ certificates: [{{ certificate: {0}/c.pem, key: {0}/c.key }}] }}",
        state.path().display()
    );
    let text = bed::configuration(
        &listeners,
        "http://localhost",
        &entra,
        bed::upstream(),
        state.path(),
    );
    let file = state.path().join("gateway.yaml");
    fs::write(&file, text).unwrap();
    let token = entra.token("alice").build();
    let plain = SocketAddr::from(([127, 0, 0, 1], plain));

    let gateway = start(&file, plain, &token);
    println!(
        "resident, nothing open      {:>8} KiB",
        gateway.settled_kib()
    );
    drop(gateway);
    measure(
        "idle connection, plain",
        IDLE,
        &start(&file, plain, &token),
        || {
            let mut client = Client::connect(plain);
            client.exchange(&get("/health", None));
            client
        },
    );
    let config = client_config(certificate.der());
    measure(
        "idle connection, TLS 1.3",
        IDLE,
        &start(&file, plain, &token),
        || tls_client(&config, tls),
    );
    measure(
        "event stream, plain",
        STREAMS,
        &start(&file, plain, &token),
        || {
            let mut client = Client::connect(plain);
            client.send(&get("/mcp", Some(&token)));
            client.read();
            client
        },
    );
}

/// Starts a gateway of its own, since memory that one measurement gave back would serve the next,
/// and waits until it has the keys: streams are let in from then on.
fn start(file: &Path, plain: SocketAddr, token: &str) -> Process {
    let started = Instant::now();
    let gateway = Process(
        Command::new(env!("CARGO_BIN_EXE_mcp-gateway"))
            .args(["run", "-c"])
            .arg(file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    while std::net::TcpStream::connect(plain).is_err() {
        thread::sleep(Duration::from_millis(1));
    }
    println!(
        "start to first connection   {:>8} ms",
        started.elapsed().as_millis()
    );
    while !Client::connect(plain)
        .exchange(&bed::post(token, None))
        .starts_with("HTTP/1.1 200")
    {
        thread::sleep(Duration::from_millis(10));
    }
    gateway
}

/// Opens `count` and prints what each costs while all are held.
fn measure<T>(what: &str, count: usize, gateway: &Process, open: impl Fn() -> T) {
    let before = gateway.settled_kib();
    let held: Vec<T> = (0..count).map(|_| open()).collect();
    let grown = gateway.settled_kib().saturating_sub(before);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let each = grown as f64 / count as f64;
    println!("{what:<27} {each:>8.1} KiB each, {count} open");
    drop(held);
}

fn client_config(root: &CertificateDer<'_>) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from(root.to_vec())).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

fn tls_client(
    config: &Arc<rustls::ClientConfig>,
    port: u16,
) -> rustls::StreamOwned<rustls::ClientConnection, std::net::TcpStream> {
    use std::io::{Read, Write};
    let name = ServerName::try_from("localhost").unwrap();
    let connection = rustls::ClientConnection::new(Arc::clone(config), name).unwrap();
    let socket = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut stream = rustls::StreamOwned::new(connection, socket);
    stream.write_all(get("/health", None).as_bytes()).unwrap();
    let mut answer = [0; 1024];
    assert!(stream.read(&mut answer).unwrap() > 0);
    stream
}
