//! YAML as a tree in which every value knows where it stands.
//!
//! Only the part of YAML that a configuration needs: one document, text keys, no aliases, no tags.
//! What is left out is a problem with a position, never silently ignored. Nothing is resolved
//! here: whether `5s` is a time is for the section that asked.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::problems::Located;

/// The largest file read. The shipped example has 4 KiB.
pub(super) const MAX_BYTES: usize = 1 << 20;
const MAX_DEPTH: usize = 32;

/// A line and a column, both from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

impl From<Span> for Position {
    fn from(span: Span) -> Self {
        Self {
            line: span.start.line(),
            column: span.start.col() + 1,
        }
    }
}

/// Ids from here on are of values that were made, not read; no file has so many.
pub(super) const FIRST_MADE: usize = usize::MAX / 2;

/// Says whether a value was made by a profile.
pub(super) const fn is_made(id: usize) -> bool {
    id >= FIRST_MADE
}

/// A value, where it stands, and a number that is its own within the tree.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) id: usize,
    pub(super) at: Position,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug)]
pub(super) struct Scalar {
    pub(super) text: String,
    /// Written without quotes, so that `5` is a number and `true` a boolean.
    pub(super) plain: bool,
    /// Made from a variable: quotes are then needed in flow maps and say nothing about the type.
    pub(super) expanded: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) at: Position,
    pub(super) value: Node,
}

impl Node {
    /// Returns the value of a key of a map.
    pub(super) fn find(&self, key: &str) -> Option<&Self> {
        self.entries()
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| &entry.value)
    }

    /// Returns the entries of a map, none for other values.
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Returns the values of a list or map.
    pub(super) fn children(&self) -> impl Iterator<Item = &Self> {
        let items = match &self.kind {
            Kind::List(items) => items.as_slice(),
            _ => &[],
        };
        items
            .iter()
            .chain(self.entries().iter().map(|entry| &entry.value))
    }

    /// Returns the text of a scalar.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(scalar) => Some(&scalar.text),
            _ => None,
        }
    }

    /// Says whether nothing is written here: `key:`, `key: ~`, `key: null`.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar(scalar) if scalar.is_null())
    }

    /// Names the kind of value, for a message.
    pub(super) fn describe(&self) -> String {
        match &self.kind {
            Kind::List(_) => "a list".to_owned(),
            Kind::Map(_) => "a map".to_owned(),
            Kind::Scalar(scalar) if scalar.is_null() => "nothing".to_owned(),
            Kind::Scalar(scalar) => format!("`{}`", excerpt(&scalar.text)),
        }
    }
}

impl Scalar {
    pub(super) fn is_null(&self) -> bool {
        self.plain
            && !self.expanded
            && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }
}

/// Shortens user input for a message, and keeps it on one line.
pub(super) fn excerpt(text: &str) -> String {
    const LONGEST: usize = 80;
    let line: String = text
        .chars()
        .take(LONGEST)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        format!("{line}…")
    } else {
        line
    }
}

/// Reads a document.
///
/// # Errors
/// Every duplicate key, alias, tag and non-text key, or the first mistake in the YAML itself.
pub(super) fn parse(text: &str) -> Result<Node, Vec<Located>> {
    if text.len() > MAX_BYTES {
        return Err(vec![Located::file(format!(
            "the file has {} bytes, the most is {MAX_BYTES}",
            text.len()
        ))]);
    }
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        match event {
            Ok((event, span)) => {
                if !builder.take(event, span.into()) {
                    break;
                }
            }
            Err(why) => {
                let at = Position {
                    line: why.marker().line(),
                    column: why.marker().col() + 1,
                };
                builder.problem(at, format!("not valid YAML: {}", why.info()));
                break;
            }
        }
    }
    builder.finish()
}

/// A list or map that is not finished yet.
#[derive(Debug)]
struct Open {
    at: Position,
    kind: OpenKind,
}

#[derive(Debug)]
enum OpenKind {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        seen: HashMap<String, Position>,
        /// The key that waits for its value; `keep` is false for a duplicate.
        key: Option<(String, Position, bool)>,
    },
}

#[derive(Debug, Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Node>,
    documents: usize,
    next_id: usize,
    problems: Vec<Located>,
}

impl Builder {
    fn problem(&mut self, at: Position, what: impl Into<String>) -> &mut Located {
        self.problems.push(Located::at(at, "", what));
        let last = self.problems.len() - 1;
        #[expect(clippy::indexing_slicing, reason = "pushed on the line before")]
        &mut self.problems[last]
    }

