//! Turns scopes that stand for demands of a policy into `claims`.
//!
//! A policy may ask for more than a sign-in: another factor, another device. Entra says so in JSON,
//! and wants it back as the parameter `claims` of the authorization request; clients only know how
//! to ask for a scope. So the demand travels as one: a name of `names`, which the metadata
//! publishes, or the demand itself, as `claims:` and the JSON in base64url. Nothing is kept in
//! between. `claims` is a parameter that every client may set, so a scope gives nobody more to say.
//!
//! Each such scope is taken out of `scope`, where the provider would not know it, and what it stands
//! for is joined with the others and with a `claims` that the request carries already. Other
//! parameters, and a `scope` without any of them, stay byte for byte. A demand that is no JSON
//! object is refused, and so are demands that contradict each other or exceed 4 KiB.
//!
//! ```yaml
//! - scope_to_claims:
//!     names: { mfa: '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}' }
//! ```

use std::{borrow::Cow, collections::BTreeMap};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{StatusCode, request};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, map};

use crate::{
    Context, Edits, Filter, FilterConfig, Problem, Refusal, Verdict,
    pairs::{self, Change, pairs},
    settings,
};

/// What a scope starts with that carries its demand itself.
const PREFIX: &str = "claims:";
/// The longest demand, as JSON, in bytes.
const LIMIT: usize = 4096;

/// Returns the scope that stands for a demand, to be named in a challenge.
///
/// It is one of `names` when one of them means the same, and carries the demand itself otherwise.
/// `None` when `claims` is no JSON object, or a long one.
#[must_use]
pub fn claims_scope(names: &BTreeMap<String, String>, claims: &str) -> Option<String> {
    let demand = parse(claims.as_bytes())?;
    let named = names
        .iter()
        .find(|(_, claims)| parse(claims.as_bytes()).as_ref() == Some(&demand));
    if let Some((name, _)) = named {
        return Some(name.clone());
    }
    let json = serde_json::to_string(&demand).ok()?;
    Some(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(json)))
}

/// Settings of `scope_to_claims`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScopeToClaimsConfig {
    /// Scopes and the JSON objects that they stand for.
    #[serde(default)]
    names: BTreeMap<String, String>,
}

impl FilterConfig for ScopeToClaimsConfig {
    const NAME: &'static str = "scope_to_claims";
    const SUMMARY: &'static str = "Turns scopes that stand for demands of a policy into claims";
    const SOURCE: &'static str = include_str!("scope_to_claims.rs");

    fn build(self) -> Result<Box<dyn Filter>, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut names = BTreeMap::new();
        for (name, claims) in self.names {
            let mut found = Vec::new();
            settings::check_scopes("names", std::slice::from_ref(&name), &mut found);
            if !found.is_empty() || name.starts_with(PREFIX) {
                let what = format!(
                    "expected the name of a scope that does not start with `{PREFIX}`, found `{}`",
                    name.escape_debug()
                );
                problems.push(Problem::new("names", what));
            }
            match parse(claims.as_bytes()) {
                Some(demand) => {
                    names.insert(name, demand);
                }
                None => problems.push(Problem::new(
                    format!("names.{name}"),
                    format!(
                        "expected a JSON object of at most {LIMIT} bytes, found `{}`",
                        claims.escape_debug()
                    ),
                )),
            }
        }
        settings::finish(problems, || ScopeToClaims { names })
    }
}

type Object = Map<String, Value>;

fn parse(json: &[u8]) -> Option<Object> {
    (json.len() <= LIMIT)
        .then(|| serde_json::from_slice(json).ok())
        .flatten()
}

#[derive(Debug)]
struct ScopeToClaims {
    names: BTreeMap<String, Object>,
}

impl Filter for ScopeToClaims {
    fn request(&self, _: &Context<'_>, head: &request::Parts) -> Result<Verdict, Refusal> {
        let query = head.uri.query().unwrap_or_default().as_bytes();
        let Some(demand) = self.demanded(query)? else {
            return Ok(Verdict::pass());
        };
        let mut placed = false;
        let changed = pairs::rewrite(query, |pair| {
            if pair.is_named("scope") {
                return self.without_demands(pair);
            }
            if !pair.is_named("claims") {
                return Change::Keep;
            }
            if std::mem::replace(&mut placed, true) {
                return Change::Drop;
            }
            Change::Replace(pairs::encode("claims", &demand).into_bytes())
        });
        let mut query = changed.unwrap_or_else(|| query.to_vec());
        if !placed {
            pairs::append(&mut query, pairs::encode("claims", &demand).as_bytes());
        }
        Ok(Verdict::Continue(Edits {
            target: Some(pairs::target(&head.uri, &query)?),
            ..Edits::default()
        }))
    }
}

