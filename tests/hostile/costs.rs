//! The 100× rule of SECURITY.md: whatever bytes come, a request takes at most a hundred times the
//! CPU time of a plain one, and at most 100 bytes of memory for each of its bytes and 64 KiB, also
//! while its answer waits to be taken. Its connection is in that, but for those of HTTP/2, which have
//! many.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    gateway::{Gateway, alone},
    http2::{self, END_HEADERS, END_STREAM, HEADERS, Method, SETTINGS, WINDOW_UPDATE, frame},
    inputs::{self, LONGEST},
    world::PATIENCE,
};

/// The rule.
const TIMES: u32 = 100;
/// The rule, for the memory of a connection with its request; of HTTP/2, for that of the connection
/// and of each request.
const BASE: usize = 64 * 1024;
/// How often plain requests are measured: the clock of CPU time ticks every 10 ms.
const PLAIN: u32 = 1000;
/// The same for each input of the table.
const EACH: u32 = 10;
/// How many connections there are at a time: who waits for keys waits with all the others.
const AT_ONCE: usize = 10;

/// Over which listener bytes are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Plain,
    Tls,
    Http2,
}

/// Opens a connection.
async fn connect(gateway: &Gateway, over: Over) -> Box<dyn Stream> {
    match over {
        Over::Plain => Box::new(gateway.connect().await),
        Over::Tls => Box::new(gateway.connect_tls("http/1.1").await),
        Over::Http2 => Box::new(gateway.connect_tls("h2").await),
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Sends bytes on a connection of their own and waits for its end.
async fn send(gateway: &Gateway, over: Over, bytes: &[u8]) {
    let (mut read, mut write) = tokio::io::split(connect(gateway, over).await);
    let write = async {
        // The gateway may have had enough before.
        let _ = write.write_all(bytes).await;
        let _ = write.shutdown().await;
    };
    let read = async {
        let mut nowhere = tokio::io::sink();
        let _ = timeout(PATIENCE, tokio::io::copy(&mut read, &mut nowhere)).await;
    };
    tokio::join!(write, read);
}

/// The CPU time that each of so many connections took, without what the gateway does anyhow.
async fn cost(gateway: &Arc<Gateway>, over: Over, bytes: &[u8], times: u32, idle: f64) -> Duration {
    let (before, begun) = (gateway.cpu(), Instant::now());
    let bytes: Arc<[u8]> = bytes.into();
    let mut clients = JoinSet::new();
    for _ in 0..times {
        let (gateway, bytes) = (Arc::clone(gateway), Arc::clone(&bytes));
        clients.spawn(async move { send(&gateway, over, &bytes).await });
        if clients.len() >= AT_ONCE {
            clients.join_next().await;
        }
    }
    while clients.join_next().await.is_some() {}
    while gateway.connections() > 0 {
        sleep(Duration::from_millis(5)).await;
    }
    let anyhow = begun.elapsed().mul_f64(idle);
    gateway.cpu_since(before).saturating_sub(anyhow) / times
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_takes_a_hundred_times_the_cpu_time_of_a_plain_one() {
    let _alone = alone().await;
    let gateway = Arc::new(Gateway::start("{ head_timeout: 5s }").await);
    let token = gateway.entra.token("alice").build();
    let stream = frame(
        HEADERS,
        END_HEADERS | END_STREAM,
        1,
        &http2::request(Method::Get, "/health"),
    );
    let plain2 = [http2::preface(), stream].concat();
    let plain1 = inputs::get("/health", "");
    let mut worst = (0, "");
    // Health checks, the memory guard, keys.
    let (before, begun) = (gateway.cpu(), Instant::now());
    sleep(Duration::from_secs(3)).await;
    let idle = gateway.cpu_since(before).as_secs_f64() / begun.elapsed().as_secs_f64();
    println!("an idle gateway takes {:.2} % of a processor", idle * 100.0);
    for (over, plain, inputs) in [
        (Over::Plain, plain1, inputs::http1(&token)),
        (Over::Http2, plain2, inputs::http2()),
    ] {
        cost(&gateway, over, &plain, 20, idle).await;
        let usual = cost(&gateway, over, &plain, PLAIN, idle).await;
        assert!(!usual.is_zero());
        let mut arbitraries = vec![];
        let mut runner = TestRunner::default();
        for _ in 0..100 {
            let bytes = inputs::arbitrary().new_tree(&mut runner).unwrap().current();
            arbitraries.push(match over {
                Over::Plain | Over::Tls => bytes,
                Over::Http2 => [http2::preface(), bytes].concat(),
            });
        }
        let named = inputs
            .into_iter()
            .chain(arbitraries.into_iter().map(|bytes| ("", bytes)));
        for (name, bytes) in named {
            assert!(bytes.len() <= LONGEST + 1024, "{name}: {}", bytes.len());
            let times = if name.is_empty() { 1 } else { EACH };
            let taken = cost(&gateway, over, &bytes, times, idle).await;
            // What one tick of the clock hides.
            let most = usual * TIMES + Duration::from_millis(10);
            assert!(
                taken <= most,
                "{over:?}, {name}: {taken:?} instead of {usual:?}: {}",
                bytes.escape_ascii()
            );
            if !name.is_empty() {
                let ratio = taken.as_micros() / usual.as_micros();
                println!("{over:?}, {name}: {} bytes, {ratio} times", bytes.len());
                worst = worst.max((ratio, name));
            }
        }
        println!("{over:?}: a plain request takes {usual:?}");
    }
    println!("at most {} times: {}", worst.0, worst.1);
}

/// A request that is held open, and how many of them one connection makes.
struct Held {
    name: &'static str,
    over: Over,
    bytes: Vec<u8>,
    requests: usize,
}

fn held() -> Vec<Held> {
    let head = |length: usize| {
        let mut head = b"GET / HTTP/1.1\r\nHost: a\r\nA: ".to_vec();
        head.resize(length, b'a');
        head
    };
    let started = |path: &str, length: &str, body: &[u8]| {
        let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\n{length}\r\n\r\n");
        [head.as_bytes(), body].concat()
    };
    let plain = |name: &'static str, bytes| Held {
        name,
        over: Over::Plain,
        bytes,
        requests: 1,
    };
    vec![
        Held {
            requests: 0,
            ..plain("nothing", vec![])
        },
        plain("a byte", vec![b'G']),
        plain("half a head", head(30_000)),
        plain("most of a head", head(65_000)),
        plain(
            "an answer that never comes",
            b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        ),
        plain(
            "an answer that is not read",
            b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        ),
        Held {
            name: "an answer that is not read, over TLS",
            over: Over::Tls,
            bytes: b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            requests: 1,
        },
        plain(
            "a body",
            started("/never", "Content-Length: 65000", &vec![b'a'; 60_000]),
        ),
        plain(
            "a body of tiny chunks",
            started(
                "/never",
                "Transfer-Encoding: chunked",
                &b"1\r\na\r\n".repeat(10_000),
            ),
        ),
        plain(
            "a form",
            started(
                "/oauth2/token",
                "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 65000",
                &vec![b'a'; 60_000],
            ),
        ),
        plain(
            "requests ahead",
            [
                &b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n"[..],
                &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2000),
            ]
            .concat(),
        ),
    ]
}

/// The same over HTTP/2, and what comes before it.
fn held_over_http2() -> Vec<Held> {
    let frames = |count: u32, path: &str| {
        let get = http2::request(Method::Get, path);
        (0..count)
            .flat_map(|n| frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &get))
            .collect::<Vec<_>>()
    };
    let streams = |count, path| [http2::preface(), frames(count, path)].concat();
    let table = {
        let mut block = http2::request(Method::Get, "/never");
        // Three entries of 1,200 bytes for the table.
        for name in b"abc" {
            block.extend([0x40, 1, *name, 0x7f, 0xb1, 0x08]);
            block.extend([b'b'; 1200]);
        }
        let frames = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block);
        [http2::preface(), frames].concat()
    };
    // Streams and a connection that may be sent 2^30 bytes.
    let wide = |count| {
        [
            http2::preface(),
            frame(SETTINGS, 0, 0, &[0, 4, 0x40, 0, 0, 0]),
            frame(WINDOW_UPDATE, 0, 0, &[0x40, 0, 0, 0]),
            frames(count, "/big"),
        ]
        .concat()
    };
    let http2 = |name: &'static str, bytes, requests| Held {
        name,
        over: Over::Http2,
        bytes,
        requests,
    };
    vec![
        http2("nothing over TLS", vec![], 0),
        http2("a preface", http2::preface(), 0),
        http2("a stream", streams(1, "/never"), 1),
        http2(
            "an answer that is not read, over HTTP/2",
            streams(1, "/big"),
            1,
        ),
        http2("an answer that is not read, for a wide window", wide(1), 1),
        http2("a hundred streams", streams(100, "/never"), 100),
        http2(
            "a hundred answers that are not read",
            streams(100, "/big"),
            100,
        ),
        http2(
            "a hundred answers that are not read, for wide windows",
            wide(100),
            100,
        ),
        http2("a full table", table, 1),
    ]
}

