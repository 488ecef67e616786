//! What stands behind every proxy of a run: a workload, and the token endpoint of a tenant.
//!
//! `upstream ADDRESS TOKEN-ANSWER-FILE`, one thread. It answers the same bytes to everybody and
//! remembers the last request, so that the harness can see what reached it:
//!
//! | request | answer |
//! |---|---|
//! | `POST /token` | the JSON of the file |
//! | `POST` elsewhere | 1.2 kB of JSON, with a session id when the request has none |
//! | `GET /health` | a healthy workload's |
//! | `GET /seen` | `{"requests": …, "head": …, "body": …}`, without itself and the probes |
//! | `GET` elsewhere | events ten times a second, each with the time at which it was sent |

use std::{
    cell::RefCell,
    error::Error,
    fs, io,
    rc::Rc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::LocalSet,
    time::{MissedTickBehavior, interval},
};

/// Between two events of a stream.
const PAUSE: Duration = Duration::from_millis(100);
const SESSION: &str = "4dd1fdd2-6e2c-4a0e-8a53-0c5ec7a9fd2e";

struct Answers {
    call: String,
    opening: String,
    token: String,
    health: String,
}

#[derive(Default)]
struct Seen {
    requests: usize,
    head: Vec<u8>,
    body: Vec<u8>,
}

type Shared<T> = Rc<RefCell<T>>;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, token] = arguments.as_slice() else {
        return Err("expected ADDRESS TOKEN-ANSWER-FILE".into());
    };
    let text = "x".repeat(1200);
    let call =
        json!({"jsonrpc": "2.0", "id": 7, "result": {"content": [{"type": "text", "text": text}]}});
    let answers = Rc::new(Answers {
        call: whole("", &call.to_string()),
        opening: whole(&format!("Mcp-Session-Id: {SESSION}\r\n"), &call.to_string()),
        token: whole("Cache-Control: no-store\r\n", &fs::read_to_string(token)?),
        health: whole("", r#"{"status":"healthy"}"#),
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, serve(address, answers))?;
    Ok(())
}

async fn serve(address: &str, answers: Rc<Answers>) -> io::Result<()> {
    let seen = Shared::<Seen>::default();
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, peer) = listener.accept().await?;
        // It may listen on every address, because all of 127.0.0.0/8 is asked.
        if !peer.ip().is_loopback() {
            continue;
        }
        stream.set_nodelay(true)?;
        let (answers, seen) = (Rc::clone(&answers), Rc::clone(&seen));
        tokio::task::spawn_local(async move {
            // A proxy that goes away ends its connection, and nothing else.
            let _ = connection(stream, &answers, &seen).await;
        });
    }
}

fn whole(fields: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
    )
}

async fn connection(
    mut stream: TcpStream,
    answers: &Answers,
    seen: &RefCell<Seen>,
) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(16 * 1024);
    loop {
        let Some((end, length)) = side_by_side::head(&buffer)? else {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            continue;
        };
        if length.is_none_or(|length| buffer.len() < end + length) {
            // Proxies that forward a body in chunks are asked not to: no scenario needs it.
            if length.is_none() {
                return Err(io::Error::other("expected a content length"));
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            continue;
        }
        let body = buffer.split_off(end);
        let (body, rest) = body.split_at(length.unwrap_or(0));
        let head = std::mem::replace(&mut buffer, rest.to_vec());
        if head.starts_with(b"GET /health") {
            stream.write_all(answers.health.as_bytes()).await?;
            continue;
        }
        if head.starts_with(b"GET /seen") {
            let answer = whole("", &seen.borrow().told());
            stream.write_all(answer.as_bytes()).await?;
            continue;
        }
        seen.borrow_mut().note(&head, body);
        if head.starts_with(b"GET") {
            return events(stream).await;
        }
        let answer = if head.starts_with(b"POST /token") {
            &answers.token
        } else if side_by_side::has_field(&head, "mcp-session-id") {
            &answers.call
        } else {
            &answers.opening
        };
        stream.write_all(answer.as_bytes()).await?;
    }
}

impl Seen {
    fn note(&mut self, head: &[u8], body: &[u8]) {
        self.requests += 1;
        self.head.clear();
        self.head.extend_from_slice(head);
        self.body.clear();
        self.body.extend_from_slice(body);
    }

    fn told(&self) -> String {
        json!({
            "requests": self.requests,
            "head": String::from_utf8_lossy(&self.head),
            "body": String::from_utf8_lossy(&self.body),
        })
        .to_string()
    }
}

/// Sends events until the reader is gone.
async fn events(mut stream: TcpStream) -> io::Result<()> {
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head).await?;
    let mut ticks = interval(PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_err(io::Error::other)?;
        let event = format!(
            "data: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{{\"progress\":1,\"at\":{:020}}}}}\n\n",
            now.as_nanos()
        );
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        stream.write_all(chunk.as_bytes()).await?;
    }
}