impl ScopeToClaims {
    /// Returns everything that is demanded, as JSON; `None` when no scope demands anything.
    fn demanded(&self, query: &[u8]) -> Result<Option<String>, Refusal> {
        let mut all: Option<Object> = None;
        let scopes = pairs(query).filter(|pair| pair.is_named("scope"));
        for (_, word) in scopes.flat_map(|pair| pairs::words(pair.value)) {
            if let Some(demand) = self.find(&word)? {
                join(all.get_or_insert_default(), demand.into_owned())?;
            }
        }
        let Some(mut all) = all else {
            return Ok(None);
        };
        for pair in pairs(query).filter(|pair| pair.is_named("claims")) {
            join(&mut all, parse(&pair.decoded()).ok_or_else(unreadable)?)?;
        }
        let json = serde_json::to_string(&all).map_err(|_| unreadable())?;
        if json.len() > LIMIT {
            return Err(unreadable());
        }
        Ok(Some(json))
    }

    /// Returns what a scope stands for.
    fn find(&self, scope: &[u8]) -> Result<Option<Cow<'_, Object>>, Refusal> {
        let Ok(text) = std::str::from_utf8(scope) else {
            return Ok(None);
        };
        if let Some(demand) = self.names.get(text) {
            return Ok(Some(Cow::Borrowed(demand)));
        }
        let Some(encoded) = text.strip_prefix(PREFIX) else {
            return Ok(None);
        };
        let json = URL_SAFE_NO_PAD.decode(encoded).ok();
        let demand = json.and_then(|json| parse(&json)).ok_or_else(unreadable)?;
        Ok(Some(Cow::Owned(demand)))
    }

    fn without_demands(&self, pair: &pairs::Pair<'_>) -> Change {
        let separator: &[u8] = if pair.value.contains(&b'+') {
            b"+"
        } else {
            b"%20"
        };
        let mut dropped = false;
        let mut kept: Vec<&[u8]> = Vec::new();
        for (raw, word) in pairs::words(pair.value) {
            if matches!(self.find(&word), Ok(None)) {
                kept.push(raw);
            } else {
                dropped = true;
            }
        }
        if !dropped {
            return Change::Keep;
        }
        if kept.is_empty() {
            return Change::Drop;
        }
        let name = pair.raw.strip_suffix(pair.value).unwrap_or(b"scope=");
        Change::Replace([name, &kept.join(separator)].concat())
    }
}

/// Joins two demands; what both say must be the same.
fn join(into: &mut Object, other: Object) -> Result<(), Refusal> {
    for (name, value) in other {
        match into.entry(name) {
            map::Entry::Vacant(free) => {
                free.insert(value);
            }
            map::Entry::Occupied(mut taken) => match (taken.get_mut(), value) {
                (Value::Object(one), Value::Object(other)) => join(one, other)?,
                (one, other) if *one == other => {}
                _ => {
                    return Err(Refusal::new(
                        StatusCode::BAD_REQUEST,
                        "invalid_scope",
                        "two scopes demand claims that contradict each other",
                    ));
                }
            },
        }
    }
    Ok(())
}

