//! Lets web pages of other origins call the route, and keeps foreign ones out.
//!
//! Stands first, so that a preflight is answered before anybody asks for a token. A request whose
//! `Origin` is not allowed is refused with 403 (`foreign: refuse`), which is what protects a server
//! on a private network from DNS rebinding; requests without an `Origin` are not from a page and
//! pass. An allowed `Origin` is not passed on, as servers behind know nothing of the gateway's list.
//!
//! The upstream's own `Access-Control-*` headers are replaced. Credentials are never allowed: a
//! bearer token is not a cookie.
//!
//! ```yaml
//! - cors:
//!     origins: [https://inspector.example.com]
//!     methods: [GET, POST, DELETE]
//!     headers: [authorization, content-type, mcp-protocol-version, mcp-session-id]
//!     expose: [mcp-session-id, www-authenticate]
//! ```

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
        ACCESS_CONTROL_REQUEST_METHOD, ALLOW, ORIGIN, VARY,
    },
    request, response,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::{
    Context, Edits, Filter, FilterConfig, HeaderEdit, Problem, Refusal, Response, ResponseEdits,
    Verdict, reply,
    settings::{self, Names},
};

/// The longest list of requested headers that is answered, in bytes.
const MAX_REQUESTED: usize = 4096;

/// Settings of `cors`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CorsConfig {
    /// Origins that may call, compared byte for byte, such as `https://app.example.com`; or `any`.
    origins: Names,
    /// Methods that a page may use.
    #[serde(default = "default_methods")]
    methods: Vec<String>,
    /// Request headers that a page may send; `any` allows those that a preflight asks for.
    #[serde(default = "no_names")]
    headers: Names,
    /// Response headers that a page may read.
    #[serde(default)]
    expose: Vec<String>,
    /// How long a preflight may be remembered, in seconds.
    #[serde(default = "default_max_age")]
    max_age: u32,
    /// What happens to a request from an origin that is not listed: `pass` serves it without
    /// `Access-Control-*` headers.
    #[serde(default)]
    foreign: Foreign,
    /// Whether an allowed `Origin` is removed from the request.
    #[serde(default = "yes")]
    strip_origin: bool,
}

/// What happens to a request from a foreign origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Foreign {
    Pass,
    #[default]
    Refuse,
}

fn default_methods() -> Vec<String> {
    vec!["GET".to_owned(), "POST".to_owned()]
}

fn no_names() -> Names {
    Names::List(Vec::new())
}

fn default_max_age() -> u32 {
    600
}

fn yes() -> bool {
    true
}

impl FilterConfig for CorsConfig {
    const NAME: &'static str = "cors";
    const SUMMARY: &'static str =
        "Lets web pages of other origins call, and keeps foreign ones out";
    const SOURCE: &'static str = include_str!("cors.rs");

    fn build(self) -> Result<Box<dyn Filter>, Vec<Problem>> {
        let mut problems = Vec::new();
        let origins = match self.origins {
            Names::Any => None,
            Names::List(origins) => {
                for (index, origin) in origins.iter().enumerate() {
                    check_origin(&format!("origins[{index}]"), origin, &mut problems);
                }
                let readable = |origin| HeaderValue::try_from(origin).ok();
                Some(origins.into_iter().filter_map(readable).collect())
            }
        };
        let methods = join_methods(&self.methods, &mut problems);
        let headers = match self.headers {
            Names::Any => AllowedHeaders::Requested,
            Names::List(names) => {
                AllowedHeaders::List(join_names("headers", &names, &mut problems))
            }
        };
        let expose = join_names("expose", &self.expose, &mut problems);
        settings::finish(problems, || Cors {
            origins,
            allow: joined(&methods, "OPTIONS"),
            methods: value(&methods),
            headers,
            expose,
            max_age: HeaderValue::from(self.max_age),
            foreign: self.foreign,
            strip_origin: self.strip_origin,
        })
    }
}

fn check_origin(at: &str, origin: &str, problems: &mut Vec<Problem>) {
    let serialized = Url::parse(origin).map(|url| url.origin().ascii_serialization());
    if serialized.as_deref() != Ok(origin) || origin == "null" {
        let problem = Problem::new(
            at,
            format!("expected an origin, found `{}`", origin.escape_debug()),
        );
        problems.push(match serialized {
            Ok(meant) if meant != "null" => problem.help(format!("write `{meant}`")),
            _ => problem.help("an origin is a scheme, a host and perhaps a port"),
        });
    }
}

