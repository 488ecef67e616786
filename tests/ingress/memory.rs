//! When memory is short: new work is refused, and what is under way goes on.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use http::{Request, StatusCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::world::{Answer, Edge, ask, read_answer, until};

const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A gateway that holds as much memory as a test says, and may hold 100 MiB.
struct Held {
    edge: Edge,
    mib: Arc<AtomicUsize>,
}

impl Held {
    async fn start(listener: &str) -> Self {
        let mib = Arc::new(AtomicUsize::new(0));
        let read = Arc::clone(&mib);
        let edge = Edge::start_with(listener, "limits: { memory: 100MiB }", |server| {
            server.sampling_memory(move || Some(read.load(Ordering::Relaxed) << 20))
        })
        .await;
        Self { edge, mib }
    }

    async fn hold(&self, mib: usize) {
        self.mib.store(mib, Ordering::Relaxed);
        let short = usize::from(mib > 100);
        until("the gateway has noticed", || {
            self.edge.metric("gateway_memory_refusing") == short
        })
        .await;
    }
}

fn check_refused(answer: &Answer) {
    assert_eq!(answer.status, Some(503), "{}", answer.text);
    assert!(answer.closed, "{}", answer.text);
    let text = answer.text.to_ascii_lowercase();
    assert!(text.contains("\r\nretry-after: 5\r\n"), "{text}");
    assert!(text.contains("\"temporarily_unavailable\""), "{text}");
}

#[tokio::test]
async fn a_gateway_over_its_mark_answers_only_health_and_admin() {
    for listener in ["", "TLS"] {
        // Measured, and surely more.
        let edge = Edge::start(listener, "limits: { memory: 1MiB }").await;
        let request = async |bytes: &[u8]| match listener {
            "" => edge.ask(bytes).await,
            _ => ask(&mut edge.connect_tls("http/1.1").await, bytes).await,
        };
        check_refused(&request(GET).await);
        assert_eq!(request(HEALTH).await.status, Some(200));
        assert_eq!(edge.refusals("memory"), 1);
        assert!(edge.metric("gateway_memory_held_bytes") > 1 << 20);
        assert_eq!(edge.metric("gateway_memory_mark_bytes"), 1 << 20);
        let mut admin = TcpStream::connect(edge.admin()).await.unwrap();
        let ready = ask(&mut admin, b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(ready.status, Some(200));
        assert!(edge.judge.seen().is_empty());
    }
}

#[tokio::test]
async fn what_is_under_way_goes_on_and_what_is_new_waits() {
    let held = Held::start("").await;
    let edge = &held.edge;
    let mut kept = edge.connect().await;
    assert_eq!(ask(&mut kept, GET).await.status, Some(200));
    let mut health = edge.connect().await;
    assert_eq!(ask(&mut health, HEALTH).await.status, Some(200));
    let mut reader = edge.connect().await;
    let big = b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n";
    reader.write_all(big).await.unwrap();
    assert_eq!(reader.read(&mut [0; 1]).await.unwrap(), 1);

    held.hold(101).await;
    check_refused(&ask(&mut kept, GET).await);
    assert_eq!(ask(&mut health, HEALTH).await.status, Some(200));
    assert_eq!(ask(&mut health, HEALTH).await.status, Some(200), "kept");
    check_refused(&edge.ask(GET).await);
    assert_eq!(edge.refusals("memory"), 1);
    let refused = "gateway_refusals_total{reason=\"memory\",route=\"-\"}";
    assert_eq!(edge.metric(refused), 1);
    let (mut rest, mut buffer) = (0, vec![0; 1 << 16]);
    while rest < 16 << 20 {
        rest += reader.read(&mut buffer).await.unwrap();
    }

    held.hold(80).await;
    assert_eq!(edge.ask(GET).await.status, Some(200));
    assert_eq!(ask(&mut health, GET).await.status, Some(200));
}

#[tokio::test]
async fn a_large_body_that_is_still_coming_is_given_up() {
    let held = Held::start("").await;
    let [mut large, mut small] = [held.edge.connect().await, held.edge.connect().await];
    let post = |length: usize| {
        format!(
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    for (stream, length, sent) in [(&mut large, 1 << 20, 200_000), (&mut small, 50_000, 49_999)] {
        stream.write_all(post(length).as_bytes()).await.unwrap();
        // Whoever says this is about to read the body.
        let mut go = *b"HTTP/1.1 100 Continue\r\n\r\n";
        stream.read_exact(&mut go).await.unwrap();
        assert!(go.starts_with(b"HTTP/1.1 100 "), "{}", go.escape_ascii());
        stream.write_all(&vec![b'x'; sent]).await.unwrap();
    }
    held.hold(101).await;
    large.write_all(b"x").await.unwrap();
    small.write_all(b"x").await.unwrap();
    check_refused(&read_answer(&mut large).await);
    assert_eq!(read_answer(&mut small).await.status, Some(200));
}

#[tokio::test]
async fn streams_of_http2_are_refused_one_by_one() {
    let held = Held::start("TLS").await;
    let stream = held.edge.connect_tls("h2").await;
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    let task = tokio::spawn(connection);
    let mut ask = async |path: &str| {
        let request = Request::get(format!("https://a.test{path}"));
        let request = request.body(()).unwrap();
        let (answer, _) = client.send_request(request, true).unwrap();
        let head = answer.await.unwrap();
        (head.status(), head.headers().contains_key("retry-after"))
    };
    assert_eq!(ask("/").await, (StatusCode::OK, false));
    held.hold(101).await;
    assert_eq!(ask("/").await, (StatusCode::SERVICE_UNAVAILABLE, true));
    assert_eq!(ask("/health").await, (StatusCode::OK, false));
    held.hold(0).await;
    assert_eq!(ask("/").await, (StatusCode::OK, false));
    task.abort();
}
