//! The gate of an authorization endpoint: lets only complete requests of known clients through.
//!
//! Required are the configured `client_id`, an allowed `redirect_uri`, `response_type=code` and a
//! PKCE challenge with S256. As long as the client and its redirect URI are not known to be good,
//! and for parameters that are given twice or cannot be read, the answer is a page and never a
//! redirect (RFC 6749 §4.1.2.1, §3.1); every other fault goes to the redirect URI as an OAuth error
//! with `state` as it was sent. Nothing is changed: `resource` and `prompt` may repeat, since steps
//! behind drop them.
//!
//! A form that is posted is checked when `form_to_query` stands before.
//!
//! ```yaml
//! - check_authorize:
//!     client_id: 11111111-2222-3333-4444-555555555555
//!     redirect_uris: { allow: ["https://app.example.com/callback"] }
//! ```

use std::borrow::Cow;

use http::{Method, StatusCode, request};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    Context, Filter, FilterConfig, Problem, Refusal, RefusedByRedirect, Response, Verdict,
    page::Page,
    pairs::{self, Fault, Pair, pairs},
    redirect,
    redirect_uri::{RedirectPolicy, RedirectUris},
    reply,
    settings::{self, UrlRule},
};

/// The most parameters that are looked at.
const MAX_PAIRS: usize = 100;

/// Parameters of RFC 6749, RFC 7636, OpenID Connect Core and RFC 9101 that may stand once.
const PROTOCOL: [&str; 20] = [
    "acr_values",
    "claims",
    "client_id",
    "code_challenge",
    "code_challenge_method",
    "display",
    "domain_hint",
    "id_token_hint",
    "login_hint",
    "max_age",
    "nonce",
    "redirect_uri",
    "registration",
    "request",
    "request_uri",
    "response_mode",
    "response_type",
    "scope",
    "state",
    "ui_locales",
];

/// Settings of `check_authorize`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckAuthorizeConfig {
    /// The client id that every client uses.
    client_id: String,
    /// Which redirect URIs clients may use.
    #[serde(default)]
    redirect_uris: RedirectUris,
    /// The issuer that errors name as `iss` (RFC 9207), where every other response names it, too.
    #[serde(default)]
    issuer: Option<String>,
}

impl FilterConfig for CheckAuthorizeConfig {
    const NAME: &'static str = "check_authorize";
    const SUMMARY: &'static str = "Lets only complete sign-in requests of known clients through";
    const SOURCE: &'static str = include_str!("check_authorize.rs");

    fn build(self) -> Result<Box<dyn Filter>, Vec<Problem>> {
        let mut problems = Vec::new();
        settings::check_client_id("client_id", &self.client_id, &mut problems);
        let policy = self.redirect_uris.build("redirect_uris", &mut problems);
        if let Some(issuer) = &self.issuer {
            settings::check_url("issuer", issuer, UrlRule::Issuer, &mut problems);
        }
        settings::finish(problems, || CheckAuthorize {
            client_id: self.client_id,
            policy,
            issuer: self.issuer,
        })
    }
}

#[derive(Debug)]
struct CheckAuthorize {
    client_id: String,
    policy: RedirectPolicy,
    issuer: Option<String>,
}

impl Filter for CheckAuthorize {
    fn request(&self, _: &Context<'_>, head: &request::Parts) -> Result<Verdict, Refusal> {
        if !matches!(head.method, Method::GET | Method::HEAD | Method::POST) {
            return Ok(Verdict::Respond(reply::method_not_allowed(
                "GET, HEAD, POST",
            )));
        }
        let query = head.uri.query().unwrap_or_default();
        let params = match Params::read(query) {
            Ok(params) => params,
            Err(unreadable) => return Ok(Verdict::Respond(unreadable.page())),
        };
        let redirect_uri = match self.check_client(&params) {
            Ok(redirect_uri) => redirect_uri,
            Err(page) => return Ok(Verdict::Respond(*page)),
        };
        let Err((error, description)) = check_flow(&params) else {
            return Ok(Verdict::pass());
        };
        let status = if head.method == Method::POST {
            StatusCode::SEE_OTHER
        } else {
            StatusCode::FOUND
        };
        let mut answer = pairs::encode("error", error);
        answer.push('&');
        answer.push_str(&pairs::encode("error_description", description));
        if let Some(state) = params.find("state") {
            answer.push_str("&state=");
            answer.push_str(std::str::from_utf8(state.pair.value).unwrap_or_default());
        }
        if let Some(issuer) = &self.issuer {
            answer.push('&');
            answer.push_str(&pairs::encode("iss", issuer));
        }
        let mut reply = redirect::to(status, &redirect_uri, &answer)?;
        reply.extensions_mut().insert(RefusedByRedirect);
        Ok(Verdict::Respond(reply))
    }
}