fn join_methods(methods: &[String], problems: &mut Vec<Problem>) -> String {
    if methods.is_empty() {
        problems.push(Problem::new("methods", "names no method"));
    }
    for (index, method) in methods.iter().enumerate() {
        let known = Method::from_bytes(method.as_bytes());
        if !known.is_ok_and(|method| {
            method
                .as_str()
                .bytes()
                .all(|byte| byte.is_ascii_uppercase())
        }) {
            problems.push(Problem::new(
                format!("methods[{index}]"),
                format!("expected a method, found `{}`", method.escape_debug()),
            ));
        }
    }
    methods.join(", ")
}

fn join_names(at: &str, names: &[String], problems: &mut Vec<Problem>) -> Option<HeaderValue> {
    for (index, name) in names.iter().enumerate() {
        if HeaderName::from_bytes(name.as_bytes()).is_err() {
            problems.push(Problem::new(
                format!("{at}[{index}]"),
                format!("expected a header name, found `{}`", name.escape_debug()),
            ));
        }
    }
    value(&names.join(", "))
}

/// Returns a header value; `None` when it would be empty.
fn value(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text)
        .ok()
        .filter(|value| !value.is_empty())
}

fn joined(methods: &str, last: &str) -> Option<HeaderValue> {
    value(&format!("{methods}, {last}"))
}

#[derive(Debug)]
struct Cors {
    /// `None` allows any.
    origins: Option<Vec<HeaderValue>>,
    methods: Option<HeaderValue>,
    /// The methods and OPTIONS.
    allow: Option<HeaderValue>,
    headers: AllowedHeaders,
    expose: Option<HeaderValue>,
    max_age: HeaderValue,
    foreign: Foreign,
    strip_origin: bool,
}

/// The request headers that a page may send.
#[derive(Debug)]
enum AllowedHeaders {
    /// Those that the preflight asks for.
    Requested,
    /// These, if any.
    List(Option<HeaderValue>),
}

/// Who sent a request.
#[derive(Debug, PartialEq, Eq)]
enum Caller<'a> {
    /// Not a page of another origin.
    Direct,
    Allowed(&'a HeaderValue),
    Foreign,
}

impl Cors {
    fn caller<'a>(&self, headers: &'a HeaderMap) -> Caller<'a> {
        let mut origins = headers.get_all(ORIGIN).iter();
        match (origins.next(), origins.next(), &self.origins) {
            (None, ..) => Caller::Direct,
            (Some(origin), None, None) => Caller::Allowed(origin),
            (Some(origin), None, Some(list)) if list.contains(origin) => Caller::Allowed(origin),
            _ => Caller::Foreign,
        }
    }

    /// Returns what `Access-Control-Allow-Origin` says to an allowed origin.
    fn allow_origin(&self, origin: &HeaderValue) -> HeaderValue {
        if self.origins.is_none() {
            HeaderValue::from_static("*")
        } else {
            origin.clone()
        }
    }

    fn preflight(&self, caller: &Caller<'_>, head: &request::Parts) -> Response {
        let mut response = reply::empty(StatusCode::NO_CONTENT);
        let headers = response.headers_mut();
        headers.insert(
            VARY,
            HeaderValue::from_static(
                "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
            ),
        );
        let Caller::Allowed(origin) = caller else {
            return response;
        };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, self.allow_origin(origin));
        let allowed = match &self.headers {
            AllowedHeaders::List(list) => list.clone(),
            AllowedHeaders::Requested => requested(&head.headers),
        };
        let values = [
            (ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone()),
            (ACCESS_CONTROL_ALLOW_HEADERS, allowed),
            (ACCESS_CONTROL_MAX_AGE, Some(self.max_age.clone())),
        ];
        for (name, value) in values {
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
        response
    }
}

/// Returns the list of headers that a preflight asks for, if it is one.
fn requested(headers: &HeaderMap) -> Option<HeaderValue> {
    let value = headers.get(ACCESS_CONTROL_REQUEST_HEADERS)?;
    let list = value
        .to_str()
        .ok()
        .filter(|list| list.len() <= MAX_REQUESTED)?;
    let names = |name: &str| HeaderName::from_bytes(name.trim().as_bytes()).is_ok();
    list.split(',').all(names).then(|| value.clone())
}

