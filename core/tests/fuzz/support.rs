//! What all targets assert: secrets stay out of errors, and an input does not take much more memory than it has bytes.

use infra_core::Error;

/// Stands for a secret wherever the seeds have a value.
pub(crate) const SECRET: &str = "hunter2";

/// Everything that an error tells anybody, its sources included.
pub(crate) fn told(error: &Error) -> String {
    let mut told = format!("{error} {error:?} {}", error.message());
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        told.push_str(&format!(" {error} {error:?}"));
        source = error.source();
    }
    told
}

/// Asserts that an error does not show the secret, unless it stands where a name does: names may be shown.
pub(crate) fn assert_no_secret(input: &str, error: &Error) {
    let told = told(error);
    if told.contains(SECRET) && !is_name(input) && !is_path(error) {
        panic!("the error shows a value: {told}");
    }
}

/// Whether the secret is only in the paths of the problems that an error lists, and in the names of unknown fields.
fn is_path(error: &Error) -> bool {
    error.message().lines().all(|line| {
        let problem = line.split_once(": ").map_or(line, |(_, problem)| problem);
        let (before, name) = problem.split_once("unknown field `").unwrap_or((problem, ""));
        let after = name.rsplit_once("`, expected").map_or("", |(_, after)| after);
        !before.contains(SECRET) && !after.contains(SECRET)
    })
}

/// Whether the secret is (part of) a key of a document: mutated inputs put it there.
fn is_name(input: &str) -> bool {
    let filling = |c: char| c.is_alphanumeric() || c.is_whitespace() || "_-\"'\\%".contains(c);
    input.match_indices(SECRET).any(|(at, _)| {
        let before = input[..at].trim_end_matches(filling);
        let after = input[at + SECRET.len()..].trim_start_matches(filling);
        after.starts_with(['=', ':', '.', ']']) || before.ends_with(['[', '.', '?', '&', '{', ','])
    })
}

/// Runs `parse` and asserts that it held no more memory at once than is right for an input of this size.
pub(crate) fn frugally<R>(input: &[u8], parse: impl FnOnce() -> R) -> R {
    let mut result = None;
    let used = allocation_counter::measure(|| result = Some(parse()));
    let most = 1_500_000 + 3_000 * input.len() as u64;
    assert!(
        used.bytes_max <= most,
        "{} bytes of memory for {} of input",
        used.bytes_max,
        input.len()
    );
    result.expect("measured")
}
