//! Sockets and heads: TLS, protocols, listeners, and what is refused before any route.

mod heads;
mod secrets;

use std::sync::Arc;

use bytes::Bytes;
use reqwest::{Method, Version};
use rustls::version::{TLS12, TLS13};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use crate::world::{PATIENCE, World, exchange, send, until};

const DOCUMENT: &str = "/.well-known/oauth-protected-resource";

/// A GET as it stands on an HTTP/1.1 connection that it ends.
fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
}

/// Sends a request over HTTP/2; returns status and body.
pub(super) async fn h2_request(
    tls: TlsStream<TcpStream>,
    request: http::Request<()>,
) -> Result<(u16, String), h2::Error> {
    let (mut client, connection) = h2::client::handshake(tls).await?;
    let driver = tokio::spawn(connection);
    let asked = async {
        let (response, _) = client.send_request(request, true)?;
        let (head, mut body) = response.await?.into_parts();
        let mut whole = vec![];
        while let Some(chunk) = body.data().await {
            let chunk: Bytes = chunk?;
            body.flow_control().release_capacity(chunk.len())?;
            whole.extend_from_slice(&chunk);
        }
        let text = String::from_utf8_lossy(&whole).into_owned();
        Ok((head.status.as_u16(), text))
    };
    let answer = tokio::time::timeout(PATIENCE, asked).await.unwrap();
    driver.abort();
    answer
}

async fn with_tls() -> World {
    let world = World::builder().tls().workload("github").route("/mcp");
    world.start().await
}

#[tokio::test]
async fn both_versions_of_tls_carry_both_of_http() {
    let world = with_tls().await;
    for version in [&TLS12, &TLS13] {
        for (offered, chosen) in [
            (&["h2", "http/1.1"][..], Some("h2")),
            (&["h2"], Some("h2")),
            (&["http/1.1"], Some("http/1.1")),
            (&[], None),
        ] {
            let tls = world.connect_tls("localhost", &[version], offered).await;
            let tls = tls.unwrap();
            let (_, session) = tls.get_ref();
            assert_eq!(session.protocol_version(), Some(version.version));
            let alpn = session.alpn_protocol().map(String::from_utf8_lossy);
            assert_eq!(alpn.as_deref(), chosen);
            if chosen == Some("h2") {
                let url = format!("{}{DOCUMENT}", world.public_url());
                let request = http::Request::get(url).body(()).unwrap();
                let (status, body) = h2_request(tls, request).await.unwrap();
                assert_eq!(status, 200, "{body}");
            } else {
                let answer = exchange(tls, get(DOCUMENT).as_bytes()).await;
                assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            }
        }
    }
}

#[tokio::test]
async fn both_versions_of_http_get_the_same_answers() {
    let world = with_tls().await;
    let token = world.token("alice");
    for target in [DOCUMENT, "/nothing", "/mcp"] {
        for token in [None, Some(token.as_str())] {
            let one = send(world.mcp(Method::GET, target, token, None)).await;
            let two = send(world.mcp_h2(Method::GET, target, token, None)).await;
            assert_eq!(
                (one.version, two.version),
                (Version::HTTP_11, Version::HTTP_2)
            );
            assert_eq!((one.status, &one.body), (two.status, &two.body), "{target}");
            for name in ["content-type", "www-authenticate", "allow", "cache-control"] {
                assert_eq!(one.header(name), two.header(name), "{target}: {name}");
            }
        }
    }
}

#[tokio::test]
async fn many_streams_share_one_connection() {
    let world = with_tls().await;
    let token = world.token("alice");
    let session = world.session("/mcp", &token).await;
    let call = async |ms: u64| {
        let message = crate::world::mcp::call(ms, "slow", &json!({"ms": ms}));
        let request = world.mcp_h2(Method::POST, "/mcp", Some(&token), Some(&session));
        let answer = send(request.json(&message)).await;
        assert_eq!(answer.message()["id"], ms);
    };
    tokio::join!(call(200), call(1), call(100), call(2), call(150));
    let line = format!(
        "gateway_connections_active{{listener=\"{}\"}}",
        world.addresses()[0]
    );
    // The session was opened over HTTP/1.1, everything else shared one more.
    assert_eq!(world.count(&line), 2);
}

