//! The way back: values and routes as YAML, for `explain`. The one file that knows the YAML writer.

use serde::{Serialize, de::DeserializeOwned};

use super::tree::{Entry, FIRST_MADE, Kind, Node, Position, Scalar};
use crate::oauth::{Setting, Step};

/// Writes a value as YAML; empty when it has no YAML form, which no value of ours lacks.
pub(crate) fn to_yaml(value: &impl Serialize) -> String {
    serde_yaml::to_string(value).unwrap_or_default()
}

/// Turns a typed value into settings.
pub(super) fn settings<T: Serialize>(value: &T) -> Setting {
    convert(value).unwrap_or(Setting::Null)
}

fn convert<T: DeserializeOwned>(value: &impl Serialize) -> Option<T> {
    serde_yaml::from_value(serde_yaml::to_value(value).ok()?).ok()
}

/// Turns what stands in the file into settings; what looks like a secret is masked.
pub(super) fn shown(node: &Node) -> Setting {
    match &node.kind {
        Kind::Scalar(scalar) if scalar.is_null() => Setting::Null,
        Kind::Scalar(scalar) if scalar.plain => {
            serde_yaml::from_str(&scalar.text).unwrap_or_else(|_| scalar.text.as_str().into())
        }
        Kind::Scalar(scalar) => scalar.text.as_str().into(),
        Kind::List(items) => Setting::List(items.iter().map(shown).collect()),
        Kind::Map(entries) => Setting::Map(entries.iter().map(shown_entry).collect()),
    }
}

fn shown_entry(entry: &Entry) -> (String, Setting) {
    const SECRET: [&str; 6] = [
        "authorization",
        "cookie",
        "token",
        "key",
        "secret",
        "password",
    ];
    let name = entry.key.to_ascii_lowercase();
    let value = match &entry.value.kind {
        // What comes from the environment under such a name is nobody's to read over a shoulder.
        Kind::Scalar(scalar) if scalar.expanded && SECRET.iter().any(|s| name.contains(s)) => {
            "***".into()
        }
        _ => shown(&entry.value),
    };
    (entry.key.clone(), value)
}

/// Makes tree nodes out of settings, each with an id of its own.
#[derive(Debug)]
pub(super) struct Nodes {
    next_id: usize,
}

impl Nodes {
    pub(super) const fn new() -> Self {
        Self {
            next_id: FIRST_MADE,
        }
    }

    pub(super) fn step(&mut self, step: &Step, at: Position) -> Node {
        let value = self.node(&step.settings, at);
        let key = step.name.clone();
        self.wrap(at, Kind::Map(vec![Entry { key, at, value }]))
    }

    fn node(&mut self, setting: &Setting, at: Position) -> Node {
        let kind = match setting {
            Setting::Null => scalar("", true),
            Setting::Flag(flag) => scalar(&flag.to_string(), true),
            Setting::Number(number) => scalar(&number.to_string(), true),
            Setting::Real(number) => scalar(&number.to_string(), true),
            Setting::Text(text) => scalar(text, false),
            Setting::List(items) => {
                Kind::List(items.iter().map(|item| self.node(item, at)).collect())
            }
            Setting::Map(entries) => {
                let entry = |(key, value): &(String, Setting)| Entry {
                    key: key.clone(),
                    at,
                    value: self.node(value, at),
                };
                Kind::Map(entries.iter().map(entry).collect())
            }
        };
        self.wrap(at, kind)
    }

    const fn wrap(&mut self, at: Position, kind: Kind) -> Node {
        let id = self.next_id;
        self.next_id += 1;
        Node { id, at, kind }
    }
}

fn scalar(text: &str, plain: bool) -> Kind {
    Kind::Scalar(Scalar {
        text: text.to_owned(),
        plain,
        expanded: false,
    })
}
