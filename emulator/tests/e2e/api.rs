//! The management API with its traps.

use std::sync::Arc;

use mcp_gateway_emulator::toolhive::{Api, ApiFault, Command, Listed, Status, Workload};
use serde_json::{Value, json};

use crate::http::{Seen, client, eventually, send};

async fn get(api: &Api, path: &str) -> Seen {
    send(client().get(format!("{}{path}", api.url()))).await
}

async fn post(api: &Api, path: &str, body: &Value) -> Seen {
    send(client().post(format!("{}{path}", api.url())).json(body)).await
}

fn names(seen: &Seen) -> Vec<String> {
    let mut names: Vec<String> = seen.json()["workloads"]
        .as_array()
        .unwrap()
        .iter()
        .map(|workload| workload["name"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

async fn three() -> Api {
    let mut other = Listed::running("c", 9_102, 0);
    "other".clone_into(&mut other.group);
    Api::builder()
        .listed(Listed::running("a", 9_100, 0))
        .listed(Listed::running("b", 9_101, 0))
        .listed(other)
        .start()
        .await
        .unwrap()
}

#[tokio::test]
async fn an_empty_list_is_null() {
    let api = Api::builder().start().await.unwrap();
    let seen = get(&api, "/api/v1beta/workloads").await;
    assert_eq!(seen.body, r#"{"workloads":null}"#);
    assert_eq!(seen.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(
        seen.header("cross-origin-resource-policy"),
        Some("same-origin")
    );
}

#[tokio::test]
async fn an_entry_has_its_members_in_order() {
    let api = Api::builder()
        .listed(Listed::running("a", 9_100, 0))
        .start()
        .await
        .unwrap();
    let seen = get(&api, "/api/v1beta/workloads").await;
    assert_eq!(
        seen.body,
        r#"{"workloads":[{"name":"a","package":"ghcr.io/example/a:latest","url":"http://127.0.0.1:9100/mcp","port":9100,"transport_type":"stdio","proxy_mode":"streamable-http","status":"running","created_at":"1970-01-01T00:00:00Z","group":"default","started_at":"1970-01-01T00:00:00Z"}]}"#
    );
}

#[tokio::test]
async fn a_list_has_no_order() {
    let api = three().await;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..200 {
        seen.insert(get(&api, "/api/v1beta/workloads").await.body);
        if seen.len() > 1 {
            return;
        }
    }
    panic!("two hundred lists in the same order");
}

#[tokio::test]
async fn only_what_runs_is_listed_unless_all_is_asked_for() {
    let api = three().await;
    api.set_status("a", Status::Starting);
    api.set_status("b", Status::AuthRetrying);
    assert_eq!(names(&get(&api, "/api/v1beta/workloads").await), ["b", "c"]);
    let all = get(&api, "/api/v1beta/workloads?all=true").await;
    assert_eq!(names(&all), ["a", "b", "c"]);
    let all = all.json();
    let starting = all["workloads"]
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry["name"] == "a");
    assert_eq!(starting.unwrap()["port"], 0);
    assert_eq!(starting.unwrap()["url"], "");
}

#[tokio::test]
async fn groups_filter_and_are_checked() {
    let api = three().await;
    let of = async |group: &str| get(&api, &format!("/api/v1beta/workloads?group={group}")).await;
    assert_eq!(names(&of("other").await), ["c"]);
    assert_eq!(of("nobody").await.status, 404);
    assert_eq!(of("a%2Fb").await.status, 400);
    let groups = get(&api, "/api/v1beta/groups").await.json();
    assert_eq!(
        groups["groups"][0],
        json!({"name": "default", "registered_clients": []})
    );
}

#[tokio::test]
async fn errors_are_plain_text() {
    let api = three().await;
    let seen = get(&api, "/api/v1beta/workloads/nobody").await;
    assert_eq!(
        (seen.status, seen.body.as_str()),
        (404, "workload not found\n")
    );
    assert_eq!(
        seen.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(get(&api, "/api/v1beta/status").await.status, 404);
    let both = json!({"names": ["a"], "group": "other"});
    assert_eq!(
        post(&api, "/api/v1beta/workloads/stop", &both).await.status,
        400
    );
}

#[tokio::test]
async fn a_change_is_accepted_and_takes_effect_later() {
    let workload = Workload::builder("github").start().await.unwrap();
    let workload = Arc::new(workload);
    let api = Api::builder()
        .manages("github-1", "github", Arc::clone(&workload))
        .start()
        .await
        .unwrap();
    let status = "/api/v1beta/workloads/github-1/status";
    let reach = async |wanted: &str| {
        eventually(async || get(&api, status).await.json()["status"] == wanted).await;
    };
    reach("running").await;
    let seen = post(&api, "/api/v1beta/workloads/github-1/stop", &json!({})).await;
    assert_eq!((seen.status, seen.body.as_str()), (202, ""));
    reach("stopped").await;
    assert!(
        client()
            .get(workload.url())
            .send()
            .await
            .unwrap_err()
            .is_connect()
    );
    post(
        &api,
        "/api/v1beta/workloads/restart",
        &json!({"group": "github"}),
    )
    .await;
    reach("running").await;
    assert_eq!(send(client().get(workload.url())).await.status, 400);
    let asked = [
        Command::Stop("github-1".to_owned()),
        Command::Restart("github-1".to_owned()),
    ];
    assert_eq!(api.commands(), asked);
}

#[tokio::test]
async fn health_is_about_the_runtime_and_not_about_workloads() {
    let api = three().await;
    let seen = get(&api, "/health").await;
    assert_eq!((seen.status, seen.body.as_str()), (204, ""));
    assert!(seen.header("x-toolhive-nonce").is_some());
    api.fault(ApiFault::RuntimeDown);
    assert_eq!(get(&api, "/health").await.status, 503);
    api.fault(ApiFault::EmptyList);
    let seen = get(&api, "/api/v1beta/workloads?all=true").await;
    assert_eq!(seen.body, r#"{"workloads":null}"#);
    api.heal();
    api.stop().await;
    let error = client().get(api.url()).send().await.unwrap_err();
    assert!(error.is_connect());
    api.start().unwrap();
    assert_eq!(get(&api, "/health").await.status, 204);
}
