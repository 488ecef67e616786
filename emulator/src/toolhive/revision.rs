//! Which revision of MCP a request speaks, as ToolHive tells them apart.
//!
//! Everything up to 2025-11-25 is legacy: sessions and a handshake. 2026-07-28 is modern: every
//! request for itself, and a request that claims it is never treated as legacy.

use axum::body::Body;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::process::Era;
use super::rpc::Message;
use crate::reply;

/// The one revision without sessions.
pub(super) const MODERN: &str = "2026-07-28";

/// `_meta` keys whose presence claims [`MODERN`].
const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const META_CLIENT: &str = "io.modelcontextprotocol/clientInfo";
const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// Why a request that claims the modern revision is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: i64,
    text: String,
    data: Value,
}

impl Refusal {
    pub(super) fn answer(self, id: Option<&Value>) -> Response<Body> {
        let body = json!({
            "error": {"code": self.code, "data": self.data, "message": self.text},
            "id": id,
            "jsonrpc": "2.0",
        });
        reply::json(StatusCode::BAD_REQUEST, "application/json", &body)
    }
}

/// Tells the two revisions apart. The body decides; the header only has to agree with it.
pub(super) fn classify(message: &Message, header: &str) -> Result<Era, Refusal> {
    let method = message.method.as_deref().unwrap_or_default();
    if method == "initialize" {
        return Ok(Era::Legacy);
    }
    let meta = message.meta();
    let claimed = [META_VERSION, META_CLIENT, META_CAPABILITIES]
        .iter()
        .any(|key| meta.contains_key(*key));
    if !claimed && header != MODERN {
        return Ok(Era::Legacy);
    }
    let version = meta.get(META_VERSION).and_then(Value::as_str);
    let Some(version) = version.filter(|version| !version.is_empty()) else {
        let data = if header.is_empty() {
            json!({})
        } else {
            json!({"header": header})
        };
        return Err(Refusal {
            code: -32_602,
            text: format!("request carries a Modern signal but no valid {META_VERSION} in _meta"),
            data,
        });
    };
    if version != MODERN {
        return Err(Refusal {
            code: -32_022,
            text: format!("unsupported MCP protocol version \"{version}\" (supported: [{MODERN}])"),
            data: json!({"requested": version, "supported": [MODERN]}),
        });
    }
    if !header.is_empty() && header != version {
        return Err(Refusal {
            code: -32_020,
            text: format!(
                "MCP-Protocol-Version header \"{header}\" does not match _meta protocol version \
                 \"{version}\""
            ),
            data: json!({"body": version, "header": header}),
        });
    }
    if !meta.get(META_CAPABILITIES).is_some_and(Value::is_object) {
        return Err(Refusal {
            code: -32_021,
            text: "request _meta is missing required client capabilities: map[]".to_owned(),
            data: json!({"requiredCapabilities": {}}),
        });
    }
    Ok(Era::Modern)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, meta: &Value, header: &str, expected: Result<Era, i64>) {
        let text = json!({
            "jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": meta},
        });
        let (message, _) = Message::parse(text.to_string().as_bytes()).unwrap();
        let found = classify(&message, header).map_err(|refusal| refusal.code);
        assert_eq!(found, expected, "{method} {meta} {header}");
    }

    #[test]
    fn the_revision_follows_from_meta_and_header() {
        let modern = json!({META_VERSION: MODERN, META_CAPABILITIES: {}});
        check("tools/list", &json!({}), "", Ok(Era::Legacy));
        check("tools/list", &json!({}), "2025-11-25", Ok(Era::Legacy));
        check("tools/list", &json!({}), "2999-01-01", Ok(Era::Legacy));
        check("tools/list", &modern, MODERN, Ok(Era::Modern));
        check("tools/list", &modern, "", Ok(Era::Modern));
        check("initialize", &modern, MODERN, Ok(Era::Legacy));
        check("tools/list", &modern, "2025-11-25", Err(-32_020));
        check(
            "tools/list",
            &json!({META_VERSION: MODERN}),
            MODERN,
            Err(-32_021),
        );
        check(
            "tools/list",
            &json!({META_VERSION: "2027-01-01"}),
            "",
            Err(-32_022),
        );
        check("tools/list", &json!({}), MODERN, Err(-32_602));
        check("tools/list", &json!({META_CLIENT: {}}), "", Err(-32_602));
    }
}