/// What each of many connections that are open at once takes of the gateway's memory, in bytes.
async fn memory(held: &Held) -> usize {
    let limits = "{ handshake_timeout: 5m, head_timeout: 5m, idle_timeout: 5m, write_timeout: 5m, body_grace: 5m }";
    let gateway = Gateway::start(limits).await;
    let count = (1600 / held.requests.max(1)).clamp(16, 100);
    let open = async |count| {
        let mut open: Vec<Box<dyn Stream>> = vec![];
        for _ in 0..count {
            let mut stream = connect(&gateway, held.over).await;
            // What the gateway does not read stays in the kernel.
            let _ = timeout(Duration::from_millis(500), stream.write_all(&held.bytes)).await;
            let _ = stream.flush().await;
            open.push(stream);
        }
        // Until it has done what it does with them.
        let (mut last, mut same) = (0, 0);
        while same < 6 {
            sleep(Duration::from_millis(50)).await;
            let now = gateway.memory();
            same = if now.abs_diff(last) < 128 {
                same + 1
            } else {
                0
            };
            last = now;
        }
        (open, last)
    };
    // What is allocated once is allocated now.
    let (few, _) = open(8).await;
    let before = gateway.memory();
    let (many, after) = open(count).await;
    let unanswered = "gateway_upstream_failures_total{reason=\"no_backend\",upstream=\"judge\"}";
    assert_eq!(gateway.metric(unanswered), 0, "every request is at work");
    drop((few, many));
    after.saturating_sub(before) * 1024 / count
}

