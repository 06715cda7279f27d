//! Where a test finds a server, and what happens to it where there is none.

use std::fmt;

use infra_core::error::{Error, ErrorKind};

use super::catalog::{self, NAMES, variable};
use crate::skipped;

/// The server that a test wants is not there: which, the variable that would name it, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    name: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name } = self;
        if !NAMES.contains(&name.as_str()) {
            return write!(
                f,
                "there is no server called {name:?}; the servers are {}",
                NAMES.join(", ")
            );
        }
        write!(
            f,
            "no {name} server: {} is not set; start one with `eval \"$(cargo servers up {name})\"`, or set the variable to the URL of \
             a server that tests may fill and empty",
            variable(name)
        )
    }
}

impl std::error::Error for Missing {}

/// What the constructor of a fixture answers with `servers::url("redis")?`: its scenarios are then listed as skipped.
impl From<Missing> for Error {
    fn from(missing: Missing) -> Self {
        Self::new(ErrorKind::Unavailable, missing.to_string()).with_source(missing)
    }
}

/// The URL of the server of this name, from the environment variable that `cargo servers up` prints.
///
/// ```
/// let missing = infra_testkit::servers::url("memcached").unwrap_err();
/// assert!(missing.to_string().starts_with("there is no server called \"memcached\"; the servers are redis, "));
/// ```
///
/// # Errors
/// [`Missing`] when the variable is not set or empty, and for a name that is not one of [`NAMES`].
pub fn url(name: &str) -> Result<String, Missing> {
    read(name, &variable(name))
}

fn read(name: &str, variable: &str) -> Result<String, Missing> {
    let missing = || Missing {
        name: name.to_owned(),
    };
    if !NAMES.contains(&name) {
        return Err(missing());
    }
    match std::env::var(variable) {
        Ok(value) if !value.is_empty() => Ok(value),
        _ => Err(missing()),
    }
}

/// What else `cargo servers up` prints about a server than its URL: `detail("etcd-secure", "CA")` is the value of
/// `INFRA_ETCD_SECURE_CA`, the file with the certificate of the authority that signed the server's.
///
/// ```
/// let missing = infra_testkit::servers::detail("memcached", "CA").unwrap_err();
/// assert!(missing.to_string().starts_with("there is no server called \"memcached\""));
/// ```
///
/// # Errors
/// [`Missing`] as of [`url`].
pub fn detail(name: &str, what: &str) -> Result<String, Missing> {
    read(name, &catalog::detail(name, what))
}

/// The URL of the server of this name; where there is none, lists the running test as skipped and returns `None`.
///
/// The test's name is that of its thread, so call it from the test itself:
///
/// ```no_run
/// let Some(url) = infra_testkit::servers::require("redis") else { return };
/// ```
///
/// # Panics
/// Under `CI=true` when the server is missing, with the reason: see [`skipped::record`]. For a name that is not one of [`NAMES`],
/// everywhere.
pub fn require(name: &str) -> Option<String> {
    match url(name) {
        Ok(url) => Some(url),
        Err(missing) => {
            assert!(NAMES.contains(&name), "{missing}");
            skipped::record(&running_test(), &missing.to_string());
            None
        }
    }
}

/// `infra_redis::lock_004`: the test's program and the test.
fn running_test() -> String {
    let program = std::env::current_exe().ok();
    let program = program.as_deref().and_then(|path| path.file_stem());
    let program = program.map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    // Cargo appends a hash to the name.
    let program = program
        .rsplit_once('-')
        .map_or(program.as_str(), |(name, _)| name);
    let thread = std::thread::current();
    format!("{program}::{}", thread.name().unwrap_or("a test without a name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_variable_and_the_command() {
        let text = Missing {
            name: "etcd-cluster".to_owned(),
        }
        .to_string();
        for part in [
            "etcd-cluster",
            "INFRA_ETCD_CLUSTER_URL",
            "cargo servers up etcd-cluster",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn the_running_test_is_named_after_its_thread() {
        let name = running_test();
        assert!(
            name.ends_with("::servers::missing::tests::the_running_test_is_named_after_its_thread"),
            "{name}"
        );
    }
}
