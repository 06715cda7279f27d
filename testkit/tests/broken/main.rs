//! The proof that the conformance suite can fail: for each scenario a backend that is broken on purpose and fails exactly that one.

mod backends;
mod breakers;
mod cache_server;
mod collections;
mod config_centers;
mod coordinator;
mod databases;
mod elections;
mod ids;
mod instance_ids;
mod key_values;
mod limiters;
mod loading;
mod lock_server;
mod locks;
mod meters;
mod once;
mod queues;
mod rate_limits;
mod registries;
mod retries;
mod scripts;
mod searches;
mod shards;
mod stacks;
mod support;
mod watches;

use std::collections::BTreeSet;

use infra_testkit::conformance::FAMILIES;

/// The families that have broken backends here; each has a test that calls `prove`.
const PROVEN: &[&str] = &[
    backends::FAMILY,
    breakers::FAMILY,
    collections::BLOOM,
    collections::HASHES,
    collections::SETS,
    collections::SORTED_SETS,
    config_centers::FAMILY,
    databases::FAMILY,
    elections::FAMILY,
    ids::FAMILY,
    instance_ids::FAMILY,
    key_values::FAMILY,
    limiters::FAMILY,
    loading::FAMILY,
    locks::FAMILY,
    meters::FAMILY,
    once::FAMILY,
    queues::FAMILY,
    rate_limits::FAMILY,
    registries::FAMILY,
    retries::FAMILY,
    scripts::FAMILY,
    searches::FAMILY,
    shards::FAMILY,
    stacks::FAMILY,
    watches::FAMILY,
];

#[test]
fn every_family_is_proven_able_to_fail() {
    let families: BTreeSet<&str> = FAMILIES.iter().map(|family| family.name).collect();
    let proven: BTreeSet<&str> = PROVEN.iter().copied().collect();
    assert_eq!(families, proven);
}

#[test]
fn ids_are_unique_and_of_the_form_of_the_catalogue() {
    let mut seen = BTreeSet::new();
    for id in FAMILIES.iter().flat_map(|family| family.ids()) {
        let (family, number) = id.split_once('-').unwrap_or_default();
        let well_formed = !family.is_empty() && number.len() == 3 && number.parse::<u16>().is_ok();
        assert!(well_formed, "{id} is not of the form LOCK-004");
        assert!(seen.insert(id.clone()), "{id} stands twice");
    }
}

/// The table of the README is the list of families.
#[test]
fn the_readme_lists_every_family() {
    let mut rows = Vec::new();
    for family in FAMILIES {
        let ids = family.ids();
        let prefixes: BTreeSet<&str> = ids.iter().filter_map(|id| id.split('-').next()).collect();
        let prefixes: Vec<&str> = prefixes.into_iter().collect();
        rows.push(format!(
            "| `{}!` | {} | {} |",
            family.name,
            prefixes.join(", "),
            ids.len()
        ));
    }
    let rows = rows.join("\n");
    let readme = include_str!("../../README.md");
    assert!(
        readme.contains(&rows),
        "the families in testkit/README.md are not these:\n{rows}"
    );
}
