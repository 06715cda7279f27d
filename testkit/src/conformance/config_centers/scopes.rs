//! Keys and prefixes are data: nothing is normalised, nothing is a pattern.

use infra_core::coordination::{ConfigCenter, ConfigCenterExt, ConfigWrite};
use infra_core::error::ErrorKind;

use super::steps::{keys, put, text};
use crate::conformance::{Failure, Harness, Outcome, Premise, check, check_eq, check_error};

/// A prefix matches what begins with its very characters: `ratelimit/` never `ratelimit-foo`, and `%`, `_` and `*` nothing but themselves.
pub async fn config_011_prefixes_are_literal(harness: &Harness<dyn ConfigCenter>) -> Outcome {
    let center = harness.client().await?;
    let root = harness.name("root");
    for tail in [
        "ratelimit/a",
        "ratelimit-foo",
        "ratelimit",
        "Ratelimit/a",
        "%/a",
        "x/a",
        "*/a",
        "_/a",
    ] {
        put(&*center, &format!("{root}/{tail}"), "1").await?;
    }
    for (prefix, expected) in [
        ("ratelimit/", vec!["ratelimit/a"]),
        ("ratelimit", vec!["ratelimit", "ratelimit-foo", "ratelimit/a"]),
        ("%/", vec!["%/a"]),
        ("_/", vec!["_/a"]),
        ("*", vec!["*/a"]),
        ("none/", vec![]),
    ] {
        let prefix = format!("{root}/{prefix}");
        let expected: Vec<_> = expected.iter().map(|tail| format!("{root}/{tail}")).collect();
        let listed = center.list(&prefix).await?;
        let mut listed = keys(&listed);
        listed.sort_unstable();
        check_eq!(listed, expected, "the keys below {prefix:?}");
    }
    Ok(())
}

/// The empty prefix lists every key there is.
pub async fn config_012_the_empty_prefix_means_all(harness: &Harness<dyn ConfigCenter>) -> Outcome {
    let center = harness.client().await?;
    let ours = [harness.name("a/b"), harness.name("b")];
    for key in &ours {
        put(&*center, key, "1").await?;
    }
    let listed = center.list("").await?;
    for key in &ours {
        check!(
            keys(&listed).contains(&key.as_str()),
            "{key} is not among the {} of the empty prefix",
            listed.len()
        );
    }
    Ok(())
}

/// Entries come in the order of their keys, compared as bytes, whatever the order of writing.
pub async fn config_013_entries_are_ordered_by_key(harness: &Harness<dyn ConfigCenter>) -> Outcome {
    let center = harness.client().await?;
    let root = harness.name("ordered/");
    for tail in ["b", "a/2", "Z", "10", "ä", "9", "a"] {
        put(&*center, &format!("{root}{tail}"), "1").await?;
    }
    let listed = center.list(&root).await?;
    check!(
        keys(&listed).is_sorted(),
        "the keys below {root} came as {:?}",
        keys(&listed)
    );
    check_eq!(listed.len(), 7, "how many keys there are below {root}");
    Ok(())
}

/// Keys that a path, a pattern or a case fold would take for one another; a server may refuse some, and mixes up none.
const STRANGE: [&str; 14] = [
    "a",
    "A",
    "a/",
    "a//",
    "/a",
    "a/.",
    "a/../a",
    " a",
    "a ",
    "a%2F",
    "a?b#c",
    "配置/键",
    "a\\b",
    "a\n\0",
];

/// Any text that is not refused is a key of its own.
pub async fn config_014_any_text_is_a_key_of_its_own(harness: &Harness<dyn ConfigCenter>) -> Outcome {
    let center = harness.client().await?;
    let mut taken = Vec::new();
    for (number, tail) in STRANGE.iter().enumerate() {
        let key = harness.name(tail);
        match center
            .write(vec![ConfigWrite::set(key.as_str(), number.to_string())])
            .await
        {
            Ok(_) => taken.push((key, number.to_string())),
            Err(error) if error.kind() == ErrorKind::InvalidArgument => {}
            Err(error) => return Err(Failure::from(error)),
        }
    }
    check!(
        taken.len() > 3,
        "only {} of these keys were taken: {STRANGE:?}",
        taken.len()
    );
    for (key, value) in taken {
        check_eq!(text(&*center, &key).await?, Some(value), "the value of {key:?}");
    }
    Ok(())
}

/// A value that is not of the asked type is corrupt data, and the error names the key under which it can be corrected.
pub async fn config_015_an_entry_that_does_not_decode_names_its_key(
    harness: &Harness<dyn ConfigCenter>,
) -> Outcome {
    let center = harness.client().await?;
    let key = harness.name("limits");
    put(&*center, &key, r#"[1, "two"]"#).await?;
    let error = check_error!(
        center.get::<Vec<u32>>(&key).await,
        ErrorKind::DataCorrupted,
        "numbers of which one is a text"
    );
    check!(
        error.message().contains(&format!("{key:?}")),
        "the error does not name the key {key:?}: {error}"
    );
    let entry = center.entry(&key).await?.premise("the entry stays")?;
    check_eq!(entry.key, key, "the key that the entry says");
    Ok(())
}