/// The names in the certificate that a client is shown.
async fn shown(world: &World, name: &str) -> std::io::Result<Vec<u8>> {
    let tls = world.connect_tls(name, &[&TLS13], &["http/1.1"]).await?;
    let certificates = tls.get_ref().1.peer_certificates().unwrap();
    Ok(certificates[0].to_vec())
}

#[tokio::test]
async fn the_certificate_is_chosen_by_name() {
    let world = World::builder()
        .certificate(&["localhost", "127.0.0.1", "a.test"])
        .certificate(&["b.test", "*.c.test"])
        .start()
        .await;
    let (first, second) = (
        shown(&world, "a.test").await.unwrap(),
        shown(&world, "b.test").await.unwrap(),
    );
    assert_ne!(first, second);
    for (name, expected) in [
        ("localhost", &first),
        ("x.c.test", &second),
        // Without SNI, as clients of an address are, the first serves.
        ("127.0.0.1", &first),
    ] {
        assert_eq!(&shown(&world, name).await.unwrap(), expected, "{name}");
    }
    for name in ["other.test", "c.test", "x.y.c.test"] {
        let refused = shown(&world, name).await.unwrap_err().to_string();
        assert!(refused.contains("certificate"), "{name}: {refused}");
    }
    let expiry = "gateway_certificate_not_after_timestamp_seconds";
    for name in ["localhost", "b.test"] {
        let sample = format!("{expiry}{{certificate=\"{name}\"}}");
        assert!(world.metric(&sample) > 0.0, "{name}");
    }
}

#[tokio::test]
async fn what_is_no_tls_is_turned_away_and_counted() {
    let world = with_tls().await;
    let refused = "gateway_ingress_refusals_total{reason=\"handshake_failed\"}";
    for (number, hello) in (0..).zip([
        get("/").into_bytes(),
        vec![0; 100],
        b"\x16\x03\x01\xff\xff".repeat(100),
    ]) {
        let mut stream = world.connect().await;
        stream.write_all(&hello).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = vec![];
        // Whether it is closed or reset depends on what was left unread.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP"));
        until("the refusal is counted", || world.count(refused) > number).await;
    }
    assert_eq!(world.get(DOCUMENT).await.status, 200);
}

#[tokio::test]
async fn the_plain_listener_only_says_where_the_gateway_is() {
    let world = World::builder()
        .tls()
        .workload("github")
        .route("/mcp")
        .redirect_listener()
        .start()
        .await;
    let plain = format!("http://{}", world.addresses()[1]);
    for target in ["/", "/mcp", "/mcp?a=%7e&b", "/.well-known/x", "/metrics"] {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            let url = format!("{plain}{target}");
            let request = world.client().elsewhere(method, &url);
            let answer = send(request.header("host", "evil.example")).await;
            assert_eq!(answer.status, 308, "{answer:?}");
            let expected = format!("{}{target}", world.public_url());
            assert_eq!(answer.header("location"), Some(expected.as_str()));
        }
    }
    let stream = TcpStream::connect(world.addresses()[1]).await.unwrap();
    let answer = exchange(stream, b"GET //evil.example HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(world.workloads[0].mcp_requests().len(), 0);
}

#[tokio::test]
async fn the_admin_listener_is_somewhere_else() {
    let world = World::usual().await;
    for path in ["/metrics", "/status", "/healthz", "/readyz"] {
        let inside = world
            .client()
            .elsewhere(Method::GET, &format!("http://{}{path}", world.admin()));
        assert_eq!(send(inside).await.status, 200, "{path}");
        assert_eq!(world.get(path).await.status, 404, "{path}");
    }
    for (method, path, status) in [
        (Method::GET, "/mcp", 404),
        (Method::GET, DOCUMENT, 404),
        (Method::POST, "/metrics", 405),
        (Method::DELETE, "/status", 405),
    ] {
        let url = format!("http://{}{path}", world.admin());
        let answer = send(world.client().elsewhere(method, &url)).await;
        assert_eq!(answer.status, status, "{path}");
    }
    let url = format!("http://{}/metrics", world.admin());
    let metrics = send(world.client().elsewhere(Method::GET, &url)).await;
    assert!(
        metrics
            .header("content-type")
            .unwrap()
            .starts_with("text/plain")
    );
    for name in [
        "gateway_build_info",
        "gateway_backend_healthy",
        "gateway_key_set_fetched_timestamp_seconds",
        "gateway_request_duration_seconds_count",
    ] {
        assert!(metrics.body.contains(name), "{name}");
    }
}

