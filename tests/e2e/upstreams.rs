//! Which backend is asked, and which is not.

mod retries;

use mcp_gateway_emulator::toolhive::Fault;
use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;

use crate::world::{
    Scripted, World, log,
    mcp::{call, initialize},
    send, until,
};

/// A sample that counts something of one backend of `github`.
fn of_backend(name: &str, backend: impl std::fmt::Display) -> String {
    format!("{name}{{backend=\"{backend}\",upstream=\"github\"}}")
}

async fn replicas(count: usize) -> World {
    World::builder()
        .workload("github")
        .replicas(count)
        .route("/mcp")
        .health_check("interval: 100ms, timeout: 10s")
        .start()
        .await
}

/// A gateway before one backend that the test plays.
async fn before(upstream: &Scripted) -> World {
    World::builder()
        .upstream("github", &[upstream.address()])
        .route("/mcp")
        .start()
        .await
}

#[tokio::test]
async fn the_less_loaded_backend_is_asked() {
    let world = replicas(2).await;
    let token = world.token("alice");
    for workload in &world.workloads {
        workload.fault(Fault::Hang);
    }
    let asked = |workload: usize| world.workloads[workload].mcp_requests().len();
    let mut open = JoinSet::new();
    for count in 1..=6 {
        let request = world
            .mcp(Method::POST, "/mcp", Some(&token), None)
            .json(&initialize());
        open.spawn(request.send());
        until("the request arrives", || asked(0) + asked(1) == count).await;
        // Of two backends both are drawn, so that the choice is exact.
        assert_eq!(asked(0).abs_diff(asked(1)), count % 2, "of {count}");
    }
}

#[tokio::test]
async fn an_ill_backend_is_ejected_and_taken_back() {
    let world = replicas(2).await;
    let (ill, well) = (&world.workloads[0], &world.workloads[1]);
    let token = world.token("alice");
    let healthy = of_backend("gateway_backend_healthy", ill.address());
    assert!(world.metric(&healthy) > 0.0);

    ill.fault(Fault::Degraded);
    until("it is ejected", || world.metric(&healthy) < 1.0).await;
    let ejections = of_backend("gateway_backend_ejections_total", ill.address());
    assert!(world.metric(&ejections) >= 1.0);
    ill.forget_requests();
    for _ in 0..8 {
        let answer = world.rpc("/mcp", Some(&token), None, &initialize()).await;
        assert_eq!(answer.status, 200);
    }
    assert_eq!(ill.mcp_requests().len(), 0);
    assert_eq!(well.mcp_requests().len(), 8);
    let reason = log_line(&ill.address().to_string(), "degraded");
    assert!(reason.starts_with("WARN"), "{reason}");

    ill.heal();
    until("it is back", || world.metric(&healthy) > 0.0).await;
    log_line(&ill.address().to_string(), "healthy");
    let mut asked = 0;
    while ill.mcp_requests().is_empty() {
        let answer = world.rpc("/mcp", Some(&token), None, &initialize()).await;
        assert_eq!(answer.status, 200);
        asked += 1;
        assert!(asked < 100, "one in two goes there");
    }
}

/// A line of the log that names both.
#[track_caller]
fn log_line(one: &str, other: &str) -> String {
    let text = log::text();
    let mut lines = text.lines();
    lines
        .find(|line| line.contains(one) && line.contains(other))
        .unwrap_or_else(|| panic!("no line names `{one}` and `{other}`"))
        .to_owned()
}

#[tokio::test]
async fn the_management_api_is_named_and_never_asked() {
    let world = replicas(1).await;
    let api = &world.workloads[0];
    api.fault(Fault::ManagementHealth);
    let healthy = of_backend("gateway_backend_healthy", api.address());
    until("it is ejected", || world.metric(&healthy) < 1.0).await;

    let line = log_line(&api.address().to_string(), "ToolHive's management API");
    assert!(line.contains("upstreams.github.backends"), "{line}");
    let url = format!("http://{}/status", world.admin());
    let status = send(world.client().elsewhere(Method::GET, &url))
        .await
        .json();
    let backend = &status["upstreams"]["github"]["backends"][0];
    assert_eq!(backend["healthy"], false);
    let reason = backend["reason"].as_str().unwrap();
    assert!(reason.contains("is ToolHive's management API"), "{reason}");

    api.forget_requests();
    let token = world.token("alice");
    let answer = world.rpc("/mcp", Some(&token), None, &initialize()).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(api.mcp_requests().len(), 0, "it can start containers");
}

#[tokio::test]
async fn without_any_backend_a_client_is_told_when_to_come_back() {
    let world = replicas(2).await;
    let token = world.token("alice");
    for workload in &world.workloads {
        workload.kill().await;
    }
    let mut message = initialize();
    message["id"] = json!("i-1");
    // The first finds out, the second knows.
    for _ in 0..2 {
        let answer = world.rpc("/mcp", Some(&token), None, &message).await;
        assert_eq!(answer.status, 503, "{answer:?}");
        assert_eq!(answer.header("retry-after"), Some("5"));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.json()["id"], "i-1");
        assert_eq!(answer.json()["error"]["code"], -32000);
        let text = answer.json()["error"]["message"].to_string();
        assert!(text.contains("try again"), "{text}");
    }
    let failures = "gateway_upstream_failures_total{reason=\"no_backend\",upstream=\"github\"}";
    assert!((world.metric(failures) - 2.0).abs() < f64::EPSILON);

    world.workloads[0].restart().await.unwrap();
    // Nobody waits for a health check: what may be back is tried.
    let answer = world.rpc("/mcp", Some(&token), None, &message).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn a_backend_that_hangs_does_not_hold_up_the_others() {
    let world = replicas(2).await;
    let token = world.token("alice");
    world.workloads[0].fault(Fault::Hang);
    let mut stuck = JoinSet::new();
    let reached = || !world.workloads[0].mcp_requests().is_empty();
    while !reached() {
        let request = world
            .mcp(Method::POST, "/mcp", Some(&token), None)
            .json(&initialize());
        let before = total(&world);
        stuck.spawn(request.send());
        until("the request arrives", || total(&world) > before).await;
    }
    for _ in 0..8 {
        let answer = world.rpc("/mcp", Some(&token), None, &initialize()).await;
        assert_eq!(answer.status, 200);
    }
    assert_eq!(world.workloads[0].mcp_requests().len(), 1);
}

fn total(world: &World) -> usize {
    let workloads = world.workloads.iter();
    workloads.map(|one| one.mcp_requests().len()).sum()
}

#[tokio::test]
async fn connections_to_a_backend_are_used_again() {
    let mut upstream = Scripted::start();
    let world = before(&upstream).await;
    let token = world.token("alice");
    let mut asked = None;
    for id in 0..3 {
        let message = call(id, "echo", &json!({}));
        let answer = world.rpc("/mcp", Some(&token), None, &message);
        let answering = async {
            let mut next = match asked.take() {
                None => upstream.asked().await,
                Some(asked) => crate::world::Asked::again(asked).await,
            };
            next.answer(format!("{{\"id\":{id}}}")).await;
            next
        };
        let (answer, next) = tokio::join!(answer, answering);
        assert_eq!(answer.json()["id"], id);
        asked = Some(next);
    }
    assert!(upstream.is_left_alone(), "one connection was enough");
}
