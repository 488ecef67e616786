//! Hands out the access token of an API, and nothing that is for another one.
//!
//! In a successful answer the access token must be a JWT for one of `audiences`. A token for
//! Microsoft Graph, which Entra gives out when no scope of the API was asked for, never leaves: it
//! opens the user's mailbox, and nobody but Graph can verify it.
//!
//! `expires_in` and `ext_expires_in` become what is left of the token less a minute. `scope` names
//! the granted scopes as clients know them: those of `api` by their short names, so that a client
//! that compares or repeats them is right, and of the published `scopes` those that the answer shows
//! to be granted (`offline_access` by a refresh token, others by an id token). Every other byte
//! stays, and id token and refresh token pass.
//!
//! Without `api`, which is for providers that take scopes as clients write them, `scope` stays as it
//! is. Where tokens have no `aud`, `audience_claim` names the claim that says for whom they are.
//!
//! The signature is deliberately not checked here. The token comes straight from its issuer over TLS,
//! and is verified when it is used.
//!
//! Answers other than 2xx pass, except redirects, which no token endpoint makes. Cookies, CORS
//! headers, host policies and diagnostics of the provider are removed from every answer, and none may
//! be stored.
//!
//! ```yaml
//! - pass_token:
//!     audiences: [22222222-3333-4444-5555-666666666666]
//!     api: { prefix: 22222222-3333-4444-5555-666666666666, scopes: [tools.execute] }
//! ```

use schemars::JsonSchema;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Map, Value};

use crate::{
    Filter, FilterConfig, Problem, Refusal,
    api::{Api, ApiConfig, Named},
    settings,
    token_answer::{self, HandOut, Jwt, Members, TokenAnswer},
};

/// Microsoft Graph as the audience of a token, beside its names in each cloud.
const GRAPH: &str = "00000003-0000-0000-c000-000000000000";

/// Settings of `pass_token`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PassTokenConfig {
    /// What the `aud` of the token may be, at least one.
    audiences: Vec<String>,
    /// The claim that names the audience.
    #[serde(default = "audience_claim")]
    audience_claim: String,
    /// The API that the token is for, where its scopes have other names at the provider.
    #[serde(default)]
    api: Option<ApiConfig>,
    /// Scopes of `OpenID` Connect that the metadata publishes beside those of `api`.
    #[serde(default)]
    scopes: Vec<String>,
}

fn audience_claim() -> String {
    "aud".to_owned()
}

impl FilterConfig for PassTokenConfig {
    const NAME: &'static str = "pass_token";
    const SUMMARY: &'static str = "Hands out the access token of an API";
    const SOURCE: &'static str = include_str!("pass_token.rs");

    fn build(self) -> Result<Box<dyn Filter>, Vec<Problem>> {
        let mut problems = Vec::new();
        if self.audiences.is_empty() {
            problems.push(Problem::new("audiences", "names no audience"));
        }
        if let Some(index) = self.audiences.iter().position(String::is_empty) {
            problems.push(Problem::new(
                format!("audiences[{index}]"),
                "an audience is empty",
            ));
        }
        settings::check_scopes("scopes", &self.scopes, &mut problems);
        let api = self.api.map(|api| api.build("api", &mut problems));
        settings::finish(problems, || {
            TokenAnswer(PassToken {
                audiences: self.audiences,
                audience_claim: self.audience_claim,
                api,
                scopes: self.scopes,
            })
        })
    }
}

#[derive(Debug)]
struct PassToken {
    audiences: Vec<String>,
    audience_claim: String,
    api: Option<Api>,
    scopes: Vec<String>,
}

/// What of a token's header tells Graph's tokens apart: its hash is signed, and not itself.
#[derive(Deserialize)]
struct Header {
    nonce: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Payload {
    exp: u64,
    #[serde(flatten)]
    claims: Map<String, Value>,
}

/// `aud` in both shapes of RFC 7519 §4.1.3.
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    fn iter(&self) -> impl Iterator<Item = &str> {
        let (one, several) = match self {
            Self::One(one) => (Some(one), [].as_slice()),
            Self::Several(several) => (None, several.as_slice()),
        };
        one.into_iter().chain(several).map(String::as_str)
    }
}

impl HandOut for PassToken {
    fn hand_out(&self, now: u64, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        let members = Members::read(body)?;
        let exp = self.check(&members.bearer()?)?;
        let lifetime = token_answer::lifetime(exp, now).ok_or_else(|| {
            Refusal::bad_gateway(
                "the access token that the identity provider gave out has expired: the clocks may \
                 differ",
            )
        })?;
        let mut changes = vec![
            ("expires_in", lifetime.to_string()),
            ("ext_expires_in", lifetime.to_string()),
        ];
        if let (Some(api), Some(scope)) = (&self.api, members.text("scope")?) {
            let scope = self.published(api, &scope, &members)?;
            changes.push(("scope", token_answer::quoted(&scope)?));
        }
        members.with(&changes, "expires_in")
    }
}

