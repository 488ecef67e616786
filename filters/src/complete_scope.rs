//! Adds scopes that a client forgot to ask for, in a query or a form.
//!
//! Without `scope`, or with an empty one, the default is set. Otherwise what is missing is appended
//! to the value as sent, with the separator it already uses; nothing is removed or reordered. A
//! request that carries `scope` twice is refused. In a form only the grants `authorization_code`
//! and `refresh_token` are touched.
//!
//! ```yaml
//! - complete_scope: { in: query, scopes: [openid, offline_access] }
//! ```

use bytes::Bytes;
use http::request;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    Context, Edits, Filter, FilterConfig, Problem, Refusal, Verdict, form,
    pairs::{self, Change, Pair, pairs},
    settings,
};

/// Settings of `complete_scope`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CompleteScopeConfig {
    /// Where the parameters stand.
    #[serde(rename = "in")]
    place: Place,
    /// Scopes that every request must ask for.
    scopes: Vec<String>,
    /// What a request without a scope asks for; `scopes` that are missing here are added.
    #[serde(default = "default_scopes")]
    default: Vec<String>,
}

/// Where parameters stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Place {
    Query,
    Form,
}

fn default_scopes() -> Vec<String> {
    ["openid", "profile", "email", "offline_access"]
        .map(str::to_owned)
        .to_vec()
}

impl FilterConfig for CompleteScopeConfig {
    const NAME: &'static str = "complete_scope";
    const SUMMARY: &'static str = "Adds scopes that a client forgot to ask for";
    const SOURCE: &'static str = include_str!("complete_scope.rs");

    fn build(self) -> Result<Box<dyn Filter>, Vec<Problem>> {
        let mut problems = Vec::new();
        settings::check_scopes("scopes", &self.scopes, &mut problems);
        settings::check_scopes("default", &self.default, &mut problems);
        if self.scopes.is_empty() && self.default.is_empty() {
            problems.push(Problem::new("scopes", "names no scope").help("leave out the step"));
        }
        let forgotten = self
            .scopes
            .iter()
            .filter(|scope| !self.default.contains(scope));
        let default: Vec<String> = self.default.iter().chain(forgotten).cloned().collect();
        settings::finish(problems, || CompleteScope {
            place: self.place,
            default: pairs::encode("scope", &default.join(" ")).into_bytes(),
            scopes: self.scopes,
        })
    }
}

#[derive(Debug)]
struct CompleteScope {
    place: Place,
    scopes: Vec<String>,
    /// The whole pair.
    default: Vec<u8>,
}

