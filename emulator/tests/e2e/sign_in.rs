//! The whole way from a `401` to an answer, and how it fails without a gateway.

use std::sync::{Arc, Mutex};

use mcp_gateway_emulator::client::browser::BrowserError;
use mcp_gateway_emulator::client::{ClientError, Notification, SignedIn, Step};
use mcp_gateway_emulator::entra::{CLIENT_ID, Endpoint, Entra, ResourceMode};
use mcp_gateway_emulator::toolhive::{Oidc, Workload};
use serde_json::json;

use crate::front;
use crate::http::{PATIENCE, client, eventually, send};

fn oidc(entra: &Entra) -> Oidc {
    Oidc {
        issuer: entra.issuer(),
        audience: Some(CLIENT_ID.to_owned()),
        jwks_url: entra.jwks_uri(),
        resource_url: None,
    }
}

async fn guarded(entra: &Entra) -> Workload {
    Workload::builder("github")
        .oidc(oidc(entra))
        .start()
        .await
        .unwrap()
}

#[tokio::test]
async fn a_client_signs_in_calls_tools_refreshes_and_leaves() {
    let entra = Entra::builder().start().await.unwrap();
    let workload = guarded(&entra).await;
    let steps = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&steps);
    let signed_in = SignedIn::builder(front::start(&entra, workload.url()).await)
        .person("bob")
        .on_step(move |step| seen.lock().unwrap().push(step))
        .connect()
        .await
        .unwrap();
    let connected = Step::Connected {
        server: "github".to_owned(),
    };
    assert_eq!(steps.lock().unwrap().len(), 6);
    assert_eq!(steps.lock().unwrap().last(), Some(&connected));
    // What most assistants send, and a gateway has to take away.
    let asked = entra.requests_to(Endpoint::Authorize);
    assert!(asked[0].header("x-emu-user") == Some("bob"));

    let tools = signed_in.tools().await.unwrap();
    let names: Vec<_> = tools.iter().map(|tool| tool.name.as_ref()).collect();
    for name in [
        "echo", "instance", "progress", "slow", "large", "fail", "notify",
    ] {
        assert!(names.contains(&name), "{name}");
        let tool = tools.iter().find(|tool| tool.name == name).unwrap();
        assert!(tool.annotations.as_ref().unwrap().read_only_hint.is_some());
    }
    let echoed = signed_in
        .call_text("echo", json!({"text": "hi"}))
        .await
        .unwrap();
    assert_eq!(echoed, "hi");
    assert_eq!(
        signed_in.call("fail", json!({})).await.unwrap().is_error,
        Some(true)
    );

    signed_in
        .call("progress", json!({"steps": 3}))
        .await
        .unwrap();
    let last = |notification: &Notification| matches!(notification, Notification::Progress { progress, .. } if *progress > 2.5);
    assert!(signed_in.wait_for_notification(PATIENCE, last).await);

    let streaming = |request: &mcp_gateway_emulator::record::Recorded| request.method == "GET";
    assert!(workload.wait_for(PATIENCE, streaming).await.is_some());
    eventually(async || workload.open_streams() == 1).await;
    signed_in.call("notify", json!({})).await.unwrap();
    let changed = |notification: &Notification| *notification == Notification::ToolsChanged;
    assert!(signed_in.wait_for_notification(PATIENCE, changed).await);

    let before = signed_in.bearer().await.unwrap();
    assert!(matches!(
        signed_in.refresh().await.unwrap(),
        Step::Redeemed {
            refreshable: true,
            ..
        }
    ));
    assert_ne!(signed_in.bearer().await.unwrap(), before);
    assert_eq!(
        signed_in
            .call_text("echo", json!({"text": "x"}))
            .await
            .unwrap(),
        "x"
    );

    signed_in.close().await;
    let deleted = |request: &mcp_gateway_emulator::record::Recorded| request.method == "DELETE";
    assert!(workload.wait_for(PATIENCE, deleted).await.is_some());
}