impl PassToken {
    /// Judges whom the token is for, and returns its `exp`.
    fn check(&self, token: &str) -> Result<u64, Refusal> {
        let jwt = Jwt::parse(token);
        let read = jwt.and_then(|jwt| {
            let header: Header = jwt.header()?;
            let mut payload: Payload = serde_json::from_slice(&jwt.payload()?).ok()?;
            let audience = payload.claims.remove(&self.audience_claim)?;
            let audience: Audience = serde_json::from_value(audience).ok()?;
            Some((header, audience, payload.exp))
        });
        let Some((header, audience, exp)) = read else {
            return Err(Refusal::bad_gateway(
                "the access token of the identity provider is not a JWT that says for whom it is \
                 and when it expires",
            ));
        };
        let graph = |aud: &str| aud == GRAPH || aud.starts_with("https://graph.microsoft.");
        if header.nonce.is_some() || audience.iter().any(graph) {
            return Err(Refusal::bad_gateway(
                "the identity provider gave out a token for Microsoft Graph: no scope of the API \
                 was granted",
            ));
        }
        if !audience
            .iter()
            .any(|aud| self.audiences.iter().any(|ours| ours == aud))
        {
            return Err(Refusal::bad_gateway(
                "the identity provider gave out a token for another API: its audience is not one \
                 of those that are accepted here",
            ));
        }
        Ok(exp)
    }

    /// Returns what was granted in the names that clients know.
    fn published(
        &self,
        api: &Api,
        granted: &str,
        members: &Members<'_>,
    ) -> Result<String, Refusal> {
        let mut published: Vec<&str> = Vec::new();
        for scope in granted.split_ascii_whitespace() {
            if let Named::Scope(scope) = api.find(scope.as_bytes())
                && !published.contains(&scope.short.as_str())
            {
                published.push(&scope.short);
            }
        }
        // Answers for an API leave the scopes of OpenID Connect out.
        for scope in &self.scopes {
            let shown = if scope == "offline_access" {
                "refresh_token"
            } else {
                "id_token"
            };
            if members.text(shown)?.is_some() {
                published.push(scope);
            }
        }
        Ok(published.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{NOW, build, cx, form_request, problems, response};

    const YAML: &str = "{ audiences: [a1, 'api://a1'], scopes: [openid, offline_access],
        api: { prefix: a1, aliases: ['api://a1'], scopes: [tools.read, tools.write] } }";

    fn jwt(header: &str, payload: &str) -> String {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.c2ln", part(header), part(payload))
    }

    fn token(aud: &str) -> String {
        let payload = format!(r#"{{"aud":{aud},"exp":{},"scp":"x"}}"#, NOW + 4000);
        jwt(r#"{"typ":"JWT","alg":"RS256","kid":"k"}"#, &payload)
    }

    fn pass(body: &str) -> Result<String, Refusal> {
        let filter = build("pass_token", YAML);
        let head = response("200\nContent-Type: application/json");
        filter
            .response_body(
                &cx(),
                &form_request(),
                &head,
                Bytes::copy_from_slice(body.as_bytes()),
            )
            .map(|body| String::from_utf8(body.to_vec()).unwrap())
    }

    fn answer(token: &str) -> String {
        format!(r#"{{"token_type":"Bearer","access_token":"{token}"}}"#)
    }

    fn check_refused(body: &str, names: &str) {
        let error = pass(body).unwrap_err();
        assert_eq!(
            (error.status.as_u16(), error.code),
            (502, "server_error"),
            "{body}"
        );
        assert!(error.description.contains(names), "{}", error.description);
        assert!(!error.to_string().contains("eyJ"));
    }

    #[test]
    fn an_answer_for_the_api_keeps_everything_but_lifetime_and_scope() {
        let token = token("\"a1\"");
        let body = format!(
            r#"{{ "token_type":"Bearer", "scope":"api://a1/tools.read  A1/tools.write profile User.Read",
 "expires_in": 5000,"ext_expires_in":5000 ,"access_token":"{token}","x":1.50e+2,
 "refresh_token":"0.A\u0041\/", "id_token":"a.b.c" }}
"#
        );
        let expected = format!(
            r#"{{ "token_type":"Bearer", "scope":"tools.read tools.write openid offline_access",
 "expires_in": 3940,"ext_expires_in":3940 ,"access_token":"{token}","x":1.50e+2,
 "refresh_token":"0.A\u0041\/", "id_token":"a.b.c" }}
"#
        );
        assert_eq!(pass(&body).unwrap(), expected);
    }

