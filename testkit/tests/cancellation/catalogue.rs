//! No public asynchronous operation of the core is without a case: they are read from its sources.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use infra_testkit::cancellation::{
    Case, cache, coordination, database, loading, local, locks, once, queue, rate_limit, search,
};
use syn::{Attribute, ImplItem, Item, ReturnType, Signature, TraitItem, Visibility};

/// What needs no case of its own, and why.
const WITHOUT_A_CASE: [(&str, &str); 17] = [
    (
        "Handler::",
        "the user's own; that it is stopped is a case of the subscription",
    ),
    (
        "BatchHandler::",
        "the user's own; that it is stopped is a case of the subscription",
    ),
    ("LeaseKeeper::", "the backend's side of a lease, called by it"),
    (
        "RegistrationKeeper::",
        "the backend's side of a registration, called by it; see core/tests/given_up.rs",
    ),
    (
        "Registrar::",
        "the backend's side of a registration, called by Registrations",
    ),
    (
        "Registrations::",
        "the backend's side of Registry::register and of a shutdown, which are cases",
    ),
    (
        "LeaseGrantor::",
        "the backend's side of a shared lease, called by LeasePool",
    ),
    (
        "LeasePool::",
        "the backend's side of locks, instance ids and of a shutdown, which are cases",
    ),
    ("SharedLease::", "the same wait as Lease::lost, which is a case"),
    (
        "LastKnown::",
        "the backend's side of Registry::discover, which is a case",
    ),
    (
        "SubscriptionKeeper::",
        "the runtime's side of a subscription, called by it; see core/tests/given_up.rs",
    ),
    (
        "DeliverySource::",
        "the backend's side of a subscription, called by the runtime's task",
    ),
    ("Subscriptions::drain_all", "called by the shutdown of a consumer"),
    ("BackendFactory::", "called by Infra::open"),
    (
        "Infra::",
        "every embedded backend at once: an orderly start and end are cases of the lifecycle",
    ),
    (
        "intercept::drive",
        "what the macro writes; all that goes through a stack goes through it",
    ),
    ("Backend::shutdown", "every ground that was used is closed by it"),
];

/// Every public asynchronous operation of the core, `"Trait::method"`, `"Type::method"` or `"module::function"`.
fn operations() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/src");
    let mut found = BTreeSet::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the core") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source file");
                let file = syn::parse_file(&text).expect("Rust");
                collect(&file.items, &module_of(&root, &path), &mut found);
            }
        }
    }
    found
}

/// The first part of the path: where users find what is in the file.
fn module_of(root: &Path, file: &Path) -> String {
    let inside: PathBuf = file.strip_prefix(root).expect("inside").into();
    let first = inside
        .iter()
        .next()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    first.trim_end_matches(".rs").to_owned()
}

fn collect(items: &[Item], module: &str, found: &mut BTreeSet<String>) {
    for item in items {
        match item {
            Item::Trait(item) if is_public(&item.vis) => {
                for part in &item.items {
                    if let TraitItem::Fn(method) = part
                        && is_asynchronous(&method.sig)
                    {
                        found.insert(format!("{}::{}", item.ident, method.sig.ident));
                    }
                }
            }
            Item::Impl(item) if item.trait_.is_none() && !is_test(&item.attrs) => {
                for part in &item.items {
                    if let (syn::Type::Path(path), ImplItem::Fn(method)) = (&*item.self_ty, part)
                        && is_public(&method.vis)
                        && is_asynchronous(&method.sig)
                        && let Some(name) = path.path.segments.last()
                    {
                        found.insert(format!("{}::{}", name.ident, method.sig.ident));
                    }
                }
            }
            Item::Fn(item) if is_public(&item.vis) && is_asynchronous(&item.sig) => {
                found.insert(format!("{module}::{}", item.sig.ident));
            }
            Item::Mod(inner) if !is_test(&inner.attrs) => {
                collect(
                    inner.content.as_ref().map_or(&[], |(_, items)| items),
                    module,
                    found,
                );
            }
            _ => {}
        }
    }
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes
        .iter()
        .any(|attribute| attribute.path().is_ident("cfg"))
}

/// `async fn`, or a function that returns `impl Future`.
fn is_asynchronous(signature: &Signature) -> bool {
    let returns_future = |kind: &syn::Type| {
        matches!(kind, syn::Type::ImplTrait(kind) if kind.bounds.iter().any(|bound| {
            matches!(bound, syn::TypeParamBound::Trait(bound)
                if bound.path.segments.last().is_some_and(|last| last.ident == "Future"))
        }))
    };
    signature.asyncness.is_some()
        || matches!(&signature.output, ReturnType::Type(_, kind) if returns_future(kind))
}

/// The operations that have a case, with the names of their cases.
fn covered() -> BTreeMap<String, Vec<&'static str>> {
    fn names<G>(cases: &[Case<G>]) -> Vec<&'static str> {
        cases.iter().map(Case::name).collect()
    }
    let mut covered: BTreeMap<String, Vec<&'static str>> = BTreeMap::new();
    let all = [
        names(&cache::cases()),
        names(&coordination::cases()),
        names(&database::cases()),
        names(&database::migrations()),
        names(&database::sharding()),
        names(&loading::cases()),
        names(&local::cases()),
        names(&locks::cases()),
        names(&once::cases()),
        names(&queue::cases()),
        names(&rate_limit::cases()),
        names(&search::cases()),
    ];
    for case in all.concat() {
        for name in case.split(", ") {
            let operation = name.split(" (").next().expect("a name").to_owned();
            covered.entry(operation).or_default().push(case);
        }
    }
    covered
}

#[test]
fn every_operation_has_a_case_or_a_reason() {
    let (operations, covered) = (operations(), covered());
    assert!(
        operations.len() > 100,
        "the sources were not read: {operations:?}"
    );
    let excused = |operation: &str| {
        WITHOUT_A_CASE
            .iter()
            .any(|(prefix, _)| operation.starts_with(prefix))
    };
    let missing: Vec<_> = operations
        .iter()
        .filter(|operation| !covered.contains_key(*operation) && !excused(operation))
        .collect();
    assert!(
        missing.is_empty(),
        "these have no case in testkit/src/cancellation, where each is one line: {missing:#?}"
    );
    let unknown: Vec<_> = covered
        .keys()
        .filter(|name| !operations.contains(*name))
        .collect();
    assert!(
        unknown.is_empty(),
        "these cases are of nothing that exists: {unknown:#?}"
    );
    for (prefix, reason) in WITHOUT_A_CASE {
        let stands_for_something = operations.iter().any(|operation| operation.starts_with(prefix));
        assert!(
            stands_for_something,
            "nothing begins with {prefix} any more ({reason})"
        );
    }
}