impl CheckAuthorize {
    /// Returns the redirect URI of a known client, or the page for everybody else.
    fn check_client<'a>(&self, params: &Params<'a>) -> Result<Cow<'a, str>, Box<Response>> {
        let reconnect = "Remove the server from your application and add it again. If that does \
                         not help, show this page to whoever runs the server.";
        let page = |what: &str, shown: Option<&str>, remedy: &str| {
            Box::new(
                Page {
                    what,
                    shown,
                    remedy,
                }
                .bad_request(),
            )
        };
        let Some(client_id) = params.value("client_id") else {
            let what = "The application did not say who it is: client_id is missing.";
            return Err(page(what, None, reconnect));
        };
        if client_id != self.client_id {
            let what = "The application is not known here: its client_id is another one. It may \
                        have been set up before the server changed.";
            return Err(page(what, None, reconnect));
        }
        let Some(redirect_uri) = params.value("redirect_uri") else {
            let what = "The application did not say where to return to: redirect_uri is missing.";
            return Err(page(what, None, reconnect));
        };
        if let Err(fault) = self.policy.check(&redirect_uri) {
            let what = format!("The application wants to return to an address that {fault}:");
            let remedy = "If you know the application, ask whoever runs the server to allow this \
                          address. If you do not, close this page: somebody may be after your \
                          sign-in.";
            return Err(page(&what, Some(&redirect_uri), remedy));
        }
        Ok(redirect_uri)
    }
}

/// Checks what a known client asks for; a fault is an OAuth error and its description.
fn check_flow(params: &Params<'_>) -> Result<(), (&'static str, &'static str)> {
    // RFC 9101: what stands in a request object would win over what is checked here.
    if params.has("request") {
        return Err(("request_not_supported", "request objects are not supported"));
    }
    if params.has("request_uri") {
        return Err((
            "request_uri_not_supported",
            "request objects are not supported",
        ));
    }
    match params.value("response_type").as_deref() {
        None => return Err(("invalid_request", "response_type is missing")),
        Some("code") => {}
        Some(_) => {
            return Err((
                "unsupported_response_type",
                "only response_type code is supported",
            ));
        }
    }
    let Some(challenge) = params.value("code_challenge") else {
        return Err((
            "invalid_request",
            "PKCE is required: code_challenge is missing",
        ));
    };
    if params.value("code_challenge_method").as_deref() != Some("S256") {
        return Err((
            "invalid_request",
            "PKCE is required with code_challenge_method S256",
        ));
    }
    // RFC 7636 §4.2.
    let unreserved =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    if !(43..=128).contains(&challenge.len()) || !challenge.bytes().all(unreserved) {
        return Err((
            "invalid_request",
            "code_challenge must be 43 to 128 unreserved characters",
        ));
    }
    Ok(())
}

/// The protocol parameters of a request, each at most once.
#[derive(Debug)]
struct Params<'a>(Vec<Param<'a>>);

#[derive(Debug)]
struct Param<'a> {
    name: &'static str,
    /// Whether the name was written in the right case.
    exact: bool,
    pair: Pair<'a>,
}

