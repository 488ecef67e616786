//! Named upstreams: each judged by its own module, their names and overlaps here.

use std::collections::HashMap;

use super::{
    path::{self, Path},
    problems::Located,
    reader::Reader,
    tree::{Kind, excerpt},
};
use crate::upstream;

/// The upstreams of a file.
#[derive(Debug, Default)]
pub(super) struct Upstreams {
    /// The names that routes may use, those of faulty upstreams included: a route that refers to
    /// one is not to blame.
    pub(super) names: Vec<String>,
    /// What could be read, in the order of the file.
    pub(super) configs: Vec<(String, upstream::Config)>,
}

/// Reads the section and names everything that is wrong with it.
pub(super) fn read(reader: &mut Reader<'_>) -> Upstreams {
    let mut upstreams = Upstreams::default();
    let Some(section) = reader.root.find("upstreams") else {
        return upstreams;
    };
    if !matches!(section.kind, Kind::Map(_)) && !section.is_null() {
        let what = format!(
            "expected a map from names to upstreams, found {}",
            section.describe()
        );
        reader.push(Located::at(section.at, "upstreams", what));
    }
    for entry in section.entries() {
        if !is_name(&entry.key) {
            let what = format!(
                "expected a name of up to 64 letters, digits, `-`, `_` and `.`, found `{}`",
                excerpt(&entry.key)
            );
            reader.push(Located::at(entry.at, "upstreams", what));
        }
        upstreams.names.push(entry.key.clone());
        let root = Path::root();
        let base = root.key("upstreams");
        let base = base.key(&entry.key);
        if let Some((config, whole)) = reader.read_part::<upstream::Config>(&entry.value, &base) {
            let base = base.to_string();
            for problem in config.check().err().into_iter().flatten() {
                if !whole && reader.is_told(&entry.value, &problem.at) {
                    continue;
                }
                let (at, _) = path::locate(&entry.value, &problem.at);
                let mut located = Located::at(at, path::join(&base, &problem.at), problem.what);
                located.help = problem.help;
                reader.push(located);
            }
            upstreams.configs.push((entry.key.clone(), config));
        }
    }
    note_overlaps(reader, &upstreams.configs);
    upstreams
}

/// Names are metric labels and stand in logs.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=64).contains(&name.len()) && name.chars().all(plain)
}

fn note_overlaps(reader: &mut Reader<'_>, configs: &[(String, upstream::Config)]) {
    let mut owners: HashMap<&str, &str> = HashMap::new();
    for (name, config) in configs {
        for (index, backend) in config.backends.iter().enumerate() {
            let address = backend.address();
            let owner = *owners.entry(address).or_insert(name);
            if owner != name {
                let what = format!(
                    "backend `{address}` also serves upstream `{owner}`: each ToolHive workload has a port of its own"
                );
                reader.note(&format!("upstreams.{name}.backends[{index}]"), what);
            }
        }
    }
}
