//! As much of JSON-RPC as an edge must read: what is asked, and to which id an error belongs.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

/// "Session not found", the code that ToolHive and the SDKs use with 404.
pub(super) const SESSION_NOT_FOUND: i32 = -32001;
/// JSON-RPC 2.0 §5.1.
pub(super) const PARSE_ERROR: i32 = -32700;
/// The implementation-defined range of JSON-RPC 2.0 §5.1 that MCP leaves to servers.
pub(super) const UPSTREAM_FAILED: i32 = -32000;

/// One message, borrowed from the body.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Message<'a> {
    #[serde(borrow, default)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
}

impl<'a> Message<'a> {
    /// Reads a body. A batch or a bare value is JSON too: it reads as a message without method
    /// and id, which the upstream refuses in its own words.
    ///
    /// # Errors
    /// When the body is not JSON, or names a member twice, which two readers could read in two
    /// ways.
    pub(super) fn parse(body: &'a Bytes) -> Result<Self, serde_json::Error> {
        let first = body.iter().find(|b| !b.is_ascii_whitespace());
        if first == Some(&b'{') {
            serde_json::from_slice(body)
        } else {
            serde_json::from_slice::<&RawValue>(body).map(|_| Self::default())
        }
    }

    /// Whether this opens a session.
    pub(super) fn is_initialize(&self) -> bool {
        self.method.as_deref() == Some("initialize")
    }

    /// The id for an error answer: `null` unless it is a string or a number.
    pub(super) fn id(&self) -> &'a str {
        match self.id.map(RawValue::get) {
            Some(id) if id.starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit()) => id,
            _ => "null",
        }
    }
}

/// Makes an error answer; `id` is JSON, `message` plain text of our own.
pub(super) fn error_body(id: &str, code: i32, message: &str) -> Bytes {
    let message = serde_json::Value::from(message);
    Bytes::from(format!(
        r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":{message}}}}}"#
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &'static str, expect: Option<(bool, &str)>) {
        let body = Bytes::from_static(body.as_bytes());
        let got = Message::parse(&body).ok();
        assert_eq!(got.map(|m| (m.is_initialize(), m.id())), expect, "{body:?}");
    }

    #[test]
    fn reads_method_and_id() {
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"initialize"}"#,
            Some((true, "1")),
        );
        check(
            r#"{"id":"a\"b","method":"tools/call","params":{"id":2}}"#,
            Some((false, r#""a\"b""#)),
        );
        check(r#"{"method":"init\u0069alize"}"#, Some((true, "null")));
        check(r#"{"id":{"x":1},"method":"ping"}"#, Some((false, "null")));
        check(r#" [{"id":1}]"#, Some((false, "null")));
        check("7", Some((false, "null")));
    }

    #[test]
    fn refuses_what_can_be_read_twice() {
        check(r#"{"method":"ping","method":"initialize"}"#, None);
        check(r#"{"id":1,"id":2}"#, None);
        check(r#"{"method":"ping""#, None);
        check(r#"{"method":"ping"} x"#, None);
        check("", None);
    }

    #[test]
    fn errors_are_json() {
        let body = error_body("7", SESSION_NOT_FOUND, "a \"b\"");
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(value["error"]["message"], "a \"b\"");
        assert_eq!(value["id"], 7);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..100)) {
            let body = Bytes::from(body);
            if let Ok(message) = Message::parse(&body) {
                let answer = error_body(message.id(), -1, "x");
                proptest::prop_assert!(serde_json::from_slice::<serde_json::Value>(&answer).is_ok());
            }
        }
    }
}
