//! The reference of a filter, made from its module documentation and the schema of its settings.
//!
//! There is no second text to keep in step: what a person reads here is what stands above the code.

use std::fmt::Write;

use serde_json::{Map, Value};

/// The widest line that is written, in characters.
const WIDTH: usize = 90;

/// Writes the reference of one filter.
pub(crate) fn render(name: &str, source: &str, schema: &Value) -> String {
    let mut text = format!("{name}\n\n");
    let mut fenced = false;
    for line in documentation(source) {
        match (line.trim_start().strip_prefix("```"), fenced) {
            (Some(_), _) => {
                if !fenced {
                    text.push_str("Example:\n\n");
                }
                fenced = !fenced;
            }
            (None, true) => push_line(&mut text, &format!("    {line}")),
            (None, false) => push_line(&mut text, line),
        }
    }
    text.push_str("\nSettings:\n");
    let mut settings = String::new();
    describe(&mut settings, "", schema, schema);
    if settings.is_empty() {
        settings.push_str("\n  none\n");
    }
    text + &settings
}

/// Returns the YAML of every example in a module documentation.
pub(crate) fn examples(source: &str) -> Vec<String> {
    let mut examples = Vec::new();
    let mut open: Option<String> = None;
    for line in documentation(source) {
        match (line.trim_start().strip_prefix("```"), open.take()) {
            (Some(_), Some(example)) => examples.push(example),
            (Some(language), None) => open = (language == "yaml").then(String::new),
            (None, Some(example)) => open = Some(example + line + "\n"),
            (None, None) => {}
        }
    }
    examples
}

/// Returns the lines of the module documentation.
fn documentation(source: &str) -> impl Iterator<Item = &str> {
    source
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
}

fn push_line(text: &mut String, line: &str) {
    text.push_str(line.trim_end());
    text.push('\n');
}

/// Writes one paragraph per setting, the required ones first.
fn describe(text: &mut String, prefix: &str, schema: &Value, root: &Value) {
    let schema = resolve(schema, root);
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return;
    };
    let required = |name: &str| {
        let listed = schema.get("required").and_then(Value::as_array);
        listed.is_some_and(|names| names.iter().any(|one| one == name))
    };
    let mut names: Vec<&String> = properties.keys().collect();
    names.sort_by_key(|name| !required(name));
    for (name, setting) in names
        .iter()
        .filter_map(|name| properties.get_key_value(*name))
    {
        let resolved = resolve(setting, root);
        let nested = resolved.get("properties").is_some();
        let mut facts = vec![kind(setting, root)];
        if required(name) {
            facts.push("required".to_owned());
        }
        if let Some(default) = setting
            .get("default")
            .filter(|value| !value.is_null() && !nested)
        {
            facts.push(format!("default {}", flow(default)));
        }
        // Writing to a string cannot fail.
        let _ = writeln!(text, "\n  {prefix}{name}: {}", facts.join(", "));
        let description = setting.get("description").or(resolved.get("description"));
        wrap(
            text,
            description.and_then(Value::as_str).unwrap_or_default(),
        );
        describe(text, &format!("{prefix}{name}."), setting, root);
    }
}

/// Follows a reference to the definitions of the schema.
fn resolve<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    let pointer = schema.get("$ref").and_then(Value::as_str);
    pointer
        .and_then(|pointer| pointer.strip_prefix('#'))
        .and_then(|pointer| root.pointer(pointer))
        .unwrap_or(schema)
}

