//! Setting up the log of a process, which can happen once per process: hence a test program of its own.

use infra_core::ErrorKind;
use infra_core::log::{self, LogConfig, Output};

#[test]
fn a_second_init_is_an_error_and_the_first_log_goes_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("first.log");
    let first = LogConfig::production().with_output(Output::File(path.clone()));
    tracing::info!("before init: nobody listens, and nothing is decided by this");
    let guard = log::init(first, "im-gateway").expect("the first");
    let second = LogConfig::production().with_output(Output::File(directory.path().join("second.log")));
    let error = log::init(second, "other").expect_err("the second");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    tracing::info!("still the first");
    let thread = std::thread::spawn(|| tracing::info!("on another thread"));
    thread.join().expect("no panic");
    drop(guard);
    tracing::info!("after the end: dropped, not a panic");
    let text = std::fs::read_to_string(path).expect("there");
    assert!(
        text.contains("still the first") && text.contains("on another thread"),
        "{text}"
    );
    assert!(
        !text.contains("before init") && !text.contains("after the end"),
        "{text}"
    );
}