impl Filter for CompleteScope {
    fn request(&self, _: &Context<'_>, head: &request::Parts) -> Result<Verdict, Refusal> {
        if self.place == Place::Form {
            if form::is_form(&head.headers) {
                form::refuse_encoded(&head.headers)?;
            }
            return Ok(Verdict::pass());
        }
        let query = head.uri.query().unwrap_or_default();
        let Some(completed) = self.complete(query.as_bytes())? else {
            return Ok(Verdict::pass());
        };
        Ok(Verdict::Continue(Edits {
            target: Some(pairs::target(&head.uri, &completed)?),
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
        let user_grant = pairs(body).any(|pair| {
            pair.is_named("grant_type")
                && matches!(&*pair.decoded(), b"authorization_code" | b"refresh_token")
        });
        let body = if user_grant {
            self.complete(body)?.map(Bytes::from)
        } else {
            None
        };
        Ok(Verdict::Continue(Edits {
            body,
            ..Edits::default()
        }))
    }
}

impl CompleteScope {
    /// Completes the pairs; `None` when nothing is missing.
    fn complete(&self, raw: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        let mut found = 0_usize;
        let changed = pairs::rewrite(raw, |pair| {
            if !pair.is_named("scope") {
                return Change::Keep;
            }
            found += 1;
            self.complete_pair(pair)
        });
        match found {
            0 => {
                let mut completed = raw.to_vec();
                pairs::append(&mut completed, &self.default);
                Ok(Some(completed))
            }
            1 => Ok(changed),
            _ => Err(Refusal::invalid_request(
                "the parameter `scope` is given more than once",
            )),
        }
    }

    fn complete_pair(&self, pair: &Pair<'_>) -> Change {
        let asked = pair.decoded();
        if asked.iter().all(u8::is_ascii_whitespace) {
            return Change::Replace(self.default.clone());
        }
        let separator: &[u8] = if pair.value.contains(&b'+') {
            b"+"
        } else {
            b"%20"
        };
        let mut completed = pair.raw.to_vec();
        let mut open = !asked.ends_with(b" ");
        for scope in &self.scopes {
            if asked
                .split(|byte| *byte == b' ')
                .any(|one| one == scope.as_bytes())
            {
                continue;
            }
            if open {
                completed.extend_from_slice(separator);
            }
            open = true;
            completed.extend_from_slice(pairs::encode_value(scope).to_string().as_bytes());
        }
        if completed.len() == pair.raw.len() {
            Change::Keep
        } else {
            Change::Replace(completed)
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use proptest::prelude::*;

    use crate::testing::{build, cx, problems, reform, refusal, request, retarget};

    const QUERY: &str = "{ in: query, scopes: [openid, offline_access] }";
    const FORM: &str = "{ in: form, scopes: [openid], default: ['api://x/read'] }";

    fn check(target: &str, expected: Option<&str>) {
        let filter = build("complete_scope", QUERY);
        assert_eq!(retarget(&*filter, target).as_deref(), expected, "{target}");
    }

    fn check_form(body: &str, expected: Option<&str>) {
        let filter = build("complete_scope", FORM);
        let found = reform(&*filter, body.as_bytes());
        assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{body}");
    }

    #[test]
    fn a_missing_or_empty_scope_becomes_the_default() {
        let all = "scope=openid%20profile%20email%20offline_access";
        check("/a", Some(&format!("/a?{all}")));
        check("/a?x=1", Some(&format!("/a?x=1&{all}")));
        check("/a?scope&x=1", Some(&format!("/a?{all}&x=1")));
        check("/a?x=1&scope=&y=2", Some(&format!("/a?x=1&{all}&y=2")));
        check("/a?scope=+%20%09", Some(&format!("/a?{all}")));
    }

    #[test]
    fn missing_scopes_are_appended_with_the_separator_in_use() {
        check(
            "/a?scope=x+y&z=1",
            Some("/a?scope=x+y+openid+offline_access&z=1"),
        );
        check(
            "/a?scope=x%20y",
            Some("/a?scope=x%20y%20openid%20offline_access"),
        );
        check("/a?scope=openid", Some("/a?scope=openid%20offline_access"));
        check("/a?scope=x+", Some("/a?scope=x+openid+offline_access"));
        check(
            "/a?s%63ope=x",
            Some("/a?s%63ope=x%20openid%20offline_access"),
        );
    }

    #[test]
    fn a_complete_scope_stays_as_sent() {
        check("/a?scope=offline%5Faccess++openid&state=%2f", None);
    }

    #[test]
    fn a_repeated_scope_is_refused() {
        let filter = build("complete_scope", QUERY);
        assert_eq!(
            refusal(filter.request(&cx(), &request("GET /a?scope=x&%73cope=y"))),
            (StatusCode::BAD_REQUEST, "invalid_request")
        );
    }

    #[test]
    fn a_form_is_completed_for_both_user_grants_only() {
        check_form(
            "grant_type=refresh_token&refresh_token=r",
            Some("grant_type=refresh_token&refresh_token=r&scope=api%3A%2F%2Fx%2Fread%20openid"),
        );
        check_form(
            "scope=a&grant_type=authorization_code",
            Some("scope=a%20openid&grant_type=authorization_code"),
        );
        check_form("grant_type=client_credentials", None);
        check_form("", None);
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(
            problems("complete_scope", "{ in: query, scopes: ['a b', x, x] }"),
            [
                "scopes[0]: expected one scope, found `a b`",
                "scopes[2]: `x` is listed twice"
            ]
        );
    }

    proptest! {
        #[test]
        fn completing_twice_is_completing_once(
            before in "[a-z=&%0-9]{0,20}", scope in "[a-z+%0-9 ]{0,20}", after in "[a-z=&]{0,20}"
        ) {
            let filter = build("complete_scope", QUERY);
            let target = format!("/a?{before}&scope={}&{after}", scope.replace(' ', "%20"));
            let Ok(verdict) = filter.request(&cx(), &request(&format!("GET {target}"))) else {
                return Ok(());
            };
            let crate::Verdict::Continue(edits) = verdict else { unreachable!() };
            let once = edits.target.map_or(target.clone(), |target| target.to_string());
            prop_assert_eq!(retarget(&*filter, &once), None);
            let (head, tail) = (format!("/a?{before}&"), format!("&{after}"));
            prop_assert!(once.starts_with(&head), "{}", once);
            prop_assert!(once.ends_with(&tail), "{}", once);
        }
    }
}
