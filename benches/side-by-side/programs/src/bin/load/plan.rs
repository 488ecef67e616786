//! What a run is told to do.

use std::{fs, net::SocketAddr, path::PathBuf};

use serde::Deserialize;

use crate::Failure;

/// One run.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Plan {
    /// Requests on connections that stay.
    Requests(Loop),
    /// A connection for each request.
    Handshakes(Handshakes),
    /// Connections with one request each, open until standard input ends.
    Hold(Hold),
    /// Event streams: open until a line comes on standard input, then measured.
    Events(Streams),
}

/// Where to, and what is sent.
#[derive(Clone, Deserialize)]
pub(crate) struct Target {
    /// Where the server listens.
    pub(crate) address: SocketAddr,
    /// How it is spoken to.
    pub(crate) protocol: Protocol,
    /// The only certificate that is trusted, as PEM; needed for TLS.
    pub(crate) certificate: Option<PathBuf>,
    /// A JSON list of [`Request`], sent in turn.
    pub(crate) script: PathBuf,
}

/// How a server is spoken to.
#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Protocol {
    /// HTTP/1.1 without TLS.
    Http1,
    /// HTTP/1.1 over TLS.
    Https1,
    /// HTTP/2 over TLS.
    Https2,
}

#[derive(Deserialize)]
pub(crate) struct Loop {
    #[serde(flatten)]
    pub(crate) target: Target,
    pub(crate) connections: usize,
    pub(crate) requests: usize,
}

#[derive(Deserialize)]
pub(crate) struct Handshakes {
    #[serde(flatten)]
    pub(crate) target: Target,
    /// How many clients, each of which connects again and again.
    pub(crate) connections: usize,
    pub(crate) requests: usize,
    /// Whether a client offers the session of its last connection.
    pub(crate) resume: bool,
}

#[derive(Deserialize)]
pub(crate) struct Hold {
    #[serde(flatten)]
    pub(crate) target: Target,
    pub(crate) connections: usize,
}

#[derive(Deserialize)]
pub(crate) struct Streams {
    #[serde(flatten)]
    pub(crate) target: Target,
    pub(crate) connections: usize,
    /// Events of each stream that are measured.
    pub(crate) events: usize,
}

/// One request of a script.
#[derive(Deserialize)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) fields: Vec<(String, String)>,
    #[serde(default)]
    pub(crate) body: String,
}

impl Target {
    /// Reads the script, which has at least one request.
    pub(crate) fn script(&self) -> Result<Vec<Request>, Failure> {
        let requests: Vec<Request> = serde_json::from_slice(&fs::read(&self.script)?)?;
        if requests.is_empty() {
            return Err("the script is empty".into());
        }
        Ok(requests)
    }

    /// Reads the script as the bytes of HTTP/1.1.
    pub(crate) fn bytes(&self) -> Result<Vec<Vec<u8>>, Failure> {
        Ok(self.script()?.iter().map(Request::bytes).collect())
    }
}

impl Request {
    fn bytes(&self) -> Vec<u8> {
        let mut text = format!(
            "{} {} HTTP/1.1\r\nHost: localhost\r\n",
            self.method, self.path
        );
        for (name, value) in &self.fields {
            text.extend([name, ": ", value, "\r\n"]);
        }
        if !self.body.is_empty() {
            let length = self.body.len().to_string();
            text.extend(["Content-Length: ", &length, "\r\n"]);
        }
        text += "\r\n";
        text += &self.body;
        text.into_bytes()
    }
}
