//! Registers clients without keeping anything (RFC 7591).
//!
//! Every client gets the same configured client id, as Entra ID knows no dynamic registration. The
//! answer is made of what the gateway offers and never of the request object: redirect URIs that
//! pass the policy, public client, code flow, refresh tokens. What else was asked for is left out,
//! as RFC 7591 §2 allows; a redirect URI that is not allowed refuses the registration.
//!
//! ```yaml
//! - register_client:
//!     client_id: 11111111-2222-3333-4444-555555555555
//!     redirect_uris: { presets: [vscode], allow: ["https://app.example.com/callback"] }
//! ```

use bytes::Bytes;
use http::{Method, StatusCode, header, request};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Context, Filter, FilterConfig, Problem, Refusal, Verdict,
    redirect_uri::{RedirectPolicy, RedirectUris},
    reply, settings,
};

/// The largest registration that is read, in bytes.
const LIMIT: usize = 16 * 1024;
/// The deepest nesting of a registration; real ones have two levels.
const MAX_DEPTH: usize = 16;
/// The most redirect URIs of one client.
const MAX_URIS: usize = 32;
/// The longest client name that is echoed, in characters.
const MAX_NAME: usize = 200;

/// Settings of `register_client`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegisterClientConfig {
    /// The client id that every client gets.
    client_id: String,
    /// Which redirect URIs clients may register.
    #[serde(default)]
    redirect_uris: RedirectUris,
}

impl FilterConfig for RegisterClientConfig {
    const NAME: &'static str = "register_client";
    const SUMMARY: &'static str = "Registers clients without keeping anything (RFC 7591)";
    const SOURCE: &'static str = include_str!("register_client.rs");
    const ANSWERS: bool = true;

    fn build(self) -> Result<Box<dyn Filter>, Vec<Problem>> {
        let mut problems = Vec::new();
        settings::check_client_id("client_id", &self.client_id, &mut problems);
        let policy = self.redirect_uris.build("redirect_uris", &mut problems);
        settings::finish(problems, || RegisterClient {
            client_id: self.client_id,
            policy,
        })
    }
}

#[derive(Debug)]
struct RegisterClient {
    client_id: String,
    policy: RedirectPolicy,
}

/// The members of RFC 7591 §2 that are looked at; the others are skipped.
#[derive(Debug, Deserialize)]
struct Registration {
    redirect_uris: Option<Vec<String>>,
    client_name: Option<String>,
    application_type: Option<String>,
}

/// The answer of RFC 7591 §3.2.1.
#[derive(Debug, Serialize)]
struct Registered<'a> {
    client_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_name: Option<String>,
    redirect_uris: Vec<String>,
    token_endpoint_auth_method: &'static str,
    grant_types: [&'static str; 2],
    response_types: [&'static str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    application_type: Option<String>,
}

impl Filter for RegisterClient {
    fn request(&self, _: &Context<'_>, head: &request::Parts) -> Result<Verdict, Refusal> {
        if head.method != Method::POST {
            return Ok(Verdict::Respond(reply::method_not_allowed("POST")));
        }
        if !reply::is_json(&head.headers) || head.headers.contains_key(header::CONTENT_ENCODING) {
            return Err(Refusal::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "invalid_client_metadata",
                "a registration is uncompressed JSON: send Content-Type application/json",
            ));
        }
        Ok(Verdict::pass())
    }

    fn request_body_limit(&self, _: &request::Parts) -> Option<usize> {
        Some(LIMIT)
    }

    fn request_body(
        &self,
        _: &Context<'_>,
        _: &request::Parts,
        body: &Bytes,
    ) -> Result<Verdict, Refusal> {
        let registration = read(body)?;
        let redirect_uris = registration.redirect_uris.unwrap_or_default();
        self.check(&redirect_uris)?;
        let answer = serde_json::to_vec(&Registered {
            client_id: &self.client_id,
            client_name: registration.client_name.as_deref().and_then(clean_name),
            redirect_uris,
            token_endpoint_auth_method: "none",
            grant_types: ["authorization_code", "refresh_token"],
            response_types: ["code"],
            application_type: registration
                .application_type
                .filter(|kind| matches!(kind.as_str(), "native" | "web")),
        })
        .map_err(|_| metadata_fault("the registration cannot be answered"))?;
        Ok(Verdict::Respond(reply::body(
            StatusCode::CREATED,
            reply::JSON,
            reply::NO_STORE,
            answer,
        )))
    }
}

