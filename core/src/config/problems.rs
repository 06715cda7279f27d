//! Validation that reports everything that is wrong, each problem with its path.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::tree::Source;
use crate::error::{Error, Result};

/// A configuration that can say what is wrong with it beyond what its types express.
///
/// ```
/// use infra_core::config::{Problems, Validate};
///
/// struct PoolConfig { min: u32, max: u32 }
///
/// impl Validate for PoolConfig {
///     fn validate(&self, problems: &mut Problems) {
///         problems.ensure(self.max > 0, "max", "must be at least 1");
///         problems.ensure(self.min <= self.max, "min", "must not be above `max`");
///     }
/// }
///
/// let error = PoolConfig { min: 1, max: 0 }.check().unwrap_err();
/// assert!(error.message().contains("max: must be at least 1"));
/// assert!(error.message().contains("min: must not be above `max`"));
/// ```
pub trait Validate {
    /// Adds every problem to `problems`; adds nothing when all is well. Does no I/O.
    fn validate(&self, problems: &mut Problems);

    /// Runs [`validate`](Self::validate) alone, for a configuration that was made in code.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) that lists every problem with its path.
    fn check(&self) -> Result<()> {
        let mut problems = Problems::new();
        self.validate(&mut problems);
        problems.finish()
    }
}

impl Validate for () {
    fn validate(&self, _: &mut Problems) {}
}

impl<T: Validate + ?Sized> Validate for Box<T> {
    fn validate(&self, problems: &mut Problems) {
        (**self).validate(problems);
    }
}

impl<T: Validate> Validate for Option<T> {
    fn validate(&self, problems: &mut Problems) {
        if let Some(inner) = self {
            inner.validate(problems);
        }
    }
}

impl<T: Validate> Validate for Vec<T> {
    fn validate(&self, problems: &mut Problems) {
        for (index, item) in self.iter().enumerate() {
            problems.within_index(index, |problems| item.validate(problems));
        }
    }
}

impl<T: Validate> Validate for BTreeMap<String, T> {
    fn validate(&self, problems: &mut Problems) {
        for (key, item) in self {
            problems.within(key, |problems| item.validate(problems));
        }
    }
}

impl<T: Validate, S> Validate for HashMap<String, T, S> {
    fn validate(&self, problems: &mut Problems) {
        for (key, item) in self {
            problems.within(key, |problems| item.validate(problems));
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// Where: keys joined with `.`, positions in brackets, `rules[2].rate`; empty for the whole configuration.
    pub path: String,
    /// What is wrong and what would be right; never a value.
    pub message: String,
    /// Which source gave the bad value, where that is known.
    pub source: Option<Source>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if let Some(source) = &self.source {
            write!(f, " (from {source})")?;
        }
        Ok(())
    }
}

/// Collects problems; paths are relative to the scope that [`within`](Self::within) opened.
#[derive(Debug, Default)]
pub struct Problems {
    scope: String,
    found: Vec<Problem>,
}

impl Problems {
    /// No problems yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Records a problem at `path`, relative to the current scope; an empty path means the scope itself.
    pub fn add(&mut self, path: &str, message: impl Into<String>) {
        let path = joined(&self.scope, path);
        self.push(Problem {
            path,
            message: message.into(),
            source: None,
        });
    }

    /// Records a problem at `path` unless `holds`.
    pub fn ensure(&mut self, holds: bool, path: &str, message: impl Into<String>) {
        if !holds {
            self.add(path, message);
        }
    }

    /// Gives back the value of `result`, or records its error's message at `path`.
    pub fn accept<T>(&mut self, path: &str, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.add(path, error.message().to_owned());
                None
            }
        }
    }

    /// Runs `work` with `name` added to the path of whatever it records.
    pub fn within(&mut self, name: &str, work: impl FnOnce(&mut Self)) {
        let inner = joined(&self.scope, name);
        let outer = std::mem::replace(&mut self.scope, inner);
        work(self);
        self.scope = outer;
    }

    /// Runs `work` with `[index]` added to the path of whatever it records.
    pub fn within_index(&mut self, index: usize, work: impl FnOnce(&mut Self)) {
        self.within(&format!("[{index}]"), work);
    }

    /// What was recorded, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> + '_ {
        self.found.iter()
    }

    /// Whether nothing was recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Ends the collection.
    ///
    /// # Errors
    /// One [`InvalidConfig`](crate::ErrorKind::InvalidConfig) that lists every problem with its path, if there is any.
    pub fn finish(self) -> Result<()> {
        let text = match self.found.as_slice() {
            [] => return Ok(()),
            [only] => only.to_string(),
            several => {
                let mut text = format!("{} problems", several.len());
                for problem in several {
                    text.push_str("\n  ");
                    text.push_str(&problem.to_string());
                }
                text
            }
        };
        Err(Error::invalid_config(text).at("config", "", "validate"))
    }

    pub(super) fn push(&mut self, problem: Problem) {
        if !self.found.contains(&problem) {
            self.found.push(problem);
        }
    }

    /// Takes the problems out, to look at each.
    pub(super) fn into_vec(self) -> Vec<Problem> {
        self.found
    }
}

fn joined(scope: &str, name: &str) -> String {
    let separator = if name.is_empty() || scope.is_empty() || name.starts_with('[') {
        ""
    } else {
        "."
    };
    format!("{scope}{separator}{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Rule(u32);

    impl Validate for Rule {
        fn validate(&self, problems: &mut Problems) {
            problems.ensure(self.0 > 0, "rate", "must be positive");
        }
    }

    #[test]
    fn one_error_lists_every_problem_with_its_path() {
        let mut problems = Problems::new();
        problems.add("", "the whole");
        problems.within("limits", |problems| {
            vec![Rule(1), Rule(0)].validate(problems);
            problems.add("", "the section");
            problems.within("inner", |problems| problems.add("leaf", "the leaf"));
        });
        problems.add("after", "the scope was left");
        let paths: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(
            paths,
            ["", "limits[1].rate", "limits", "limits.inner.leaf", "after"]
        );

        let error = problems.finish().expect_err("five problems");
        assert_eq!(error.kind(), crate::ErrorKind::InvalidConfig);
        assert_eq!(
            error.message(),
            "5 problems\n  the whole\n  limits[1].rate: must be positive\n  limits: the section\n  \
             limits.inner.leaf: the leaf\n  after: the scope was left"
        );
        assert!(Problems::new().finish().is_ok());
    }
}
