//! Arbitrary bodies read as JSON-RPC messages, beside a reader that builds the whole value.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mcp_gateway::proxy::fuzzing::peek;
use mcp_gateway_fuzz::json::Members;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let body = Bytes::copy_from_slice(data);
    let peeked = peek(&body);
    let whole: Option<Value> = serde_json::from_slice(data).ok();
    let members: Option<Members> = serde_json::from_slice(data).ok();
    let Some(peeked) = peeked else {
        // Only what can be read in two ways, or names no method, is refused beside broken JSON.
        let ambiguous = |members: &Members| {
            let odd = |value: &Value| !value.is_string() && !value.is_null();
            members.count("method") > 1
                || members.count("id") > 1
                || members.find("method").is_some_and(odd)
        };
        assert!(
            whole.is_none() || members.as_ref().is_some_and(ambiguous),
            "refused a message that has one reading"
        );
        return;
    };

    let id: Value = serde_json::from_str(&peeked.id).unwrap_or_else(|error| {
        // A number of hundreds of digits is one all the same, and goes back as it came.
        assert!(error.to_string().contains("out of range") || peeked.id.contains("\\u"));
        Value::Null
    });
    assert!(id.is_null() || id.is_string() || id.is_number());
    if let Ok(answer) = serde_json::from_slice::<Value>(&peeked.answer) {
        assert_eq!(answer["jsonrpc"], "2.0");
        assert_eq!(answer["id"], id);
        assert_eq!(answer["error"]["code"], -1);
    }

    // The whole value has limits that a peek has not: depth, lone surrogates, huge numbers.
    if let Some(members) = members {
        assert!(members.count("method") < 2 && members.count("id") < 2);
        let method = members.find("method").and_then(Value::as_str);
        assert_eq!(peeked.is_initialize, method == Some("initialize"));
        match members.find("id") {
            Some(found) if found.is_string() || found.is_number() => assert_eq!(id, *found),
            _ => assert_eq!(peeked.id, "null"),
        }
    } else if whole.is_some() {
        assert_eq!((peeked.is_initialize, peeked.id.as_str()), (false, "null"));
    }
});
