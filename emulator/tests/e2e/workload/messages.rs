//! Messages that are posted, and their answers.

use std::time::Duration;

use mcp_gateway_emulator::toolhive::{Kind, Workload};
use reqwest::Method;
use serde_json::{Value, json};

use super::{BOTH, INITIALIZE, INITIALIZED, UNKNOWN, call, github, post, request, session};
use crate::http::{client, send};

#[tokio::test]
async fn what_is_not_json_rpc_gets_400_in_words() {
    let workload = github().await;
    for body in [
        "",
        "hello",
        "{}",
        r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
    ] {
        let seen = post(&workload, None, BOTH, body).await;
        assert_eq!(seen.status, 400);
        assert_eq!(seen.body, "Invalid JSON-RPC 2.0 message\n");
        assert_eq!(
            seen.header("content-type"),
            Some("text/plain; charset=utf-8")
        );
    }
}

#[tokio::test]
async fn a_batch_gets_400_in_json() {
    let workload = github().await;
    let seen = post(&workload, None, BOTH, " [ ]").await;
    assert_eq!(seen.status, 400);
    assert_eq!(
        seen.body,
        r#"{"error":{"code":-32600,"message":"JSON-RPC batch requests are not supported (batching was removed in MCP revision 2025-06-18)"},"jsonrpc":"2.0"}"#
    );
}

#[tokio::test]
async fn notifications_and_responses_get_202_whatever_the_session() {
    let workload = github().await;
    let response = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    for body in [INITIALIZED, response] {
        for session in [None, Some(UNKNOWN)] {
            let seen = post(&workload, session, BOTH, body).await;
            assert_eq!((seen.status, seen.body.as_str()), (202, ""));
        }
    }
    // The server behind the proxy has survived that.
    session(&workload).await;
}

#[tokio::test]
async fn initialize_without_a_session_announces_one() {
    let workload = github().await;
    let seen = post(&workload, None, BOTH, INITIALIZE).await;
    assert_eq!(seen.header("content-type"), Some("text/event-stream"));
    let data = seen.body.strip_prefix("event: message\ndata: ").unwrap();
    let message: Value = serde_json::from_str(data.strip_suffix("\n\n").unwrap()).unwrap();
    assert_eq!(message["id"], 0);
    assert_eq!(message["result"]["protocolVersion"], "2025-06-18");
    let session = seen.header("mcp-session-id").unwrap();
    assert_eq!(workload.sessions(), [session]);
}

#[tokio::test]
async fn initialize_adopts_a_uuid_and_does_not_announce_it() {
    let workload = github().await;
    let seen = post(&workload, Some(UNKNOWN), BOTH, INITIALIZE).await;
    assert_eq!((seen.status, seen.header("mcp-session-id")), (200, None));
    assert_eq!(workload.sessions(), [UNKNOWN]);
    let seen = post(&workload, Some("not-a-uuid"), BOTH, INITIALIZE).await;
    assert_eq!(seen.status, 500);
    assert!(
        seen.body
            .starts_with("Failed to create session: invalid session ID format: ")
    );
}

#[tokio::test]
async fn the_first_handshake_is_replayed_to_everyone() {
    let workload = github().await;
    session(&workload).await;
    let later = INITIALIZE
        .replace("2025-06-18", "2025-03-26")
        .replace("\"id\":0", "\"id\":\"x\"");
    let seen = post(&workload, None, "application/json", &later).await;
    assert_eq!(seen.json()["id"], "x");
    assert_eq!(seen.json()["result"]["protocolVersion"], "2025-06-18");
}

#[tokio::test]
async fn a_request_without_a_session_is_served() {
    let workload = github().await;
    session(&workload).await;
    let body = call(7, "instance", &json!({}));
    let seen = post(&workload, None, "application/json", &body).await;
    assert_eq!(seen.header("content-type"), Some("application/json"));
    let text = seen.json()["result"]["content"][0]["text"].clone();
    let instance: Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
    assert_eq!(
        instance,
        json!({"workload": "github", "replica": "a", "generation": 1})
    );
}

#[tokio::test]
async fn an_unknown_session_gets_404_with_the_id_of_the_request() {
    let workload = github().await;
    for (id, expected) in [(json!(3), "3"), (json!("a"), "\"a\"")] {
        let body = call(id, "echo", &json!({"text": "x"}));
        let seen = post(&workload, Some(UNKNOWN), BOTH, &body).await;
        assert_eq!(seen.status, 404);
        assert_eq!(
            seen.body,
            format!(
                r#"{{"error":{{"code":-32001,"message":"Session not found"}},"id":{expected},"jsonrpc":"2.0"}}"#
            )
        );
    }
}

