//! What `cargo xtask test` says at its end: which servers were there, and which tests could not run.

use std::collections::BTreeMap;
use std::path::Path;

/// A line for each server, then the skipped tests by name, under their reason.
pub(crate) fn print(status: &str, skipped: &Path) {
    println!("\n== real servers\n{}", status.trim_end());
    let list = match std::fs::read_to_string(skipped) {
        Ok(list) => list,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => {
            eprintln!(
                "xtask: cannot read the list of skipped tests, {}: {error}",
                skipped.display()
            );
            return;
        }
    };
    println!("\n== skipped tests\n{}", by_reason(&list));
}

/// The lines `name`, tab, `reason` as a list of names under each reason.
fn by_reason(list: &str) -> String {
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, reason) in list.lines().filter_map(|line| line.split_once('\t')) {
        reasons.entry(reason).or_default().push(name);
    }
    if reasons.is_empty() {
        return "none".to_owned();
    }
    let lines = reasons.into_iter().map(|(reason, mut names)| {
        names.sort_unstable();
        names.dedup();
        format!(
            "{} tests, because {reason}\n  {}",
            names.len(),
            names.join("\n  ")
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_tests_are_listed_by_name_under_their_reason() {
        assert_eq!(by_reason(""), "none");
        assert_eq!(
            by_reason("b::two\tno redis\na::one\tno redis\nc\tno etcd\na::one\tno redis\n"),
            "1 tests, because no etcd\n  c\n2 tests, because no redis\n  a::one\n  b::two"
        );
    }
}