/// What a connection takes that has been answered once and waits for its next request, in bytes.
async fn idle(gateway: &Gateway, over: Over, count: usize) -> usize {
    let open = async |count| {
        let mut open: Vec<Box<dyn Stream>> = vec![];
        for _ in 0..count {
            let mut stream = connect(gateway, over).await;
            let get = match over {
                Over::Plain | Over::Tls => b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
                Over::Http2 => http2::preface(),
            };
            stream.write_all(&get).await.unwrap();
            stream.flush().await.unwrap();
            assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
            open.push(stream);
        }
        open
    };
    let few = open(50).await;
    let before = gateway.memory();
    let many = open(count).await;
    let after = gateway.memory();
    drop((few, many));
    after.saturating_sub(before) * 1024 / count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_takes_little_memory() {
    let _alone = alone().await;
    for (over, most) in [
        (Over::Plain, 15_000),
        (Over::Tls, 30_000),
        (Over::Http2, 40_000),
    ] {
        let gateway = Gateway::start("{}").await;
        let taken = idle(&gateway, over, 900).await;
        println!("{over:?}: an idle connection takes {taken} bytes of at most {most}");
        assert!(taken <= most, "{over:?}: {taken} bytes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_takes_more_memory_than_a_hundred_times_its_bytes() {
    let _alone = alone().await;
    for held in held().into_iter().chain(held_over_http2()) {
        let taken = memory(&held).await;
        let requests = match held.over {
            Over::Plain | Over::Tls => 0,
            Over::Http2 => held.requests,
        };
        let most = 100 * held.bytes.len() + BASE * (1 + requests);
        println!(
            "{}: {} bytes take {} KiB of at most {}",
            held.name,
            held.bytes.len(),
            taken / 1024,
            most / 1024
        );
        assert!(taken <= most, "{}: {taken} bytes", held.name);
    }
}
