//! What a workload gets to see of a request, and what a client gets to see of a workload.

use std::time::Duration;

use mcp_gateway_emulator::{record::Recorded, toolhive::Fault};
use reqwest::Method;
use serde_json::json;

use crate::world::{
    Scripted, World, log,
    mcp::{call, initialize},
    send,
};

/// What the only workload was asked last.
#[track_caller]
fn seen(world: &World) -> Recorded {
    world.workloads[0]
        .mcp_requests()
        .pop()
        .expect("it was asked")
}

#[tokio::test]
async fn nobody_can_claim_to_be_somebody_or_somewhere_else() {
    let world = World::usual().await;
    let forged = [
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-host", "evil.test"),
        ("x-forwarded-proto", "gopher"),
        ("x-forwarded-user", "root"),
        ("x-forwarded-access-token", "stolen"),
        ("forwarded", "for=10.0.0.1;host=evil.test"),
        ("x-real-ip", "10.0.0.1"),
        ("x-original-url", "/admin"),
        ("x-rewrite-url", "/admin"),
        ("x-original-host", "evil.test"),
        ("x-auth-request-user", "root"),
        ("x-remote-user", "root"),
        ("x-request-id", "theirs"),
        ("proxy-authorization", "Basic cm9vdA=="),
        ("te", "trailers"),
    ];
    let mut request = world
        .mcp(
            Method::POST,
            "/mcp?kept=%41",
            Some(&world.token("alice")),
            None,
        )
        .header("x-mine", "kept")
        .json(&initialize());
    for (name, value) in forged {
        request = request.header(name, value);
    }
    assert_eq!(send(request).await.status, 200);

    let seen = seen(&world);
    for (name, value) in forged {
        let found: Vec<_> = seen.headers.get_all(name).iter().collect();
        assert!(
            !found.iter().any(|found| *found == value),
            "{name}: {found:?}"
        );
        assert!(found.len() <= 1, "{name}: {found:?}");
    }
    let public = world.public_url().strip_prefix("http://").unwrap();
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-host"), Some(public));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.header("forwarded"), None);
    assert_eq!(seen.header("x-mine"), Some("kept"));
    assert_eq!(
        seen.header("host"),
        Some(world.workloads[0].address().to_string().as_str())
    );
    assert_eq!(
        (seen.path.as_str(), seen.query.as_str()),
        ("/mcp", "kept=%41")
    );

    let id = seen.header("x-request-id").unwrap().to_owned();
    let line = world.access_line(|line| line["request_id"] == *id).await;
    assert_eq!(line["status"], 200);
    assert_eq!(line["path"], "/mcp", "without the query");
}

#[tokio::test]
async fn fields_of_one_connection_end_there() {
    let world = World::usual().await;
    let request = world
        .mcp(Method::POST, "/mcp", Some(&world.token("alice")), None)
        .header("connection", "keep-alive, x-secret")
        .header("keep-alive", "timeout=9")
        .header("x-secret", "1")
        .json(&initialize());
    let answer = send(request).await;
    assert_eq!(answer.status, 200);
    let seen = seen(&world);
    for name in ["x-secret", "keep-alive", "connection", "transfer-encoding"] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    assert_eq!(answer.header("keep-alive"), None);
}

#[tokio::test]
async fn a_workload_that_refuses_a_verified_token_is_a_misconfiguration() {
    let world = World::usual().await;
    let token = world.token("alice");
    world.workloads[0].fault_times(Fault::Unauthorized, 1);
    let answer = world
        .rpc("/mcp", Some(&token), None, &call(8, "echo", &json!({})))
        .await;
    assert_eq!(answer.status, 502, "{answer:?}");
    assert_eq!(
        answer.header("www-authenticate"),
        None,
        "no challenge that would make clients sign in for ever"
    );
    assert_eq!(answer.json()["id"], 8);
    let failures = "gateway_upstream_failures_total{reason=\"token_refused\",upstream=\"github\"}";
    assert!((world.metric(failures) - 1.0).abs() < f64::EPSILON);
    let line = world.access_line(|line| line["status"] == 502).await;
    assert_eq!(line["reason"], "token_refused");
    let backend = world.workloads[0].address().to_string();
    assert!(log::text().lines().any(|line| {
        line.starts_with("ERROR")
            && line.contains("compare its OIDC issuer and audience")
            && line.contains(&backend)
    }));
    world.session("/mcp", &token).await;
}

#[tokio::test]
async fn a_refused_token_is_said_in_the_words_of_the_route() {
    let world = World::builder()
        .workload("github")
        .yaml_route("{ path: /plain, filters: [authenticate, { proxy: { upstream: github, path: /mcp, upstream_token: caller } }] }")
        .start()
        .await;
    let token = world.token("alice");
    world.workloads[0].fault_times(Fault::Unauthorized, 1);
    let answer = world
        .rpc("/plain", Some(&token), None, &call(8, "echo", &json!({})))
        .await;
    assert_eq!(answer.status, 502, "{answer:?}");
    assert_eq!(answer.json()["error"], "server_error", "no JSON-RPC here");
}

