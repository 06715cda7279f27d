//! Tests that could not run here, listed by name in the summary of `cargo xtask test`.
//!
//! The list is a file that the environment variable [`LIST`] names; without it nothing is written. One line for each test: its name, a
//! tab, the reason.

use std::fs::OpenOptions;
use std::io::Write;

/// The environment variable that names the file in which skipped tests are listed.
pub const LIST: &str = "INFRA_SKIPPED";

/// Lists a test as skipped for want of something that continuous integration must have, a real server for example.
///
/// # Panics
/// Under `CI=true`, with the reason: there a test that does not run is a failure. Also when the list cannot be written.
pub fn record(test: &str, reason: &str) {
    let continuous_integration = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(
        !continuous_integration,
        "{test} cannot run, and under CI=true it must: {reason}"
    );
    record_allowed(test, reason);
}

/// Lists a test as skipped for want of something that cannot be had on this kind of backend, everywhere.
///
/// # Panics
/// When the list cannot be written.
pub fn record_allowed(test: &str, reason: &str) {
    let Some(list) = std::env::var_os(LIST) else {
        return;
    };
    let line = line_of(test, reason);
    // One write in append mode: tests of many processes share the file.
    let written = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&list)
        .and_then(|mut file| file.write_all(line.as_bytes()));
    assert!(
        written.is_ok(),
        "{test} was skipped, but {LIST}={} cannot be written: {written:?}",
        list.display()
    );
}

fn line_of(test: &str, reason: &str) -> String {
    let one_line = |text: &str| text.replace(['\n', '\r', '\t'], " ");
    format!("{}\t{}\n", one_line(test), one_line(reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_one_line_whatever_the_reason_says() {
        assert_eq!(
            line_of("lock_004", "no\nserver\there"),
            "lock_004\tno server here\n"
        );
    }
}
