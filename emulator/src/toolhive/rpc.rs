//! JSON-RPC messages as ToolHive reads and writes them.
//!
//! Parameters and results stay as they were sent; members are written in the order of the Go
//! library that ToolHive uses.

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

/// One message; which kind it is follows from what is there.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Message {
    jsonrpc: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) method: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) params: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) result: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<Box<RawValue>>,
}

/// The kinds of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Request,
    Notification,
    Response,
}

impl Message {
    /// Reads a message; none if it is not JSON-RPC 2.0.
    pub(super) fn parse(text: &[u8]) -> Option<(Self, Kind)> {
        let message: Self = serde_json::from_slice(text).ok()?;
        if message.jsonrpc != "2.0" {
            return None;
        }
        let has_id = match &message.id {
            None => false,
            Some(Value::String(_) | Value::Number(_)) => true,
            Some(_) => return None,
        };
        let kind = match (&message.method, has_id) {
            (Some(_), true) => Kind::Request,
            (Some(_), false) => Kind::Notification,
            (None, true) if message.result.is_some() || message.error.is_some() => Kind::Response,
            (None, _) => return None,
        };
        Some((message, kind))
    }

    /// A success.
    pub(super) fn response(id: Option<Value>, result: Box<RawValue>) -> Self {
        Self {
            jsonrpc: "2.0".to_owned(),
            id,
            method: None,
            params: None,
            result: Some(result),
            error: None,
        }
    }

    /// A failure.
    pub(super) fn error(id: Option<Value>, code: i64, text: &str) -> Self {
        Self {
            jsonrpc: "2.0".to_owned(),
            id,
            method: None,
            params: None,
            result: None,
            error: raw(&json!({"code": code, "message": text})),
        }
    }

    /// Writes the message on one line.
    pub(super) fn encode(&self) -> Vec<u8> {
        // Serializing strings and JSON into memory does not fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads the parameters as an object; empty if they are none.
    pub(super) fn params_object(&self) -> Map<String, Value> {
        let params = self.params.as_ref();
        params
            .and_then(|params| serde_json::from_str(params.get()).ok())
            .unwrap_or_default()
    }

    /// Reads `params._meta`; empty if there is none.
    pub(super) fn meta(&self) -> Map<String, Value> {
        match self.params_object().remove("_meta") {
            Some(Value::Object(meta)) => meta,
            _ => Map::new(),
        }
    }

    /// Replaces `params._meta.progressToken`, and returns what was there.
    pub(super) fn replace_progress_token(&mut self, token: &str) -> Option<Value> {
        let mut params = self.params_object();
        let meta = params.get_mut("_meta")?.as_object_mut()?;
        let slot = meta.get_mut("progressToken")?;
        let original = std::mem::replace(slot, token.into());
        self.params = raw(&Value::Object(params));
        Some(original)
    }

    /// Puts a progress token back into a notification.
    pub(super) fn restore_progress_token(&mut self, token: Value) {
        let mut params = self.params_object();
        params.insert("progressToken".to_owned(), token);
        self.params = raw(&Value::Object(params));
    }
}

/// JSON kept as text.
pub(super) fn raw(value: &Value) -> Option<Box<RawValue>> {
    to_raw_value(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<Kind>) {
        let kind = Message::parse(text.as_bytes()).map(|(_, kind)| kind);
        assert_eq!(kind, expected, "{text}");
    }

    #[test]
    fn a_message_is_what_its_members_say() {
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
            Some(Kind::Request),
        );
        check(
            r#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#,
            Some(Kind::Request),
        );
        check(
            r#"{"jsonrpc":"2.0","method":"ping"}"#,
            Some(Kind::Notification),
        );
        check(
            r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
            Some(Kind::Notification),
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            Some(Kind::Response),
        );
    }

    #[test]
    fn what_is_not_json_rpc_is_not_read() {
        check(r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, None);
        check(r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, None);
        check(r#"{"jsonrpc":"2.0","result":{}}"#, None);
        check(r#"{"jsonrpc":"2.0","id":1}"#, None);
        check("hello", None);
    }

    #[test]
    fn a_result_is_written_as_it_was_read() {
        let text = r#"{"jsonrpc":"2.0","id":1,"result":{"z":1.0,  "a":"\u00e4"}}"#;
        let (message, _) = Message::parse(text.as_bytes()).unwrap();
        assert_eq!(message.encode(), text.as_bytes());
    }
}