#[tokio::test]
async fn what_is_not_there_and_not_taken_is_said_in_json() {
    let world = World::usual().await;
    for target in [
        "/",
        "/mc",
        "/mcp/",
        "/mcp/x",
        "/api/v1beta/workloads",
        "/favicon.ico",
    ] {
        for method in [Method::GET, Method::POST] {
            let answer = send(world.client().request(method, target)).await;
            assert_eq!(answer.status, 404, "{target}: {answer:?}");
            assert_eq!(answer.error(), "not_found");
        }
    }
    for (method, target) in [
        (Method::PUT, "/mcp"),
        (Method::PATCH, "/mcp"),
        (Method::GET, "/oauth2/token"),
        (Method::DELETE, "/oauth2/authorize"),
        (Method::GET, "/register"),
    ] {
        let answer = send(world.client().request(method, target)).await;
        assert_eq!(answer.status, 405, "{target}: {answer:?}");
        let allowed = answer.header("allow").unwrap();
        assert!(!allowed.is_empty(), "{target}");
        answer.error();
    }
    assert_eq!(world.workloads[0].mcp_requests().len(), 0);
}

#[tokio::test]
async fn load_balancers_can_ask_whether_it_lives() {
    let world = World::usual().await;
    let answer = world.get("/health").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    world.entra.stop().await;
    world.workloads[0].kill().await;
    assert_eq!(world.get("/health").await.status, 200);
}

/// Reads one answer whose length is announced, and returns its status.
async fn read_answer(stream: &mut TcpStream) -> u16 {
    let mut read = String::new();
    loop {
        if let Some((head, body)) = read.split_once("\r\n\r\n") {
            let lower = head.to_ascii_lowercase();
            let length = lower.split_once("content-length: ").unwrap().1;
            let length: usize = length.lines().next().unwrap().parse().unwrap();
            if body.len() >= length {
                assert_eq!(body.len(), length, "{read}");
                return head["HTTP/1.1 ".len()..][..3].parse().unwrap();
            }
        }
        let mut piece = vec![0; 4096];
        let count = stream.read(&mut piece).await.unwrap();
        assert_ne!(count, 0, "closed after {read}");
        read.push_str(std::str::from_utf8(&piece[..count]).unwrap());
    }
}

#[tokio::test]
async fn one_connection_carries_many_requests() {
    let world = World::usual().await;
    let mut stream = world.connect().await;
    for (request, status) in [
        ("GET /nothing HTTP/1.1\r\nHost: a.test\r\n\r\n", 404),
        // The body is not asked for, and yet read, so that the connection can be kept.
        (
            "POST /mcp HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello",
            401,
        ),
        (
            "POST /register HTTP/1.1\r\nHost: a.test\r\nContent-Type: application/json\r\n\
             Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            400,
        ),
        (&get(DOCUMENT), 200),
    ] {
        // Heads come in pieces, too.
        for piece in request.as_bytes().chunks(20) {
            let written = stream.write_all(piece).await;
            assert!(written.is_ok(), "{written:?}: {request}");
            tokio::task::yield_now().await;
        }
        assert_eq!(read_answer(&mut stream).await, status, "{request}");
    }
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_body_that_may_never_come_ends_the_connection() {
    let world = World::usual().await;
    for fields in [
        "Content-Length: 5\r\nExpect: 100-continue",
        "Content-Length: 100000",
    ] {
        let request = format!("POST /mcp HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n\r\n");
        let answer = world.raw(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
        let head = answer.to_ascii_lowercase();
        assert!(head.contains("\r\nconnection: close\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn a_request_sent_before_its_turn_is_not_served() {
    let world = World::usual().await;
    let keep = "GET /nothing HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let answer = world
        .raw(format!("{keep}{}", get(DOCUMENT)).as_bytes())
        .await;
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}

#[tokio::test]
async fn requests_to_one_gateway_leave_no_trace_in_another() {
    let world = Arc::new(World::usual().await);
    let second = world.gateway();
    world.get("/only/here").await;
    world.access_line(|line| line["path"] == "/only/here").await;
    second.get("/only/there").await;
    second
        .access_line(|line| line["path"] == "/only/there")
        .await;
    assert!(!second.access_text().contains("/only/here"));
    assert!(!world.access_text().contains("/only/there"));
}
