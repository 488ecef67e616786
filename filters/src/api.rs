//! The scopes of an API: short names among clients, qualified ones at the provider.
//!
//! Entra takes a bare name for a scope of Microsoft Graph, so a scope of any other API goes on as
//! `<prefix>/<name>`. Answers name it with a prefix again, which need not be the one that was asked
//! with; clients see the short name only.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{Problem, pairs, settings};

/// The scopes of an API, as written in settings.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApiConfig {
    /// What stands before a scope at the provider, without the slash: the id of the application
    /// or its App ID URI.
    prefix: String,
    /// Other prefixes under which the provider and clients know the same API.
    #[serde(default)]
    aliases: Vec<String>,
    /// The short names of its scopes.
    scopes: Vec<String>,
}

impl ApiConfig {
    /// Makes the scopes ready; problems are named below `at`.
    pub(crate) fn build(self, at: &str, problems: &mut Vec<Problem>) -> Api {
        let prefixes = std::iter::once(("prefix".to_owned(), &self.prefix)).chain(
            self.aliases
                .iter()
                .enumerate()
                .map(|(index, alias)| (format!("aliases[{index}]"), alias)),
        );
        for (place, prefix) in prefixes {
            let mut found = Vec::new();
            settings::check_scopes(at, std::slice::from_ref(prefix), &mut found);
            if !found.is_empty() || prefix.ends_with('/') {
                let what = format!(
                    "expected an application id or an App ID URI without a slash at its end, \
                     found `{}`",
                    prefix.escape_debug()
                );
                problems.push(Problem::new(format!("{at}.{place}"), what));
            }
        }
        settings::check_scopes(&format!("{at}.scopes"), &self.scopes, problems);
        for (index, scope) in self.scopes.iter().enumerate() {
            if scope.contains('/') || scope == DEFAULT {
                let what = format!("expected a short name, found `{}`", scope.escape_debug());
                problems.push(Problem::new(format!("{at}.scopes[{index}]"), what));
            }
        }
        if self.scopes.is_empty() {
            problems.push(Problem::new(format!("{at}.scopes"), "names no scope"));
        }
        let scope = |short: &String| {
            let wire = format!("{}/{short}", self.prefix);
            let encoded = pairs::encode_value(&wire).to_string();
            ApiScope {
                short: short.clone(),
                wire,
                encoded,
            }
        };
        Api {
            scopes: self.scopes.iter().map(scope).collect(),
            prefixes: std::iter::once(self.prefix).chain(self.aliases).collect(),
        }
    }
}

/// All consented scopes of an API at once, which may stand beside no other scope (AADSTS70011).
const DEFAULT: &str = ".default";

/// The scopes of an API.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) scopes: Vec<ApiScope>,
    prefixes: Vec<String>,
}

/// One scope of an API.
#[derive(Debug)]
pub(crate) struct ApiScope {
    /// As clients know it.
    pub(crate) short: String,
    /// As the provider knows it.
    pub(crate) wire: String,
    /// The same, percent-encoded.
    pub(crate) encoded: String,
}

/// What a scope of a client or of an answer is to an API.
#[derive(Debug)]
pub(crate) enum Named<'a> {
    /// One of its scopes, however it was written.
    Scope(&'a ApiScope),
    /// `.default`, with a prefix of this API or without any.
    Default,
    /// Nothing of it.
    Other,
}

impl Api {
    /// Says what a scope means here. Prefixes are compared without regard to case, as the provider
    /// compares ids and App ID URIs; names exactly.
    pub(crate) fn find(&self, scope: &[u8]) -> Named<'_> {
        let name = self
            .prefixes
            .iter()
            .find_map(|prefix| strip(scope, prefix))
            .unwrap_or(scope);
        if name == DEFAULT.as_bytes() {
            return Named::Default;
        }
        let known = |one: &&ApiScope| one.short.as_bytes() == name;
        self.scopes
            .iter()
            .find(known)
            .map_or(Named::Other, Named::Scope)
    }
}

/// Removes a prefix and the slash behind it.
fn strip<'a>(scope: &'a [u8], prefix: &str) -> Option<&'a [u8]> {
    let (start, rest) = scope.split_at_checked(prefix.len())?;
    let rest = rest.strip_prefix(b"/")?;
    start
        .eq_ignore_ascii_case(prefix.as_bytes())
        .then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api() -> Api {
        let config: ApiConfig = serde_yaml::from_str(
            "{ prefix: 2222-AAAA, aliases: ['api://2222-aaaa'], scopes: [tools.execute] }",
        )
        .unwrap();
        let mut problems = Vec::new();
        let api = config.build("api", &mut problems);
        assert_eq!(problems, []);
        api
    }

    fn check(scope: &str, expected: &str) {
        let found = match api().find(scope.as_bytes()) {
            Named::Scope(scope) => scope.wire.clone(),
            Named::Default => "all".to_owned(),
            Named::Other => "other".to_owned(),
        };
        assert_eq!(found, expected, "{scope}");
    }

    #[test]
    fn a_scope_is_known_by_its_short_name_and_under_every_prefix() {
        for scope in [
            "tools.execute",
            "2222-AAAA/tools.execute",
            "2222-aaaa/tools.execute",
            "api://2222-aaaa/tools.execute",
            "API://2222-AAAA/tools.execute",
        ] {
            check(scope, "2222-AAAA/tools.execute");
        }
        check("api://2222-aaaa/.default", "all");
        check(".default", "all");
    }

    #[test]
    fn scopes_of_others_are_not_ours() {
        for scope in [
            "User.Read",
            "Tools.Execute",
            "api://other/tools.execute",
            "api://2222-aaaatools.execute",
            "api://2222-aaaa/x/tools.execute",
            "https://graph.microsoft.com/.default",
            "api://2222-aaaa",
            "api://2222-aaaa/",
            "",
            "é",
        ] {
            check(scope, "other");
        }
    }
}
