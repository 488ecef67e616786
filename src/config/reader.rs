//! Reads typed sections from the tree and gathers every problem on the way.
//!
//! After a fault the faulty value is passed over and the section is read again, until it reads
//! or nothing is left to say: what is missing only because it was passed over is no news.

use std::collections::HashSet;

use serde::de::DeserializeOwned;

use super::{
    de::{De, Error, Fault, Track},
    path::{self, Path},
    problems::Located,
    tree::{Kind, Node, Position, is_made},
    wording,
};

/// More than anyone reads; a broken generator must not print a megabyte.
const MAX_PROBLEMS: usize = 100;

/// The tree, and what was found wrong with it so far.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub(super) root: &'a Node,
    problems: Vec<Located>,
    notes: Vec<Located>,
    /// Values that are known to be faulty and said to be so.
    pruned: HashSet<usize>,
}

impl<'a> Reader<'a> {
    /// Starts with what the steps before found.
    pub(super) const fn new(
        root: &'a Node,
        problems: Vec<Located>,
        pruned: HashSet<usize>,
    ) -> Self {
        Self {
            root,
            problems,
            notes: vec![],
            pruned,
        }
    }

    pub(super) fn finish(self) -> (Vec<Located>, Vec<Located>) {
        (self.problems, self.notes)
    }

    /// Says whether a value was found faulty, so that nothing more needs to be said about it.
    pub(super) fn is_pruned(&self, node: &Node) -> bool {
        self.pruned.contains(&node.id)
    }

    pub(super) fn push(&mut self, problem: Located) {
        self.problems.push(problem);
    }

    /// Names a mistake at a written path.
    pub(super) fn problem(&mut self, path: &str, what: impl Into<String>) -> &mut Self {
        self.problems
            .push(Located::at(self.position(path), path, what));
        self
    }

    /// Names a mistake at a written path and says what to do.
    pub(super) fn problem_help(
        &mut self,
        path: &str,
        what: impl Into<String>,
        help: impl Into<String>,
    ) {
        let at = self.position(path);
        self.problems.push(Located::at(at, path, what).help(help));
    }

    /// Says what is allowed and still worth a second thought.
    pub(super) fn note(&mut self, path: &str, what: impl Into<String>) {
        self.notes
            .push(Located::at(self.position(path), path, what));
    }

    fn position(&self, path: &str) -> Position {
        path::locate(self.root, path).0
    }

    /// Reads a value of the type that its place asks for; `None` when anything is wrong with it.
    pub(super) fn read<T: DeserializeOwned>(&mut self, node: &Node, path: &Path<'_>) -> Option<T> {
        let (value, whole) = self.read_part(node, path)?;
        whole.then_some(value)
    }

    /// Reads a value as far as it can be read, faulty parts left out.
    ///
    /// Returns with it whether it is whole. Where it is not, what is judged further may be
    /// missing only because it was left out: see [`Self::is_told`].
    pub(super) fn read_part<T: DeserializeOwned>(
        &mut self,
        node: &Node,
        path: &Path<'_>,
    ) -> Option<(T, bool)> {
        self.attempt(node, path, |de, _| de.noted(|de| T::deserialize(de)).ok())
    }

    /// Says whether a problem at `at` below `node` may be one of what was left out.
    pub(super) fn is_told(&self, node: &Node, at: &str) -> bool {
        let (_, found) = path::locate(node, at);
        !found || lists_lack(node, &self.pruned)
    }

    /// Runs `read` until it succeeds or its faults are all known.
    ///
    /// `read` returns `None` after a fault of the deserializer, or after problems that it has
    /// gathered itself. Its second argument says whether the value is still as the user wrote
    /// it: only then are problems beyond the shape worth telling.
    ///
    /// Returns the value and whether nothing was wrong with it.
    pub(super) fn attempt<T>(
        &mut self,
        node: &Node,
        path: &Path<'_>,
        mut read: impl FnMut(De<'_>, bool) -> Option<T>,
    ) -> Option<(T, bool)> {
        let mut whole = !any_pruned(node, &self.pruned);
        while !self.pruned.contains(&node.id) && self.problems.len() < MAX_PROBLEMS {
            let track = Track::new(&self.pruned);
            let result = read(
                De {
                    node,
                    path,
                    track: &track,
                },
                whole,
            );
            if let Some(value) = result {
                return Some((value, whole));
            }
            let fault = track.into_fault()?;
            let faulty = find(node, fault.id);
            if !self.is_echo(&fault, faulty) {
                let text = faulty.and_then(Node::text);
                let mut problem = wording::problem(&fault, text);
                if is_made(fault.id) {
                    // Settings keep their names when a section is expanded.
                    problem.at = self.position(&problem.path);
                }
                self.problems.push(problem);
            }
            self.pruned.insert(fault.id);
            whole = false;
        }
        None
    }

    /// Says whether a key is missing only because its value was passed over.
    fn is_echo(&self, fault: &Fault, map: Option<&Node>) -> bool {
        let (Error::Missing(key), Some(map)) = (&fault.error, map) else {
            return false;
        };
        map.find(key).is_some_and(|value| self.is_pruned(value))
    }
}

/// Says whether a list below has lost elements, so that its indices are no longer the file's.
fn lists_lack(node: &Node, pruned: &HashSet<usize>) -> bool {
    let is_list = matches!(node.kind, Kind::List(_));
    let lacks = is_list && node.children().any(|child| pruned.contains(&child.id));
    lacks || node.children().any(|child| lists_lack(child, pruned))
}

fn any_pruned(node: &Node, pruned: &HashSet<usize>) -> bool {
    pruned.contains(&node.id) || node.children().any(|child| any_pruned(child, pruned))
}

fn find(node: &Node, id: usize) -> Option<&Node> {
    if node.id == id {
        return Some(node);
    }
    node.children().find_map(|child| find(child, id))
}