impl RegisterClient {
    fn check(&self, redirect_uris: &[String]) -> Result<(), Refusal> {
        if redirect_uris.is_empty() || redirect_uris.len() > MAX_URIS {
            return Err(uri_fault(format!(
                "expected 1 to {MAX_URIS} redirect URIs, found {}",
                redirect_uris.len()
            )));
        }
        for (index, uri) in redirect_uris.iter().enumerate() {
            if let Err(fault) = self.policy.check(uri) {
                return Err(uri_fault(format!(
                    "redirect URI number {} {fault}",
                    index + 1
                )));
            }
        }
        Ok(())
    }
}

fn read(body: &[u8]) -> Result<Registration, Refusal> {
    if depth(body) > MAX_DEPTH {
        return Err(metadata_fault("the registration is nested too deeply"));
    }
    // A list would be read as a struct whose members come in order.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(metadata_fault("the registration is not a JSON object"));
    }
    serde_json::from_slice(body).map_err(|error| {
        let line = (error.line(), error.column());
        metadata_fault(match error.classify() {
            serde_json::error::Category::Data => {
                "a member of the registration is given twice or has the wrong type".to_owned()
            }
            _ => format!(
                "the registration is not JSON: line {}, column {}",
                line.0, line.1
            ),
        })
    })
}

