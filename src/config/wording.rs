//! Serde's errors in the words of the people who write `gateway.yaml`.
//!
//! No type of this program is named: `expected a whole number`, not `expected u16`.

use super::{
    de::{Error, Fault},
    problems::{Located, suggestion},
    tree::excerpt,
};

/// Says what is wrong with a value; `found` is how it stands in the file.
pub(super) fn problem(fault: &Fault, found: Option<&str>) -> Located {
    let at = |what: String| Located::at(fault.at, fault.path.as_str(), what);
    match &fault.error {
        Error::Custom(text) => at(custom(text, found)),
        Error::Type { found, expected } => {
            let problem = at(format!(
                "expected {}, found {found}",
                expected_words(expected)
            ));
            if is_list(expected) && found.starts_with('`') {
                problem.help("a list of one is written in brackets: `[value]`")
            } else {
                problem
            }
        }
        Error::UnknownVariant { found, expected } => {
            let expected = expected.iter().copied();
            at(format!("unknown value `{}`", excerpt(found))).help(suggestion(
                found,
                "expected one of",
                expected,
            ))
        }
        Error::UnknownKey { found, expected } => {
            let expected = expected.iter().copied();
            at(format!("unknown key `{}`", excerpt(found))).help(suggestion(
                found,
                "expected keys",
                expected,
            ))
        }
        Error::Missing(key) => at(format!("missing key `{key}`")),
    }
}

fn is_list(expected: &str) -> bool {
    matches!(expected, "a sequence" | "sequence")
}

fn expected_words(expected: &str) -> String {
    let words = match expected {
        "a string" | "string" | "str" | "a borrowed string" => "a text",
        "a boolean" | "bool" => "`true` or `false`",
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" | "u64" | "usize" => "a whole number, not negative",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "path string" => "a path",
        "socket address" => "an address such as `127.0.0.1:9901`",
        "unit" => "nothing",
        _ if is_list(expected) => "a list",
        _ if expected.starts_with("struct ") || expected.starts_with("struct variant") => {
            "a map of settings"
        }
        other => other,
    };
    words.to_owned()
}

/// Words of crates whose types are read directly, without a newtype of ours in between.
fn custom(text: &str, found: Option<&str>) -> String {
    let found = found.unwrap_or_default();
    if text == "invalid socket address syntax" {
        return format!("expected an address such as `127.0.0.1:9901`, found `{found}`");
    }
    if text.starts_with("invalid IP address") || text.starts_with("invalid IP network") {
        return format!("expected an address or a network such as `10.0.0.0/8`, found `{found}`");
    }
    if text.starts_with("relative URL without a base") {
        return format!("expected a URL such as `https://host/path`, found `{found}`");
    }
    text.to_owned()
}
