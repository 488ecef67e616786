//! Where a setting stands: `routes[3].filters[0].respond`.

use std::fmt;

use super::tree::{Kind, Node, Position};

/// A path from the root of the file, borrowed from the calls that walk the tree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path<'a> {
    parent: Option<&'a Self>,
    segment: Segment<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Segment<'a> {
    Root,
    /// A path that is already written out.
    Text(&'a str),
    Key(&'a str),
    Index(usize),
}

impl<'a> Path<'a> {
    pub(super) const fn root() -> Self {
        Self {
            parent: None,
            segment: Segment::Root,
        }
    }

    /// Starts from a path as it is printed.
    pub(super) const fn written(text: &'a str) -> Self {
        Self {
            parent: None,
            segment: Segment::Text(text),
        }
    }

    pub(super) const fn key(&'a self, key: &'a str) -> Self {
        Self {
            parent: Some(self),
            segment: Segment::Key(key),
        }
    }

    pub(super) const fn index(&'a self, index: usize) -> Self {
        Self {
            parent: Some(self),
            segment: Segment::Index(index),
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = match self.parent {
            Some(parent) => parent.to_string(),
            None => String::new(),
        };
        match self.segment {
            Segment::Root => {}
            Segment::Text(written) => text.push_str(written),
            Segment::Key(key) => text = join(&text, &key_text(key)),
            Segment::Index(index) => text = join(&text, &format!("[{index}]")),
        }
        f.write_str(&text)
    }
}

fn key_text(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(bare) {
        key.to_owned()
    } else {
        format!("[{key:?}]")
    }
}

/// Joins two written paths.
pub(super) fn join(base: &str, below: &str) -> String {
    if base.is_empty() || below.is_empty() || below.starts_with('[') {
        format!("{base}{below}")
    } else {
        format!("{base}.{below}")
    }
}

/// Finds the value at a written path below a node, or the nearest value above it.
///
/// Returns its position and whether the whole path was found. For a map's entry that is where
/// the value stands, as it is what the reader has to change.
pub(super) fn locate(node: &Node, written: &str) -> (Position, bool) {
    let mut node = node;
    let mut rest = written;
    while !rest.is_empty() {
        let Some((next, after)) = step(node, rest) else {
            return (node.at, false);
        };
        node = next;
        rest = after;
    }
    (node.at, true)
}

fn step<'n, 't>(node: &'n Node, rest: &'t str) -> Option<(&'n Node, &'t str)> {
    let rest = rest.strip_prefix('.').unwrap_or(rest);
    match &node.kind {
        Kind::Scalar(_) => None,
        Kind::List(items) => {
            let (index, after) = rest.strip_prefix('[')?.split_once(']')?;
            Some((items.get(index.parse::<usize>().ok()?)?, after))
        }
        Kind::Map(entries) => entries.iter().find_map(|entry| {
            let after = rest
                .strip_prefix(key_text(&entry.key).as_str())
                // A caller may write a key as it is, with dots and slashes.
                .or_else(|| rest.strip_prefix(entry.key.as_str()))?;
            let ends = after.is_empty() || after.starts_with(['.', '[']);
            ends.then_some((&entry.value, after))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tree::parse, *};

    fn check(written: &str, expect: (usize, usize, bool)) {
        let root = parse("a:\n  - b: 1\n    \"x.y\": 2\nab: 3").unwrap();
        let (at, whole) = locate(&root, written);
        assert_eq!((at.line, at.column, whole), expect, "{written}");
    }

    #[test]
    fn finds_what_a_path_names() {
        check("a", (2, 3, true));
        check("a[0].b", (2, 8, true));
        check("a[0][\"x.y\"]", (3, 12, true));
        check("a[0].x.y", (3, 12, true));
        check("ab", (4, 5, true));
        check("", (1, 1, true));
    }

    #[test]
    fn stops_at_the_nearest_value_above() {
        check("a[0].c", (2, 5, false));
        check("a[7]", (2, 3, false));
        check("z", (1, 1, false));
    }

    #[test]
    fn prints_as_it_is_read() {
        let root = Path::root();
        let routes = root.key("routes");
        let second = routes.index(1);
        let header = second.key("x y");
        assert_eq!(header.key("z").to_string(), "routes[1][\"x y\"].z");
    }
}
