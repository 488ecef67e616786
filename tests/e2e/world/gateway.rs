//! One gateway: what it is started from, and what can be seen of it from outside.

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use mcp_gateway::{
    config,
    server::{Running, Server},
    telemetry::access,
};
use mcp_gateway_filters::Catalog;
use serde_json::Value;
use tempfile::TempDir;

use super::{Authority, Client, reserve, until};

/// Where the key that seals sessions comes from.
#[derive(Clone, Copy)]
pub(crate) enum Sealing {
    /// From the environment.
    Configured,
    /// From a folder that the gateways share, where the first one makes it.
    Stored,
}

/// The gateway's secret at the tenant, for tests that register it: `{ env: CLIENT_SECRET }`.
pub(crate) const CLIENT_SECRET: &str = "hush~8Q~nobody-may-see-this";

/// What every gateway of a world is started from.
pub(crate) struct Plan {
    public_url: String,
    /// How many certificates lie in the folder.
    certificates: usize,
    redirect: bool,
    sealing: Sealing,
    text: String,
    folder: TempDir,
}

impl Plan {
    pub(super) fn new(
        public_url: String,
        certificates: &[Vec<String>],
        redirect: bool,
        sealing: Sealing,
        text: String,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (index, names) in certificates.iter().enumerate() {
            Authority::shared().write(folder.path(), &index.to_string(), names);
        }
        Self {
            public_url,
            certificates: certificates.len(),
            redirect,
            sealing,
            text,
            folder,
        }
    }

    /// Changes the configuration of gateways that are started from now on.
    pub(super) fn change(&mut self, from: &str, to: &str) {
        assert!(self.text.contains(from), "`{from}` is not in {}", self.text);
        self.text = self.text.replace(from, to);
    }

    /// The whole configuration of a gateway on this socket.
    pub(super) fn configuration(
        &self,
        address: SocketAddr,
        redirect: Option<SocketAddr>,
    ) -> String {
        let folder = self.folder.path().display();
        let tls = match self.certificates {
            0 => String::new(),
            count => {
                let pair = |index| {
                    format!("{{ certificate: {folder}/{index}.pem, key: {folder}/{index}.key }}")
                };
                let pairs: Vec<String> = (0..count).map(pair).collect();
                format!(", tls: {{ certificates: [{}] }}", pairs.join(", "))
            }
        };
        let redirect = redirect.map_or_else(String::new, |address| {
            format!("  - {{ address: \"{address}\", serve: redirect_to_https }}\n")
        });
        let sessions = match self.sealing {
            Sealing::Configured => "{ keys: [{ env: SESSION_KEY }] }".to_owned(),
            Sealing::Stored => format!("{{ state_directory: {folder}/state }}"),
        };
        format!(
            "public_url: {}\nlisteners:\n  - {{ address: \"{address}\"{tls} }}\n{redirect}\
             admin: {{ address: \"127.0.0.1:0\" }}\nsessions: {sessions}\n{}",
            self.public_url, self.text
        )
    }

    /// Starts a gateway on a socket.
    pub(super) fn start(&self, socket: TcpListener) -> Gateway {
        let mut sockets = vec![socket];
        if self.redirect {
            sockets.push(reserve());
        }
        let addresses: Vec<SocketAddr> = sockets
            .iter()
            .map(|socket| socket.local_addr().unwrap())
            .collect();
        let text = self.configuration(addresses[0], addresses.get(1).copied());
        let env = |name: &str| match name {
            "SESSION_KEY" => Some(STANDARD.encode([7; 32])),
            "CLIENT_SECRET" => Some(CLIENT_SECRET.to_owned()),
            _ => None,
        };
        let loaded = config::parse("gateway.yaml", &text, &env, &Catalog::builtin())
            .unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        let lines = Lines::default();
        let log = access::Log::to(Box::new(lines.clone()));
        let server = Server::build_with(&loaded.gateway, log)
            .unwrap_or_else(|problems| panic!("{problems:?}\n{text}"));
        let running = server.start_with(sockets).unwrap();
        let client = Client::of(addresses[0], self.certificates > 0);
        Gateway {
            public_url: self.public_url.clone(),
            running,
            lines,
            client,
        }
    }
}

/// A gateway that serves.
pub(crate) struct Gateway {
    public_url: String,
    running: Running,
    lines: Lines,
    client: Client,
}

impl Gateway {
    /// Where clients are told that it is.
    pub(crate) fn public_url(&self) -> &str {
        &self.public_url
    }

    /// The addresses of its listeners.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        self.running.addresses()
    }

    /// The address of its admin listener.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.running.admin()
    }

    /// A client for it.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Waits until it can verify tokens.
    pub(crate) async fn has_keys(&self) {
        until("the gateway has keys", || {
            self.metric("gateway_key_set_fetched_timestamp_seconds") > 0.0
        })
        .await;
    }

    /// Waits until a check has found a backend well.
    pub(crate) async fn finds_well(&self, upstream: &str, backend: SocketAddr) {
        let labels = format!("{{backend=\"{backend}\",upstream=\"{upstream}\"}}");
        let healthy = format!("gateway_backend_healthy{labels}");
        until("the backend is checked", || self.metric(&healthy) > 0.0).await;
    }

    /// The value of one sample, `name{label="value"}` with its labels in the order of their names;
    /// 0 when there is none.
    pub(crate) fn metric(&self, sample: &str) -> f64 {
        self.sample(sample)
            .map_or(0.0, |value| value.parse().unwrap())
    }

    /// The same of a sample that counts.
    pub(crate) fn count(&self, sample: &str) -> u64 {
        self.sample(sample)
            .map_or(0, |value| value.parse().unwrap())
    }

    /// The sum of the samples of a name whose labels hold `labels`.
    pub(crate) fn metric_sum(&self, name: &str, labels: &str) -> f64 {
        self.samples(name, labels)
            .map(|value| value.parse::<f64>().unwrap())
            .sum()
    }

    /// The sum of all samples of a name that counts.
    pub(crate) fn count_all(&self, name: &str) -> u64 {
        self.samples(name, "")
            .map(|value| value.parse::<u64>().unwrap())
            .sum()
    }

    fn samples(&self, name: &str, labels: &str) -> impl Iterator<Item = String> {
        let (text, name) = (
            self.running.metrics().render().unwrap(),
            format!("{name}{{"),
        );
        let lines: Vec<String> = text
            .lines()
            .filter(|line| line.starts_with(&name) && line.contains(labels))
            .map(|line| line.rsplit_once(' ').unwrap().1.to_owned())
            .collect();
        lines.into_iter()
    }

    fn sample(&self, sample: &str) -> Option<String> {
        let text = self.running.metrics().render().unwrap();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        value.map(str::to_owned)
    }

    /// Every access line so far, byte for byte.
    pub(crate) fn access_text(&self) -> String {
        self.lines.text()
    }

    /// Every access line so far.
    pub(crate) fn access_lines(&self) -> Vec<Value> {
        let text = self.lines.text();
        // A line that is being written is not there yet.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Waits for the first access line that `wanted` accepts.
    pub(crate) async fn access_line(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let find = || self.access_lines().into_iter().find(|line| wanted(line));
        until("an access line", || find().is_some()).await;
        find().unwrap()
    }

    /// Stops it; returns how many requests were cut.
    pub(crate) async fn drain(self, deadline: Duration) -> usize {
        self.running.drain(deadline).await
    }
}

/// What was written to the access log.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