    #[test]
    fn scopes_that_are_not_shown_to_be_granted_are_not_named() {
        let with = |more: &str| {
            let body = format!(
                r#"{{"token_type":"Bearer","access_token":"{}","scope":"a1/tools.read"{more}}}"#,
                token("\"a1\"")
            );
            let json: Value = serde_json::from_str(&pass(&body).unwrap()).unwrap();
            json["scope"].as_str().unwrap().to_owned()
        };
        assert_eq!(with(""), "tools.read");
        assert_eq!(
            with(r#","refresh_token":"r","id_token":null"#),
            "tools.read offline_access"
        );
        assert_eq!(with(r#","id_token":"i""#), "tools.read openid");
    }

    #[test]
    fn without_an_api_the_scope_stays_and_another_claim_may_name_the_audience() {
        let settings = "{ audiences: [c1], audience_claim: client_id }";
        let filter = build("pass_token", settings);
        let head = response("200\nContent-Type: application/json");
        let pass = |payload: &str| {
            let token = jwt(r#"{"alg":"RS256","kid":"k"}"#, payload);
            let body = format!(
                r#"{{"token_type":"Bearer","access_token":"{token}","scope":"a  b","expires_in":9}}"#
            );
            let answer = filter.response_body(&cx(), &form_request(), &head, body.into());
            answer.map(|body| serde_json::from_slice::<Value>(&body).unwrap())
        };
        let exp = NOW + 4000;
        let answer = pass(&format!(r#"{{"client_id":"c1","exp":{exp}}}"#)).unwrap();
        assert_eq!(answer["scope"], "a  b");
        assert_eq!(answer["expires_in"], 3940);
        assert!(pass(&format!(r#"{{"client_id":"c2","exp":{exp}}}"#)).is_err());
        assert!(pass(&format!(r#"{{"aud":"c1","exp":{exp}}}"#)).is_err());
    }

    #[test]
    fn a_missing_lifetime_is_added_and_a_missing_scope_is_not() {
        let body = answer(&token("[\"x\",\"api://a1\"]"));
        assert_eq!(
            pass(&body).unwrap(),
            body.replace('}', r#","expires_in":3940}"#)
        );
    }

    #[test]
    fn a_token_for_graph_never_leaves() {
        for aud in [
            GRAPH,
            "https://graph.microsoft.com",
            "https://graph.microsoft.us",
        ] {
            check_refused(&answer(&token(&format!("\"{aud}\""))), "Microsoft Graph");
        }
        let payload = format!(r#"{{"aud":"a1","exp":{}}}"#, NOW + 4000);
        let nonce = jwt(r#"{"typ":"JWT","nonce":"n","alg":"RS256"}"#, &payload);
        check_refused(&answer(&nonce), "Microsoft Graph");
    }

    #[test]
    fn a_token_for_somebody_else_never_leaves() {
        check_refused(&answer(&token("\"c1\"")), "another API");
        check_refused(&answer(&token("[]")), "another API");
        check_refused(&answer(&token("\"a1/\"")), "another API");
    }

    #[test]
    fn what_is_no_token_with_an_end_never_leaves() {
        for token in ["", "opaque", "a.b", "a.b.c", "a.b.c.d.e", "e30.e30.c"] {
            check_refused(&answer(token), "not a JWT");
        }
        let payload = |payload: &str| answer(&jwt("{}", payload));
        check_refused(&payload(r#"{"aud":"a1"}"#), "not a JWT");
        check_refused(&payload(r#"{"aud":"a1","exp":"1"}"#), "not a JWT");
        check_refused(&payload(r#"{"exp":9999999999}"#), "not a JWT");
        let over = format!(r#"{{"aud":"a1","exp":{}}}"#, NOW + 60);
        check_refused(&payload(&over), "expired");
        check_refused(r#"{"token_type":"Bearer"}"#, "no access token");
        check_refused(&answer(&token("\"a1\"")).replace("Bearer", "pop"), "bearer");
        check_refused(
            &answer(&token("\"a1\"")).replace('}', r#","access_token":"a"}"#),
            "distinct",
        );
    }

    #[test]
    fn mistakes_are_named() {
        let api = "api: { prefix: a1, scopes: [x] }";
        assert_eq!(
            problems("pass_token", &format!("{{ audiences: [], {api} }}")),
            ["audiences: names no audience"]
        );
        assert_eq!(
            problems("pass_token", &format!("{{ audiences: [a, ''], {api} }}")),
            ["audiences[1]: an audience is empty"]
        );
    }

    proptest! {
        #[test]
        fn passing_twice_is_passing_once_and_graph_never_passes(
            granted in "(api://a1/|a1/|tools[.]read|User[.]Read|openid| ){0,8}",
            members in proptest::collection::vec("[a-z]{1,3}", 0..4),
            ours in any::<bool>(),
        ) {
            let aud = if ours { "\"a1\"" } else { "\"00000003-0000-0000-c000-000000000000\"" };
            let more: Vec<String> = members.iter().map(|name| format!(", \"{name}\":[1.0]")).collect();
            let more = more.concat();
            let body = format!(
                "{{\"token_type\":\"Bearer\", \"scope\":\"{granted}\" ,\"access_token\":\"{}\"{more}}}",
                token(aud)
            );
            let Ok(once) = pass(&body) else { return Ok(()) };
            prop_assert!(ours);
            prop_assert_eq!(pass(&once).unwrap(), once.clone());
            prop_assert!(once.contains(&more));
            let json: Value = serde_json::from_str(&once).unwrap();
            let scope = json["scope"].as_str().unwrap();
            prop_assert!(scope.is_empty() || scope == "tools.read", "{}", scope);
        }
    }
}
