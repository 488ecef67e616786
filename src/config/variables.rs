//! `${VAR}` and `${VAR:-default}` in values, never in structure.
//!
//! Runs on the parsed tree, so that no content of a variable can become a key or a list. `$$` is
//! a dollar sign. An empty variable counts as missing: with `${HTTPS_PROXY:-}` that means unset,
//! and without a default it is named. Defaults are taken as they stand, without variables inside.

use std::collections::HashSet;

use super::{
    path::Path,
    problems::Located,
    tree::{Kind, Node, excerpt},
};

/// Looks up a variable of the environment.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Expands the variables of a tree in place.
///
/// Returns the problems, each variable named once, and the ids of the values that could not be
/// made, so that nothing is said about them a second time.
pub(super) fn expand(root: &mut Node, env: Environment<'_>) -> (Vec<Located>, HashSet<usize>) {
    let mut expansion = Expansion {
        env,
        problems: vec![],
        named: HashSet::new(),
        poisoned: HashSet::new(),
    };
    expansion.node(root, &Path::root());
    (expansion.problems, expansion.poisoned)
}

struct Expansion<'a> {
    env: Environment<'a>,
    problems: Vec<Located>,
    named: HashSet<String>,
    poisoned: HashSet<usize>,
}

impl Expansion<'_> {
    fn node(&mut self, node: &mut Node, path: &Path<'_>) {
        match &mut node.kind {
            Kind::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.node(item, &path.index(index));
                }
            }
            Kind::Map(entries) => {
                for entry in entries {
                    self.node(&mut entry.value, &path.key(&entry.key));
                }
            }
            Kind::Scalar(scalar) if scalar.text.contains('$') => match text(&scalar.text, self.env)
            {
                Ok(text) => {
                    scalar.expanded |= text.from_variable;
                    scalar.text = text.text;
                }
                Err(faults) => {
                    self.poisoned.insert(node.id);
                    for fault in faults {
                        if fault.variable.is_none_or(|name| self.named.insert(name)) {
                            let mut problem = Located::at(node.at, path.to_string(), fault.what);
                            problem.help = fault.help;
                            self.problems.push(problem);
                        }
                    }
                }
            },
            Kind::Scalar(_) => {}
        }
    }
}

#[derive(Debug, PartialEq)]
struct Expanded {
    text: String,
    from_variable: bool,
}

#[derive(Debug, PartialEq)]
struct Fault {
    variable: Option<String>,
    what: String,
    help: Option<String>,
}

fn text(raw: &str, env: Environment<'_>) -> Result<Expanded, Vec<Fault>> {
    let mut text = String::with_capacity(raw.len());
    let mut from_variable = false;
    let mut faults = vec![];
    let mut rest = raw;
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            text.push('$');
            rest = after;
        } else if let Some(after) = after.strip_prefix('{') {
            let Some((inside, after)) = after.split_once('}') else {
                faults.push(malformed(raw, "`${` without `}`"));
                return Err(faults);
            };
            from_variable = true;
            match variable(inside, env) {
                Ok(value) => text.push_str(&value),
                Err(fault) => faults.push(fault),
            }
            rest = after;
        } else {
            text.push('$');
            rest = after;
        }
    }
    text.push_str(rest);
    if faults.is_empty() {
        Ok(Expanded {
            text,
            from_variable,
        })
    } else {
        Err(faults)
    }
}

fn variable(inside: &str, env: Environment<'_>) -> Result<String, Fault> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let named = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !named || default.is_some_and(|default| default.contains("${")) {
        return Err(malformed(inside, "expected `${VAR}` or `${VAR:-default}`"));
    }
    let value = env(name);
    if value
        .as_deref()
        .is_some_and(|value| value.contains(char::is_control))
    {
        // The value is not shown: it may be a secret.
        return Err(Fault {
            variable: Some(name.to_owned()),
            what: format!("variable `{name}` holds a line break or another control character"),
            help: Some(
                "check the environment file for stray quotes and Windows line ends".to_owned(),
            ),
        });
    }
    let empty = value.as_deref() == Some("");
    match (value.filter(|value| !value.is_empty()), default) {
        (Some(value), _) => Ok(value),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(Fault {
            variable: Some(name.to_owned()),
            what: format!(
                "variable `{name}` is {}",
                if empty { "empty" } else { "not set" }
            ),
            help: Some(format!(
                "set it in the environment of the gateway or write `${{{name}:-default}}`"
            )),
        }),
    }
}

fn malformed(found: &str, what: &str) -> Fault {
    Fault {
        variable: None,
        what: format!("{what}, found `{}`", excerpt(found)),
        help: Some("write `$$` for a dollar sign".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "A" => Some("one".to_owned()),
            "EMPTY" => Some(String::new()),
            "BROKEN" => Some("one\r".to_owned()),
            "NESTED" => Some("${A}: [x]".to_owned()),
            _ => None,
        }
    }

    fn check(raw: &str, expect: Result<&str, &[&str]>) {
        let got = text(raw, &env)
            .map(|expanded| expanded.text)
            .map_err(|faults| faults.into_iter().map(|f| f.what).collect::<Vec<_>>());
        let expect = expect
            .map(str::to_owned)
            .map_err(|faults| faults.iter().map(|&f| f.to_owned()).collect::<Vec<_>>());
        assert_eq!(got, expect, "{raw}");
    }

    #[test]
    fn a_variable_becomes_its_value() {
        check("x${A}y${A}", Ok("xoneyone"));
        check("${A:-two}", Ok("one"));
        check("${B:-two}${EMPTY:-}", Ok("two"));
        check("no variable", Ok("no variable"));
    }

    #[test]
    fn a_value_is_not_read_again() {
        check("${NESTED}", Ok("${A}: [x]"));
    }

    #[test]
    fn two_dollars_are_one() {
        check("$${A} costs $5", Ok("${A} costs $5"));
    }

    #[test]
    fn what_is_missing_is_named() {
        check(
            "${B}${EMPTY}",
            Err(&["variable `B` is not set", "variable `EMPTY` is empty"]),
        );
        check(
            "${BROKEN}",
            Err(&["variable `BROKEN` holds a line break or another control character"]),
        );
    }

    #[test]
    fn other_operators_are_refused() {
        check(
            "${A:?x}",
            Err(&["expected `${VAR}` or `${VAR:-default}`, found `A:?x`"]),
        );
        check("${A", Err(&["`${` without `}`, found `${A`"]));
        check(
            "${}",
            Err(&["expected `${VAR}` or `${VAR:-default}`, found ``"]),
        );
    }

    proptest! {
        #[test]
        fn text_without_a_dollar_stays(raw in "[^$]*") {
            prop_assert_eq!(text(&raw, &env).unwrap().text, raw);
        }

        #[test]
        fn doubling_dollars_keeps_any_text(raw in ".*") {
            prop_assert_eq!(text(&raw.replace('$', "$$"), &env).unwrap().text, raw);
        }

        #[test]
        fn never_panics(raw in "[${}:A-]*") {
            let _ = text(&raw, &env);
        }
    }
}
