//! Changes the path of a request; the query stays as it was sent.
//!
//! Either `to` replaces the whole path, or `strip_prefix` and `add_prefix` replace its beginning.
//! A prefix is matched by whole segments: `/a` is a prefix of `/a` and `/a/b`, not of `/ab`. A path
//! that does not begin with `strip_prefix` is passed on unchanged.
//!
//! ```yaml
//! - rewrite_path: { to: /mcp }
//! - rewrite_path: { strip_prefix: /github, add_prefix: /v1 }
//! ```

use http::{request, uri::PathAndQuery};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{Context, Edits, Filter, FilterConfig, Problem, Refusal, Verdict, pairs, settings};

/// Settings of `rewrite_path`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RewritePathConfig {
    /// The new path.
    #[serde(default)]
    to: Option<String>,
    /// What the path loses at its beginning.
    #[serde(default)]
    strip_prefix: Option<String>,
    /// What the path then gets at its beginning.
    #[serde(default)]
    add_prefix: Option<String>,
}

impl FilterConfig for RewritePathConfig {
    const NAME: &'static str = "rewrite_path";
    const SUMMARY: &'static str = "Changes the path of a request";
    const SOURCE: &'static str = include_str!("rewrite_path.rs");

    fn build(self) -> Result<Box<dyn Filter>, Vec<Problem>> {
        let mut problems = Vec::new();
        let prefixes = [
            ("strip_prefix", &self.strip_prefix),
            ("add_prefix", &self.add_prefix),
        ];
        if let Some(to) = &self.to {
            check_path("to", to, &mut problems);
            for (at, prefix) in prefixes {
                if prefix.is_some() {
                    problems.push(Problem::new(at, "cannot stand beside `to`"));
                }
            }
        } else if prefixes.iter().all(|(_, prefix)| prefix.is_none()) {
            problems.push(Problem::new(
                "",
                "expected `to`, `strip_prefix` or `add_prefix`, found none of them",
            ));
        }
        for (at, prefix) in prefixes {
            let Some(prefix) = prefix else { continue };
            check_path(at, prefix, &mut problems);
            if prefix.ends_with('/') {
                problems.push(
                    Problem::new(at, format!("`{}` ends in a slash", prefix.escape_debug()))
                        .help("a prefix is matched by whole segments; leave out the slash"),
                );
            }
        }
        settings::finish(problems, || match self.to {
            Some(to) => RewritePath::Whole { to },
            None => RewritePath::Prefix {
                strip: self.strip_prefix.unwrap_or_default(),
                add: self.add_prefix.unwrap_or_default(),
            },
        })
    }
}

fn check_path(at: &str, path: &str, problems: &mut Vec<Problem>) {
    let valid = path.starts_with('/')
        && !path.contains(['?', '#', '\\'])
        && !path.contains("//")
        && !path.split('/').any(|segment| matches!(segment, "." | ".."))
        && PathAndQuery::try_from(path).is_ok();
    if !valid {
        problems.push(
            Problem::new(
                at,
                format!("expected a path, found `{}`", path.escape_debug()),
            )
            .help("a path begins with `/` and has no query, empty or dot segments"),
        );
    }
}

#[derive(Debug)]
enum RewritePath {
    Whole { to: String },
    Prefix { strip: String, add: String },
}

impl RewritePath {
    /// Returns the new path; `None` when it stays.
    fn rewrite(&self, path: &str) -> Option<String> {
        match self {
            Self::Whole { to } => (to != path).then(|| to.clone()),
            Self::Prefix { strip, add } => {
                let rest = path.strip_prefix(strip.as_str())?;
                if !(rest.is_empty() || rest.starts_with('/')) {
                    return None;
                }
                let rewritten = match (add.as_str(), rest) {
                    ("", "") => "/".to_owned(),
                    // `/` has no segment to put behind the prefix.
                    (add, "/") if strip.is_empty() => add.to_owned(),
                    (add, rest) => format!("{add}{rest}"),
                };
                (rewritten != path).then_some(rewritten)
            }
        }
    }
}

impl Filter for RewritePath {
    fn request(&self, _: &Context<'_>, head: &request::Parts) -> Result<Verdict, Refusal> {
        let Some(path) = self.rewrite(head.uri.path()) else {
            return Ok(Verdict::pass());
        };
        let target = match head.uri.query() {
            // Put together here, as an empty query keeps its question mark.
            Some("") => pairs::join(&format!("{path}?"), b"")?,
            query => pairs::join(&path, query.unwrap_or_default().as_bytes())?,
        };
        Ok(Verdict::Continue(Edits {
            target: Some(target),
            ..Edits::default()
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::testing::{build, problems, retarget};

    fn check(yaml: &str, target: &str, expected: Option<&str>) {
        let filter = build("rewrite_path", yaml);
        assert_eq!(retarget(&*filter, target).as_deref(), expected, "{target}");
    }

    #[test]
    fn replaces_the_whole_path() {
        check("to: /mcp", "/mcp/github?a=%2f&&", Some("/mcp?a=%2f&&"));
        check("to: /mcp", "/x?", Some("/mcp?"));
        check("to: /mcp", "/mcp?a", None);
    }

    #[test]
    fn strips_whole_segments_only() {
        check("strip_prefix: /a", "/a/b?c", Some("/b?c"));
        check("strip_prefix: /a", "/a", Some("/"));
        check("strip_prefix: /a", "/a/", Some("/"));
        check("strip_prefix: /a", "/ab", None);
        check("strip_prefix: /a", "/b/a", None);
    }

    #[test]
    fn adds_a_prefix() {
        check("add_prefix: /v1", "/a", Some("/v1/a"));
        check("add_prefix: /v1", "/", Some("/v1"));
        check("{ strip_prefix: /a, add_prefix: /b }", "/a/c", Some("/b/c"));
        check("{ strip_prefix: /a, add_prefix: /b }", "/a", Some("/b"));
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(
            problems("rewrite_path", "{}"),
            [": expected `to`, `strip_prefix` or `add_prefix`, found none of them"]
        );
        assert_eq!(
            problems("rewrite_path", "{ to: mcp, add_prefix: /a/ }"),
            [
                "to: expected a path, found `mcp`",
                "add_prefix: cannot stand beside `to`",
                "add_prefix: `/a/` ends in a slash",
            ]
        );
        for path in ["/a?b", "/a#b", "/a/../b", "/a//b", "/a b"] {
            assert_eq!(problems("rewrite_path", &format!("to: '{path}'")).len(), 1);
        }
    }

    proptest! {
        #[test]
        fn the_query_stays(path in "(/[a-z%0-9]{1,4}){1,4}", query in "[a-z=&%+/?]{0,20}") {
            let filter = build("rewrite_path", "to: /new");
            let after = retarget(&*filter, &format!("{path}?{query}")).unwrap();
            prop_assert_eq!(&after, &format!("/new?{query}"));
            prop_assert_eq!(retarget(&*filter, &after), None);
        }
    }
}
