//! Shapes and checks that several filters' settings share.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{SeqAccess, Visitor, value::SeqAccessDeserializer},
};
use url::Url;

use crate::{Problem, redirect_uri};

/// The word `any`, or a list of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// Every name.
    Any,
    /// These names only.
    List(Vec<String>),
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NamesVisitor;

        impl<'de> Visitor<'de> for NamesVisitor {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`any` or a list of names")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Names, E> {
                if text == "any" {
                    return Ok(Names::Any);
                }
                Err(E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Names, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(Names::List)
            }
        }

        deserializer.deserialize_any(NamesVisitor)
    }
}

impl Serialize for Names {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Any => serializer.serialize_str("any"),
            Self::List(names) => names.serialize(serializer),
        }
    }
}

impl JsonSchema for Names {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Names".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "const": "any" },
                { "type": "array", "items": { "type": "string" } }
            ]
        })
    }
}

/// What a URL in the settings may hold beside scheme, host and path.
#[derive(Clone, Copy, Debug)]
pub(crate) enum UrlRule {
    /// Anything but a fragment.
    Destination,
    /// Neither query nor fragment: clients append to it.
    Endpoint,
    /// As an endpoint, without a trailing slash: clients compare it byte for byte, and some add or
    /// remove the slash before they do.
    Issuer,
    /// As an issuer, with a path: a bare origin becomes `https://host/` in a URL parser, which then
    /// is not the resource that was published.
    Resource,
}

/// Checks a URL of the settings; the text stays as written.
pub(crate) fn check_url(at: &str, text: &str, rule: UrlRule, problems: &mut Vec<Problem>) {
    let shown = text.escape_debug();
    let mut refuse = |what: String, help: &str| {
        let problem = Problem::new(at, what);
        problems.push(if help.is_empty() {
            problem
        } else {
            problem.help(help)
        });
    };
    let Ok(url) = Url::parse(text) else {
        return refuse(format!("expected an absolute URL, found `{shown}`"), "");
    };
    if !text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'\\')
    {
        return refuse(
            format!("`{shown}` holds a character that a URL cannot hold"),
            "write it percent-encoded",
        );
    }
    if !(text.starts_with("https://") || redirect_uri::is_loopback(text)) {
        return refuse(
            format!("expected an https URL, found `{shown}`"),
            "plain http is accepted for loopback only",
        );
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("the URL holds a user name or password".to_owned(), "");
    }
    if url.fragment().is_some() {
        return refuse(format!("`{shown}` holds a fragment"), "leave out the `#`");
    }
    if !matches!(rule, UrlRule::Destination) && url.query().is_some() {
        return refuse(
            format!("`{shown}` holds a query"),
            "clients append their own parameters; leave out the `?`",
        );
    }
    if matches!(rule, UrlRule::Issuer | UrlRule::Resource) && text.ends_with('/') {
        return refuse(
            format!("`{shown}` ends in a slash"),
            "clients compare it byte for byte; leave out the slash",
        );
    }
    if matches!(rule, UrlRule::Resource) && url.path() == "/" {
        return refuse(
            format!("`{shown}` has no path"),
            "URL parsers add a slash to a bare origin; publish a path, such as /mcp",
        );
    }
    let parsed = url.as_str();
    let same = parsed == text || parsed.strip_suffix('/') == Some(text);
    if matches!(rule, UrlRule::Issuer | UrlRule::Resource) && !same {
        refuse(
            format!("`{shown}` is read as `{parsed}` by URL parsers"),
            "clients compare it byte for byte; write it the way it is read",
        );
    }
}

/// Checks a list of scopes against RFC 6749 §3.3.
pub(crate) fn check_scopes(at: &str, scopes: &[String], problems: &mut Vec<Problem>) {
    for (index, scope) in scopes.iter().enumerate() {
        let valid = !scope.is_empty()
            && scope
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'));
        if !valid {
            problems.push(Problem::new(
                format!("{at}[{index}]"),
                format!("expected one scope, found `{}`", scope.escape_debug()),
            ));
        }
        if scopes.iter().take(index).any(|earlier| earlier == scope) {
            problems.push(Problem::new(
                format!("{at}[{index}]"),
                format!("`{}` is listed twice", scope.escape_debug()),
            ));
        }
    }
}

/// Checks a list of parameter names.
pub(crate) fn check_params<'a>(
    at: &str,
    params: impl IntoIterator<Item = &'a String>,
    problems: &mut Vec<Problem>,
) {
    let mut count = 0;
    for (index, param) in params.into_iter().enumerate() {
        count += 1;
        if param.is_empty() {
            problems.push(Problem::new(
                format!("{at}[{index}]"),
                "a parameter name is empty",
            ));
        }
    }
    if count == 0 {
        problems.push(Problem::new(at, "names no parameter").help("leave out the step"));
    }
}

/// Checks the client id of the application registration.
pub(crate) fn check_client_id(at: &str, client_id: &str, problems: &mut Vec<Problem>) {
    if client_id.is_empty() || !client_id.bytes().all(|byte| byte.is_ascii_graphic()) {
        problems.push(
            Problem::new(
                at,
                format!("expected a client id, found `{}`", client_id.escape_debug()),
            )
            .help("it is the application (client) ID of the registration"),
        );
    }
}

/// Returns the filter, or every problem found while it was built.
pub(crate) fn finish<F: crate::Filter + 'static>(
    problems: Vec<Problem>,
    filter: impl FnOnce() -> F,
) -> Result<Box<dyn crate::Filter>, Vec<Problem>> {
    if problems.is_empty() {
        Ok(Box::new(filter()))
    } else {
        Err(problems)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: UrlRule, text: &str, expected: Option<&str>) {
        let mut problems = Vec::new();
        check_url("url", text, rule, &mut problems);
        let found = problems.first().map(|problem| problem.what.clone());
        assert_eq!(found.as_deref(), expected, "{text}");
    }

    #[test]
    fn an_issuer_is_what_clients_can_compare() {
        check(UrlRule::Issuer, "https://gw.test", None);
        check(UrlRule::Issuer, "https://gw.test/tenant", None);
        check(UrlRule::Issuer, "http://localhost:8080", None);
        check(
            UrlRule::Issuer,
            "https://gw.test/",
            Some("`https://gw.test/` ends in a slash"),
        );
        check(
            UrlRule::Issuer,
            "https://gw.test?x",
            Some("`https://gw.test?x` holds a query"),
        );
        check(
            UrlRule::Issuer,
            "http://gw.test",
            Some("expected an https URL, found `http://gw.test`"),
        );
        check(
            UrlRule::Issuer,
            "gw.test",
            Some("expected an absolute URL, found `gw.test`"),
        );
        check(
            UrlRule::Issuer,
            "https://GW.test:443",
            Some("`https://GW.test:443` is read as `https://gw.test/` by URL parsers"),
        );
    }

    #[test]
    fn a_resource_has_a_path() {
        check(UrlRule::Resource, "https://gw.test/mcp", None);
        check(
            UrlRule::Resource,
            "https://gw.test",
            Some("`https://gw.test` has no path"),
        );
    }

    #[test]
    fn a_destination_may_have_a_query_and_no_fragment() {
        check(UrlRule::Destination, "https://idp.test/a?b=c", None);
        check(
            UrlRule::Destination,
            "https://idp.test/#a",
            Some("`https://idp.test/#a` holds a fragment"),
        );
    }
}
