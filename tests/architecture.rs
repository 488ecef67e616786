//! The layer picture of ARCHITECTURE.md, as a test.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read the sources has failed"
)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Modules from the bottom up. A module uses rows below its own, never its own row.
const LAYERS: &[&[&str]] = &[
    &["io", "origin", "respond", "router", "secret", "units"],
    &["ingress", "seal", "telemetry"],
    &["egress", "listener", "relay", "session", "upstream"],
    &["admin", "cimd", "oauth", "oidc"],
    &["delegation"],
    &["directory"],
    &["config", "snapshot"],
    &["proxy"],
    &["server"],
    &["cli"],
    &["main"],
];

#[test]
fn modules_only_look_down() {
    let mut wrong = BTreeSet::new();
    for file in sources(Path::new("src")) {
        let from = module_of(&file);
        if from == "lib" {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        for to in used_modules(&text).filter(|to| *to != from) {
            match (rank(&from), rank(&to)) {
                (Some(above), Some(below)) if below < above => {}
                (Some(_), Some(_)) => {
                    wrong.insert(format!("`{from}` uses `{to}`"));
                }
                _ => {
                    wrong.insert(format!("`{from}` or `{to}` has no layer"));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "arrows must point down; see ARCHITECTURE.md: {wrong:#?}"
    );
}

#[test]
fn every_layer_is_a_module() {
    let modules: BTreeSet<_> = sources(Path::new("src"))
        .iter()
        .map(|file| module_of(file))
        .filter(|module| module != "lib")
        .collect();
    let named: BTreeSet<_> = LAYERS
        .iter()
        .flat_map(|row| row.iter().map(|module| (*module).to_owned()))
        .collect();
    assert_eq!(modules, named);
}

#[test]
fn filters_stay_pure() {
    let manifest = fs::read_to_string("filters/Cargo.toml").unwrap();
    let dependencies = manifest.split("[dependencies]").nth(1).unwrap();
    let mut names = dependencies
        .lines()
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', ' ', '=']).next());
    let banned = names.find(|name| {
        [
            "pingora",
            "tokio",
            "log",
            "reqwest",
            "hyper",
            "rand",
            "env_logger",
        ]
        .iter()
        .any(|banned| name.starts_with(banned))
    });
    assert_eq!(banned, None, "`filters` does no I/O");
    for file in sources(Path::new("filters/src")) {
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for banned in [
            "std::net::Tcp",
            "std::fs",
            "std::env",
            "SystemTime",
            "Instant::now",
        ] {
            assert!(
                !code.contains(banned),
                "{} uses `{banned}`: bytes and time come in as arguments",
                file.display()
            );
        }
    }
}

#[test]
fn used_modules_are_found_in_lists() {
    let found: Vec<_> = used_modules(
        "use crate::{\n  a::B,\n  c::{D, e::F},\n  g,\n};\nuse crate::h::I; fn x() { crate::j::k() }",
    )
    .collect();
    assert_eq!(found, ["a", "c", "g", "h", "j"]);
}

fn rank(module: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&module))
}

/// Every module that a source names behind `crate::`, in lists too.
fn used_modules(text: &str) -> impl Iterator<Item = String> {
    let mut found = vec![];
    for rest in text.split("crate::").skip(1) {
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut item = String::new();
            for c in list.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        found.push(leading_word(item.trim()));
                        item.clear();
                        continue;
                    }
                    _ => {}
                }
                item.push(c);
            }
            found.push(leading_word(item.trim()));
        } else {
            found.push(leading_word(rest));
        }
    }
    found.into_iter().filter(|word| !word.is_empty())
}

fn leading_word(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

fn module_of(file: &Path) -> String {
    let first = file
        .strip_prefix("src")
        .unwrap()
        .components()
        .next()
        .unwrap();
    Path::new(&first)
        .file_stem()
        .unwrap()
        .to_string_lossy()
        .into_owned()
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
