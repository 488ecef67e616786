//! Verdicts on tokens, one by one.

use mcp_gateway_emulator::entra::TokenBuilder;
use serde_json::json;

use crate::world::{World, mcp};

/// Sends a token, and expects 401 with this reason in metrics and access line.
async fn is_refused(world: &World, token: &str, reason: &str) {
    let sample = format!("gateway_token_verdicts_total{{reason=\"{reason}\"}}");
    let before = world.count(&sample);
    let answer = world
        .rpc("/mcp", Some(token), None, &mcp::initialize())
        .await;
    assert_eq!(answer.status, 401, "{reason}: {answer:?}");
    assert_eq!(answer.error(), "invalid_token");
    let challenge = answer.header("www-authenticate").unwrap();
    assert!(
        challenge.ends_with(", error=\"invalid_token\""),
        "{challenge}"
    );
    assert_eq!(world.count(&sample), before + 1, "{reason}: {answer:?}");
    assert!(!answer.body.contains(token));
    let refusals = format!("gateway_refusals_total{{reason=\"{reason}\",route=\"/mcp\"}}");
    assert!(world.count(&refusals) >= 1, "{refusals}");
}

#[tokio::test]
async fn tokens_that_are_not_good_are_refused_with_their_reason() {
    let world = World::usual().await;
    let alice = || world.entra.token("alice");
    let other = "11111111-2222-3333-4444-555555555555";
    let cases: Vec<(TokenBuilder, &str)> = vec![
        (alice().expires_in(-1), "expired"),
        (alice().expires_in(0), "expired"),
        (alice().not_before(120), "not_yet_valid"),
        (alice().claim("tid", other), "tenant"),
        (alice().claim("aud", other), "audience"),
        (alice().claim("aud", json!([])), "audience"),
        (
            alice().claim("iss", format!("{}/{other}/v2.0", world.entra.authority())),
            "issuer",
        ),
        (
            alice().claim("iss", format!("{}/", world.entra.issuer())),
            "issuer",
        ),
        (alice().without("exp"), "missing_claim"),
        (alice().without("aud"), "missing_claim"),
        (alice().without("iss"), "missing_claim"),
        (alice().without("tid"), "missing_claim"),
        (alice().without("sub"), "missing_claim"),
        (alice().claim("exp", "9999999999"), "claim_type"),
        (alice().claim("nbf", "soon"), "claim_type"),
        (alice().without_signature(), "algorithm"),
        (alice().signed_with_public_key_as_secret(), "algorithm"),
        (alice().header("alg", "RS512"), "algorithm"),
        (alice().header("crit", json!(["exp"])), "header"),
        (alice().with_broken_signature(), "signature"),
        (alice().signed_by_wrong_key(), "signature"),
    ];
    for (token, reason) in cases {
        is_refused(&world, &token.build(), reason).await;
    }
    assert_eq!(world.workloads[0].mcp_requests().len(), 0);
}

#[tokio::test]
async fn texts_that_are_no_tokens_are_refused() {
    let world = World::usual().await;
    let good = world.token("alice");
    let [header, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else {
        panic!("{good}");
    };
    for text in [
        "x".to_owned(),
        "a.b.c".to_owned(),
        "..".to_owned(),
        format!("{header}.{payload}"),
        format!("{header}.{payload}.{signature}.{signature}"),
        format!("{header}.{payload}.{signature}="),
        format!(" {good}"),
        format!("{good} {good}"),
    ] {
        is_refused(&world, &text, "malformed").await;
    }
    // Longer than a token may be, shorter than a header field may be.
    let long = format!("{header}.{}.{signature}", "A".repeat(17_000));
    let answer = world
        .rpc("/mcp", Some(&long), None, &mcp::initialize())
        .await;
    assert!([401, 431].contains(&answer.status), "{answer:?}");
}

#[tokio::test]
async fn a_graph_token_is_refused_with_a_reason_that_helps() {
    let world = World::usual().await;
    let token = world.entra.graph_token("alice").unwrap();
    is_refused(&world, &token, "graph_token").await;
    let answer = world
        .rpc("/mcp", Some(&token), None, &mcp::initialize())
        .await;
    assert!(answer.error() == "invalid_token" && answer.body.contains("Microsoft Graph"));
    let line = world
        .access_line(|line| line["reason"] == "graph_token")
        .await;
    assert_eq!(line["status"], 401);
    assert_eq!(line.get("user"), None);
}

#[tokio::test]
async fn a_verdict_is_remembered_and_forgotten_with_the_token() {
    let world = World::usual().await;
    let token = world.entra.token("alice").expires_in(2).build();
    let good = async || {
        let answer = world
            .rpc("/mcp", Some(&token), None, &mcp::initialize())
            .await;
        answer.status
    };
    assert_eq!((good().await, good().await, good().await), (200, 200, 200));
    let verdicts = |reason: &str| {
        world.count(&format!(
            "gateway_token_verdicts_total{{reason=\"{reason}\"}}"
        ))
    };
    assert_eq!((verdicts("valid"), verdicts("cached")), (1, 2));
    let deadline = std::time::Instant::now() + crate::world::PATIENCE;
    while good().await == 200 {
        assert!(std::time::Instant::now() < deadline);
    }
    assert_eq!(verdicts("valid"), 1);
    assert!(verdicts("expired") >= 1);
}

#[tokio::test]
async fn the_access_line_names_the_person_and_nothing_secret() {
    let world = World::usual().await;
    let token = world.token("bob");
    world.session("/mcp", &token).await;
    let line = world.access_line(|line| line["status"] == 200).await;
    assert_eq!(line["user"], "5e0a7c1d-0000-4000-8000-000000000002");
    let members: Vec<&str> = line
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    for member in members {
        let known = [
            "time",
            "request_id",
            "client",
            "method",
            "path",
            "route",
            "status",
            "duration_us",
            "received",
            "sent",
            "user",
            "backend",
            "reason",
        ];
        assert!(known.contains(&member), "{member}");
    }
    assert!(line["backend"].is_string() && line["route"] == "/mcp");
    let signature = token.rsplit_once('.').unwrap().1;
    assert!(!world.access_text().contains(signature));
}
