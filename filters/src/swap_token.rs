//! Hands out the id token as the access token.
//!
//! Without a scope of its own an application gets an access token of Entra ID that is meant for
//! Microsoft Graph; its id token is meant for the application. In a successful answer
//! `access_token` becomes the `id_token`, `expires_in` and `ext_expires_in` become what is left of it
//! less a minute, and `scope` names only published scopes; every other byte stays. An answer without
//! an id token is refused: the original access token never leaves, on any path.
//!
//! The signature of the id token is deliberately not checked here. It comes straight from its issuer
//! over TLS (OpenID Connect Core §3.1.3.7), and is verified like any other when it is used.
//!
//! Answers other than 2xx pass, except redirects, which no token endpoint makes. Cookies, CORS
//! headers, host policies and diagnostics of the provider are removed from every answer, and none may be stored.
//!
//! ```yaml
//! - swap_token: { scopes: [openid, profile, email, offline_access] }
//! ```

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    Filter, FilterConfig, Problem, Refusal, settings,
    token_answer::{self, HandOut, Jwt, Members, TokenAnswer},
};

/// Settings of `swap_token`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SwapTokenConfig {
    /// The scopes that the metadata publishes; others do not appear in the answer.
    scopes: Vec<String>,
}

impl FilterConfig for SwapTokenConfig {
    const NAME: &'static str = "swap_token";
    const SUMMARY: &'static str = "Hands out the id token as the access token";
    const SOURCE: &'static str = include_str!("swap_token.rs");

    fn build(self) -> Result<Box<dyn Filter>, Vec<Problem>> {
        let mut problems = Vec::new();
        settings::check_scopes("scopes", &self.scopes, &mut problems);
        settings::finish(problems, || {
            TokenAnswer(SwapToken {
                scopes: self.scopes,
            })
        })
    }
}

#[derive(Debug)]
struct SwapToken {
    scopes: Vec<String>,
}

impl HandOut for SwapToken {
    fn hand_out(&self, now: u64, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        let members = Members::read(body)?;
        let id_token = members.text("id_token")?.ok_or_else(no_id_token)?;
        let lifetime = token_answer::lifetime(expiry(&id_token)?, now).ok_or_else(|| {
            Refusal::bad_gateway(
                "the id token that the identity provider gave out has expired: the clocks may \
                 differ",
            )
        })?;
        members.bearer()?;

        // An accepted id token holds nothing that JSON escapes.
        let mut changes = vec![
            ("access_token", format!("\"{id_token}\"")),
            ("expires_in", lifetime.to_string()),
            ("ext_expires_in", lifetime.to_string()),
        ];
        if let Some(scope) = members.text("scope")? {
            changes.push(("scope", token_answer::quoted(&self.published(&scope))?));
        }
        members.with(&changes, "expires_in")
    }
}