#[tokio::test]
async fn a_conforming_client_pointed_straight_at_entra_cannot_register() {
    let entra = Entra::builder().start().await.unwrap();
    let workload = straight(&entra).await;
    let error = SignedIn::builder(workload.url())
        .connect()
        .await
        .err()
        .unwrap();
    let ClientError::OAuth { step, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(*step, "registration");
}

/// A workload whose metadata names the tenant itself.
async fn straight(entra: &Entra) -> Workload {
    let builder = Workload::builder("github").oidc(oidc(entra));
    builder.names_itself().start().await.unwrap()
}

#[tokio::test]
async fn with_an_id_it_still_stumbles_over_resource() {
    let entra = Entra::builder().start().await.unwrap();
    let workload = straight(&entra).await;
    let builder = SignedIn::builder(workload.url()).client_id(CLIENT_ID);
    let error = builder.connect().await.err().unwrap();
    let ClientError::SignIn(BrowserError::Refused { error, description }) = &error else {
        panic!("{error}");
    };
    assert_eq!(error, "invalid_target");
    assert!(description.starts_with("AADSTS9010010"));
}

#[tokio::test]
async fn without_that_it_stumbles_over_prompt() {
    let relaxed = Entra::builder().resource_mode(ResourceMode::Ignore);
    let entra = relaxed.start().await.unwrap();
    let workload = straight(&entra).await;
    let builder = SignedIn::builder(workload.url()).client_id(CLIENT_ID);
    let error = builder.connect().await.err().unwrap();
    let ClientError::SignIn(BrowserError::Stuck { says, .. }) = &error else {
        panic!("{error}");
    };
    assert!(says.starts_with("AADSTS90095"), "{says}");
}

#[tokio::test]
async fn without_either_the_token_is_for_graph_and_useless_here() {
    let relaxed = Entra::builder().resource_mode(ResourceMode::Ignore);
    let entra = relaxed.user_consent(true).start().await.unwrap();
    let workload = straight(&entra).await;
    let builder = SignedIn::builder(workload.url()).client_id(CLIENT_ID);
    let error = builder.connect().await.err().unwrap();
    assert!(matches!(error, ClientError::Handshake(_)), "{error}");
}

async fn knock(workload: &Workload, token: Option<&str>) -> (u16, Option<String>, String) {
    let initialize = json!({
        "jsonrpc": "2.0", "id": 0, "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    });
    let mut request = client().post(workload.url()).json(&initialize);
    if let Some(token) = token {
        request = request.header("authorization", token);
    }
    let seen = send(request).await;
    let challenge = seen.header("www-authenticate").map(str::to_owned);
    (seen.status, challenge, seen.body)
}

#[tokio::test]
async fn a_workload_refuses_every_token_that_is_not_right() {
    let entra = Entra::builder().start().await.unwrap();
    let workload = guarded(&entra).await;
    let token = || entra.token("alice");
    let good = format!("Bearer {}", token().build());
    assert_eq!(knock(&workload, Some(&good)).await.0, 200);

    for wrong in [
        token().expires_in(-1),
        token().without("exp"),
        token().not_before(60),
        token().claim("aud", "someone-else"),
        token().without("aud"),
        token().claim("iss", "https://login.example/v2.0"),
        token().without("sub"),
        token().signed_by_wrong_key(),
        token().signed_by_unpublished_key(),
        token().without_signature(),
        token().signed_with_public_key_as_secret(),
        token().with_broken_signature(),
    ] {
        let header = format!("Bearer {}", wrong.clone().build());
        let (status, challenge, body) = knock(&workload, Some(&header)).await;
        assert_eq!(status, 401, "{wrong:?}");
        assert!(challenge.unwrap().contains("error=\"invalid_token\""));
        assert!(body.starts_with(r#"{"error":"invalid_token","error_description":"Invalid"#));
    }
    let graph = format!("Bearer {}", entra.graph_token("alice").unwrap());
    assert_eq!(knock(&workload, Some(&graph)).await.0, 401);

    entra.rotate_keys();
    let rotated = format!("Bearer {}", entra.token("alice").build());
    assert_eq!(knock(&workload, Some(&rotated)).await.0, 200);
}

#[tokio::test]
async fn a_workload_says_what_it_wants() {
    let entra = Entra::builder().start().await.unwrap();
    let workload = straight(&entra).await;
    let (status, challenge, body) = knock(&workload, None).await;
    assert_eq!(status, 401);
    assert_eq!(
        challenge.unwrap(),
        format!(
            "Bearer realm=\"{}\", resource_metadata=\"http://{}/.well-known/oauth-protected-resource/mcp\", \
             error=\"invalid_request\", error_description=\"authorization header required\"",
            entra.issuer(),
            workload.address()
        )
    );
    assert_eq!(
        body,
        r#"{"error":"invalid_request","error_description":"authorization header required"}"#
    );
    assert_eq!(knock(&workload, Some("bearer x")).await.0, 401);
    let metadata = format!(
        "http://{}/.well-known/oauth-protected-resource/mcp",
        workload.address()
    );
    let seen = send(client().get(metadata)).await;
    assert_eq!(
        seen.json()["authorization_servers"],
        json!([entra.issuer()])
    );
    // Health needs no token.
    let health = format!("http://{}/health", workload.address());
    assert_eq!(send(client().get(health)).await.status, 200);
}
