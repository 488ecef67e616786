//! Leaves out scopes that an authorization server refuses, in a query or a form.
//!
//! Clients ask for `offline_access` wherever they hope for a refresh token; Google and Cognito know
//! no such scope and refuse the whole request. The other scopes keep their order, and a value in
//! which nothing is dropped stays as it was sent. A parameter with no scope left goes; a
//! `complete_scope` behind puts its default there.
//!
//! ```yaml
//! - drop_scope: { in: query, scopes: [offline_access] }
//! ```

use bytes::Bytes;
use http::request;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    Context, Edits, Filter, FilterConfig, Problem, Refusal, Verdict, form,
    pairs::{self, Change},
    settings,
};

/// Settings of `drop_scope`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DropScopeConfig {
    /// Where the parameters stand.
    #[serde(rename = "in")]
    place: Place,
    /// The scopes that are left out.
    scopes: Vec<String>,
}

/// Where parameters stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Place {
    Query,
    Form,
}

impl FilterConfig for DropScopeConfig {
    const NAME: &'static str = "drop_scope";
    const SUMMARY: &'static str = "Leaves out scopes that an authorization server refuses";
    const SOURCE: &'static str = include_str!("drop_scope.rs");

    fn build(self) -> Result<Box<dyn Filter>, Vec<Problem>> {
        let mut problems = Vec::new();
        settings::check_scopes("scopes", &self.scopes, &mut problems);
        if self.scopes.is_empty() {
            problems.push(Problem::new("scopes", "names no scope").help("leave out the step"));
        }
        settings::finish(problems, || DropScope {
            place: self.place,
            scopes: self.scopes,
        })
    }
}

#[derive(Debug)]
struct DropScope {
    place: Place,
    scopes: Vec<String>,
}

impl Filter for DropScope {
    fn request(&self, _: &Context<'_>, head: &request::Parts) -> Result<Verdict, Refusal> {
        if self.place == Place::Form {
            if form::is_form(&head.headers) {
                form::refuse_encoded(&head.headers)?;
            }
            return Ok(Verdict::pass());
        }
        let query = head.uri.query().unwrap_or_default();
        let Some(rest) = self.without(query.as_bytes()) else {
            return Ok(Verdict::pass());
        };
        Ok(Verdict::Continue(Edits {
            target: Some(pairs::target(&head.uri, &rest)?),
            ..Edits::default()
        }))
    }

    fn request_body_limit(&self, head: &request::Parts) -> Option<usize> {
        (self.place == Place::Form && form::is_form(&head.headers)).then_some(form::LIMIT)
    }

    fn request_body(
        &self,
        _: &Context<'_>,
        _: &request::Parts,
        body: &Bytes,
    ) -> Result<Verdict, Refusal> {
        Ok(Verdict::Continue(Edits {
            body: self.without(body).map(Bytes::from),
            ..Edits::default()
        }))
    }
}

impl DropScope {
    /// Returns the pairs without the scopes; `None` when none of them is there.
    fn without(&self, raw: &[u8]) -> Option<Vec<u8>> {
        pairs::rewrite(raw, |pair| {
            if !pair.is_named("scope") {
                return Change::Keep;
            }
            let asked = pair.decoded();
            // What is not text names none of the scopes; the gate behind or before refuses it.
            let Ok(asked) = std::str::from_utf8(&asked) else {
                return Change::Keep;
            };
            let refused = |one: &&str| self.scopes.iter().any(|scope| scope == one);
            if !asked.split(' ').any(|one| refused(&one)) {
                return Change::Keep;
            }
            let kept: Vec<&str> = asked
                .split(' ')
                .filter(|one| !one.is_empty() && !refused(one))
                .collect();
            if kept.is_empty() {
                Change::Drop
            } else {
                Change::Replace(pairs::encode("scope", &kept.join(" ")).into_bytes())
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::testing::{build, problems, reform, retarget};

    fn check(target: &str, expected: Option<&str>) {
        let filter = build("drop_scope", "{ in: query, scopes: [offline_access, x] }");
        assert_eq!(retarget(&*filter, target).as_deref(), expected, "{target}");
    }

    #[test]
    fn refused_scopes_go_and_the_others_keep_their_order() {
        check(
            "/a?scope=openid+offline_access+email&state=%2f",
            Some("/a?scope=openid%20email&state=%2f"),
        );
        check("/a?scope=offline%5Faccess%20b", Some("/a?scope=b"));
        check("/a?s%63ope=x+y", Some("/a?scope=y"));
    }

    #[test]
    fn a_scope_of_refused_ones_only_goes_whole() {
        check("/a?x=1&scope=offline_access&y=2", Some("/a?x=1&y=2"));
        check("/a?scope=x++offline_access", Some("/a"));
    }

    #[test]
    fn everything_else_stays_as_sent() {
        check("/a?scope=openid+offline_accessible&offline_access=1", None);
        check("/a?scope=openid++email&scope=%ff", None);
        check("/a", None);
    }

    #[test]
    fn a_form_is_treated_alike() {
        let filter = build("drop_scope", "{ in: form, scopes: [offline_access] }");
        let body = b"grant_type=refresh_token&scope=openid+offline_access&refresh_token=%2f";
        assert_eq!(
            reform(&*filter, body).as_deref(),
            Some(&b"grant_type=refresh_token&scope=openid&refresh_token=%2f"[..])
        );
        assert_eq!(reform(&*filter, b"scope=openid"), None);
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(
            problems("drop_scope", "{ in: query, scopes: [] }"),
            ["scopes: names no scope"]
        );
    }

    proptest! {
        #[test]
        fn dropping_twice_is_dropping_once(
            before in "[a-z=&%0-9]{0,20}", scope in "[a-z+%0-9x]{0,20}", after in "[a-z=&]{0,20}"
        ) {
            let filter = build("drop_scope", "{ in: query, scopes: [x] }");
            let target = format!("/a?{before}&scope={scope}&{after}");
            let once = retarget(&*filter, &target).unwrap_or(target);
            prop_assert_eq!(retarget(&*filter, &once), None);
        }
    }
}