    /// Takes one event; returns whether reading goes on.
    fn take(&mut self, event: Event<'_>, at: Position) -> bool {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.problem(at, "a second document starts here, expected one");
                    return false;
                }
            }
            Event::Alias(_) => {
                self.problem(at, "aliases such as `*name` are not supported")
                    .help = Some("write the value out".to_owned());
                self.value(at, Kind::Scalar(Scalar::empty()));
            }
            Event::Scalar(text, style, _, tag) => {
                self.refuse_tag(tag.is_some(), at);
                let plain = style == ScalarStyle::Plain;
                self.scalar(at, text.into_owned(), plain);
            }
            Event::SequenceStart(_, tag) => {
                self.refuse_tag(tag.is_some(), at);
                return self.start(at, OpenKind::List(vec![]));
            }
            Event::MappingStart(_, tag) => {
                self.refuse_tag(tag.is_some(), at);
                let kind = OpenKind::Map {
                    entries: vec![],
                    seen: HashMap::new(),
                    key: None,
                };
                return self.start(at, kind);
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(Open { at, kind }) = self.open.pop() {
                    let kind = match kind {
                        OpenKind::List(items) => Kind::List(items),
                        OpenKind::Map { entries, .. } => Kind::Map(entries),
                    };
                    self.value(at, kind);
                }
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        true
    }

    fn refuse_tag(&mut self, tagged: bool, at: Position) {
        if tagged {
            self.problem(at, "tags such as `!!str` are not supported")
                .help = Some("put a text in quotes instead".to_owned());
        }
    }

    fn start(&mut self, at: Position, kind: OpenKind) -> bool {
        if self.open.len() >= MAX_DEPTH {
            self.problem(at, format!("nested deeper than {MAX_DEPTH} levels"));
            return false;
        }
        if self.waits_for_key() {
            self.problem(at, "a key is a list or a map, expected a text");
            return false;
        }
        self.open.push(Open { at, kind });
        true
    }

    fn waits_for_key(&self) -> bool {
        matches!(
            self.open.last(),
            Some(Open {
                kind: OpenKind::Map { key: None, .. },
                ..
            })
        )
    }

    fn scalar(&mut self, at: Position, text: String, plain: bool) {
        if !self.waits_for_key() {
            let expanded = false;
            return self.value(
                at,
                Kind::Scalar(Scalar {
                    text,
                    plain,
                    expanded,
                }),
            );
        }
        let mut earlier = None;
        if let Some(Open {
            kind: OpenKind::Map { seen, key, .. },
            ..
        }) = self.open.last_mut()
        {
            earlier = seen.get(&text).copied();
            seen.entry(text.clone()).or_insert(at);
            *key = Some((text.clone(), at, earlier.is_none()));
        }
        if let Some(first) = earlier {
            self.problem(
                at,
                format!("key `{}` stands here a second time", excerpt(&text)),
            )
            .help = Some(format!(
                "the first is at line {}, column {}",
                first.line, first.column
            ));
        }
    }

    fn value(&mut self, at: Position, kind: Kind) {
        let id = self.next_id;
        self.next_id += 1;
        let node = Node { id, at, kind };
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => self.root = Some(node),
            Some(OpenKind::List(items)) => items.push(node),
            Some(OpenKind::Map { entries, key, .. }) => {
                if let Some((key, at, true)) = key.take() {
                    let value = node;
                    entries.push(Entry { key, at, value });
                }
            }
        }
    }

    fn finish(self) -> Result<Node, Vec<Located>> {
        match self.root {
            Some(root) if self.problems.is_empty() => Ok(root),
            None if self.problems.is_empty() => Err(vec![Located::file("the file is empty")]),
            _ => Err(self.problems),
        }
    }
}

impl Scalar {
    fn empty() -> Self {
        Self {
            text: String::new(),
            plain: true,
            expanded: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        let shown = match parse(text) {
            Ok(node) => show(&node),
            Err(problems) => problems
                .iter()
                .map(|p| format!("{}:{} {}", p.at.line, p.at.column, p.what))
                .collect::<Vec<_>>()
                .join("; "),
        };
        assert_eq!(shown, expect, "{text}");
    }

    fn show(node: &Node) -> String {
        let inner = match &node.kind {
            Kind::Scalar(scalar) => scalar.text.clone(),
            Kind::List(items) => format!(
                "[{}]",
                items.iter().map(show).collect::<Vec<_>>().join(", ")
            ),
            Kind::Map(entries) => {
                let shown = entries
                    .iter()
                    .map(|e| format!("{}: {}", e.key, show(&e.value)));
                format!("{{{}}}", shown.collect::<Vec<_>>().join(", "))
            }
        };
        format!("{}:{} {inner}", node.at.line, node.at.column)
    }

    #[test]
    fn every_value_knows_where_it_stands() {
        check(
            "a: 1\nb:\n  - x\n  - {c: y}\n",
            "1:1 {a: 1:4 1, b: 3:3 [3:5 x, 4:5 {c: 4:9 y}]}",
        );
        check("\u{feff}a: 1", "1:1 {a: 1:4 1}");
    }

    #[test]
    fn a_key_stands_once() {
        check(
            "a: 1\na: 2\nb: {c: 1, c: 2}",
            "2:1 key `a` stands here a second time; 3:11 key `c` stands here a second time",
        );
    }

    #[test]
    fn one_document_without_aliases_tags_and_odd_keys() {
        check(
            "a: 1\n---\nb: 1",
            "2:1 a second document starts here, expected one",
        );
        check(
            "a: &x 1\nb: *x",
            "2:4 aliases such as `*name` are not supported",
        );
        check("a: !!str 1", "1:4 tags such as `!!str` are not supported");
        check("{[a]: 1}", "1:2 a key is a list or a map, expected a text");
        check("", "0:0 the file is empty");
        check(&"[".repeat(40), "1:33 nested deeper than 32 levels");
        check(
            "a: 'x",
            "1:4 not valid YAML: while scanning a quoted scalar, found unexpected end of stream",
        );
    }
}
