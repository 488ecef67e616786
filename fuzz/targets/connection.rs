//! Arbitrary bytes on a connection to a whole gateway, before an upstream that keeps what arrives.
//!
//! What arrives upstream must be requests of the client as a reader by the letter of RFC 9112 finds
//! them: the same ones, in the same order, byte for byte. What comes back must be whole answers, and
//! the connection must end.
#![no_main]

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use libfuzzer_sys::fuzz_target;
use mcp_gateway::{
    config,
    server::{Running, Server},
    telemetry::access,
};
use mcp_gateway_filters::Catalog;
use mcp_gateway_fuzz::http1::{Answer, Head, Read, answers};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    runtime::{Builder, Runtime},
    time::timeout,
};

/// Follows every input, so that a connection ends by itself when all before it is whole.
const LAST: &[u8] = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
/// What the gateway asks the judge by itself.
const HEALTH: &[u8] = b"/judge-health";
/// Longer than any answer may take.
const DEADLINE: Duration = Duration::from_secs(10);

static WORLD: LazyLock<World> = LazyLock::new(World::start);

struct World {
    runtime: Runtime,
    gateway: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    _running: Running,
}

/// What the judge has seen since the last input.
#[derive(Debug, Default)]
struct Seen {
    /// Requests, in the order in which they arrived.
    arrived: Vec<Request>,
    /// Requests of the input before, if its client did not wait for their answers.
    left: Vec<Request>,
}

/// A request with its content, whatever its framing.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Request {
    method: Vec<u8>,
    target: Vec<u8>,
    body: Vec<u8>,
}

fuzz_target!(|data: &[u8]| {
    let sent = [data, LAST].concat();
    let (requests, _) = read(&sent);
    // The last one may have become the body or a trailer of an earlier one.
    let (_, whole) = read(data);
    let answer = WORLD.runtime.block_on(WORLD.exchange(&sent, whole));
    let mut seen = WORLD.seen.lock().expect("no panic");
    let mut arrived = std::mem::take(&mut seen.arrived);
    // What a client has left behind may arrive when it is gone.
    arrived.retain(|request| !seen.left.contains(request));
    // Some requests are refused, or answered by the gateway; none is made up or changed.
    let mut rest = requests.iter();
    for request in &arrived {
        assert!(rest.any(|one| one == request), "made up: {request:?}");
    }
    seen.left.clear();
    let (Some(answer), true) = (answer, whole) else {
        seen.left = requests;
        return;
    };
    // The judge always answers: no client's bytes may make it look dead for the others.
    let dead = answer.windows(13).any(|text| text == b"HTTP/1.1 503 ");
    assert!(
        !dead,
        "the upstream counts as unreachable: {}",
        answer.escape_ascii()
    );
    let methods = requests.iter().map(|request| request.method.as_slice());
    let Answer { finals, rest, .. } = answers(&answer, methods);
    assert!(rest.is_empty(), "not an answer: {}", rest.escape_ascii());
    assert!(
        (arrived.len()..=requests.len()).contains(&finals),
        "{finals} answers"
    );
});

/// Reads requests as far as there are any; says whether nothing else follows.
fn read(bytes: &[u8]) -> (Vec<Request>, bool) {
    let mut requests = vec![];
    let mut rest = bytes;
    while !rest.is_empty() {
        let end = rest.windows(4).position(|four| four == b"\r\n\r\n");
        let Some((head, behind)) = end.and_then(|end| rest.split_at_checked(end + 4)) else {
            return (requests, false);
        };
        let Some(head) = Head::read(head) else {
            return (requests, false);
        };
        let Some(Read::Whole(length, body)) = head.body().map(|body| body.read(behind)) else {
            return (requests, false);
        };
        requests.push(Request {
            method: head.method.to_vec(),
            target: head.target.to_vec(),
            body,
        });
        rest = &behind[length..];
    }
    (requests, true)
}

