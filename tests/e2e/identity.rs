//! Who may call: challenges, verdicts on tokens, and the order in which requests are refused.

mod keys;
mod tokens;

use mcp_gateway_emulator::entra::OPERATORS;
use reqwest::Method;
use serde_json::json;

use crate::world::{Answer, World, exchange, mcp, send, until};

/// The challenge of a route, without an error.
fn challenge(world: &World, path: &str) -> String {
    format!(
        "Bearer resource_metadata=\"{}/.well-known/oauth-protected-resource{path}\", \
         scope=\"openid profile email\"",
        world.public_url()
    )
}

#[track_caller]
fn is_challenged(answer: &Answer, expected: &str) {
    assert_eq!(answer.status, 401, "{answer:?}");
    assert_eq!(answer.header("www-authenticate"), Some(expected));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    answer.error();
}

#[tokio::test]
async fn who_has_no_token_is_told_where_to_get_one() {
    let world = World::builder().workload("github").route("/mcp");
    let world = world.workload("atlassian").route("/mcp/atlassian");
    let world = world.start().await;
    for path in ["/mcp", "/mcp/atlassian"] {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            let answer = send(world.mcp(method, path, None, None)).await;
            is_challenged(&answer, &challenge(&world, path));
        }
    }
    let metadata = world.get("/.well-known/oauth-protected-resource/mcp/atlassian");
    let resource = format!("{}/mcp/atlassian", world.public_url());
    assert_eq!(metadata.await.json()["resource"], json!(resource));
    for workload in &world.workloads {
        assert_eq!(workload.mcp_requests().len(), 0);
    }
}

#[tokio::test]
async fn an_error_is_named_only_when_a_token_was_sent() {
    let world = World::usual().await;
    let sent = world.rpc("/mcp", Some("x.y.z"), None, &json!({})).await;
    let expected = format!("{}, error=\"invalid_token\"", challenge(&world, "/mcp"));
    is_challenged(&sent, &expected);
}

#[tokio::test]
async fn the_authorization_field_is_one_bearer_token() {
    let world = World::usual().await;
    let token = world.token("alice");
    let malformed = format!("{}, error=\"invalid_request\"", challenge(&world, "/mcp"));
    for fields in [
        vec![format!("Bearer {token}"), format!("Bearer {token}")],
        vec!["Bearer".to_owned()],
        vec![format!("Basic {token}")],
        vec![token.clone()],
    ] {
        let mut request = world.mcp(Method::POST, "/mcp", None, None);
        for field in &fields {
            request = request.header("authorization", field);
        }
        is_challenged(&send(request.json(&mcp::initialize())).await, &malformed);
    }
    let request = world
        .mcp(Method::POST, "/mcp", None, None)
        .header("authorization", format!("bEARER {token}"));
    assert_eq!(send(request.json(&mcp::initialize())).await.status, 200);
}

#[tokio::test]
async fn tokens_in_other_places_are_not_looked_at() {
    let world = World::usual().await;
    let token = world.token("alice");
    let request = world
        .mcp(
            Method::POST,
            &format!("/mcp?access_token={token}"),
            None,
            None,
        )
        .header("cookie", format!("access_token={token}"))
        .header("x-access-token", &token)
        .json(&json!({"access_token": token}));
    is_challenged(&send(request).await, &challenge(&world, "/mcp"));
    assert!(!world.access_text().contains(&token));
}

