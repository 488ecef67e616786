//! Removes headers of requests and responses.
//!
//! A name that ends in `*` stands for every header that begins so: `x-ms-*`. Headers that frame the
//! message or name the connection are never removed.
//!
//! ```yaml
//! - remove_headers: { request: [origin, cookie], response: [set-cookie, x-ms-*] }
//! ```

use http::{HeaderMap, HeaderName, request, response};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    Context, Edits, Filter, FilterConfig, HeaderEdit, Problem, Refusal, ResponseEdits, Verdict,
    reply, settings,
};

/// Settings of `remove_headers`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RemoveHeadersConfig {
    /// Headers of the request on its way upstream.
    #[serde(default)]
    request: Vec<String>,
    /// Headers of the response on its way downstream.
    #[serde(default)]
    response: Vec<String>,
}

impl FilterConfig for RemoveHeadersConfig {
    const NAME: &'static str = "remove_headers";
    const SUMMARY: &'static str = "Removes headers of requests and responses";
    const SOURCE: &'static str = include_str!("remove_headers.rs");

    fn build(self) -> Result<Box<dyn Filter>, Vec<Problem>> {
        let mut problems = Vec::new();
        if self.request.is_empty() && self.response.is_empty() {
            problems.push(Problem::new("", "names no header").help("leave out the step"));
        }
        let request = Patterns::build("request", &self.request, &mut problems);
        let response = Patterns::build("response", &self.response, &mut problems);
        settings::finish(problems, || RemoveHeaders { request, response })
    }
}

#[derive(Debug)]
struct RemoveHeaders {
    request: Patterns,
    response: Patterns,
}

#[derive(Debug, Default)]
struct Patterns {
    exact: Vec<HeaderName>,
    /// Beginnings, in lower case.
    prefixes: Vec<String>,
}

impl Patterns {
    fn build(side: &str, names: &[String], problems: &mut Vec<Problem>) -> Self {
        let mut patterns = Self::default();
        for (index, name) in names.iter().enumerate() {
            let at = format!("{side}[{index}]");
            let Some(prefix) = name.strip_suffix('*') else {
                patterns
                    .exact
                    .extend(reply::header_name(&at, name, problems));
                continue;
            };
            match HeaderName::from_bytes(prefix.as_bytes()) {
                Ok(prefix) => patterns.prefixes.push(prefix.as_str().to_owned()),
                Err(_) => problems.push(Problem::new(
                    at,
                    format!(
                        "expected the beginning of a header name before `*`, found `{}`",
                        name.escape_debug()
                    ),
                )),
            }
        }
        patterns
    }

    /// Names the headers of `headers` that are to go.
    fn edits(&self, headers: &HeaderMap) -> Vec<HeaderEdit> {
        let exact = self.exact.iter().filter(|name| headers.contains_key(*name));
        let mut names: Vec<HeaderName> = exact.cloned().collect();
        if !self.prefixes.is_empty() {
            names.extend(
                headers
                    .keys()
                    .filter(|name| {
                        !reply::is_framing(name)
                            && !self.exact.contains(name)
                            && self
                                .prefixes
                                .iter()
                                .any(|prefix| name.as_str().starts_with(prefix))
                    })
                    .cloned(),
            );
        }
        names.into_iter().map(HeaderEdit::Remove).collect()
    }
}

impl Filter for RemoveHeaders {
    fn request(&self, _: &Context<'_>, head: &request::Parts) -> Result<Verdict, Refusal> {
        Ok(Verdict::Continue(Edits {
            headers: self.request.edits(&head.headers),
            ..Edits::default()
        }))
    }

    fn response(
        &self,
        _: &Context<'_>,
        _: &request::Parts,
        head: &response::Parts,
    ) -> Result<ResponseEdits, Refusal> {
        Ok(ResponseEdits {
            headers: self.response.edits(&head.headers),
            ..ResponseEdits::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::testing::{build, cx, edits, problems, request, response, response_edits, show};

    #[test]
    fn only_what_is_there_is_removed() {
        let filter = build("remove_headers", "request: [Origin, cookie]");
        let head = request("GET /\nOrigin: a\nOrigin: b\nX-A: 1");
        assert_eq!(
            show(&edits(filter.request(&cx(), &head)).headers),
            "remove origin"
        );
    }

    #[test]
    fn a_star_stands_for_the_rest_of_a_name() {
        let filter = build("remove_headers", "response: [set-cookie, X-MS-*, con*]");
        let head = response("200\nSet-Cookie: a\nx-ms-a: 1\nx-msb: 2\nContent-Length: 3");
        let found = response_edits(&*filter, &request("GET /"), &head).headers;
        assert_eq!(show(&found), "remove set-cookie\nremove x-ms-a");
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(
            problems("remove_headers", "request: ['*', 'a b', Content-Length]"),
            [
                "request[0]: expected the beginning of a header name before `*`, found `*`",
                "request[1]: expected a header name, found `a b`",
                "request[2]: `content-length` frames the message or names the connection",
            ]
        );
    }

    proptest! {
        #[test]
        fn nothing_else_is_named(name in "[a-z][a-z-]{0,12}") {
            let filter = build("remove_headers", "request: [x-a, co*]");
            let head = request(&format!("GET /\n{name}: 1"));
            let found = show(&edits(filter.request(&cx(), &head)).headers);
            let expected = name == "x-a"
                || (name.starts_with("co") && name != "connection" && name != "content-length");
            prop_assert_eq!(found == format!("remove {name}"), expected);
            prop_assert_eq!(found.is_empty(), !expected);
        }
    }
}
