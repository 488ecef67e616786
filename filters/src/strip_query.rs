//! Drops query parameters by name, wherever and however often they stand.
//!
//! Names are compared decoded, so `%72esource` is `resource`; case matters. Every other byte of the
//! target stays as it was sent. A query that becomes empty loses its question mark.
//!
//! ```yaml
//! - strip_query: { params: [resource, prompt] }
//! ```

use http::request;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    Context, Edits, Filter, FilterConfig, Problem, Refusal, Verdict,
    pairs::{self, Change},
    settings,
};

/// Settings of `strip_query`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StripQueryConfig {
    /// Decoded names of the parameters to drop.
    params: Vec<String>,
}

impl FilterConfig for StripQueryConfig {
    const NAME: &'static str = "strip_query";
    const SUMMARY: &'static str = "Drops query parameters by name";
    const SOURCE: &'static str = include_str!("strip_query.rs");

    fn build(self) -> Result<Box<dyn Filter>, Vec<Problem>> {
        let mut problems = Vec::new();
        settings::check_params("params", &self.params, &mut problems);
        settings::finish(problems, || StripQuery {
            params: self.params,
        })
    }
}

#[derive(Debug)]
struct StripQuery {
    params: Vec<String>,
}

impl Filter for StripQuery {
    fn request(&self, _: &Context<'_>, head: &request::Parts) -> Result<Verdict, Refusal> {
        let Some(query) = head.uri.query() else {
            return Ok(Verdict::pass());
        };
        let Some(stripped) = strip(query.as_bytes(), &self.params) else {
            return Ok(Verdict::pass());
        };
        Ok(Verdict::Continue(Edits {
            target: Some(pairs::target(&head.uri, &stripped)?),
            ..Edits::default()
        }))
    }
}

/// Drops every pair named in `params`; `None` when there is none.
pub(crate) fn strip(raw: &[u8], params: &[String]) -> Option<Vec<u8>> {
    pairs::rewrite(raw, |pair| {
        if params.iter().any(|param| pair.is_named(param)) {
            Change::Drop
        } else {
            Change::Keep
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::testing::{build, problems, retarget};

    const YAML: &str = "params: [resource, prompt]";

    fn check(target: &str, expected: Option<&str>) {
        let filter = build("strip_query", YAML);
        assert_eq!(retarget(&*filter, target).as_deref(), expected, "{target}");
    }

    #[test]
    fn strips_every_copy() {
        check("/a?resource=x&b=1&resource=y", Some("/a?b=1"));
        check("/a?prompt&b=1&resource", Some("/a?b=1"));
    }

    #[test]
    fn compares_decoded_names() {
        check("/a?%72esource=x&b=1", Some("/a?b=1"));
        check("/a?%70%72%6F%6d%70%74=x", Some("/a"));
    }

    #[test]
    fn keeps_names_that_are_others() {
        check("/a?Resource=x&resource2=y&+resource=z&x=resource", None);
        check("/a?resource%3Dx", None);
    }

    #[test]
    fn keeps_every_other_byte() {
        check(
            "/a?state=a%2Fb+c%20==&&%zz&resource=x&q='{}&",
            Some("/a?state=a%2Fb+c%20==&&%zz&q='{}&"),
        );
    }

    #[test]
    fn touches_nothing_without_need() {
        check("/a", None);
        check("/a?", None);
        check("/a?b=1&&c", None);
    }

    #[test]
    fn an_emptied_query_loses_its_question_mark() {
        check("/a?resource=x", Some("/a"));
    }

    #[test]
    fn a_step_without_names_is_a_mistake() {
        assert_eq!(
            problems("strip_query", "params: []"),
            ["params: names no parameter"]
        );
        assert_eq!(
            problems("strip_query", "params: ['']"),
            ["params[0]: a parameter name is empty"]
        );
    }

    proptest! {
        #[test]
        fn keeps_the_others_in_order_and_is_idempotent(
            query in "((resource|prompt|%72esource|state|[a-z]|%[0-9a-z]{0,2}|)(=[a-zA-Z0-9%+=/]{0,4})?(&|)){0,12}"
        ) {
            let filter = build("strip_query", YAML);
            let before = format!("/a?{query}");
            let after = retarget(&*filter, &before).unwrap_or(before.clone());
            prop_assert_eq!(retarget(&*filter, &after), None);
            let expected: Vec<&str> = query
                .split('&')
                .filter(|pair| {
                    let name = pair.split('=').next().unwrap();
                    !["resource", "prompt", "%72esource"].contains(&name)
                })
                .collect();
            let expected = expected.join("&");
            if after != before {
                prop_assert_eq!(
                    after.strip_prefix("/a").unwrap().trim_start_matches('?'),
                    expected
                );
            }
        }
    }
}