#[tokio::test]
async fn requests_are_refused_in_one_order() {
    let world = World::usual().await;
    let token = world.token("alice");
    let refused = async |host: &str, origin: &str, token: &str, body: &str| {
        let request = format!(
            "POST /mcp HTTP/1.1\r\nHost: {host}\r\n{origin}{token}Content-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let answer = exchange(world.connect().await, request.as_bytes()).await;
        let (_, rest) = answer.split_once(' ').unwrap();
        rest[..3].parse::<u16>().unwrap()
    };
    let (foreign, bearer) = (
        "Origin: https://evil.example\r\n",
        format!("Authorization: Bearer {token}\r\n"),
    );
    let broken = "{\"jsonrpc\"";
    // Everything is wrong, then one thing less each time.
    assert_eq!(refused("a b", foreign, "", broken).await, 400);
    assert_eq!(refused("a.test", foreign, "", broken).await, 403);
    assert_eq!(refused("a.test", foreign, &bearer, broken).await, 403);
    assert_eq!(refused("a.test", "", "", broken).await, 401);
    assert_eq!(refused("a.test", "", &bearer, broken).await, 400);
    let initialize = mcp::initialize().to_string();
    assert_eq!(refused("a.test", "", &bearer, &initialize).await, 200);
    assert_eq!(world.workloads[0].mcp_requests().len(), 1);
}

#[tokio::test]
async fn a_foreign_page_gets_no_challenge() {
    let world = World::usual().await;
    for origin in [
        "https://evil.example",
        "null",
        "http://127.0.0.1",
        "http://127.0.0.1.evil.example",
    ] {
        let request = world.mcp(Method::POST, "/mcp", None, None);
        let answer = send(request.header("origin", origin).body("{}")).await;
        assert_eq!(answer.status, 403, "{origin}: {answer:?}");
        assert!(answer.header("www-authenticate").is_none());
        assert!(answer.header("access-control-allow-origin").is_none());
    }
}

#[tokio::test]
async fn an_allowed_page_calls_and_its_origin_stays_at_the_gateway() {
    let world = World::builder()
        .workload("github")
        .route_with("/mcp", "allowed_origins: [\"https://inspector.example\"]")
        .start()
        .await;
    let token = world.token("alice");
    for origin in ["https://inspector.example", world.public_url()] {
        let request = world.mcp(Method::POST, "/mcp", Some(&token), None);
        let request = request.header("origin", origin);
        let answer = send(request.json(&mcp::initialize())).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
        assert!(
            answer
                .header("vary")
                .unwrap()
                .to_ascii_lowercase()
                .contains("origin")
        );
    }
    for request in world.workloads[0].mcp_requests() {
        assert!(request.header("origin").is_none());
    }
}

#[tokio::test]
async fn a_large_body_without_a_token_is_refused_for_the_token() {
    let world = World::usual().await;
    let head = "POST /mcp HTTP/1.1\r\nHost: a.test\r\nContent-Length: 900000000\r\n\r\n";
    let answer = world.raw(head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
}

#[tokio::test]
async fn a_group_of_the_route_decides() {
    let world = World::builder()
        .workload("github")
        .route_with("/mcp", &format!("groups: [{OPERATORS}]"))
        .start()
        .await;
    let initialize = mcp::initialize();
    let bob = world.token("bob");
    let answer = world.rpc("/mcp", Some(&bob), None, &initialize).await;
    assert_eq!(answer.status, 403, "{answer:?}");
    assert!(answer.header("www-authenticate").is_none(), "{answer:?}");
    let alice = world.token("alice");
    let answer = world.rpc("/mcp", Some(&alice), None, &initialize).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let line = world.access_line(|line| line["status"] == 403).await;
    assert_eq!(line["reason"], "not_in_group");
}

#[tokio::test]
async fn workloads_get_the_callers_token_unless_told_otherwise() {
    let world = World::builder()
        .workload("github")
        .route("/mcp")
        .route_with("/mcp/quiet", "upstream_token: none")
        .workloads_without_oidc()
        .start()
        .await;
    let token = world.token("alice");
    world.session("/mcp", &token).await;
    let bearer = format!("Bearer {token}");
    for request in world.workloads[0].mcp_requests() {
        assert_eq!(request.header("authorization"), Some(bearer.as_str()));
    }
    world.workloads[0].forget_requests();
    world.session("/mcp/quiet", &token).await;
    for request in world.workloads[0].mcp_requests() {
        assert!(request.header("authorization").is_none());
    }
}

#[tokio::test]
async fn what_a_client_claims_to_be_is_dropped_and_set_anew() {
    let world = World::usual().await;
    let token = world.token("alice");
    let mut request = world.mcp(Method::POST, "/mcp", Some(&token), None);
    let claims = [
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded-user",
        "x-real-ip",
        "x-original-url",
        "x-auth-request-user",
        "x-request-id",
        "x-remote-user",
    ];
    for name in claims {
        request = request.header(name, "planted");
    }
    assert_eq!(send(request.json(&mcp::initialize())).await.status, 200);
    let requests = world.workloads[0].mcp_requests();
    for name in claims {
        assert_ne!(requests[0].header(name), Some("planted"), "{name}");
    }
    assert_eq!(requests[0].header("x-forwarded-for"), Some("127.0.0.1"));
    let host = world.public_url().trim_start_matches("http://");
    assert_eq!(requests[0].header("x-forwarded-host"), Some(host));
    let line = world.access_line(|line| line["status"] == 200).await;
    assert_eq!(
        requests[0].header("x-request-id"),
        line["request_id"].as_str()
    );
}

#[tokio::test]
async fn an_open_stream_ends_when_its_token_does() {
    let world = World::builder()
        .tls()
        .workload("github")
        .route("/mcp")
        .start()
        .await;
    let lasting = world.token("alice");
    let session = world.session("/mcp", &lasting).await;
    let brief = world.entra.token("alice").expires_in(2).build();
    let (token, session) = (Some(brief.as_str()), Some(session.as_str()));
    let listen = async |request: reqwest::RequestBuilder| {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        // Nothing else ends it; and it ends as a whole answer, not as a broken one.
        response.text().await.unwrap();
    };
    tokio::join!(
        listen(world.mcp(Method::GET, "/mcp", token, session)),
        listen(world.mcp_h2(Method::GET, "/mcp", token, session)),
    );
    until("the stream is closed upstream", || {
        world.workloads[0].open_streams() == 0
    })
    .await;
    assert_eq!(world.count("gateway_streams_active{route=\"/mcp\"}"), 0);
    assert_eq!(
        send(world.mcp(Method::GET, "/mcp", token, session))
            .await
            .status,
        401
    );
}
