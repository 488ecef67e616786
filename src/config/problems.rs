//! What is wrong with a configuration, as the operator reads it.
//!
//! ```text
//! gateway.yaml:41:9: routes[3].upstream: no upstream named `githb`
//!   help: did you mean `github`? defined upstreams: `atlassian`, `github`
//! ```

use std::fmt;

use super::tree::Position;

/// One mistake and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Located {
    /// Line and column; line 0 means the file as a whole.
    pub at: Position,
    /// The path of the setting, `routes[3].upstream`; empty for the file as a whole.
    pub path: String,
    /// What is wrong, expected and found.
    pub what: String,
    /// What to do about it, where that is known.
    pub help: Option<String>,
}

impl Located {
    /// Names a mistake at a position.
    pub(super) fn at(at: Position, path: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            at,
            path: path.into(),
            what: what.into(),
            help: None,
        }
    }

    /// Names a mistake of the file as a whole.
    pub(super) fn file(what: impl Into<String>) -> Self {
        Self::at(Position::default(), "", what)
    }

    /// Adds what the reader should do.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    fn write(&self, f: &mut impl fmt::Write, file: &str, kind: &str) -> fmt::Result {
        f.write_str(file)?;
        if self.at.line > 0 {
            write!(f, ":{}:{}", self.at.line, self.at.column)?;
        }
        write!(f, ": {kind}")?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.what)?;
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        f.write_str("\n")
    }
}

/// Every mistake of a file, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    file: String,
    list: Vec<Located>,
}

impl Problems {
    /// Sorts mistakes by position; what is said twice of one place is said once.
    pub(super) fn new(file: &str, mut list: Vec<Located>) -> Self {
        list.sort();
        list.dedup();
        Self {
            file: file.to_owned(),
            list,
        }
    }

    /// Returns the mistakes in the order of the file.
    #[must_use]
    pub fn list(&self) -> &[Located] {
        &self.list
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.list
            .iter()
            .try_for_each(|problem| problem.write(f, &self.file, ""))
    }
}

impl std::error::Error for Problems {}

/// What is allowed and still worth a second thought; `check` prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notes {
    file: String,
    list: Vec<Located>,
}

impl Notes {
    pub(super) fn new(file: &str, list: Vec<Located>) -> Self {
        let Problems { file, list } = Problems::new(file, list);
        Self { file, list }
    }

    /// Returns the notes in the order of the file.
    #[must_use]
    pub fn list(&self) -> &[Located] {
        &self.list
    }
}

impl fmt::Display for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.list
            .iter()
            .try_for_each(|note| note.write(f, &self.file, "note: "))
    }
}

/// Says what the user may have meant, and what there is.
///
/// `what` names the things in the plural: `expected keys`, `defined upstreams`.
pub(crate) fn suggestion<'a>(
    found: &str,
    what: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> String {
    let mut names: Vec<&str> = candidates.into_iter().collect();
    names.sort_unstable();
    if names.is_empty() {
        return format!("{what}: none");
    }
    let list: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    let list = list.join(", ");
    match nearest(found, &names) {
        Some(name) => format!("did you mean `{name}`? {what}: {list}"),
        None => format!("{what}: {list}"),
    }
}

fn nearest<'a>(found: &str, names: &[&'a str]) -> Option<&'a str> {
    // Bounded, since the distance takes time and memory by the length of what the user wrote.
    let found: String = found.chars().take(64).collect();
    names
        .iter()
        .map(|name| (strsim::damerau_levenshtein(&found, name), *name))
        .filter(|(distance, name)| *distance <= (name.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(found: &str, candidates: &[&str], expect: &str) {
        let text = suggestion(found, "defined upstreams", candidates.iter().copied());
        assert_eq!(text, expect);
    }

    #[test]
    fn names_a_near_miss_and_all_there_is() {
        check(
            "githb",
            &["github", "atlassian"],
            "did you mean `github`? defined upstreams: `atlassian`, `github`",
        );
        check(
            "gitlab-internal",
            &["github"],
            "defined upstreams: `github`",
        );
        check("x", &[], "defined upstreams: none");
    }
}
