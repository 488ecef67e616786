//! Lets through of `prompt` what is of use, at most one value.
//!
//! Clients send `prompt=consent` with `offline_access`, which asks for an administrator even where
//! consent was granted; some send several values, or the parameter twice, and Entra refuses both
//! (AADSTS90023, AADSTS9000411). Of all values of all `prompt` parameters the one that stands first
//! in `keep` goes on, at the place of the first parameter; without any the parameter goes. A
//! `prompt` that is right already, and everything else, stays byte for byte.
//!
//! ```yaml
//! - prompt_policy: { keep: [login, select_account, none] }
//! ```

use http::request;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Context, Edits, Filter, FilterConfig, Problem, Refusal, Verdict,
    pairs::{self, Change, pairs},
    settings,
};

/// Settings of `prompt_policy`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PromptPolicyConfig {
    /// What may go on, the strongest first; empty drops every `prompt`.
    keep: Vec<Prompt>,
}

/// A value that is the user's to choose (`OpenID` Connect Core §3.1.2.1); `consent` is the
/// administrator's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Prompt {
    Login,
    None,
    SelectAccount,
}

impl Prompt {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::None => "none",
            Self::SelectAccount => "select_account",
        }
    }
}

impl FilterConfig for PromptPolicyConfig {
    const NAME: &'static str = "prompt_policy";
    const SUMMARY: &'static str = "Lets through of `prompt` what is of use, at most one value";
    const SOURCE: &'static str = include_str!("prompt_policy.rs");

    fn build(self) -> Result<Box<dyn Filter>, Vec<Problem>> {
        let mut problems = Vec::new();
        for (index, prompt) in self.keep.iter().enumerate() {
            if self.keep.iter().take(index).any(|one| one == prompt) {
                problems.push(Problem::new(
                    format!("keep[{index}]"),
                    format!("`{}` is listed twice", prompt.as_str()),
                ));
            }
        }
        settings::finish(problems, || PromptPolicy { keep: self.keep })
    }
}

#[derive(Debug)]
struct PromptPolicy {
    keep: Vec<Prompt>,
}

impl Filter for PromptPolicy {
    fn request(&self, _: &Context<'_>, head: &request::Parts) -> Result<Verdict, Refusal> {
        let query = head.uri.query().unwrap_or_default().as_bytes();
        let kept = self.choose(query);
        let mut placed = false;
        let changed = pairs::rewrite(query, |pair| {
            if !pair.is_named("prompt") {
                return Change::Keep;
            }
            match kept {
                Some(kept) if !std::mem::replace(&mut placed, true) => {
                    if *pair.decoded() == *kept.as_str().as_bytes() {
                        Change::Keep
                    } else {
                        Change::Replace(pairs::encode("prompt", kept.as_str()).into_bytes())
                    }
                }
                _ => Change::Drop,
            }
        });
        let target = changed.map(|query| pairs::target(&head.uri, &query));
        Ok(Verdict::Continue(Edits {
            target: target.transpose()?,
            ..Edits::default()
        }))
    }
}

impl PromptPolicy {
    /// Returns the first of `keep` that is asked for.
    fn choose(&self, query: &[u8]) -> Option<Prompt> {
        let mut asked = vec![false; self.keep.len()];
        for pair in pairs(query).filter(|pair| pair.is_named("prompt")) {
            for (_, word) in pairs::words(pair.value) {
                let known = self.keep.iter().zip(&mut asked);
                for (prompt, asked) in known {
                    *asked |= *word == *prompt.as_str().as_bytes();
                }
            }
        }
        let mut kept = self.keep.iter().zip(asked);
        kept.find_map(|(prompt, asked)| asked.then_some(*prompt))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::testing::{build, problems, retarget};

    const YAML: &str = "keep: [login, select_account, none]";

    fn check(target: &str, expected: Option<&str>) {
        let filter = build("prompt_policy", YAML);
        assert_eq!(retarget(&*filter, target).as_deref(), expected, "{target}");
    }

    #[test]
    fn consent_and_what_nobody_knows_go() {
        check("/a?prompt=consent&state=%2f", Some("/a?state=%2f"));
        check("/a?x&prompt=create", Some("/a?x"));
        check("/a?prompt=Login&prompt", Some("/a"));
    }

    #[test]
    fn a_value_that_is_kept_stays_as_it_was_sent() {
        for value in ["login", "none", "select_account", "select%5Faccount"] {
            check(&format!("/a?state=%2f&prompt={value}"), None);
        }
        check("/a", None);
        check("/a?Prompt=consent&prompt2=consent", None);
    }

    #[test]
    fn lists_and_repetitions_become_one_value() {
        check("/a?prompt=login+consent", Some("/a?prompt=login"));
        check(
            "/a?prompt=consent&x=1&%70rompt=select_account&y",
            Some("/a?prompt=select_account&x=1&y"),
        );
        check(
            "/a?prompt=select_account%20login&prompt=login",
            Some("/a?prompt=login"),
        );
        check("/a?prompt=login&prompt=login", Some("/a?prompt=login"));
        check("/a?prompt=none+login", Some("/a?prompt=login"));
    }

    #[test]
    fn nothing_kept_drops_every_prompt() {
        let filter = build("prompt_policy", "keep: []");
        let found = retarget(&*filter, "/a?prompt=login&x&prompt=none");
        assert_eq!(found.as_deref(), Some("/a?x"));
    }

    #[test]
    fn consent_cannot_be_kept() {
        let found = problems("prompt_policy", "keep: [consent]");
        assert!(found[0].contains("unknown variant `consent`"), "{found:?}");
        assert_eq!(
            problems("prompt_policy", "keep: [login, login]"),
            ["keep[1]: `login` is listed twice"]
        );
    }

    proptest! {
        #[test]
        fn at_most_one_known_value_goes_on_and_the_rest_stays(
            query in "((prompt|%70rompt|state|[a-z])(=(login|none|consent|[+]|%20|[a-z%0-9]){0,3})?&){0,6}x"
        ) {
            let filter = build("prompt_policy", YAML);
            let before = format!("/a?{query}");
            let after = retarget(&*filter, &before).unwrap_or(before.clone());
            prop_assert_eq!(retarget(&*filter, &after), None);
            let named = |pair: &&str| matches!(pair.split('=').next(), Some("prompt" | "%70rompt"));
            let rest = |target: &str| {
                let pairs = target.trim_start_matches("/a?").split('&');
                pairs.filter(|pair| !named(pair)).map(str::to_owned).collect::<Vec<_>>()
            };
            prop_assert_eq!(rest(&before), rest(&after));
            let kept: Vec<&str> = after.trim_start_matches("/a?").split('&').filter(named).collect();
            prop_assert!(kept.len() <= 1, "{}", after);
        }
    }
}
