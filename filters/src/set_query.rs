//! Sets query parameters.
//!
//! The first occurrence is replaced where it stands, further ones are dropped, and a parameter that
//! is missing is appended. A parameter that already stands there once with that value is not
//! touched; every other byte stays as it was sent.
//!
//! ```yaml
//! - set_query: { params: { domain_hint: example.com } }
//! ```

use std::collections::BTreeMap;

use http::request;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    Context, Edits, Filter, FilterConfig, Problem, Refusal, Verdict,
    pairs::{self, Change},
    settings,
};

/// Settings of `set_query`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetQueryConfig {
    /// Names and values, not encoded.
    params: BTreeMap<String, String>,
}

impl FilterConfig for SetQueryConfig {
    const NAME: &'static str = "set_query";
    const SUMMARY: &'static str = "Sets query parameters";
    const SOURCE: &'static str = include_str!("set_query.rs");

    fn build(self) -> Result<Box<dyn Filter>, Vec<Problem>> {
        let mut problems = Vec::new();
        settings::check_params("params", self.params.keys(), &mut problems);
        settings::finish(problems, || SetQuery {
            params: self
                .params
                .into_iter()
                .map(|(name, value)| Param {
                    pair: pairs::encode(&name, &value).into_bytes(),
                    name,
                    value,
                })
                .collect(),
        })
    }
}

#[derive(Debug)]
struct SetQuery {
    params: Vec<Param>,
}

#[derive(Debug)]
struct Param {
    name: String,
    value: String,
    /// Both, encoded.
    pair: Vec<u8>,
}

impl Param {
    /// Sets the parameter; `None` when it is set already.
    fn set(&self, query: &[u8]) -> Option<Vec<u8>> {
        let mut found = false;
        let changed = pairs::rewrite(query, |pair| {
            if !pair.is_named(&self.name) {
                Change::Keep
            } else if std::mem::replace(&mut found, true) {
                Change::Drop
            } else if *pair.decoded() == *self.value.as_bytes() {
                Change::Keep
            } else {
                Change::Replace(self.pair.clone())
            }
        });
        if found {
            return changed;
        }
        let mut appended = query.to_vec();
        pairs::append(&mut appended, &self.pair);
        Some(appended)
    }
}

impl Filter for SetQuery {
    fn request(&self, _: &Context<'_>, head: &request::Parts) -> Result<Verdict, Refusal> {
        let query = head.uri.query().unwrap_or_default().as_bytes();
        let mut changed: Option<Vec<u8>> = None;
        for param in &self.params {
            if let Some(next) = param.set(changed.as_deref().unwrap_or(query)) {
                changed = Some(next);
            }
        }
        let Some(query) = changed else {
            return Ok(Verdict::pass());
        };
        Ok(Verdict::Continue(Edits {
            target: Some(pairs::target(&head.uri, &query)?),
            ..Edits::default()
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::testing::{build, problems, retarget};

    const YAML: &str = "params: { hint: 'a b&c' }";

    fn check(target: &str, expected: Option<&str>) {
        let filter = build("set_query", YAML);
        assert_eq!(retarget(&*filter, target).as_deref(), expected, "{target}");
    }

    #[test]
    fn appends_what_is_missing() {
        check("/a", Some("/a?hint=a%20b%26c"));
        check("/a?x=%2f", Some("/a?x=%2f&hint=a%20b%26c"));
    }

    #[test]
    fn replaces_the_first_and_drops_the_others() {
        check("/a?h%69nt=1&x&hint=2&y", Some("/a?hint=a%20b%26c&x&y"));
        check("/a?hint=a+b%26c&x&hint=2", Some("/a?hint=a+b%26c&x"));
    }

    #[test]
    fn touches_nothing_that_is_set_already() {
        check("/a?x&hint=a+b%26c", None);
    }

    #[test]
    fn a_step_without_names_is_a_mistake() {
        assert_eq!(
            problems("set_query", "params: {}"),
            ["params: names no parameter"]
        );
    }

    proptest! {
        #[test]
        fn is_idempotent_and_keeps_the_others(query in "[a-ht=&%0-9]{0,40}") {
            let filter = build("set_query", YAML);
            let before = format!("/a?{query}&hint=x&{query}");
            let after = retarget(&*filter, &before).unwrap();
            prop_assert_eq!(retarget(&*filter, &after), None);
            let rest = |target: &str| {
                target
                    .strip_prefix("/a?")
                    .unwrap()
                    .split('&')
                    .filter(|pair| !pair.starts_with("hint"))
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            };
            prop_assert_eq!(rest(&before), rest(&after));
        }
    }
}