fn is_preflight(head: &request::Parts) -> bool {
    head.method == Method::OPTIONS
        && head.headers.contains_key(ORIGIN)
        && head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

impl Filter for Cors {
    fn request(&self, _: &Context<'_>, head: &request::Parts) -> Result<Verdict, Refusal> {
        let caller = self.caller(&head.headers);
        if caller == Caller::Foreign && self.foreign == Foreign::Refuse {
            return Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "origin_not_allowed",
                "pages of this origin may not call here: the origin is not on the gateway's list",
            ));
        }
        if is_preflight(head) {
            return Ok(Verdict::Respond(self.preflight(&caller, head)));
        }
        if head.method == Method::OPTIONS {
            let mut response = reply::empty(StatusCode::NO_CONTENT);
            if let Some(allow) = &self.allow {
                response.headers_mut().insert(ALLOW, allow.clone());
            }
            return Ok(Verdict::Respond(response));
        }
        let mut edits = Edits::default();
        if self.strip_origin && matches!(caller, Caller::Allowed(_)) {
            edits.headers.push(HeaderEdit::Remove(ORIGIN));
        }
        Ok(Verdict::Continue(edits))
    }

    fn response(
        &self,
        _: &Context<'_>,
        request: &request::Parts,
        head: &response::Parts,
    ) -> Result<ResponseEdits, Refusal> {
        let caller = self.caller(&request.headers);
        let refused = caller == Caller::Foreign && self.foreign == Foreign::Refuse;
        if is_preflight(request) && !refused {
            // Answered above, complete.
            return Ok(ResponseEdits::default());
        }
        let mut headers: Vec<HeaderEdit> = head
            .headers
            .keys()
            .filter(|name| name.as_str().starts_with("access-control-"))
            .map(|name| HeaderEdit::Remove(name.clone()))
            .collect();
        if let Caller::Allowed(origin) = caller {
            let allowed = self.allow_origin(origin);
            headers.push(HeaderEdit::Set(ACCESS_CONTROL_ALLOW_ORIGIN, allowed));
            if let Some(expose) = &self.expose {
                headers.push(HeaderEdit::Set(
                    ACCESS_CONTROL_EXPOSE_HEADERS,
                    expose.clone(),
                ));
            }
        }
        // Also where no origin was sent: a cache must not give that answer to a page.
        if self.origins.is_some() && !varies_by_origin(&head.headers) {
            headers.push(HeaderEdit::Append(VARY, HeaderValue::from_static("Origin")));
        }
        Ok(ResponseEdits {
            headers,
            ..ResponseEdits::default()
        })
    }
}

