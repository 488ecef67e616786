//! Sends the client elsewhere.
//!
//! The query of the request is put behind that of `to` unless `keep_query` is off, byte for byte.
//! After a POST the status becomes 303, so that nobody repeats a form (RFC 9110 §15.4.4). The answer
//! may not be stored: its location can hold a one-time value.
//!
//! ```yaml
//! - redirect: { to: "https://login.example.com/authorize" }
//! ```

use http::{HeaderValue, Method, StatusCode, header, request};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    Context, Filter, FilterConfig, Problem, Refusal, Response, Verdict, reply,
    settings::{self, UrlRule},
};

/// Settings of `redirect`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RedirectConfig {
    /// Where to: an absolute https URL without a fragment; plain http for loopback only.
    to: String,
    /// 301, 302, 303, 307 or 308.
    #[serde(default = "found")]
    status: u16,
    /// Whether the query of the request goes along.
    #[serde(default = "yes")]
    keep_query: bool,
}

fn found() -> u16 {
    302
}

fn yes() -> bool {
    true
}

impl FilterConfig for RedirectConfig {
    const NAME: &'static str = "redirect";
    const SUMMARY: &'static str = "Sends the client elsewhere";
    const SOURCE: &'static str = include_str!("redirect.rs");
    const ANSWERS: bool = true;

    fn build(self) -> Result<Box<dyn Filter>, Vec<Problem>> {
        let mut problems = Vec::new();
        settings::check_url("to", &self.to, UrlRule::Destination, &mut problems);
        let status = match self.status {
            301 => StatusCode::MOVED_PERMANENTLY,
            303 => StatusCode::SEE_OTHER,
            307 => StatusCode::TEMPORARY_REDIRECT,
            308 => StatusCode::PERMANENT_REDIRECT,
            other => {
                if other != 302 {
                    problems.push(Problem::new(
                        "status",
                        format!("expected 301, 302, 303, 307 or 308, found {other}"),
                    ));
                }
                StatusCode::FOUND
            }
        };
        settings::finish(problems, || Redirect {
            to: self.to,
            status,
            keep_query: self.keep_query,
        })
    }
}

#[derive(Debug)]
struct Redirect {
    to: String,
    status: StatusCode,
    keep_query: bool,
}

impl Filter for Redirect {
    fn request(&self, _: &Context<'_>, head: &request::Parts) -> Result<Verdict, Refusal> {
        let query = head.uri.query().filter(|_| self.keep_query);
        let status = if head.method == Method::POST {
            StatusCode::SEE_OTHER
        } else {
            self.status
        };
        to(status, &self.to, query.unwrap_or_default()).map(Verdict::Respond)
    }
}

/// Answers with a redirect to `url`, `query` put behind the one it has.
///
/// # Errors
/// When the two cannot stand in a header field.
pub fn to(status: StatusCode, url: &str, query: &str) -> Result<Response, Refusal> {
    let joint = match (url.split_once('?'), query) {
        (_, "") => "",
        (None, _) => "?",
        (Some((_, own)), _) if own.is_empty() || own.ends_with('&') => "",
        (Some(_), _) => "&",
    };
    let location = [url, joint, query].concat();
    let location = HeaderValue::try_from(location).map_err(|_| {
        Refusal::invalid_request("the query holds a character that a location cannot hold")
    })?;
    let mut response = reply::empty(status);
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::testing::{build, cx, problems, reply, request};

    fn check(yaml: &str, head: &str, expected: &str) {
        let filter = build("redirect", yaml);
        let response = reply(filter.request(&cx(), &request(head)));
        let location = response.headers()["location"].to_str().unwrap();
        assert_eq!(
            format!("{} {location}", response.status().as_u16()),
            expected
        );
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert!(response.body().is_empty());
    }

    #[test]
    fn the_query_goes_along_untouched() {
        let yaml = "to: https://idp.test/a";
        check(
            yaml,
            "GET /x?s=%2F&&b=+",
            "302 https://idp.test/a?s=%2F&&b=+",
        );
        check(yaml, "GET /x", "302 https://idp.test/a");
        check(yaml, "GET /x?", "302 https://idp.test/a");
    }

    #[test]
    fn two_queries_are_joined() {
        check(
            "to: https://idp.test/a?p=1",
            "GET /x?q",
            "302 https://idp.test/a?p=1&q",
        );
        check(
            "to: https://idp.test/a?p=1",
            "GET /x",
            "302 https://idp.test/a?p=1",
        );
        check(
            "to: https://idp.test/a?",
            "GET /x?q",
            "302 https://idp.test/a?q",
        );
    }

    #[test]
    fn a_post_is_not_repeated() {
        check(
            "{ to: 'https://idp.test/a', status: 307 }",
            "POST /x?q",
            "303 https://idp.test/a?q",
        );
    }

    #[test]
    fn the_query_can_be_left_out() {
        check(
            "{ to: 'http://localhost:8080/a', status: 308, keep_query: false }",
            "GET /x?q",
            "308 http://localhost:8080/a",
        );
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(
            problems("redirect", "{ to: /a, status: 200 }"),
            [
                "to: expected an absolute URL, found `/a`",
                "status: expected 301, 302, 303, 307 or 308, found 200",
            ]
        );
    }

    proptest! {
        #[test]
        fn the_location_ends_in_the_query(query in "[!$&-;=?-_a-z~]{1,40}") {
            let filter = build("redirect", "to: https://idp.test/a?p");
            let head = request(&format!("GET /x?{query}"));
            let response = reply(filter.request(&cx(), &head));
            let expected = format!("https://idp.test/a?p&{query}");
            prop_assert_eq!(response.headers()["location"].to_str().unwrap(), expected);
        }
    }
}
