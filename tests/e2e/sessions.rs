//! Sessions: sealed on the way out, opened on the way in, of use to one user on one route.

use std::{collections::BTreeSet, time::Duration};

use mcp_gateway_emulator::toolhive::Workload;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::world::{
    Answer, Gateway, PATIENCE, World,
    mcp::{call, initialize},
    send,
};

const LIST: &str = r#"{"jsonrpc":"2.0","id":"l-1","method":"tools/list"}"#;

/// Which replica answers.
async fn replica(gateway: &Gateway, path: &str, token: &str, session: &str) -> Value {
    let text = gateway
        .call_tool(path, token, session, "instance", &json!({}))
        .await;
    serde_json::from_str(&text).unwrap()
}

/// Checks that an answer makes a client open a new session.
#[track_caller]
fn assert_gone(answer: &Answer, id: &Value) {
    assert_eq!(answer.status, 404, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.json()["error"]["code"], -32001, "{answer:?}");
    assert_eq!(answer.json()["id"], *id, "{answer:?}");
}

/// Checks that a session is none for this caller, and that no workload is asked about it.
async fn check_refused(world: &World, path: &str, token: &str, session: &str) {
    for workload in &world.workloads {
        workload.forget_requests();
    }
    let id = json!("a-7");
    let mut message = call(0, "echo", &json!({"text": "x"}));
    message["id"] = id.clone();
    let answer = world.rpc(path, Some(token), Some(session), &message).await;
    assert_gone(&answer, &id);
    for method in [Method::GET, Method::DELETE] {
        let answer = send(world.mcp(method, path, Some(token), Some(session))).await;
        assert_gone(&answer, &Value::Null);
    }
    for workload in &world.workloads {
        assert_eq!(workload.mcp_requests().len(), 0, "{session}");
    }
}

/// The only session that a workload knows.
#[track_caller]
fn only_session(workload: &Workload) -> String {
    let sessions = workload.sessions();
    assert_eq!(sessions.len(), 1);
    sessions[0].clone()
}

#[tokio::test]
async fn a_client_never_sees_the_id_of_the_workload() {
    let world = World::usual().await;
    let token = world.token("alice");
    let sealed = world.session("/mcp", &token).await;
    let inner = only_session(&world.workloads[0]);
    assert!(!sealed.contains(&inner));
    assert!(sealed.len() <= 1024 && sealed.bytes().all(|byte| byte.is_ascii_graphic()));
    replica(&world, "/mcp", &token, &sealed).await;
    let seen = world.workloads[0].mcp_requests();
    assert_eq!(
        seen.last().unwrap().header("mcp-session-id"),
        Some(inner.as_str()),
        "the workload sees its own"
    );
}

#[tokio::test]
async fn a_session_stays_on_its_backend() {
    let world = World::builder()
        .workload("github")
        .replicas(3)
        .route("/mcp")
        .start()
        .await;
    let token = world.token("alice");
    let mut used = BTreeSet::new();
    for _ in 0..12 {
        let session = world.session("/mcp", &token).await;
        let first = replica(&world, "/mcp", &token, &session).await;
        for _ in 0..8 {
            assert_eq!(replica(&world, "/mcp", &token, &session).await, first);
        }
        used.insert(first["replica"].as_str().unwrap().to_owned());
    }
    assert!(used.len() > 1, "sessions spread: {used:?}");
}

#[tokio::test]
async fn a_session_survives_a_new_token_of_its_user() {
    let world = World::usual().await;
    let session = world.session("/mcp", &world.token("alice")).await;
    let renewed = world.entra.token("alice").claim("iat", 1).build();
    replica(&world, "/mcp", &renewed, &session).await;
}

#[tokio::test]
async fn a_session_is_of_no_use_to_another_user() {
    let world = World::usual().await;
    let session = world.session("/mcp", &world.token("alice")).await;
    check_refused(&world, "/mcp", &world.token("bob"), &session).await;
}

#[tokio::test]
async fn a_session_is_of_no_use_on_another_route() {
    let world = World::builder()
        .workload("github")
        .route("/mcp")
        .route("/mcp/other")
        .start()
        .await;
    let token = world.token("alice");
    let session = world.session("/mcp", &token).await;
    check_refused(&world, "/mcp/other", &token, &session).await;
    replica(&world, "/mcp", &token, &session).await;
}

