//! Every row of what ToolHive's proxy for stdio servers answers.

use std::time::Duration;

use futures::StreamExt;
use mcp_gateway_emulator::toolhive::{Fault, Kind, Workload};
use reqwest::Method;
use serde_json::{Value, json};

use crate::http::{PATIENCE, Seen, client, send};

const BOTH: &str = "application/json, text/event-stream";

async fn github() -> Workload {
    Workload::builder("github")
        .replica("a")
        .start()
        .await
        .unwrap()
}

fn request(workload: &Workload, method: Method, session: Option<&str>) -> reqwest::RequestBuilder {
    let request = client().request(method, workload.url());
    match session {
        Some(session) => request.header("mcp-session-id", session),
        None => request,
    }
}

async fn post(workload: &Workload, session: Option<&str>, accept: &str, body: &str) -> Seen {
    let request = request(workload, Method::POST, session)
        .header("content-type", "application/json")
        .header("accept", accept)
        .body(body.to_owned());
    send(request).await
}

fn call(id: impl Into<Value>, tool: &str, arguments: &Value) -> String {
    json!({
        "jsonrpc": "2.0", "id": id.into(), "method": "tools/call",
        "params": {"name": tool, "arguments": arguments},
    })
    .to_string()
}

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}"#;
const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

async fn session(workload: &Workload) -> String {
    let seen = post(workload, None, BOTH, INITIALIZE).await;
    assert_eq!(seen.status, 200, "{seen:?}");
    let session = seen.header("mcp-session-id").unwrap().to_owned();
    assert_eq!(
        post(workload, Some(&session), BOTH, INITIALIZED)
            .await
            .status,
        202
    );
    session
}

const UNKNOWN: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";

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
async fn get_and_delete_need_a_session_that_is_known() {
    let workload = github().await;
    let refused = [
        (
            Method::GET,
            "Mcp-Session-Id header required for standalone SSE\n",
        ),
        (
            Method::DELETE,
            "Mcp-Session-Id header required for DELETE\n",
        ),
    ];
    for (method, words) in refused {
        let seen = send(request(&workload, method.clone(), None)).await;
        assert_eq!((seen.status, seen.body.as_str()), (400, words));
        let seen = send(request(&workload, method, Some(UNKNOWN))).await;
        assert_eq!(seen.status, 404);
        assert_eq!(
            seen.body,
            r#"{"error":{"code":-32001,"message":"Session not found"},"jsonrpc":"2.0"}"#
        );
    }
    let session = session(&workload).await;
    let seen = send(request(&workload, Method::DELETE, Some(&session))).await;
    assert_eq!((seen.status, seen.body.as_str()), (204, ""));
    assert!(workload.sessions().is_empty());
}

