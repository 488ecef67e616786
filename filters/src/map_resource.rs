//! Gives `resource` (RFC 8707) the value that the provider knows the API by.
//!
//! Clients name the URL of the MCP server. Entra takes an App ID URI of the application whose scopes
//! are asked for, compared byte for byte, and answers anything else with AADSTS9010010; some clients
//! add a slash, and some name the resource twice. A `resource` that is `to` or one of `keep` stays as
//! it was sent; any other becomes `to`, and of several one is left. A request without `resource`
//! stays without. In a form only the grants `authorization_code` and `refresh_token` are touched.
//!
//! ```yaml
//! - map_resource: { in: query, to: "https://mcp.example.com/mcp" }
//! ```

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    Filter, FilterConfig, Problem, Refusal,
    pairs::{self, Change},
    place::{InPlace, Place, Rewrite},
    settings,
};

/// Settings of `map_resource`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MapResourceConfig {
    /// Where the parameters stand.
    #[serde(rename = "in")]
    place: Place,
    /// The value that goes on.
    to: String,
    /// Other values that the provider takes.
    #[serde(default)]
    keep: Vec<String>,
}

impl FilterConfig for MapResourceConfig {
    const NAME: &'static str = "map_resource";
    const SUMMARY: &'static str = "Gives `resource` the value that the provider knows the API by";
    const SOURCE: &'static str = include_str!("map_resource.rs");

    fn build(self) -> Result<Box<dyn Filter>, Vec<Problem>> {
        let mut problems = Vec::new();
        let named = self.keep.iter().enumerate();
        let named = named.map(|(index, uri)| (format!("keep[{index}]"), uri));
        for (at, uri) in std::iter::once(("to".to_owned(), &self.to)).chain(named) {
            // RFC 8707 §2: an absolute URI without a fragment.
            let good = url::Url::parse(uri).is_ok_and(|url| url.fragment().is_none());
            if !good {
                let what = format!(
                    "expected an absolute URI without a fragment, found `{}`",
                    uri.escape_debug()
                );
                problems.push(Problem::new(at, what));
            }
        }
        settings::finish(problems, || InPlace {
            place: self.place,
            rewrite: MapResource {
                pair: pairs::encode("resource", &self.to).into_bytes(),
                known: std::iter::once(self.to).chain(self.keep).collect(),
            },
        })
    }
}

#[derive(Debug)]
struct MapResource {
    /// The whole pair.
    pair: Vec<u8>,
    known: Vec<String>,
}

impl Rewrite for MapResource {
    fn rewrite(&self, raw: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        let mut placed = false;
        Ok(pairs::rewrite(raw, |pair| {
            if !pair.is_named("resource") {
                return Change::Keep;
            }
            if std::mem::replace(&mut placed, true) {
                return Change::Drop;
            }
            let named = pair.decoded();
            if self.known.iter().any(|uri| *named == *uri.as_bytes()) {
                Change::Keep
            } else {
                Change::Replace(self.pair.clone())
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::testing::{build, problems, reform, retarget};

    const YAML: &str = "{ in: query, to: 'https://gw.test/mcp', keep: ['api://a1'] }";

    fn check(target: &str, expected: Option<&str>) {
        let filter = build("map_resource", YAML);
        assert_eq!(retarget(&*filter, target).as_deref(), expected, "{target}");
    }

    #[test]
    fn what_the_provider_knows_stays_as_it_was_sent() {
        check("/a?resource=https://gw.test/mcp&x", None);
        check("/a?resource=https%3A%2F%2Fgw.test%2Fmcp", None);
        check("/a?x&resource=api://a1", None);
        check("/a?x", None);
    }

    #[test]
    fn everything_else_becomes_the_one_value() {
        let mapped = "resource=https%3A%2F%2Fgw.test%2Fmcp";
        for sent in [
            "resource=https://gw.test/mcp/",
            "resource=https://gw.test",
            "resource=",
            "resource",
            "%72esource=x",
        ] {
            check(
                &format!("/a?s=%2f&{sent}&y=+"),
                Some(&format!("/a?s=%2f&{mapped}&y=+")),
            );
        }
    }

    #[test]
    fn of_several_one_is_left() {
        check(
            "/a?resource=api://a1&x&resource=https://gw.test/mcp",
            Some("/a?resource=api://a1&x"),
        );
    }

    #[test]
    fn a_form_is_mapped_for_the_grants_of_a_person() {
        let filter = build("map_resource", "{ in: form, to: 'api://a1' }");
        let form = |body: &str| {
            reform(&*filter, body.as_bytes()).map(|form| String::from_utf8(form).unwrap())
        };
        assert_eq!(
            form("grant_type=refresh_token&resource=x").as_deref(),
            Some("grant_type=refresh_token&resource=api%3A%2F%2Fa1")
        );
        assert_eq!(form("grant_type=password&resource=x"), None);
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(
            problems(
                "map_resource",
                "{ in: query, to: mcp, keep: ['https://a#b'] }"
            ),
            [
                "to: expected an absolute URI without a fragment, found `mcp`",
                "keep[0]: expected an absolute URI without a fragment, found `https://a#b`",
            ]
        );
    }

    proptest! {
        #[test]
        fn is_idempotent_and_keeps_the_others(query in "((resource|[a-z%])(=[a-z%/:+]{0,6})?&){0,6}x") {
            let filter = build("map_resource", YAML);
            let before = format!("/a?{query}");
            let after = retarget(&*filter, &before).unwrap_or(before.clone());
            prop_assert_eq!(retarget(&*filter, &after), None);
            let rest = |target: &str| {
                let pairs = target.trim_start_matches("/a?").split('&');
                let others = pairs.filter(|pair| pair.split('=').next() != Some("resource"));
                others.map(str::to_owned).collect::<Vec<_>>()
            };
            prop_assert_eq!(rest(&before), rest(&after));
        }
    }
}
