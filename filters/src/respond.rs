//! Answers from memory, whatever the request.
//!
//! At most one of `json`, `text` and `html` gives the body and with it the content type; `headers`
//! are added and win over it.
//!
//! ```yaml
//! - respond: { status: 200, json: { hello: world } }
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header, request};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{Context, Filter, FilterConfig, Problem, Refusal, Response, Verdict, reply, settings};

/// Settings of `respond`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RespondConfig {
    /// The status code, 200 to 599.
    #[serde(default = "ok")]
    status: u16,
    /// Headers beside those of the body.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// A body of any JSON value.
    #[serde(default)]
    json: Option<serde_json::Value>,
    /// A body of plain text.
    #[serde(default)]
    text: Option<String>,
    /// A body of HTML.
    #[serde(default)]
    html: Option<String>,
}

fn ok() -> u16 {
    200
}

impl FilterConfig for RespondConfig {
    const NAME: &'static str = "respond";
    const SUMMARY: &'static str = "Answers from memory";
    const SOURCE: &'static str = include_str!("respond.rs");
    const ANSWERS: bool = true;

    fn build(self) -> Result<Box<dyn Filter>, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut bodies: Vec<(&str, HeaderValue, Bytes)> = Vec::new();
        if let Some(json) = self.json {
            bodies.push(("json", reply::JSON, json.to_string().into()));
        }
        if let Some(text) = self.text {
            bodies.push(("text", reply::TEXT, text.into()));
        }
        if let Some(html) = self.html {
            bodies.push(("html", reply::HTML, html.into()));
        }
        for (name, ..) in bodies.iter().skip(1) {
            problems.push(
                Problem::new(*name, "the answer has a body already")
                    .help("give one of `json`, `text` and `html`"),
            );
        }
        if !(200..=599).contains(&self.status) {
            problems.push(Problem::new(
                "status",
                format!("expected a status from 200 to 599, found {}", self.status),
            ));
        }
        let status = StatusCode::from_u16(self.status).unwrap_or_default();
        // RFC 9110 §15.3.5, §15.3.6 and §15.4.5.
        if matches!(self.status, 204 | 205 | 304) && !bodies.is_empty() {
            problems.push(Problem::new(
                "status",
                format!("an answer with status {status} has no body"),
            ));
        }
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = status;
        if let Some((_, content_type, body)) = bodies.into_iter().next() {
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, content_type);
            *response.body_mut() = body;
        }
        for (name, value) in self.headers {
            let at = format!("headers.{name}");
            if let Some((name, value)) = reply::header(&at, &name, &value, &mut problems) {
                response.headers_mut().insert(name, value);
            }
        }
        settings::finish(problems, || Respond { response })
    }
}

#[derive(Debug)]
struct Respond {
    response: Response,
}

impl Filter for Respond {
    fn request(&self, _: &Context<'_>, _: &request::Parts) -> Result<Verdict, Refusal> {
        Ok(Verdict::Respond(self.response.clone()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::testing::{build, cx, problems, reply, request, try_build_json};

    fn check(yaml: &str, expected: &str) {
        let filter = build("respond", yaml);
        let response = reply(filter.request(&cx(), &request("GET /")));
        let headers: Vec<String> = response
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        let body = String::from_utf8(response.body().to_vec()).unwrap();
        let found = format!(
            "{} [{}] {body}",
            response.status().as_u16(),
            headers.join(", ")
        );
        assert_eq!(found, expected);
    }

    #[test]
    fn a_body_brings_its_content_type() {
        check(
            "json: { a: [1, null] }",
            r#"200 [content-type: application/json] {"a":[1,null]}"#,
        );
        check(
            "{ status: 404, text: no }",
            "404 [content-type: text/plain; charset=utf-8] no",
        );
        check(
            "html: <p>",
            "200 [content-type: text/html; charset=utf-8] <p>",
        );
    }

    #[test]
    fn headers_win_over_the_content_type() {
        check(
            "{ json: {}, headers: { Content-Type: application/problem+json, Retry-After: '5' } }",
            "200 [content-type: application/problem+json, retry-after: 5] {}",
        );
    }

    #[test]
    fn a_body_is_optional() {
        check("status: 204", "204 [] ");
        check("{}", "200 [] ");
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(
            problems(
                "respond",
                "{ status: 204, json: 1, text: a, headers: { host: a } }"
            ),
            [
                "text: the answer has a body already",
                "status: an answer with status 204 No Content has no body",
                "headers.host: `host` frames the message or names the connection",
            ]
        );
        assert_eq!(
            problems("respond", "status: 101"),
            ["status: expected a status from 200 to 599, found 101"]
        );
    }

    proptest! {
        #[test]
        fn json_comes_out_as_it_was_written(text in ".{0,20}", number in any::<i64>()) {
            let value = serde_json::json!({ "text": text, "list": [number, true, null] });
            let settings = serde_json::json!({ "json": value });
            let filter = try_build_json("respond", settings).unwrap();
            let response = reply(filter.request(&cx(), &request("GET /")));
            let parsed: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
            prop_assert_eq!(parsed, value);
        }
    }
}
