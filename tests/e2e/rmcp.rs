//! The official Rust SDK as a client: it signs in by itself and knows nothing of the gateway.

use std::time::Duration;

use mcp_gateway_emulator::client::{Notification, SignedIn, Step};
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Authority, PATIENCE, World, until};

async fn two_workloads() -> World {
    World::builder()
        .workload("github")
        .replicas(2)
        .route("/mcp")
        .workload("atlassian")
        .replicas(2)
        .route("/mcp/atlassian")
        .tls()
        .start()
        .await
}

async fn connect(world: &World, path: &str) -> SignedIn {
    SignedIn::builder(format!("{}{path}", world.public_url()))
        .ca_pem(Authority::shared().pem())
        .person("alice")
        .connect()
        .await
        .unwrap()
}

async fn instance(client: &SignedIn) -> Value {
    let text = client.call_text("instance", json!({})).await.unwrap();
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn it_signs_in_and_uses_every_workload() {
    let world = two_workloads().await;
    for (path, name) in [("/mcp", "github"), ("/mcp/atlassian", "atlassian")] {
        let client = connect(&world, path).await;
        let tools = client.tools().await.unwrap();
        assert!(tools.iter().any(|tool| tool.name == "echo"));
        let echoed = client.call_text("echo", json!({"text": "hi"})).await;
        assert_eq!(echoed.unwrap(), "hi");
        let here = instance(&client).await;
        assert_eq!(here["workload"], name);
        let replica = here["replica"].as_str().unwrap();
        let workload = world.workload(name, replica);
        assert_eq!(workload.sessions().len(), 1);
        client.close().await;
        until("the session is over", || workload.sessions().is_empty()).await;
        assert!(workload.saw(|request| request.method == Method::DELETE));
    }
    let line = world
        .access_line(|line| line["status"] == 200 && line["route"] == "/mcp")
        .await;
    assert!(line["user"].is_string(), "it is known who called: {line}");
}

#[tokio::test]
async fn it_hears_the_server() {
    let world = two_workloads().await;
    let client = connect(&world, "/mcp").await;
    let steps = json!({"steps": 3, "delay_ms": 10});
    client.call("progress", steps).await.unwrap();
    let last = Notification::Progress {
        progress: 3.0,
        total: Some(3.0),
    };
    assert!(
        client
            .wait_for_notification(PATIENCE, |one| *one == last)
            .await
    );
    until("it listens", || {
        world
            .workloads
            .iter()
            .any(|workload| workload.open_streams() == 1)
    })
    .await;
    client.call("notify", json!({})).await.unwrap();
    let changed = |one: &Notification| *one == Notification::ToolsChanged;
    assert!(client.wait_for_notification(PATIENCE, changed).await);
    client.close().await;
}

#[tokio::test]
async fn it_goes_on_with_a_refreshed_token() {
    let world = two_workloads().await;
    let client = connect(&world, "/mcp").await;
    let here = instance(&client).await;
    let old = client.bearer().await.unwrap();
    let Step::Redeemed {
        expires_in,
        refreshable,
    } = client.refresh().await.unwrap()
    else {
        panic!("a refresh redeems a token");
    };
    assert!(refreshable && expires_in.is_some_and(|seconds| seconds > 60));
    assert_ne!(client.bearer().await.unwrap(), old);
    // Another token of the same user: the session is still theirs.
    assert_eq!(instance(&client).await, here);
    client.close().await;
}

#[tokio::test]
async fn it_refreshes_an_expired_token_by_itself() {
    // The client is told a lifetime that ends a minute early, so this one is over at once.
    let world = World::builder()
        .entra(|entra| entra.id_token_lifetime(Duration::from_secs(62)))
        .workload("github")
        .route("/mcp")
        .tls()
        .start()
        .await;
    let client = connect(&world, "/mcp").await;
    let here = instance(&client).await;
    let first = client.bearer().await.unwrap();
    let refreshed = tokio::time::timeout(PATIENCE, async {
        while client.bearer().await.unwrap() == first {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    refreshed.await.expect("a new token");
    assert_eq!(instance(&client).await, here);
    client.close().await;
}

#[tokio::test]
async fn it_opens_a_new_session_when_its_backend_is_killed() {
    let world = two_workloads().await;
    let client = connect(&world, "/mcp").await;
    let before = instance(&client).await;
    let killed = before["replica"].as_str().unwrap();
    world.workload("github", killed).kill().await;
    let after = instance(&client).await;
    assert_ne!(after["replica"], before["replica"]);
    let echoed = client
        .call_text("echo", json!({"text": "still here"}))
        .await;
    assert_eq!(echoed.unwrap(), "still here");
    client.close().await;
}

#[tokio::test]
async fn it_opens_a_new_session_when_its_workload_restarts() {
    let world = two_workloads().await;
    let client = connect(&world, "/mcp").await;
    let before = instance(&client).await;
    let replica = before["replica"].as_str().unwrap();
    world.workload("github", replica).restart().await.unwrap();
    let after = instance(&client).await;
    assert!(after != before, "{after}");
    client.close().await;
}

#[tokio::test]
async fn it_does_not_notice_that_the_gateway_restarts() {
    let mut world = two_workloads().await;
    let client = connect(&world, "/mcp").await;
    let before = instance(&client).await;
    let sessions = |world: &World| -> usize {
        let workloads = world.workloads.iter();
        workloads.map(|workload| workload.sessions().len()).sum()
    };
    assert_eq!(sessions(&world), 1);
    for _ in 0..3 {
        world.restart_gateway().await;
        assert_eq!(instance(&client).await, before);
    }
    assert_eq!(sessions(&world), 1, "it never had to open another");
    client.close().await;
    until("the session is over", || sessions(&world) == 0).await;
}
