//! Heads that are not exactly one well-formed request: 4xx with a body that says what was wrong.

use rustls::version::TLS13;
use serde_json::Value;

use super::h2_request;
use crate::world::World;

/// Sends a head, and expects a refusal that can be read, and the end of the connection.
async fn is_refused(world: &World, head: &str, status: u16) {
    let answer = world.raw(head.as_bytes()).await;
    let shown = &head[..head.len().min(100)];
    assert!(
        answer.starts_with(&format!("HTTP/1.1 {status} ")),
        "{shown:?}: {answer}"
    );
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let head = head.to_ascii_lowercase();
    assert!(head.contains("\r\nconnection: close"), "{shown:?}: {head}");
    assert!(
        head.contains("\r\ncontent-type: application/json"),
        "{head}"
    );
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["error"], "invalid_request");
    assert!(!body["error_description"].as_str().unwrap().is_empty());
}

fn post(fields: &str) -> String {
    format!("POST /mcp HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n")
}

#[tokio::test]
async fn malformed_heads_are_refused_in_words() {
    let world = World::usual().await;
    for (head, status) in [
        ("hello\r\n\r\n".to_owned(), 400),
        ("GET\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\nHost: a\n\n".to_owned(), 400),
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n".to_owned(),
            400,
        ),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".to_owned(), 400),
        ("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("GET /a/../b HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        (
            "GET /a/%2e%2e/b HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            400,
        ),
        ("GET //a HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("GET /a%2fb HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("GET /mcp;x=1 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("GET /\u{e4} HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 405),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 405),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 400),
        (post("Content-Length: 1\r\nContent-Length: 2\r\n"), 400),
        (post("Content-Length: -1\r\n"), 400),
        (post("Content-Length: 1, 1\r\n"), 400),
        (post("Content-Length: 99999999999999999999999\r\n"), 400),
        (
            post("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"),
            400,
        ),
        (post("Transfer-Encoding: gzip, chunked\r\n"), 400),
        (post("Transfer-Encoding: \x0bchunked\r\n"), 400),
        (post("Connection: close, authorization\r\n"), 400),
        (post("Upgrade: h2c\r\n"), 400),
        (post("X_Forwarded_For: 1\r\n"), 400),
        (post("X: a\r\n folded\r\n"), 400),
        (post("X : a\r\n"), 400),
        (post("X\0: a\r\n"), 400),
        (post("X: a\0b\r\n"), 400),
        (post(": a\r\n"), 400),
        (post("Expect: tea\r\n"), 417),
        (post(&"A: b\r\n".repeat(200)), 431),
        (post(&format!("A: {}\r\n", "x".repeat(40_000))), 431),
        (
            format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(20_000)),
            414,
        ),
    ] {
        is_refused(&world, &head, status).await;
    }
    let endless = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(200_000));
    is_refused(&world, &endless, 431).await;
    assert!(world.count_all("gateway_ingress_refusals_total") >= 30);
    assert_eq!(world.workloads[0].mcp_requests().len(), 0);
    world.session("/mcp", &world.token("alice")).await;
}

#[tokio::test]
async fn a_refused_head_lets_nothing_behind_it_through() {
    let world = World::usual().await;
    let token = world.token("alice");
    let smuggled = format!(
        "POST /mcp HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer {token}\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    for fields in [
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Content-Length: 0\r\nContent-Length: 5\r\n",
    ] {
        let answer = world
            .raw(format!("{}{smuggled}", post(fields)).as_bytes())
            .await;
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    }
    assert_eq!(world.workloads[0].mcp_requests().len(), 0);
}

#[tokio::test]
async fn a_broken_chunked_body_is_refused() {
    let world = World::usual().await;
    let token = world.token("alice");
    for body in [
        "zz\r\n",
        "5\r\nhelloXX",
        "-1\r\n\r\n",
        "ffffffffffffffffff\r\nx",
    ] {
        let request = format!(
            "POST /mcp HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
        );
        let answer = world.raw(request.as_bytes()).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{body:?}: {answer}"
        );
    }
    assert_eq!(world.workloads[0].mcp_requests().len(), 0);
    world.session("/mcp", &token).await;
}

#[tokio::test]
async fn http2_knows_the_same_rules() {
    let world = World::builder()
        .tls()
        .workload("github")
        .route("/mcp")
        .start()
        .await;
    let (public, token) = (world.public_url(), world.token("alice"));
    let bearer = format!("Bearer {token}");
    let long = "x".repeat(20_000);
    for (target, field, status) in [
        ("/mcp", ("x-mine", "1"), 401),
        ("/mcp/%2e%2e/x", ("x-mine", "1"), 400),
        ("//mcp", ("x-mine", "1"), 400),
        ("/mcp%2fx", ("x-mine", "1"), 400),
        ("/mcp;x", ("authorization", &bearer), 400),
        ("/mcp", ("x_forwarded_for", "1"), 400),
        ("/mcp", ("host", "evil.example"), 400),
        ("/mcp", ("content-length", "x"), 400),
        ("/mcp", ("x-long", &long), 431),
        (&format!("/{long}"), ("x-mine", "1"), 414),
    ] {
        let tls = world.connect_tls("localhost", &[&TLS13], &["h2"]).await;
        let request = http::Request::get(format!("{public}{target}"))
            .header(field.0, field.1)
            .body(())
            .unwrap();
        match h2_request(tls.unwrap(), request).await {
            Ok((answered, body)) => {
                assert_eq!(answered, status, "{field:?}: {body}");
                // Two hosts are refused below us, without a word.
                if field.0 != "host" {
                    let body: Value = serde_json::from_str(&body).unwrap();
                    assert!(body["error"].is_string());
                }
            }
            // The h2 library itself resets streams whose framing fields are wrong.
            Err(error) => assert!(error.is_reset() && field.0 == "content-length", "{error}"),
        }
    }
    assert_eq!(world.workloads[0].mcp_requests().len(), 0);
}
