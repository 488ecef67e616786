//! Sets headers of requests and responses, replacing what they had.
//!
//! Headers that frame the message or name the connection (`content-length`, `transfer-encoding`,
//! `connection`, `host` and their like) are the gateway's own and cannot be set.
//!
//! ```yaml
//! - set_headers: { request: { accept-encoding: identity }, response: { x-frame-options: DENY } }
//! ```

use std::collections::BTreeMap;

use http::{request, response};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    Context, Edits, Filter, FilterConfig, HeaderEdit, Problem, Refusal, ResponseEdits, Verdict,
    reply, settings,
};

/// Settings of `set_headers`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetHeadersConfig {
    /// Headers of the request on its way upstream.
    #[serde(default)]
    request: BTreeMap<String, String>,
    /// Headers of the response on its way downstream.
    #[serde(default)]
    response: BTreeMap<String, String>,
}

impl FilterConfig for SetHeadersConfig {
    const NAME: &'static str = "set_headers";
    const SUMMARY: &'static str = "Sets headers of requests and responses";
    const SOURCE: &'static str = include_str!("set_headers.rs");

    fn build(self) -> Result<Box<dyn Filter>, Vec<Problem>> {
        let mut problems = Vec::new();
        if self.request.is_empty() && self.response.is_empty() {
            problems.push(Problem::new("", "names no header").help("leave out the step"));
        }
        let mut read = |side: &str, headers: BTreeMap<String, String>| -> Vec<HeaderEdit> {
            headers
                .into_iter()
                .filter_map(|(name, value)| {
                    let at = format!("{side}.{name}");
                    reply::header(&at, &name, &value, &mut problems)
                })
                .map(|(name, value)| HeaderEdit::Set(name, value))
                .collect()
        };
        let request = read("request", self.request);
        let response = read("response", self.response);
        settings::finish(problems, || SetHeaders { request, response })
    }
}

#[derive(Debug)]
struct SetHeaders {
    request: Vec<HeaderEdit>,
    response: Vec<HeaderEdit>,
}

impl Filter for SetHeaders {
    fn request(&self, _: &Context<'_>, _: &request::Parts) -> Result<Verdict, Refusal> {
        Ok(Verdict::Continue(Edits {
            headers: self.request.clone(),
            ..Edits::default()
        }))
    }

    fn response(
        &self,
        _: &Context<'_>,
        _: &request::Parts,
        _: &response::Parts,
    ) -> Result<ResponseEdits, Refusal> {
        Ok(ResponseEdits {
            headers: self.response.clone(),
            ..ResponseEdits::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::testing::{
        build, cx, edits, problems, request, response, response_edits, show, try_build_json,
    };

    #[test]
    fn each_side_gets_its_own() {
        let filter = build(
            "set_headers",
            "{ request: { Accept-Encoding: identity }, response: { x-a: '1', x-b: '2' } }",
        );
        let head = request("GET /");
        assert_eq!(
            show(&edits(filter.request(&cx(), &head)).headers),
            "set accept-encoding: identity"
        );
        assert_eq!(
            show(&response_edits(&*filter, &head, &response("200")).headers),
            "set x-a: 1\nset x-b: 2"
        );
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(
            problems(
                "set_headers",
                r#"{ request: { Host: x, "a b": x }, response: { x-a: "a\nb" } }"#
            ),
            [
                "request.Host: `host` frames the message or names the connection",
                "request.a b: expected a header name, found `a b`",
                "response.x-a: the value holds a control character or one outside ASCII",
            ]
        );
        assert_eq!(problems("set_headers", "{}"), [": names no header"]);
    }

    proptest! {
        #[test]
        fn never_panics_on_settings(name in ".{0,8}", value in ".{0,8}") {
            let settings = serde_json::json!({ "request": { name: value } });
            let _ = try_build_json("set_headers", settings);
        }
    }
}