impl SwapToken {
    /// Returns the published ones of the granted scopes, in their order.
    fn published(&self, scope: &str) -> String {
        let known = |one: &&str| self.scopes.iter().any(|published| published == one);
        scope
            .split_ascii_whitespace()
            .filter(known)
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// Reads `exp` of a JWT that came from its issuer, in seconds since the Unix epoch.
fn expiry(token: &str) -> Result<u64, Refusal> {
    #[derive(Deserialize)]
    struct Payload {
        exp: u64,
    }
    let payload = Jwt::parse(token)
        .and_then(|jwt| jwt.payload())
        .ok_or_else(|| {
            Refusal::bad_gateway("the id token of the identity provider is not a JWT")
        })?;
    serde_json::from_slice(&payload)
        .map(|payload: Payload| payload.exp)
        .map_err(|_| {
            Refusal::bad_gateway(
                "the id token of the identity provider does not say when it expires",
            )
        })
}

fn no_id_token() -> Refusal {
    Refusal::bad_gateway(
        "the identity provider gave out no id token: the scope `openid` was not granted",
    )
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use bytes::Bytes;
    use http::StatusCode;
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::BodyPlan;
    use crate::testing::{
        NOW, build, cx, form_request, is_gathered, refusal, request, response, response_edits, show,
    };

    const YAML: &str = "scopes: [openid, profile]";
    const GRAPH: &str = "graph-token";

    fn jwt(payload: &str) -> String {
        format!(
            "eyJhbGciOiJSUzI1NiJ9.{}.c2ln",
            URL_SAFE_NO_PAD.encode(payload)
        )
    }

    fn id_token() -> String {
        jwt(&format!(r#"{{"aud":"c1","exp":{}}}"#, NOW + 3600))
    }

    fn swap(body: &str) -> Result<String, Refusal> {
        let filter = build("swap_token", YAML);
        let head = response("200\nContent-Type: application/json; charset=utf-8");
        let body = Bytes::copy_from_slice(body.as_bytes());
        filter
            .response_body(&cx(), &form_request(), &head, body)
            .map(|body| String::from_utf8(body.to_vec()).unwrap())
    }

    fn check_refused(body: &str, names: &str) {
        let error = swap(body).unwrap_err();
        assert_eq!(
            (error.status.as_u16(), error.code),
            (502, "server_error"),
            "{body}"
        );
        assert!(error.description.contains(names), "{}", error.description);
        assert!(!error.to_string().contains(GRAPH));
    }

    #[test]
    fn the_id_token_takes_the_place_of_the_access_token() {
        let id = id_token();
        let body = format!(
            r#"{{ "token_type":"Bearer", "scope":"email openid User.Read  profile",
 "expires_in": 4150,"ext_expires_in":4150 ,"access_token":"{GRAPH}","x":1.50e+2,
 "refresh_token":"0.A\u0041\/", "id_token":"{id}", "claims":{{"a": [ ]}} }}
"#
        );
        let expected = format!(
            r#"{{ "token_type":"Bearer", "scope":"openid profile",
 "expires_in": 3540,"ext_expires_in":3540 ,"access_token":"{id}","x":1.50e+2,
 "refresh_token":"0.A\u0041\/", "id_token":"{id}", "claims":{{"a": [ ]}} }}
"#
        );
        assert_eq!(swap(&body).unwrap(), expected);
    }

    #[test]
    fn a_missing_expiry_is_added() {
        let id = id_token();
        let body = format!(
            r#"{{"access_token":"{GRAPH}","id_token":"{id}","token_type":"bearer","x":{{}} }}"#
        );
        let expected = format!(
            r#"{{"access_token":"{id}","id_token":"{id}","token_type":"bearer","x":{{}} ,"expires_in":3540}}"#
        );
        assert_eq!(swap(&body).unwrap(), expected);
    }