fn varies_by_origin(headers: &HeaderMap) -> bool {
    headers.get_all(VARY).iter().any(|value| {
        value.to_str().is_ok_and(|list| {
            list.split(',')
                .any(|name| matches!(name.trim().to_ascii_lowercase().as_str(), "origin" | "*"))
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{
        build, cx, edits, problems, refusal, reply, request, response, response_edits, show,
    };

    const LIST: &str = "{ origins: ['https://a.test'], methods: [GET, POST], \
        headers: [authorization], expose: [Mcp-Session-Id, WWW-Authenticate] }";
    const ANY: &str = "{ origins: any, headers: any }";

    fn headers(response: &Response) -> String {
        let lines: Vec<String> = response
            .headers()
            .iter()
            .filter(|(name, _)| !matches!(name.as_str(), "vary" | "cache-control"))
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        lines.join("\n")
    }

    fn preflight(yaml: &str, origin: &str) -> Response {
        let head = format!(
            "OPTIONS /\nOrigin: {origin}\nAccess-Control-Request-Method: POST\n\
             Access-Control-Request-Headers: authorization, x-a"
        );
        let response = reply(build("cors", yaml).request(&cx(), &request(&head)));
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        assert!(response.headers().contains_key("vary"));
        response
    }

    #[test]
    fn a_preflight_is_answered_here() {
        assert_eq!(
            headers(&preflight(LIST, "https://a.test")),
            "access-control-allow-origin: https://a.test\n\
             access-control-allow-methods: GET, POST\n\
             access-control-allow-headers: authorization\n\
             access-control-max-age: 600"
        );
        assert_eq!(
            headers(&preflight(ANY, "https://b.test")),
            "access-control-allow-origin: *\n\
             access-control-allow-methods: GET, POST\n\
             access-control-allow-headers: authorization, x-a\n\
             access-control-max-age: 600"
        );
    }

    #[test]
    fn a_preflight_answer_stays_as_it_is() {
        let filter = build("cors", LIST);
        let head = "OPTIONS /\nOrigin: https://a.test\nAccess-Control-Request-Method: POST";
        let (parts, _) = preflight(LIST, "https://a.test").into_parts();
        assert_eq!(
            show(&response_edits(&*filter, &request(head), &parts).headers),
            ""
        );
    }

    #[test]
    fn a_foreign_origin_is_refused() {
        let filter = build("cors", LIST);
        for head in [
            "POST /\nOrigin: https://b.test",
            "POST /\nOrigin: null",
            "POST /\nOrigin: https://A.test",
            "POST /\nOrigin: https://a.test\nOrigin: https://a.test",
            "OPTIONS /\nOrigin: https://b.test\nAccess-Control-Request-Method: POST",
        ] {
            assert_eq!(
                refusal(filter.request(&cx(), &request(head))),
                (StatusCode::FORBIDDEN, "origin_not_allowed"),
                "{head}"
            );
        }
    }

    #[test]
    fn a_foreign_origin_may_pass_without_headers() {
        let yaml = "{ origins: ['https://a.test'], foreign: pass }";
        let filter = build("cors", yaml);
        let head = request("POST /\nOrigin: https://b.test");
        assert_eq!(show(&edits(filter.request(&cx(), &head)).headers), "");
        let found = response_edits(&*filter, &head, &response("200"));
        assert_eq!(show(&found.headers), "append vary: Origin");
        assert_eq!(headers(&preflight(yaml, "https://b.test")), "");
    }

    #[test]
    fn an_allowed_origin_is_not_passed_on() {
        let head = request("POST /\nOrigin: https://a.test");
        for yaml in [LIST, ANY] {
            let found = edits(build("cors", yaml).request(&cx(), &head)).headers;
            assert_eq!(show(&found), "remove origin");
        }
        let filter = build("cors", "{ origins: any, strip_origin: false }");
        assert_eq!(show(&edits(filter.request(&cx(), &head)).headers), "");
    }

    #[test]
    fn a_response_speaks_of_the_gateway_only() {
        let filter = build("cors", LIST);
        let found = response_edits(
            &*filter,
            &request("POST /\nOrigin: https://a.test"),
            &response(
                "401\nAccess-Control-Allow-Origin: *\nAccess-Control-Allow-Credentials: true",
            ),
        );
        assert_eq!(
            show(&found.headers),
            "remove access-control-allow-origin\n\
             remove access-control-allow-credentials\n\
             set access-control-allow-origin: https://a.test\n\
             set access-control-expose-headers: Mcp-Session-Id, WWW-Authenticate\n\
             append vary: Origin"
        );
        let found = response_edits(
            &*filter,
            &request("POST /"),
            &response("200\nVary: a, origin"),
        );
        assert_eq!(show(&found.headers), "");
    }

    #[test]
    fn plain_options_is_answered_too() {
        let response = reply(build("cors", LIST).request(&cx(), &request("OPTIONS /")));
        assert_eq!(headers(&response), "allow: GET, POST, OPTIONS");
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(
            problems(
                "cors",
                "{ origins: ['https://a.test/', a, 'null'], methods: [get], expose: ['a b'] }"
            ),
            [
                "origins[0]: expected an origin, found `https://a.test/`",
                "origins[1]: expected an origin, found `a`",
                "origins[2]: expected an origin, found `null`",
                "methods[0]: expected a method, found `get`",
                "expose[0]: expected a header name, found `a b`",
            ]
        );
        let shape = problems("cors", "origins: all").join("");
        assert!(
            shape.contains("expected `any` or a list of names"),
            "{shape}"
        );
    }

    proptest! {
        #[test]
        fn only_the_listed_origin_ever_gets_in(origin in "(https://[a-b][.]test[/:a]?|[!-~]{1,30})") {
            let filter = build("cors", LIST);
            let head = request(&format!("POST /\nOrigin: {origin}"));
            let allowed = origin == "https://a.test";
            prop_assert_eq!(filter.request(&cx(), &head).is_ok(), allowed);
            let found = show(&response_edits(&*filter, &head, &response("200")).headers);
            prop_assert_eq!(found.contains("access-control-allow-origin"), allowed);
        }
    }
}
