//! A gateway with everything around it, for measuring: a tenant, a small upstream, a client.

#![allow(dead_code, reason = "each bench uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "a bench that cannot run has failed, and is nobody's library"
)]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    thread,
    time::Duration,
};

use mcp_gateway_emulator::entra::Entra;

/// What the upstream answers to a POST: about 1.2 kB, as a tool call does.
const ANSWER_BODY: usize = 1200;
/// What a client posts: about 400 bytes.
pub const CALL: &str = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"search_issues","arguments":{"query":"is:open label:bug author:someone sort:updated-desc","repository":"example/project","page":1,"per_page":30,"include":["title","state","labels","assignees","milestone","comments"],"note":"a body of about four hundred bytes, which is what assistants send for most calls of tools"}}}"#;

/// Starts the upstream: POST gets JSON and a session id, GET an endless stream of events.
pub fn upstream() -> SocketAddr {
    listen(serve)
}

/// Starts a provider's token endpoint, which answers every request with this JSON.
pub fn token_endpoint(answer: &serde_json::Value) -> SocketAddr {
    let answer = json_answer(&answer.to_string());
    listen(move |mut stream| {
        let mut buffer = Vec::new();
        while read_message(&mut stream, &mut buffer).is_some() {
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    })
}

/// Serves each connection on a thread of its own.
fn listen(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
    address
}

fn json_answer(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn serve(mut stream: TcpStream) {
    let answer = json_answer(&format!(
        r#"{{"jsonrpc":"2.0","id":7,"result":{{"content":[{{"type":"text","text":"{}"}}]}}}}"#,
        "x".repeat(ANSWER_BODY)
    ));
    let opening = answer.replace(
        "\r\n\r\n",
        "\r\nMcp-Session-Id: 4dd1fdd2-6e2c-4a0e-8a53-0c5ec7a9fd2e\r\n\r\n",
    );
    let mut buffer = Vec::new();
    while let Some(head) = read_message(&mut stream, &mut buffer) {
        let sent = if head.starts_with("GET /health") {
            stream.write_all(json_answer(r#"{"status":"healthy"}"#).as_bytes())
        } else if head.starts_with("GET") {
            return events(stream);
        } else if field(&head, "mcp-session-id").is_some() {
            stream.write_all(answer.as_bytes())
        } else {
            stream.write_all(opening.as_bytes())
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Sends an event each millisecond.
fn events(mut stream: TcpStream) {
    let event = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progress\":1}}\n\n";
    let chunk = format!("{:x}\r\n{event}\r\n", event.len());
    if stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        .is_err()
    {
        return;
    }
    while stream.write_all(chunk.as_bytes()).is_ok() {
        thread::sleep(Duration::from_millis(1));
    }
}

/// Reads one message with an optional content length; returns its head.
fn read_message(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    let mut chunk = [0; 16 * 1024];
    loop {
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end + 4]).into_owned();
            let length = field(&head, "content-length").map_or(0, |n| n.parse().unwrap());
            if buffer.len() >= end + 4 + length {
                buffer.drain(..end + 4 + length);
                return Some(head);
            }
        }
        match stream.read(&mut chunk) {
            Ok(n) if n > 0 => buffer.extend_from_slice(&chunk[..n]),
            _ => return None,
        }
    }
}

/// The configuration of a gateway with one MCP route.
pub fn configuration(
    listener: &str,
    public: &str,
    entra: &Entra,
    upstream: SocketAddr,
    state: &Path,
) -> String {
    format!(
        "public_url: {public}
listeners:
{listener}
admin: {{ address: 127.0.0.1:0 }}
access_log: off
authorization_server:
  entra: {{ tenant: {}, client_id: {}, authority: \"{}\" }}
sessions: {{ state_directory: {} }}
upstreams:
  bench: {{ backends: [\"{upstream}\"] }}
routes:
  - path: /mcp
    mcp: {{ upstream: bench }}
",
        entra.tenant(),
        entra.client_id(),
        entra.authority(),
        state.display(),
    )
}

/// A client on one keep-alive connection.
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// Sends a request and reads the whole answer; returns its head.
    pub fn exchange(&mut self, request: &str) -> String {
        self.stream.write_all(request.as_bytes()).unwrap();
        read_message(&mut self.stream, &mut self.buffer).expect("an answer")
    }

    /// Sends a request and leaves its answer to [`Client::read`].
    pub fn send(&mut self, request: &str) {
        self.stream.write_all(request.as_bytes()).unwrap();
    }

    /// Reads what has come.
    pub fn read(&mut self) -> usize {
        let mut chunk = [0; 16 * 1024];
        self.stream.read(&mut chunk).unwrap()
    }
}

pub fn get(path: &str, token: Option<&str>) -> String {
    let authorization = token.map_or(String::new(), |t| format!("Authorization: Bearer {t}\r\n"));
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{authorization}\r\n"
    )
}

pub fn post(token: &str, session: Option<&str>) -> String {
    let session = session.map_or(String::new(), |s| format!("Mcp-Session-Id: {s}\r\n"));
    format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2025-11-25\r\nAuthorization: Bearer {token}\r\n{session}Content-Length: {}\r\n\r\n{CALL}",
        CALL.len()
    )
}

/// Finds a field of a message head.
pub fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}
