//! What is wrong with a piece of configuration, as a value.

/// One mistake in a configuration, named by where it stands inside the piece that was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The path below the piece, as a reader would write it: `params[0]`, empty for the piece itself.
    pub at: String,
    /// What is wrong, expected and found: lower case, no full stop, user input in backticks.
    pub what: String,
    /// What to do about it, where that is known.
    pub help: Option<String>,
}

impl Problem {
    /// Names a mistake at `at`.
    pub fn new(at: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            at: at.into(),
            what: what.into(),
            help: None,
        }
    }

    /// Adds what the reader should do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}