    fn answer(id_token: &str) -> String {
        format!(r#"{{"access_token":"{GRAPH}","token_type":"Bearer","id_token":{id_token}}}"#)
    }

    #[test]
    fn no_id_token_means_no_token() {
        check_refused(
            &format!(r#"{{"access_token":"{GRAPH}","token_type":"Bearer"}}"#),
            "`openid`",
        );
        check_refused(&answer("null"), "`openid`");
        check_refused(&answer("1"), "`id_token`");
        for token in [
            "",
            "a",
            "a.b",
            "a.b.c.d",
            "a.b=.c",
            "..",
            "a.%.c",
            "eyJ9.e30.",
            "a\\\".e30.c",
        ] {
            check_refused(&answer(&format!("\"{token}\"")), "not a JWT");
        }
    }

    #[test]
    fn an_id_token_must_say_when_it_expires() {
        for payload in [
            "{}",
            r#"{"exp":"1"}"#,
            r#"{"exp":-1}"#,
            r#"{"exp":1,"exp":9999999999}"#,
            r#"{"exp":null}"#,
        ] {
            check_refused(&answer(&format!("\"{}\"", jwt(payload))), "when it expires");
        }
        check_refused(
            &answer(&format!("\"{}\"", jwt("[9999999999]"))),
            "not a JWT",
        );
        for exp in [0, NOW, NOW + 60] {
            let token = jwt(&format!(r#"{{"exp":{exp}}}"#));
            check_refused(&answer(&format!("\"{token}\"")), "expired");
        }
    }

    #[test]
    fn an_ambiguous_or_broken_answer_is_refused() {
        let id = id_token();
        let good =
            format!(r#"{{"access_token":"{GRAPH}","token_type":"Bearer","id_token":"{id}"}}"#);
        assert!(swap(&good).is_ok());
        for end in 0..good.len() {
            check_refused(good.get(..end).unwrap(), "");
        }
        check_refused(&good.replace('}', r#","id_token":"a"}"#), "distinct");
        check_refused(
            &good.replace('}', r#","\u0061ccess_token":"a"}"#),
            "distinct",
        );
        check_refused(&format!("{good}x"), "JSON");
        check_refused(&format!("[{good}]"), "JSON");
        check_refused(&good.replace("Bearer", "pop"), "bearer");
        check_refused(
            &good.replace("\"access_token\"", "\"other\""),
            "access token",
        );
        check_refused(&good.replace('}', r#","scope":["openid"]}"#), "`scope`");
    }

    #[test]
    fn only_json_of_a_success_is_held() {
        let filter = build("swap_token", YAML);
        let plan = |head: &str| response_edits(&*filter, &form_request(), &response(head)).body;
        assert!(is_gathered(&plan("200\nContent-Type: application/json")));
        for head in [
            "400\nContent-Type: application/json",
            "429",
            "503\nRetry-After: 5",
        ] {
            assert!(matches!(plan(head), BodyPlan::Stream));
        }
        for head in [
            "200",
            "200\nContent-Type: text/html",
            "200\nContent-Type: application/json\nContent-Encoding: gzip",
            "302\nLocation: https://evil.test",
        ] {
            assert_eq!(
                refusal(filter.response(&cx(), &form_request(), &response(head))),
                (StatusCode::BAD_GATEWAY, "server_error"),
                "{head}"
            );
        }
        let preflight = request("OPTIONS /token");
        let plan = response_edits(&*filter, &preflight, &response("204")).body;
        assert!(matches!(plan, BodyPlan::Stream));
    }

    #[test]
    fn nothing_of_the_provider_leaks_by_header() {
        let filter = build("swap_token", YAML);
        let head = response(
            "400\nSet-Cookie: fpc=1\nSet-Cookie: esctx=2\nAccess-Control-Allow-Origin: *\n\
             x-ms-request-id: 1\nStrict-Transport-Security: max-age=1\nP3P: x\nRetry-After: 5\nCache-Control: public",
        );
        let found = show(&response_edits(&*filter, &form_request(), &head).headers);
        assert_eq!(
            found,
            "remove set-cookie\nremove access-control-allow-origin\nremove x-ms-request-id\n\
             remove strict-transport-security\nremove p3p\nset cache-control: no-store\nset pragma: no-cache"
        );
    }

    fn member() -> impl Strategy<Value = String> {
        prop_oneof![
            Just(format!("\"access_token\": \"{GRAPH}\"")),
            Just(format!("\"id_token\":\"{}\"", id_token())),
            Just("\"token_type\":\"Bearer\"".to_owned()),
            Just("\"expires_in\" :1".to_owned()),
            Just("\"scope\":\"openid x\"".to_owned()),
            "[a-z]{1,3}".prop_map(|name| format!("\"{name}\":[1.0, \"é\"] ")),
        ]
    }

    proptest! {
        #[test]
        fn the_original_token_never_leaves(
            members in proptest::collection::vec(member(), 0..9), cut in 0_usize..400
        ) {
            let body = format!("{{{}}}", members.join(" ,"));
            if let Ok(swapped) = swap(&body) {
                prop_assert!(!swapped.contains(GRAPH));
                let json: Value = serde_json::from_str(&swapped).unwrap();
                prop_assert_eq!(json["access_token"].as_str().unwrap(), id_token());
                prop_assert_eq!(json["expires_in"].as_u64().unwrap(), 3540);
                prop_assert_eq!(swap(&swapped).unwrap(), swapped.clone());
                for other in members.iter().filter(|member| member.contains("1.0")) {
                    prop_assert!(swapped.contains(other));
                }
            }
            let cut: String = body.chars().take(cut).collect();
            if let Err(refusal) = swap(&cut) {
                prop_assert!(!refusal.to_string().contains(GRAPH));
            }
        }
    }
}