impl World {
    fn start() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let seen = Arc::<Mutex<Seen>>::default();
        let (gateway, running) = runtime.block_on(async {
            let judge = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
            let judge = judge.expect("a port");
            let upstream = judge.local_addr().expect("an address");
            tokio::spawn(serve(judge, Arc::clone(&seen)));
            start(upstream)
        });
        Self {
            runtime,
            gateway,
            seen,
            _running: running,
        }
    }

    /// Sends the bytes and returns what comes back until the connection ends; `None` when it was
    /// reset, which may have taken answers along.
    async fn exchange(&self, sent: &[u8], whole: bool) -> Option<Vec<u8>> {
        let socket = TcpSocket::new_v4().expect("a socket");
        // Thousands of connections a second leave no ports to spare for those that ended.
        socket.set_zero_linger().expect("an option");
        let stream = socket.connect(self.gateway).await.expect("a connection");
        let (mut from, mut to) = stream.into_split();
        let mut answer = vec![];
        let talk = async {
            let write = async {
                let written = to.write_all(sent).await;
                // A client that has said all it had, in the middle of something.
                if !whole {
                    let _ = to.shutdown().await;
                }
                written
            };
            let (_, read) = tokio::join!(write, from.read_to_end(&mut answer));
            read
        };
        let Ok(ended) = timeout(DEADLINE, talk).await else {
            panic!("no end within {DEADLINE:?}: {}", answer.escape_ascii());
        };
        match ended {
            Ok(_) => Some(answer),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("{error}"),
        }
    }
}

fn start(upstream: SocketAddr) -> (SocketAddr, Running) {
    let text = format!(
        "public_url: http://127.0.0.1:8080\n\
         listeners: [{{ address: \"127.0.0.1:0\" }}]\n\
         admin: {{ address: \"127.0.0.1:0\" }}\n\
         sessions: {{ keys: [{{ env: SESSION_KEY }}] }}\n\
         upstreams: {{ judge: {{ backends: [\"{upstream}\"], \
           connect_timeout: 1m, \
           health_check: {{ path: /judge-health, expect: success, interval: 1h, timeout: 1m }} }} }}\n\
         routes:\n  \
         - path: /*\n    filters: [{{ proxy: {{ upstream: judge }} }}]\n  \
         - path: /hello\n    filters: [{{ respond: {{ status: 200, text: hello }} }}]\n"
    );
    let environment = |name: &str| (name == "SESSION_KEY").then(|| STANDARD.encode([7; 32]));
    let loaded = config::parse("gateway.yaml", &text, &environment, &Catalog::builtin())
        .unwrap_or_else(|problems| panic!("{problems}"));
    let log = access::Log::to(Box::new(io::sink()));
    let server =
        Server::build_with(&loaded.gateway, log).unwrap_or_else(|problems| panic!("{problems:?}"));
    let running = server.start().expect("ports");
    (running.addresses()[0], running)
}

/// Keeps every request and answers it; ends a connection that carries something else.
async fn serve(listener: TcpListener, seen: Arc<Mutex<Seen>>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(judge(stream, Arc::clone(&seen)));
    }
}

async fn judge(mut stream: TcpStream, seen: Arc<Mutex<Seen>>) {
    let mut bytes = vec![];
    while matches!(stream.read_buf(&mut bytes).await, Ok(read) if read > 0) {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let (head, behind) = bytes.split_at(end + 4);
        let head = Head::read(head).expect("the gateway sends requests by the grammar");
        let body = head.body().expect("the gateway frames a body once");
        let (length, body) = match body.read(behind) {
            Read::Whole(length, body) => (length, body),
            Read::Part => continue,
            Read::Broken => panic!("the gateway sends chunks by the grammar"),
        };
        assert_eq!(behind.len(), length, "one request at a time");
        let answer: &[u8] = match head.method {
            b"HEAD" => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
            _ => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        };
        if head.target != HEALTH {
            let request = Request {
                method: head.method.to_vec(),
                target: head.target.to_vec(),
                body,
            };
            seen.lock().expect("no panic").arrived.push(request);
        }
        bytes.clear();
        if stream.write_all(answer).await.is_err() {
            return;
        }
    }
}