/// Why a query has no single reading.
#[derive(Debug, PartialEq, Eq)]
enum Unreadable {
    Fault(Fault),
    Repeated(&'static str),
    TooMany,
}

impl<'a> Params<'a> {
    fn read(query: &'a str) -> Result<Self, Unreadable> {
        let mut params: Vec<Param<'a>> = Vec::with_capacity(PROTOCOL.len());
        for (index, pair) in pairs(query.as_bytes()).enumerate() {
            if index >= MAX_PAIRS {
                return Err(Unreadable::TooMany);
            }
            pair.check().map_err(Unreadable::Fault)?;
            // Also in another case: the server behind may not tell them apart, and would then read
            // another value than the one that is checked here.
            let Some((name, exact)) = pair.find_name(&PROTOCOL) else {
                continue;
            };
            if params.iter().any(|param| param.name == name) {
                return Err(Unreadable::Repeated(name));
            }
            params.push(Param { name, exact, pair });
        }
        Ok(Self(params))
    }

    fn find(&self, name: &str) -> Option<&Param<'a>> {
        self.0
            .iter()
            .find(|param| param.exact && param.name == name)
    }

    fn value(&self, name: &str) -> Option<Cow<'a, str>> {
        self.find(name)?.pair.text()
    }

    /// Says whether the parameter is there in any case of letters.
    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|param| param.name == name)
    }
}

