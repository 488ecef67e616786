//! A gateway in a process of its own, and what it takes from the machine.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use mcp_gateway_emulator::entra::Entra;
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};
use tokio_rustls::client::TlsStream;

use crate::world::{self, Judge};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mcp-gateway");
/// The unit of CPU time in `/proc` (`proc_pid_stat(5)`); 100 on every Linux that is not very old.
const TICKS: u64 = 100;

/// Lets one test of this binary run at a time, and lets its clients be many.
pub(crate) async fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::const_new(());
    let guard = ALONE.lock().await;
    mcp_gateway::server::raise_files();
    guard
}

/// The process, a plain and a TLS listener of it, and the upstream behind it.
pub(crate) struct Gateway {
    child: Child,
    pub(crate) plain: SocketAddr,
    tls: SocketAddr,
    admin: SocketAddr,
    certificate: String,
    pub(crate) entra: Entra,
    _judge: Judge,
    _folder: TempDir,
    /// Kept open: a program whose standard error is closed cannot log.
    _log: thread::JoinHandle<()>,
}

impl Gateway {
    /// Starts it with these limits.
    pub(crate) async fn start(limits: &str) -> Self {
        Self::start_by(Command::new(PROGRAM), limits).await
    }

    /// Starts it with so many open files.
    pub(crate) async fn with_files(files: usize, limits: &str) -> Self {
        let mut shell = Command::new("sh");
        let limited = format!("ulimit -n {files} && exec \"$0\" \"$@\"");
        shell.args(["-c", &limited, PROGRAM]);
        Self::start_by(shell, limits).await
    }

    async fn start_by(mut command: Command, limits: &str) -> Self {
        let judge = Judge::start().await;
        let entra = Entra::builder().start().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (certificate, tls) = world::certify(folder.path());
        let state = folder.path().join("state");
        let text = format!(
            "public_url: https://localhost\n\
             listeners: [{{ address: \"127.0.0.1:0\" }}, {{ address: \"127.0.0.1:0\", {tls} }}]\n\
             admin: {{ address: \"127.0.0.1:0\" }}\n\
             access_log: off\n\
             sessions: {{ state_directory: {} }}\n\
             limits: {limits}\n\
             authorization_server: {{ entra: {{ tenant: {}, client_id: {}, authority: \"{}\" }} }}\n\
             upstreams: {{ judge: {{ backends: [\"{}\"], connect_timeout: 1m, health_check: {{ path: /judge, expect: success }} }} }}\n\
             routes:\n  - {{ path: /mcp, mcp: {{ upstream: judge }} }}\n  - {{ path: /*, filters: [{{ proxy: {{ upstream: judge }} }}] }}\n",
            state.display(),
            entra.tenant(),
            entra.client_id(),
            entra.authority(),
            judge.address()
        );
        let file = folder.path().join("gateway.yaml");
        fs::write(&file, &text).unwrap();
        let mut child = command
            .args(["run", "-c"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut addresses = lines.by_ref().map_while(Result::ok).filter_map(|line| {
            let (_, address) = line.split_once(" address=")?;
            address.trim().parse().ok()
        });
        let [plain, tls, admin] = [(); 3].map(|()| addresses.next().expect("where it listens"));
        Self {
            child,
            plain,
            tls,
            admin,
            certificate,
            entra,
            _judge: judge,
            _folder: folder,
            _log: thread::spawn(move || lines.for_each(drop)),
        }
    }

    /// Opens a plain connection.
    pub(crate) async fn connect(&self) -> tokio::net::TcpStream {
        tokio::net::TcpStream::connect(self.plain).await.unwrap()
    }

    /// Opens a TLS connection.
    pub(crate) async fn connect_tls(&self, alpn: &str) -> TlsStream<tokio::net::TcpStream> {
        let tcp = tokio::net::TcpStream::connect(self.tls).await.unwrap();
        let tls = world::handshake(&self.certificate, tcp, alpn).await;
        tls.unwrap()
    }

    fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap()
    }

    /// Resident memory in KiB.
    pub(crate) fn memory(&self) -> usize {
        let status = self.proc("status");
        let mut lines = status.lines();
        let value = lines.find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        value.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Open descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        let folder = fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        folder.unwrap().count()
    }

    /// CPU time of every thread so far, user and system.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = self.proc("stat");
        // The name in parentheses may hold anything; the fields behind it count from 3.
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let fields = fields.split_whitespace().skip(14 - 3).take(2);
        let ticks: u64 = fields.map(|field| field.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 1000 / TICKS)
    }

    /// The same since an earlier moment.
    pub(crate) fn cpu_since(&self, earlier: Duration) -> Duration {
        self.cpu().saturating_sub(earlier)
    }

    /// Asks for health on a connection of its own; returns how long that took.
    pub(crate) fn health(&self) -> Duration {
        let begun = Instant::now();
        let answer = ask(self.plain, "/health");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        begun.elapsed()
    }

    /// The value of a metric, named with its labels; 0 when there is none.
    pub(crate) fn metric(&self, name: &str) -> usize {
        let answer = ask(self.admin, "/metrics");
        let value = answer
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// How often the first layer has refused for a reason.
    pub(crate) fn refusals(&self, reason: &str) -> usize {
        self.metric(&format!(
            "gateway_ingress_refusals_total{{reason=\"{reason}\"}}"
        ))
    }

    /// How many connections of clients are open.
    pub(crate) fn connections(&self) -> usize {
        [self.plain, self.tls]
            .map(|address| {
                self.metric(&format!(
                    "gateway_connections_active{{listener=\"{address}\"}}"
                ))
            })
            .iter()
            .sum()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Already gone is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Blocks: whoever measures is not to wait for the clients of the runtime.
fn ask(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(world::PATIENCE)).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
