//! Every row of what ToolHive's proxy for stdio servers answers.

use mcp_gateway_emulator::toolhive::Workload;
use reqwest::Method;
use serde_json::{Value, json};

use crate::http::{Seen, client, send};

mod health;
mod messages;
mod sessions;

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