#[tokio::test]
async fn an_id_that_the_gateway_did_not_make_opens_nothing() {
    let world = World::usual().await;
    let token = world.token("alice");
    let sealed = world.session("/mcp", &token).await;
    let inner = only_session(&world.workloads[0]);
    let mut tampered = vec![
        inner,
        "x".to_owned(),
        "A".repeat(2000),
        format!("{sealed}A"),
    ];
    tampered.push(sealed[..sealed.len() - 4].to_owned());
    for at in [0, 4, 20, sealed.len() / 2, sealed.len() - 3] {
        let mut bytes = sealed.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        tampered.push(String::from_utf8(bytes).unwrap());
    }
    for id in tampered {
        check_refused(&world, "/mcp", &token, &id).await;
    }
    replica(&world, "/mcp", &token, &sealed).await;
}

#[tokio::test]
async fn two_session_headers_name_no_session() {
    let world = World::usual().await;
    let token = world.token("alice");
    let sealed = world.session("/mcp", &token).await;
    let twice = world
        .mcp(Method::POST, "/mcp", Some(&token), Some(&sealed))
        .header("mcp-session-id", &sealed)
        .json(&call(5, "instance", &json!({})));
    assert_gone(&send(twice).await, &json!(5));
}

#[tokio::test]
async fn initialize_opens_a_new_session_whatever_the_client_holds() {
    let world = World::usual().await;
    let token = world.token("alice");
    let old = world.session("/mcp", &token).await;
    // A workload would take over whatever id comes with `initialize`.
    let planted = "5e0cbd9e-9c1c-4f0e-8a44-6ad6f0fbb1d3";
    for held in [old.as_str(), planted] {
        let answer = world
            .rpc("/mcp", Some(&token), Some(held), &initialize())
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_ne!(answer.header("mcp-session-id").unwrap(), held);
        let seen = world.workloads[0].mcp_requests();
        assert_eq!(seen.last().unwrap().header("mcp-session-id"), None);
    }
    assert!(!world.workloads[0].sessions().contains(&planted.to_owned()));
}

#[tokio::test]
async fn delete_ends_a_session() {
    let world = World::usual().await;
    let token = world.token("alice");
    let session = world.session("/mcp", &token).await;
    let ended = send(world.mcp(Method::DELETE, "/mcp", Some(&token), Some(&session))).await;
    assert_eq!((ended.status, ended.body.as_str()), (204, ""));
    assert_eq!(world.workloads[0].sessions().len(), 0);
    let message = call(9, "instance", &json!({}));
    let answer = world
        .rpc("/mcp", Some(&token), Some(&session), &message)
        .await;
    assert_gone(&answer, &json!(9));
}

#[tokio::test]
async fn gateways_with_one_key_share_their_sessions() {
    let world = World::builder()
        .workload("github")
        .replicas(2)
        .route("/mcp")
        .start()
        .await;
    let token = world.token("alice");
    let other = world.gateway();
    let mut sessions = vec![];
    for gateway in [&*world, &other, &*world, &other] {
        sessions.push(gateway.session("/mcp", &token).await);
    }
    for session in &sessions {
        let here = replica(&world, "/mcp", &token, session).await;
        assert_eq!(replica(&other, "/mcp", &token, session).await, here);
    }
    let gone = send(other.mcp(Method::DELETE, "/mcp", Some(&token), Some(&sessions[0]))).await;
    assert_eq!(gone.status, 204);
    let message = call(1, "instance", &json!({}));
    let answer = world
        .rpc("/mcp", Some(&token), Some(&sessions[0]), &message)
        .await;
    assert_gone(&answer, &json!(1));
}

#[tokio::test]
async fn a_restart_with_the_same_state_directory_keeps_sessions() {
    let mut world = World::builder()
        .workload("github")
        .replicas(2)
        .route("/mcp")
        .stored_key()
        .start()
        .await;
    let token = world.token("alice");
    let session = world.session("/mcp", &token).await;
    let before = replica(&world, "/mcp", &token, &session).await;
    world.restart_gateway().await;
    assert_eq!(replica(&world, "/mcp", &token, &session).await, before);
}