#[tokio::test]
async fn a_workload_that_misses_the_token_is_a_misconfiguration_too() {
    let world = World::builder()
        .workload("github")
        .route_with("/mcp", "upstream_token: none")
        .start()
        .await;
    let token = world.token("alice");
    let answer = world.rpc("/mcp", Some(&token), None, &initialize()).await;
    assert_eq!(answer.status, 502, "{answer:?}");
    assert_eq!(answer.header("www-authenticate"), None);
    let backend = world.workloads[0].address().to_string();
    assert!(
        log::text()
            .lines()
            .any(|line| { line.contains("`upstream_token` is `none`") && line.contains(&backend) })
    );
}

#[tokio::test]
async fn a_token_that_ends_on_the_way_is_the_clients_to_renew() {
    let mut upstream = Scripted::start();
    let world = World::builder()
        .upstream("github", &[upstream.address()])
        .route("/mcp")
        .start()
        .await;
    let token = world.entra.token("alice").expires_in(2).build();
    let ends = tokio::time::Instant::now() + Duration::from_secs(2);
    let message = initialize();
    let answer = world.rpc("/mcp", Some(&token), None, &message);
    let (answer, ()) = tokio::join!(answer, async {
        let mut asked = upstream.asked().await;
        tokio::time::sleep_until(ends).await;
        asked
            .write("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"theirs\"\r\nContent-Length: 0\r\n\r\n")
            .await;
    });
    assert_eq!(answer.status, 401, "{answer:?}");
    let challenge = answer.header("www-authenticate").unwrap();
    assert!(challenge.contains("resource_metadata="), "{challenge}");
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    assert!(!challenge.contains("theirs"), "{challenge}");
}

#[tokio::test]
async fn other_refusals_of_a_workload_pass() {
    let world = World::usual().await;
    for status in [400, 403, 404, 429, 500, 503] {
        world.workloads[0].fault_times(Fault::Status(status), 1);
        let answer = world
            .rpc("/mcp", Some(&world.token("alice")), None, &initialize())
            .await;
        assert_eq!(answer.status, status);
    }
}

#[tokio::test]
async fn a_modern_request_passes_untouched() {
    let world = World::usual().await;
    let token = world.token("alice");
    // Odd spacing and an escape: a body that was decoded and encoded again would differ.
    let body = concat!(
        "{ \"jsonrpc\":\"2.0\",\t\"id\" : \"\\u0061\", \"method\":\"tools/call\",",
        "\"params\":{\"name\":\"echo\",\"arguments\":{\"text\":\"hi\"},\"_meta\":{",
        "\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\",",
        "\"io.modelcontextprotocol/clientInfo\":{\"name\":\"t\",\"version\":\"1\"},",
        "\"io.modelcontextprotocol/clientCapabilities\":{}}}}\n",
    );
    let modern = |session: Option<&str>| {
        let request = world
            .mcp(Method::POST, "/mcp", Some(&token), None)
            .header("content-type", "application/json")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", "echo");
        match session {
            Some(session) => request.header("mcp-session-id", session),
            None => request,
        }
        .body(body)
    };
    for session in [None, Some("of-an-older-life")] {
        let answer = send(modern(session)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("mcp-session-id"), None);
        let message = answer.message();
        assert_eq!(message["id"], "a");
        assert_eq!(message["result"]["content"][0]["text"], "hi");
        let seen = seen(&world);
        assert_eq!(seen.body, body);
        assert_eq!(seen.header("mcp-protocol-version"), Some("2026-07-28"));
        assert_eq!(seen.header("mcp-method"), Some("tools/call"));
        assert_eq!(seen.header("mcp-name"), Some("echo"));
        assert_eq!(seen.header("mcp-session-id"), None);
    }
}

#[tokio::test]
async fn an_answer_is_of_the_type_that_was_asked_for() {
    let world = World::usual().await;
    let token = world.token("alice");
    for (accept, expected) in [
        ("application/json", "application/json"),
        ("application/json, text/event-stream", "text/event-stream"),
    ] {
        let request = world
            .client()
            .request(Method::POST, "/mcp")
            .bearer_auth(&token)
            .header("accept", accept)
            .json(&initialize());
        let answer = send(request).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("content-type"), Some(expected));
        assert_eq!(seen(&world).header("accept"), Some(accept));
        assert_eq!(
            answer.message()["result"]["serverInfo"]["name"],
            "github",
            "{answer:?}"
        );
    }
}
