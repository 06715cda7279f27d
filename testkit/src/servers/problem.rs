//! The one error of the command: what was attempted, what went wrong, what to do.

use std::fmt;

/// Why a server could not be started, stopped or found.
///
/// Its text is for the person at the terminal: what was attempted, what went wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem(String);

impl Problem {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Problem {}

pub(super) type Result<T> = std::result::Result<T, Problem>;

/// Says what was attempted when something fails.
pub(super) trait Attempt<T> {
    /// `cannot {what}: {the failure}`.
    fn attempt(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: fmt::Display> Attempt<T> for std::result::Result<T, E> {
    fn attempt(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Problem(format!("cannot {}: {error}", what())))
    }
}