/// Returns how deeply lists and objects are nested; text that is not JSON has some depth, too.
fn depth(json: &[u8]) -> usize {
    let (mut open, mut deepest) = (0_usize, 0);
    let (mut quoted, mut escaped) = (false, false);
    for byte in json {
        match (byte, quoted) {
            _ if std::mem::take(&mut escaped) => {}
            (b'\\', true) => escaped = true,
            (b'"', _) => quoted = !quoted,
            (b'[' | b'{', false) => {
                open += 1;
                deepest = deepest.max(open);
            }
            (b']' | b'}', false) => open = open.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Returns what of a client's name may be shown; `None` when nothing is left.
fn clean_name(name: &str) -> Option<String> {
    let clean: String = name
        .chars()
        .filter(|letter| !letter.is_control())
        .take(MAX_NAME)
        .collect();
    (!clean.is_empty()).then_some(clean)
}

fn metadata_fault(description: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "invalid_client_metadata",
        description,
    )
}

fn uri_fault(description: String) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "invalid_redirect_uri", description)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{build, cx, problems, refusal, reply, request};

    const YAML: &str = "client_id: c1";

    fn register(body: &[u8]) -> Result<Verdict, Refusal> {
        let filter = build("register_client", YAML);
        let head = request("POST /register\nContent-Type: application/json");
        let verdict = filter.request(&cx(), &head).unwrap();
        assert!(matches!(verdict, Verdict::Continue(_)));
        assert_eq!(filter.request_body_limit(&head), Some(16 * 1024));
        filter.request_body(&cx(), &head, &Bytes::copy_from_slice(body))
    }

    fn check(body: &Value, expected: &Value) {
        let response = reply(register(body.to_string().as_bytes()));
        assert_eq!(response.status(), StatusCode::CREATED);
        assert_eq!(response.headers()["cache-control"], "no-store");
        let found: Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(&found, expected);
    }

    fn check_refused(body: &str, code: &'static str) {
        let found = refusal(register(body.as_bytes()));
        assert_eq!(found, (StatusCode::BAD_REQUEST, code), "{body}");
    }

    #[test]
    fn the_answer_is_what_the_gateway_offers() {
        check(
            &json!({
                "redirect_uris": ["http://localhost:3118/callback"],
                "client_name": "Claude\u{1b}[1m Code",
                "client_id": "mine",
                "client_secret": "s",
                "token_endpoint_auth_method": "client_secret_post",
                "grant_types": ["authorization_code", "urn:ietf:params:oauth:grant-type:device_code"],
                "response_types": ["token"],
                "application_type": "native",
                "jwks": { "keys": [] },
                "scope": "a b",
            }),
            &json!({
                "client_id": "c1",
                "client_name": "Claude[1m Code",
                "redirect_uris": ["http://localhost:3118/callback"],
                "token_endpoint_auth_method": "none",
                "grant_types": ["authorization_code", "refresh_token"],
                "response_types": ["code"],
                "application_type": "native",
            }),
        );
    }

    #[test]
    fn all_redirect_uris_of_vs_code_are_taken_at_once() {
        let uris = json!([
            "https://insiders.vscode.dev/redirect",
            "https://vscode.dev/redirect",
            "http://127.0.0.1/",
            "http://127.0.0.1:33418/",
        ]);
        check(
            &json!({ "redirect_uris": uris, "application_type": "desktop", "client_name": "" }),
            &json!({
                "client_id": "c1",
                "redirect_uris": uris,
                "token_endpoint_auth_method": "none",
                "grant_types": ["authorization_code", "refresh_token"],
                "response_types": ["code"],
            }),
        );
    }

    #[test]
    fn a_redirect_uri_that_is_not_allowed_refuses_the_registration() {
        for uris in [
            "[]",
            "null",
            r#"["https://evil.test/"]"#,
            r#"["http://localhost/", "http://localhost/#x"]"#,
            r#"["http://localhost@evil.test/"]"#,
        ] {
            check_refused(
                &format!(r#"{{"redirect_uris":{uris}}}"#),
                "invalid_redirect_uri",
            );
        }
        check_refused("{}", "invalid_redirect_uri");
        let many = json!({ "redirect_uris": vec!["http://localhost/"; 33] }).to_string();
        check_refused(&many, "invalid_redirect_uri");
    }

    #[test]
    fn what_is_no_registration_is_refused() {
        for body in [
            "",
            "null",
            "[[\"http://localhost/\"],null,null]",
            "{",
            r#"{"redirect_uris":"http://localhost/"}"#,
            r#"{"redirect_uris":[],"redirect_uris":[]}"#,
            r#"{"redirect_uris":[1]}"#,
            r#"{"redirect_uris":["http://localhost/"],"client_name":{}}"#,
        ] {
            check_refused(body, "invalid_client_metadata");
        }
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(100), "]".repeat(100));
        check_refused(&deep, "invalid_client_metadata");
    }

    #[test]
    fn brackets_in_strings_are_no_depth() {
        assert_eq!(depth(br#"{"a":"[[[\"[[[","b":[]}"#), 2);
    }

    #[test]
    fn only_json_is_registered() {
        let filter = build("register_client", YAML);
        for head in [
            "POST /register",
            "POST /register\nContent-Type: text/plain",
            "POST /register\nContent-Type: application/json\nContent-Encoding: gzip",
        ] {
            assert_eq!(
                refusal(filter.request(&cx(), &request(head))),
                (
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    "invalid_client_metadata"
                )
            );
        }
        let get = reply(filter.request(&cx(), &request("GET /register")));
        assert_eq!(get.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(get.headers()["allow"], "POST");
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(
            problems(
                "register_client",
                "{ client_id: '', redirect_uris: { allow: [x] } }"
            ),
            [
                "client_id: expected a client id, found ``",
                "redirect_uris.allow[0]: expected an absolute URI, found `x`",
            ]
        );
    }

    proptest! {
        #[test]
        fn nothing_of_the_request_object_comes_back(
            name in "[a-z_]{1,12}", value in "[a-z]{1,12}", noise in ".{0,40}"
        ) {
            let body = json!({ "redirect_uris": ["http://localhost/"], name.clone(): value });
            if let Ok(Verdict::Respond(response)) = register(body.to_string().as_bytes()) {
                let found: Value = serde_json::from_slice(response.body()).unwrap();
                let members = found.as_object().unwrap().len();
                let known = matches!(name.as_str(), "client_name" | "application_type");
                prop_assert!(members == 5 || known);
            }
            let _ = register(noise.as_bytes());
        }
    }
}