impl Unreadable {
    fn page(&self) -> Response {
        let what = match self {
            Self::Fault(fault) => format!("The sign-in request cannot be read: {fault}."),
            Self::Repeated(name) => {
                format!("The sign-in request is ambiguous: it holds {name} more than once.")
            }
            Self::TooMany => {
                format!("The sign-in request holds more than {MAX_PAIRS} parameters.")
            }
        };
        Page {
            what: &what,
            shown: None,
            remedy: "This is a mistake of the application. Start the sign-in again from there, and \
                     report it to its makers if it comes back.",
        }
        .bad_request()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{build, cx, edits, reply, request};

    const YAML: &str = "client_id: c1";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    fn good() -> String {
        format!(
            "client_id=c1&redirect_uri=http%3A%2F%2Flocalhost%3A3118%2Fcallback&response_type=code\
             &code_challenge={CHALLENGE}&code_challenge_method=S256&state=a%2Fb+c%3D"
        )
    }

    fn answer(method: &str, query: &str) -> Result<Verdict, Refusal> {
        let head = request(&format!("{method} /oauth2/authorize?{query}"));
        build("check_authorize", YAML).request(&cx(), &head)
    }

    fn check_page(query: &str, says: &str) {
        let response = reply(answer("GET", query));
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{query}");
        assert!(!response.headers().contains_key("location"));
        assert_eq!(response.headers()["cache-control"], "no-store");
        let html = std::str::from_utf8(response.body()).unwrap();
        assert!(html.contains(says), "{query}: {html}");
    }

    fn check_error(query: &str, expected: &str) {
        let response = reply(answer("GET", query));
        assert_eq!(response.status(), StatusCode::FOUND, "{query}");
        assert_eq!(response.headers()["cache-control"], "no-store");
        let location = response.headers()["location"].to_str().unwrap();
        let error = location
            .strip_prefix("http://localhost:3118/callback?error=")
            .unwrap();
        let (error, _) = error.split_once("&error_description=").unwrap();
        assert_eq!(error, expected, "{query}");
        assert!(location.ends_with("&state=a%2Fb+c%3D"), "{location}");
    }

    #[test]
    fn a_complete_request_passes_untouched() {
        for extra in [
            "",
            "&resource=x&resource=y&prompt=consent&prompt=login",
            "&x=1&x=2&&",
        ] {
            for method in ["GET", "HEAD", "POST"] {
                let found = edits(answer(method, &format!("{}{extra}", good())));
                assert_eq!(found, crate::Edits::default());
            }
        }
    }

    #[test]
    fn errors_name_the_issuer_where_it_is_set() {
        let filter = build(
            "check_authorize",
            "{ client_id: c1, issuer: 'https://gw.test' }",
        );
        let query = good().replace("S256", "plain");
        let head = request(&format!("GET /oauth2/authorize?{query}"));
        let response = reply(filter.request(&cx(), &head));
        let location = response.headers()["location"].to_str().unwrap();
        assert!(location.ends_with("&state=a%2Fb+c%3D&iss=https%3A%2F%2Fgw.test"));
    }

    #[test]
    fn an_unknown_client_gets_a_page() {
        check_page("", "client_id is missing");
        check_page(
            &good().replace("client_id=c1", "client_id=c2"),
            "not known here",
        );
        check_page(
            &good().replace("client_id", "Client_Id"),
            "client_id is missing",
        );
    }

    #[test]
    fn a_foreign_redirect_uri_gets_a_page() {
        let with = |uri: &str| good().replace("http%3A%2F%2Flocalhost%3A3118%2Fcallback", uri);
        check_page(
            &with("https://evil.test/%3Cb%3E"),
            "https://evil.test/&lt;b&gt;",
        );
        check_page(&with("http://localhost@evil.test/"), "holds a user name");
        check_page(&with("javascript:alert(1)"), "nor on the allow-list");
        check_page(
            &good().replace("redirect_uri", "redirect"),
            "redirect_uri is missing",
        );
    }

    #[test]
    fn ambiguity_gets_a_page() {
        for name in [
            "client_id",
            "redirect_uri",
            "state",
            "scope",
            "nonce",
            "code_challenge",
        ] {
            let query = format!("{}&{name}=1&{name}=1", good());
            check_page(&query, &format!("it holds {name} more than once"));
        }
        check_page(
            &format!("{}&%63lient_id=c1", good()),
            "client_id more than once",
        );
        check_page(
            &format!("{}&Redirect_URI=x", good()),
            "redirect_uri more than once",
        );
        check_page(&"&".repeat(100), "more than 100 parameters");
    }

    #[test]
    fn what_cannot_be_read_gets_a_page() {
        check_page(&format!("{}&x=%zz", good()), "percent sign");
        check_page(&format!("{}&x%0d%0a=1", good()), "line break");
        check_page(&format!("{}&x=%00", good()), "NUL");
        check_page(&format!("{}&x=%ff", good()), "UTF-8");
    }

    #[test]
    fn other_faults_go_to_the_redirect_uri() {
        check_error(
            &good().replace("=code&", "=token&"),
            "unsupported_response_type",
        );
        check_error(
            &good().replace("response_type=code&", ""),
            "invalid_request",
        );
        check_error(&good().replace("S256", "plain"), "invalid_request");
        check_error(
            &good().replace("&code_challenge_method=S256", ""),
            "invalid_request",
        );
        check_error(&good().replace(CHALLENGE, "short"), "invalid_request");
        check_error(
            &good().replace(CHALLENGE, &"a".repeat(129)),
            "invalid_request",
        );
        check_error(
            &good().replace(CHALLENGE, &"%3D".repeat(43)),
            "invalid_request",
        );
        check_error(
            &good().replace("code_challenge=", "challenge="),
            "invalid_request",
        );
        let object = format!("request=eyJ&{}", good());
        check_error(&object, "request_not_supported");
        let object = format!("Request_Uri=https://evil.test&{}", good());
        check_error(&object, "request_uri_not_supported");
    }

    #[test]
    fn a_posted_fault_is_not_repeated() {
        let response = reply(answer("POST", &good().replace("S256", "plain")));
        assert_eq!(response.status(), StatusCode::SEE_OTHER);
    }

    #[test]
    fn other_methods_are_told_what_is_served() {
        let response = reply(answer("PUT", &good()));
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    }

    proptest! {
        #[test]
        fn nobody_is_sent_elsewhere(uri in "[ -~]{0,40}", state in "[a-zA-Z0-9%+=/]{0,12}") {
            let uri = pairs::encode_value(&uri).to_string();
            let query = format!("client_id=c1&redirect_uri={uri}&state={state}");
            let response = reply(answer("GET", &query));
            if let Some(location) = response.headers().get("location") {
                prop_assert!(location.to_str().unwrap().starts_with("http://"));
                let own = format!("&state={state}");
                prop_assert!(location.to_str().unwrap().ends_with(&own));
            }
        }
    }
}