#[tokio::test]
async fn a_killed_backend_costs_only_its_sessions() {
    let world = World::builder()
        .workload("github")
        .replicas(2)
        .route("/mcp")
        .start()
        .await;
    let token = world.token("alice");
    let (mut on_a, mut on_b) = (None, None);
    while on_a.is_none() || on_b.is_none() {
        let session = world.session("/mcp", &token).await;
        let here = replica(&world, "/mcp", &token, &session).await;
        *(if here["replica"] == "a" {
            &mut on_a
        } else {
            &mut on_b
        }) = Some(session);
    }
    let (on_a, on_b) = (on_a.unwrap(), on_b.unwrap());
    world.workload("github", "a").kill().await;

    let mut requests = JoinSet::new();
    for index in 0..60 {
        let request = world.mcp(Method::POST, "/mcp", Some(&token), None);
        requests.spawn(send(match index % 3 {
            0 => request.json(&initialize()),
            1 => request
                .header("content-type", "application/json")
                .body(LIST),
            // A client that still holds the lost session starts anew.
            _ => request.header("mcp-session-id", &on_a).json(&initialize()),
        }));
    }
    while let Some(answer) = requests.join_next().await {
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.message()["result"].is_object(), "{answer:?}");
    }

    let message = call(3, "instance", &json!({}));
    let pinned = world.rpc("/mcp", Some(&token), Some(&on_a), &message).await;
    assert_gone(&pinned, &json!(3));
    let listening = send(world.mcp(Method::GET, "/mcp", Some(&token), Some(&on_a))).await;
    assert_gone(&listening, &Value::Null);
    replica(&world, "/mcp", &token, &on_b).await;
    let backend = world.workload("github", "a").address();
    assert!(
        world.metric(&format!(
            "gateway_backend_ejections_total{{backend=\"{backend}\",upstream=\"github\"}}"
        )) >= 1.0
    );
    assert!(
        world.metric(
            "gateway_upstream_retries_total{reason=\"connect_failed\",upstream=\"github\"}"
        ) >= 1.0
    );
}

#[tokio::test]
async fn an_ejected_backend_keeps_its_sessions() {
    let world = World::builder()
        .workload("github")
        .replicas(2)
        .route("/mcp")
        .health_check("interval: 50ms")
        .start()
        .await;
    let token = world.token("alice");
    let session = world.session("/mcp", &token).await;
    let here = replica(&world, "/mcp", &token, &session).await;
    let pinned = world.workload("github", here["replica"].as_str().unwrap());
    pinned.fault(mcp_gateway_emulator::toolhive::Fault::Degraded);
    let healthy = format!(
        "gateway_backend_healthy{{backend=\"{}\",upstream=\"github\"}}",
        pinned.address()
    );
    crate::world::until("the backend is ejected", || world.metric(&healthy) < 1.0).await;
    assert_eq!(replica(&world, "/mcp", &token, &session).await, here);
}

#[tokio::test]
async fn a_restarted_workload_speaks_for_itself() {
    let world = World::usual().await;
    let token = world.token("alice");
    let session = world.session("/mcp", &token).await;
    world.workloads[0].restart().await.unwrap();
    world.workloads[0].forget_requests();
    let message = call(4, "instance", &json!({}));
    let answer = world
        .rpc("/mcp", Some(&token), Some(&session), &message)
        .await;
    assert_gone(&answer, &json!(4));
    let asked = world.workloads[0]
        .wait_for(PATIENCE, |request| request.path == "/mcp")
        .await;
    assert!(asked.is_some(), "the workload itself said so");

    let session = world.session("/mcp", &token).await;
    let here = replica(&world, "/mcp", &token, &session).await;
    assert_eq!(here["generation"], 2);
}

#[tokio::test]
async fn the_access_line_of_a_lost_session_says_so() {
    let world = World::usual().await;
    let token = world.token("alice");
    let message = call(4, "instance", &json!({}));
    let refused = world
        .rpc("/mcp", Some(&token), Some("lost"), &message)
        .await;
    assert_gone(&refused, &json!(4));
    let line = world.access_line(|line| line["status"] == 404).await;
    assert_eq!(line["reason"], "session_gone");
    assert_eq!(line["route"], "/mcp");
    assert!(line.get("backend").is_none(), "nobody was asked: {line}");
    let refusals = "gateway_refusals_total{reason=\"session_gone\",route=\"/mcp\"}";
    assert!((world.metric(refusals) - 1.0).abs() < f64::EPSILON);
    // Nothing of it lingers that a drain would wait for.
    assert_eq!(world.gateway().drain(Duration::from_secs(1)).await, 0);
}
