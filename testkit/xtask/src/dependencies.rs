//! The dependency rule, read from `cargo tree`: core knows no driver, no network client and no backend; a backend knows core
//! and its own driver; nothing brings a second TLS library.

use std::collections::BTreeSet;
use std::process::Command;

use crate::steps::{Outcome, cargo_path};

/// What the crates of the workspace may use of each other.
struct Rule {
    package: &'static str,
    /// The workspace's own crates that it may use, directly or not.
    own: &'static [&'static str],
    /// Whether it must be free of every driver and network client.
    no_driver: bool,
}

const RULES: [Rule; 9] = [
    Rule {
        package: "infra-core",
        own: &["infra-core", "infra-macros"],
        no_driver: true,
    },
    Rule {
        package: "infra-consul",
        own: &["infra-consul", "infra-core", "infra-macros"],
        no_driver: false,
    },
    Rule {
        package: "infra-memory",
        own: &["infra-core", "infra-macros", "infra-memory"],
        no_driver: true,
    },
    Rule {
        package: "infra-etcd",
        own: &["infra-core", "infra-macros", "infra-etcd"],
        no_driver: false,
    },
    Rule {
        package: "infra-redis",
        own: &["infra-core", "infra-macros", "infra-redis"],
        no_driver: false,
    },
    Rule {
        package: "infra-sql",
        own: &["infra-core", "infra-macros", "infra-sql"],
        no_driver: false,
    },
    Rule {
        package: "infra-tantivy",
        own: &["infra-core", "infra-macros", "infra-tantivy"],
        no_driver: false,
    },
    Rule {
        package: "infra-tower",
        own: &["infra-core", "infra-macros", "infra-tower"],
        no_driver: false,
    },
    Rule {
        package: "infra-testkit",
        own: &["infra-core", "infra-macros", "infra-memory", "infra-testkit"],
        no_driver: true,
    },
];

/// Drivers and network clients, by the beginning of their names.
const DRIVERS: [&str; 20] = [
    "axum",
    "curl",
    "elasticsearch",
    "etcd-client",
    "fred",
    "h2",
    "hyper",
    "lapin",
    "libsqlite3-sys",
    "mysql",
    "opensearch",
    "opentelemetry",
    "postgres",
    "rdkafka",
    "redis",
    "reqwest",
    "rusqlite",
    "sqlx",
    "tantivy",
    "tonic",
];

/// Libraries that nothing in the workspace may bring in.
const BANNED: [&str; 3] = ["aws-lc-sys", "native-tls", "openssl-sys"];

/// Checks every crate of the workspace.
pub(crate) fn check() -> Outcome {
    let mut problems = Vec::new();
    for rule in &RULES {
        problems.extend(violations(rule, &tree(&["--package", rule.package])?));
    }
    for name in tree(&["--workspace"])? {
        if BANNED.contains(&name.as_str()) {
            problems.push(format!(
                "something in the workspace uses {name}; `cargo tree --invert {name}` shows what"
            ));
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems.join("\n"))
    }
}

fn violations(rule: &Rule, packages: &BTreeSet<String>) -> Vec<String> {
    let package = rule.package;
    let foreign = packages
        .iter()
        .filter(|name| name.starts_with("infra-") && !rule.own.contains(&name.as_str()))
        .map(|name| format!("{package} must not depend on {name}"));
    let drivers = packages
        .iter()
        .filter(|name| rule.no_driver && DRIVERS.iter().any(|driver| is_family(name, driver)))
        .map(|name| format!("{package} must not bring in a driver or network client, and brings in {name}"));
    foreign.chain(drivers).collect()
}

/// `sqlx-core` and `sqlx` are of the family `sqlx`; `redistribute` is not of `redis`.
fn is_family(name: &str, family: &str) -> bool {
    name.strip_prefix(family)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_']))
}

/// The names of all packages that are linked in (no build or test dependencies).
fn tree(arguments: &[&str]) -> Result<BTreeSet<String>, String> {
    let output = Command::new(cargo_path())
        .args([
            "tree",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
            "--all-features",
        ])
        .args(arguments)
        .output()
        .map_err(|error| format!("cargo tree could not be started: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "cargo tree failed: {}",
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packages(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn rule(package: &str) -> &'static Rule {
        RULES.iter().find(|rule| rule.package == package).expect("a rule")
    }

    #[test]
    fn a_driver_in_core_and_a_backend_in_a_backend_are_found() {
        let core = rule("infra-core");
        assert!(violations(core, &packages(&["infra-core", "tokio", "redistribute"])).is_empty());
        assert_eq!(violations(core, &packages(&["sqlx-core"])).len(), 1);
        assert_eq!(violations(core, &packages(&["infra-memory"])).len(), 1);

        let sql = rule("infra-sql");
        assert!(violations(sql, &packages(&["infra-core", "sqlx-sqlite"])).is_empty());
        assert_eq!(
            violations(sql, &packages(&["infra-tantivy"])),
            ["infra-sql must not depend on infra-tantivy"]
        );
    }

    #[test]
    fn every_library_of_the_workspace_has_a_rule() {
        let manifest = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
        let text = std::fs::read_to_string(manifest).expect("the workspace manifest");
        let listed = text
            .lines()
            .filter_map(|line| line.strip_prefix("infra-")?.split_once(" = { path"));
        for (name, _) in listed.filter(|(name, _)| *name != "macros") {
            let package = format!("infra-{name}");
            assert!(
                RULES.iter().any(|rule| rule.package == package),
                "{package} has no rule"
            );
        }
    }
}
