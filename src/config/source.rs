//! Where everything stands in the file, for problems that are found after it was read.

use mcp_gateway_filters::Problem;

use super::{
    path,
    problems::{Located, Notes, Problems},
    tree::Node,
};

/// A file that was read.
#[derive(Debug)]
pub struct Source {
    file: String,
    root: Node,
}

impl Source {
    pub(super) fn new(file: &str, root: Node) -> Self {
        let file = file.to_owned();
        Self { file, root }
    }

    /// Returns the file's name as it was given.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Shows a problem of the section at `base` (`listeners[0]`) where the user wrote it, or at
    /// the nearest setting above when it is about something that is not written.
    #[must_use]
    pub fn locate(&self, base: &str, problem: Problem) -> Located {
        let whole = path::join(base, &problem.at);
        let (at, _) = path::locate(&self.root, &whole);
        let mut located = Located::at(at, whole, problem.what);
        located.help = problem.help;
        located
    }

    /// Gathers problems of sections for printing.
    #[must_use]
    pub fn problems<B: AsRef<str>>(
        &self,
        found: impl IntoIterator<Item = (B, Problem)>,
    ) -> Problems {
        Problems::new(&self.file, self.located(found))
    }

    /// Gathers what is worth a second thought for printing.
    #[must_use]
    pub fn notes<B: AsRef<str>>(&self, found: impl IntoIterator<Item = (B, Problem)>) -> Notes {
        Notes::new(&self.file, self.located(found))
    }

    fn located<B: AsRef<str>>(
        &self,
        found: impl IntoIterator<Item = (B, Problem)>,
    ) -> Vec<Located> {
        let located = found
            .into_iter()
            .map(|(base, problem)| self.locate(base.as_ref(), problem));
        located.collect()
    }
}