#[tokio::test]
async fn other_methods_and_paths_are_refused_in_words() {
    let workload = github().await;
    let seen = send(request(&workload, Method::PUT, None)).await;
    assert_eq!(
        (seen.status, seen.body.as_str()),
        (405, "Method not allowed\n")
    );
    for path in ["/", "/mcp/", "/sse"] {
        let url = format!("http://{}{path}", workload.address());
        let seen = send(client().get(url)).await;
        assert_eq!(
            (seen.status, seen.body.as_str()),
            (404, "404 page not found\n")
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

/// Opens the standalone stream of a session.
async fn listen(workload: &Workload, session: &str) -> reqwest::Response {
    let response = request(workload, Method::GET, Some(session))
        .header("accept", "text/event-stream")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    response
}

#[tokio::test]
async fn a_stream_carries_notifications_and_comments() {
    let workload = Workload::builder("github")
        .keep_alive(Duration::from_millis(50))
        .start()
        .await
        .unwrap();
    let session = session(&workload).await;
    let mut stream = listen(&workload, &session).await.bytes_stream();
    let mut seen = String::new();
    let read = async {
        post(
            &workload,
            Some(&session),
            BOTH,
            &call(1, "notify", &json!({})),
        )
        .await;
        while !(seen.contains("notifications/tools/list_changed")
            && seen.contains(": keep-alive\n\n"))
        {
            let chunk = stream.next().await.unwrap().unwrap();
            seen.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap();
}

#[tokio::test]
async fn a_second_stream_ends_the_first_and_a_delete_the_second() {
    let workload = github().await;
    let session = session(&workload).await;
    let first = listen(&workload, &session).await;
    let second = listen(&workload, &session).await;
    assert_eq!(first.text().await.unwrap(), "");
    send(request(&workload, Method::DELETE, Some(&session))).await;
    assert_eq!(second.text().await.unwrap(), "");
    assert!(workload.disconnects().is_empty());
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed() {
    let workload = github().await;
    let session = session(&workload).await;
    drop(listen(&workload, &session).await);
    let left = |method: Method| {
        let session = session.clone();
        move |seen: &[mcp_gateway_emulator::toolhive::Disconnect]| {
            seen.iter().any(|disconnect| {
                disconnect.method == method && disconnect.session.as_deref() == Some(&*session)
            })
        }
    };
    assert!(
        workload
            .wait_for_disconnects(PATIENCE, left(Method::GET))
            .await
    );
    for accept in [BOTH, "application/json"] {
        let before = workload.disconnects().len();
        let slow = request(&workload, Method::POST, Some(&session))
            .header("accept", accept)
            .body(call(1, "slow", &json!({"ms": 60_000})))
            .send();
        let seen = workload.wait_for(PATIENCE, |request| {
            request.header("accept") == Some(accept)
                && request.body.windows(4).any(|window| window == b"slow")
        });
        tokio::select! {
            // A streamed answer has its head at once; dropping it leaves.
            answered = slow => drop(answered),
            _ = seen => {}
        }
        let more = |seen: &[_]| seen.len() > before;
        assert!(
            workload.wait_for_disconnects(PATIENCE, more).await,
            "{accept}"
        );
    }
}

#[tokio::test]
async fn a_restart_loses_sessions_and_keeps_the_port() {
    let workload = github().await;
    let old = session(&workload).await;
    let address = workload.address();
    workload.kill().await;
    let refused = client().get(workload.url()).send().await.unwrap_err();
    assert!(refused.is_connect());
    workload.restart().await.unwrap();
    assert_eq!(workload.address(), address);
    let seen = post(
        &workload,
        Some(&old),
        BOTH,
        &call(1, "instance", &json!({})),
    )
    .await;
    assert_eq!(seen.status, 404);
    let new = session(&workload).await;
    let seen = post(
        &workload,
        Some(&new),
        BOTH,
        &call(1, "instance", &json!({})),
    )
    .await;
    assert!(seen.body.contains(r#"\"generation\":2"#), "{seen:?}");
}

#[tokio::test]
async fn health_says_that_the_proxy_lives() {
    let workload = github().await;
    let url = format!("http://{}/health", workload.address());
    let seen = send(client().get(&url)).await;
    assert_eq!(seen.status, 200);
    assert_eq!(seen.json()["status"], "healthy");
    assert_eq!(seen.json()["transport"], "streamable-http");
    assert_eq!(send(client().post(&url)).await.status, 405);
    workload.fault(Fault::Degraded);
    let seen = send(client().get(&url)).await;
    assert_eq!(
        (seen.status, seen.json()["status"].as_str()),
        (200, Some("degraded"))
    );
    workload.heal();
    workload.fault(Fault::ManagementHealth);
    let seen = send(client().get(&url)).await;
    assert_eq!(seen.status, 204);
    assert!(seen.header("x-toolhive-nonce").is_some());
}

#[tokio::test]
async fn without_sign_in_there_is_no_metadata() {
    let workload = github().await;
    for path in ["oauth-protected-resource", "oauth-authorization-server"] {
        let url = format!("http://{}/.well-known/{path}", workload.address());
        let seen = send(client().get(url)).await;
        assert_eq!(
            (seen.status, seen.body.trim()),
            (404, r#"{"error":"not_found"}"#)
        );
    }
    let url = format!("http://{}/metrics", workload.address());
    assert_eq!(send(client().get(url)).await.status, 404);
}

#[tokio::test]
async fn a_foreign_origin_gets_403() {
    let workload = github().await;
    for (origin, expected) in [
        (format!("http://{}", workload.address()), 200),
        (
            format!("http://localhost:{}", workload.address().port()),
            200,
        ),
        ("http://localhost:6274".to_owned(), 403),
        ("https://gateway.example".to_owned(), 403),
    ] {
        let request = request(&workload, Method::POST, None)
            .header("origin", origin)
            .body(INITIALIZE);
        let seen = send(request).await;
        assert_eq!(seen.status, expected);
        if expected == 403 {
            assert_eq!(
                seen.body,
                r#"{"error":{"code":-32600,"message":"Origin not allowed"},"jsonrpc":"2.0"}"#
            );
        }
    }
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
async fn faults_do_what_they_say() {
    let workload = github().await;
    let session = session(&workload).await;
    let echo = call(1, "echo", &json!({"text": "grüße"}));
    let good = post(&workload, Some(&session), BOTH, &echo).await;

    workload.fault_times(Fault::Torn, 1);
    let torn = post(&workload, Some(&session), BOTH, &echo).await;
    assert_eq!(torn.body, good.body);

    workload.fault_times(Fault::Status(502), 1);
    assert_eq!(
        post(&workload, Some(&session), BOTH, &echo).await.status,
        502
    );

    workload.fault_times(Fault::Unauthorized, 1);
    assert_eq!(
        post(&workload, Some(&session), BOTH, &echo).await.status,
        401
    );

    workload.fault_times(Fault::CutAfter(10), 1);
    let answer = request(&workload, Method::POST, Some(&session))
        .header("accept", BOTH)
        .body(echo.clone())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    answer.text().await.unwrap_err();

    workload.fault_times(Fault::Cut, 1);
    let cut = request(&workload, Method::POST, Some(&session)).body(echo.clone());
    cut.send().await.unwrap_err();
    assert_eq!(
        post(&workload, Some(&session), BOTH, &echo).await.status,
        200
    );
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
async fn a_session_that_is_not_used_is_forgotten() {
    let workload = Workload::builder("github")
        .session_ttl(Duration::from_millis(50))
        .start()
        .await
        .unwrap();
    let session = session(&workload).await;
    tokio::time::sleep(Duration::from_millis(60)).await;
    let seen = post(
        &workload,
        Some(&session),
        BOTH,
        &call(1, "fail", &json!({})),
    )
    .await;
    assert_eq!(seen.status, 404);
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

#[tokio::test]
async fn a_hanging_server_is_healthy_to_look_at() {
    let workload = github().await;
    let session = session(&workload).await;
    workload.fault(Fault::Hang);
    let body = call(1, "fail", &json!({}));
    let asking = post(&workload, Some(&session), BOTH, &body);
    let arrived = workload.wait_for(PATIENCE, |request| request.body == body);
    tokio::select! {
        answer = asking => panic!("{answer:?}"),
        arrived = arrived => assert!(arrived.is_some()),
    }
    let url = format!("http://{}/health", workload.address());
    assert_eq!(send(client().get(url)).await.status, 200);
    let left = |seen: &[mcp_gateway_emulator::toolhive::Disconnect]| !seen.is_empty();
    assert!(workload.wait_for_disconnects(PATIENCE, left).await);
}