#[tokio::test]
async fn a_body_over_8_mib_gets_413() {
    let workload = github().await;
    let seen = post(&workload, None, BOTH, &" ".repeat((8 << 20) + 1)).await;
    assert_eq!(
        (seen.status, seen.body.as_str()),
        (413, "Request Entity Too Large\n")
    );
}

#[tokio::test]
async fn a_server_that_is_too_slow_times_out_in_two_ways() {
    let workload = Workload::builder("github")
        .request_timeout(Duration::from_millis(500))
        .start()
        .await
        .unwrap();
    let session = session(&workload).await;
    let body = call(1, "slow", &json!({"ms": 60_000}));
    let seen = post(&workload, Some(&session), "application/json", &body).await;
    assert_eq!(seen.status, 504);
    assert_eq!(seen.body, "Timeout waiting for response from container\n");
    let seen = post(&workload, Some(&session), BOTH, &body).await;
    assert_eq!(seen.status, 200);
    assert_eq!(
        seen.body,
        "event: message\ndata: {\"error\":{\"code\":-32000,\"message\":\"Timeout\"},\"id\":1,\"jsonrpc\":\"2.0\"}\n\n"
    );
}

#[tokio::test]
async fn progress_comes_before_its_answer_under_the_clients_token() {
    let workload = github().await;
    let session = session(&workload).await;
    let body = json!({
        "jsonrpc": "2.0", "id": 5, "method": "tools/call",
        "params": {
            "name": "progress", "arguments": {"steps": 3},
            "_meta": {"progressToken": 99},
        },
    });
    let seen = post(&workload, Some(&session), BOTH, &body.to_string()).await;
    let messages: Vec<Value> = seen
        .body
        .split_terminator("\n\n")
        .map(|event| event.strip_prefix("event: message\ndata: ").unwrap())
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    assert_eq!(messages.len(), 4);
    for (step, message) in [1.0, 2.0, 3.0].into_iter().zip(&messages) {
        assert_eq!(message["method"], "notifications/progress");
        assert_eq!(message["params"]["progressToken"], 99);
        assert_eq!(message["params"]["progress"], json!(step));
    }
    assert_eq!(messages[3]["id"], 5);
}

#[tokio::test]
async fn a_large_answer_is_whole() {
    let workload = github().await;
    let session = session(&workload).await;
    let body = call(1, "large", &json!({"bytes": 10 << 20}));
    let seen = post(&workload, Some(&session), "application/json", &body).await;
    let text = seen.json()["result"]["content"][0]["text"].clone();
    assert_eq!(text.as_str().unwrap().len(), 10 << 20);
}

#[tokio::test]
async fn a_modern_request_needs_no_session() {
    let workload = github().await;
    let body = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {
            "name": "echo", "arguments": {"text": "hi"},
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        },
    });
    let request = request(&workload, Method::POST, Some(UNKNOWN))
        .header("mcp-protocol-version", "2026-07-28")
        .header("accept", "application/json")
        .body(body.to_string());
    let seen = send(request).await;
    assert_eq!(seen.status, 200);
    assert_eq!(
        seen.json()["result"]["content"][0]["text"],
        "hi",
        "{seen:?}"
    );
    // Both eras share the workload.
    session(&workload).await;
}

#[tokio::test]
async fn a_transparent_proxy_serves_every_path_and_adopts_no_session() {
    let workload = Workload::builder("notion")
        .kind(Kind::Transparent)
        .start()
        .await
        .unwrap();
    let at = |path: &str| format!("http://{}{path}", workload.address());
    let handshake = client()
        .post(at("/v2/mcp"))
        .header("mcp-session-id", UNKNOWN)
        .header("authorization", "Bearer x")
        .body(INITIALIZE);
    let seen = send(handshake).await;
    assert_eq!(seen.status, 200);
    assert_ne!(seen.header("mcp-session-id").unwrap(), UNKNOWN);
    assert!(workload.saw(|request| request.header("authorization") == Some("Bearer x")));
    let seen = post(&workload, Some(UNKNOWN), BOTH, &call(1, "fail", &json!({}))).await;
    assert_eq!(seen.status, 404);
    let modern = client()
        .get(at("/mcp"))
        .header("mcp-protocol-version", "2026-07-28");
    let seen = send(modern).await;
    assert_eq!(
        (seen.status, seen.header("allow")),
        (405, Some("POST, OPTIONS"))
    );
}

#[tokio::test]
async fn one_client_never_gets_the_answer_of_another() {
    let workload = github().await;
    session(&workload).await;
    let calls = (0..50).map(|number| {
        let text = format!("{number}");
        let body = call(1, "echo", &json!({"text": text}));
        let workload = &workload;
        async move {
            let seen = post(workload, None, "application/json", &body).await;
            assert_eq!(seen.json()["result"]["content"][0]["text"], text.as_str());
        }
    });
    futures::future::join_all(calls).await;
}
