//! What an MCP client says, and how its answers are read.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::{Answer, Gateway, send};

/// The first message of a legacy session.
pub(crate) fn initialize() -> Value {
    json!({
        "jsonrpc": "2.0", "id": 0, "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    })
}

/// The second.
pub(crate) fn initialized() -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/initialized"})
}

/// A tool call.
pub(crate) fn call(id: u64, tool: &str, arguments: &Value) -> Value {
    json!({
        "jsonrpc": "2.0", "id": id, "method": "tools/call",
        "params": {"name": tool, "arguments": arguments},
    })
}

impl Gateway {
    /// Starts an MCP request over HTTP/1.1, without a body.
    pub(crate) fn mcp(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        session: Option<&str>,
    ) -> RequestBuilder {
        dress(self.client().request(method, path), token, session)
    }

    /// The same over HTTP/2.
    pub(crate) fn mcp_h2(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        session: Option<&str>,
    ) -> RequestBuilder {
        dress(self.client().h2(method, path), token, session)
    }

    /// Posts a message and reads the answer whole.
    pub(crate) async fn rpc(
        &self,
        path: &str,
        token: Option<&str>,
        session: Option<&str>,
        message: &Value,
    ) -> Answer {
        send(self.mcp(Method::POST, path, token, session).json(message)).await
    }

    /// Opens a legacy session and returns its id.
    pub(crate) async fn session(&self, path: &str, token: &str) -> String {
        let answer = self.rpc(path, Some(token), None, &initialize()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let session = answer.header("mcp-session-id").unwrap().to_owned();
        let answer = self
            .rpc(path, Some(token), Some(&session), &initialized())
            .await;
        assert_eq!(answer.status, 202, "{answer:?}");
        session
    }

    /// Calls a tool in a session and returns the text of its answer.
    pub(crate) async fn call_tool(
        &self,
        path: &str,
        token: &str,
        session: &str,
        tool: &str,
        arguments: &Value,
    ) -> String {
        let message = call(1, tool, arguments);
        let answer = self.rpc(path, Some(token), Some(session), &message).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let text = &answer.message()["result"]["content"][0]["text"];
        text.as_str()
            .unwrap_or_else(|| panic!("{answer:?}"))
            .to_owned()
    }
}

/// Adds what every MCP request carries.
fn dress(request: RequestBuilder, token: Option<&str>, session: Option<&str>) -> RequestBuilder {
    let mut request = request.header("accept", "application/json, text/event-stream");
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if let Some(session) = session {
        request = request
            .header("mcp-session-id", session)
            .header("mcp-protocol-version", "2025-06-18");
    }
    request
}

impl Answer {
    /// The JSON-RPC response, whether it came as JSON or as the last event of a stream.
    #[track_caller]
    pub(crate) fn message(&self) -> Value {
        let mut data = self
            .body
            .lines()
            .filter_map(|line| line.strip_prefix("data:"));
        let text = data.next_back().unwrap_or(&self.body);
        serde_json::from_str(text).unwrap_or_else(|_| panic!("no JSON-RPC message: {self:?}"))
    }
}