/// Writes a default the way one would in YAML.
fn flow(value: &Value) -> String {
    match value {
        Value::String(text) if !text.is_empty() => text.clone(),
        Value::Array(list) => {
            format!("[{}]", list.iter().map(flow).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// Says in words what a setting holds.
fn kind(schema: &Value, root: &Value) -> String {
    let schema = resolve(schema, root);
    let Some(object) = schema.as_object() else {
        return "any value".to_owned();
    };
    if let Some(word) = object.get("const") {
        return quoted(word);
    }
    for alternatives in ["enum", "oneOf", "anyOf"] {
        let Some(list) = object.get(alternatives).and_then(Value::as_array) else {
            continue;
        };
        let words: Vec<String> = list
            .iter()
            .filter(|one| !is_null(one))
            .map(|one| {
                if one.is_object() {
                    kind(one, root)
                } else {
                    quoted(one)
                }
            })
            .collect();
        return either(&words);
    }
    typed(object, root)
}

fn typed(object: &Map<String, Value>, root: &Value) -> String {
    let name = match object.get("type") {
        Some(Value::Array(names)) => names.iter().find(|name| *name != "null"),
        other => other,
    };
    match name.and_then(Value::as_str) {
        Some("array") => match object.get("items") {
            Some(items) => format!("list of {}", kind(items, root)),
            None => "list".to_owned(),
        },
        Some("object") => match object.get("additionalProperties") {
            Some(values) if values.is_object() => {
                format!("map of names to {}", kind(values, root))
            }
            _ => "settings".to_owned(),
        },
        Some("string") => "text".to_owned(),
        Some("integer") => "number".to_owned(),
        Some("boolean") => "true or false".to_owned(),
        _ => "any value".to_owned(),
    }
}

fn is_null(schema: &Value) -> bool {
    schema.is_null() || schema.get("type").is_some_and(|name| name == "null")
}

fn quoted(word: &Value) -> String {
    format!(
        "`{}`",
        word.as_str()
            .map_or_else(|| word.to_string(), str::to_owned)
    )
}

fn either(words: &[String]) -> String {
    match words {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [others @ .., last] => format!("{} or {last}", others.join(", ")),
    }
}

/// Writes an indented paragraph.
fn wrap(text: &mut String, paragraph: &str) {
    const INDENT: &str = "      ";
    let mut width = 0;
    for word in paragraph.split_whitespace() {
        let length = word.chars().count();
        if width > 0 && width + 1 + length <= WIDTH {
            text.push(' ');
            width += 1;
        } else {
            if width > 0 {
                text.push('\n');
            }
            text.push_str(INDENT);
            width = INDENT.len();
        }
        text.push_str(word);
        width += length;
    }
    if width > 0 {
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use serde_yaml::Value as Yaml;

    use crate::{Catalog, testing::try_build};

    fn reference(name: &str) -> String {
        Catalog::builtin().find(name).unwrap().reference()
    }

    #[test]
    fn every_example_builds() {
        for entry in Catalog::builtin().entries() {
            let examples = entry.examples();
            assert!(!examples.is_empty(), "{} has no example", entry.name);
            for example in examples {
                let steps: Vec<Yaml> = serde_yaml::from_str(&example).unwrap();
                for step in steps {
                    let (name, settings) = step.as_mapping().unwrap().iter().next().unwrap();
                    assert_eq!(name.as_str(), Some(entry.name));
                    let yaml = serde_yaml::to_string(settings).unwrap();
                    let built = try_build(entry.name, &yaml);
                    assert!(built.is_ok(), "{}: {built:?}", entry.name);
                }
            }
        }
    }

    #[test]
    fn every_reference_describes_every_setting() {
        for entry in Catalog::builtin().entries() {
            let reference = entry.reference();
            assert!(reference.starts_with(&format!("{}\n\n", entry.name)));
            assert!(reference.contains("\nExample:\n\n    - "), "{reference}");
            assert!(!reference.contains("```"));
            let (_, settings) = reference.split_once("\nSettings:\n").unwrap();
            for paragraph in settings.trim_matches('\n').split("\n\n") {
                let described = paragraph.lines().count() > 1 || paragraph.trim() == "none";
                assert!(described, "{}: {paragraph}", entry.name);
            }
            assert!(reference.lines().all(|line| line.chars().count() <= 110));
        }
    }

    #[test]
    fn a_reference_reads_like_this() {
        insta::assert_snapshot!("reference_strip_query", reference("strip_query"));
    }

    #[test]
    fn nested_settings_are_described_too() {
        insta::assert_snapshot!("reference_check_authorize", reference("check_authorize"));
    }

    #[test]
    fn alternatives_are_named() {
        insta::assert_snapshot!("reference_cors", reference("cors"));
    }
}