fn unreadable() -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "invalid_scope",
        "the claims that the request demands are not one JSON object of at most 4 KiB",
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::testing::{build, cx, problems, refusal, request, retarget};

    const YAML: &str = r#"names: { mfa: '{"access_token":{"acrs":{"essential":true}}}',
        no_mfa: '{"access_token":{"acrs":{"essential":false}}}', device: '{"id_token":{}}' }"#;

    fn dynamic(claims: &Value) -> String {
        claims_scope(&BTreeMap::new(), &claims.to_string()).unwrap()
    }

    /// Checks the claims that go on, and the query without them.
    fn check(target: &str, claims: &Value, rest: &str) {
        let filter = build("scope_to_claims", YAML);
        let found = retarget(&*filter, target).unwrap();
        let url = url::Url::parse(&format!("https://x.test{found}")).unwrap();
        let (_, value) = url
            .query_pairs()
            .find(|(name, _)| name == "claims")
            .unwrap();
        assert_eq!(serde_json::from_str::<Value>(&value).unwrap(), *claims);
        let query = found.trim_start_matches("/a?").split('&');
        let others: Vec<&str> = query.filter(|pair| !pair.starts_with("claims=")).collect();
        assert_eq!(others.join("&"), rest);
    }

    #[test]
    fn a_published_name_becomes_what_it_stands_for() {
        let mfa = json!({"access_token": {"acrs": {"essential": true}}});
        check(
            "/a?state=%2f&scope=tools%2ERead+mfa+openid&x",
            &mfa,
            "state=%2f&scope=tools%2ERead+openid&x",
        );
        check("/a?scope=mfa&x", &mfa, "x");
    }

    #[test]
    fn a_demand_may_stand_in_the_scope_itself() {
        let demand = json!({"access_token": {"capolids": {"essential": true, "values": ["a"]}}});
        let scope = dynamic(&demand);
        assert!(scope.bytes().all(|byte| byte.is_ascii_graphic()));
        check(&format!("/a?scope=x%20{scope}"), &demand, "scope=x");
    }

    #[test]
    fn demands_are_joined() {
        let scope = dynamic(&json!({"access_token": {"nbf": {"value": "1"}}}));
        check(
            &format!("/a?claims=%7B%22userinfo%22%3A%7B%7D%7D&scope=mfa+device+mfa+{scope}"),
            &json!({
                "access_token": {"acrs": {"essential": true}, "nbf": {"value": "1"}},
                "id_token": {}, "userinfo": {},
            }),
            "",
        );
    }

    #[test]
    fn other_requests_are_not_touched() {
        let filter = build("scope_to_claims", YAML);
        for target in ["/a", "/a?scope=x++MFA+claims&claims=%zz", "/a?x=mfa&scope"] {
            assert_eq!(retarget(&*filter, target), None, "{target}");
        }
    }

    #[test]
    fn what_is_no_demand_is_refused() {
        let filter = build("scope_to_claims", YAML);
        let long = dynamic(&json!({"a": "x".repeat(4070)}));
        for query in [
            "scope=claims:".to_owned(),
            "scope=claims:e30%3D".to_owned(),
            "scope=claims:W10".to_owned(),
            "scope=mfa+no_mfa".to_owned(),
            "scope=mfa&claims=x".to_owned(),
            format!("scope={long}+mfa"),
        ] {
            let head = request(&format!("GET /a?{query}"));
            assert_eq!(
                refusal(filter.request(&cx(), &head)),
                (StatusCode::BAD_REQUEST, "invalid_scope"),
                "{query}"
            );
        }
    }

    #[test]
    fn a_challenge_names_the_published_scope_where_there_is_one() {
        let names = BTreeMap::from([("mfa".to_owned(), r#"{"a":{"b":1}}"#.to_owned())]);
        let scope = |claims: &str| claims_scope(&names, claims);
        assert_eq!(scope(r#"{ "a" : {"b": 1} }"#).as_deref(), Some("mfa"));
        assert_eq!(scope("{}").as_deref(), Some("claims:e30"));
        assert_eq!(scope("[]"), None);
        assert_eq!(scope(&format!("{{\"a\":\"{}\"}}", "x".repeat(4096))), None);
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(
            problems(
                "scope_to_claims",
                "names: { 'a b': '{}', 'claims:x': '{}', c: '[]' }"
            ),
            [
                "names: expected the name of a scope that does not start with `claims:`, found `a b`",
                "names.c: expected a JSON object of at most 4096 bytes, found `[]`",
                "names: expected the name of a scope that does not start with `claims:`, found `claims:x`",
            ]
        );
    }

    proptest! {
        #[test]
        fn never_panics_and_leaves_no_demand_behind(
            query in "((scope|claims|state|x)=(mfa|device|claims:e30|claims:|openid|[+]|%20|[%a-z{}0-9]){0,4}&){0,4}x"
        ) {
            let filter = build("scope_to_claims", YAML);
            let Ok(head) = http::Request::builder().uri(format!("/a?{query}")).body(()) else {
                return Ok(());
            };
            let Ok(verdict) = filter.request(&cx(), &head.into_parts().0) else {
                return Ok(());
            };
            let Verdict::Continue(edits) = verdict else { unreachable!() };
            if let Some(target) = edits.target {
                prop_assert_eq!(retarget(&*filter, target.as_str()), None);
            }
        }
    }
}
