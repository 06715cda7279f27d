//! Keys are data: deleted, scanned, kept apart; nothing in them is a pattern.

use std::collections::BTreeSet;

use infra_core::Ttl;
use infra_core::cache::KeyValue;
use infra_core::error::ErrorKind;

use super::steps::{keys_below, pages, put, put_for, text, together};
use crate::conformance::{Harness, Outcome, Premise, check, check_eq, check_error, limits, short_lease};

/// Deleting says how many keys there were; deleting what is not there is no error.
pub async fn cache_007_deleting_says_how_many_there_were(harness: &Harness<dyn KeyValue>) -> Outcome {
    let cache = harness.client().await?;
    let [one, two, none] = ["one", "two", "none"].map(|suffix| together(harness, suffix));
    put(&*cache, &one, "1").await?;
    put(&*cache, &two, "2").await?;
    check_eq!(
        cache.delete(&[&one, &none, &two]).await?,
        2,
        "deleting two keys and an absent one"
    );
    for key in [&one, &two] {
        check_eq!(text(&*cache, key).await?, None, "a deleted key");
    }
    check_eq!(cache.delete(&[&one]).await?, 0, "deleting a key again");
    check_eq!(cache.delete(&[]).await?, 0, "deleting no keys");
    Ok(())
}

/// Tails of keys; each is what some language of patterns takes for others of them.
const PATTERNS: [&str; 16] = [
    "%", "_", "*", "?", "[ab]", "a", "b", "ab", "\\", "\\*", "%1", "a%1", "^a", "a:1", "a:b:1", "A:1",
];

/// Those that begin with the prefix.
fn beginning_with(prefix: &str) -> Vec<&'static str> {
    let mut tails: Vec<_> = PATTERNS
        .into_iter()
        .filter(|tail| tail.starts_with(prefix))
        .collect();
    tails.sort_unstable();
    tails
}

const PREFIXES: [&str; 12] = [
    "%", "_", "*", "?", "[ab]", "\\", "\\*", "a%", "a:", "a", "^", "none",
];

/// Deleting by prefix deletes exactly the keys that begin with its very characters, however deep, and says how many; an empty prefix
/// is refused.
pub async fn cache_016_a_prefix_deletes_what_begins_with_it(harness: &Harness<dyn KeyValue>) -> Outcome {
    let cache = harness.client().await?;
    for (number, prefix) in PREFIXES.into_iter().enumerate() {
        let root = harness.name(&format!("root{number}/"));
        for tail in PATTERNS {
            put(&*cache, &format!("{root}{tail}"), "1").await?;
        }
        let expected = beginning_with(prefix);
        let deleted = cache.delete_prefix(&format!("{root}{prefix}")).await?;
        check_eq!(
            deleted,
            expected.len() as u64,
            "how many keys begin with {prefix:?}"
        );
        for tail in PATTERNS {
            let is_there = text(&*cache, &format!("{root}{tail}")).await?.is_some();
            check_eq!(
                is_there,
                !expected.contains(&tail),
                "whether {tail:?} stays without those of {prefix:?}"
            );
        }
    }
    let key = harness.name("key");
    put(&*cache, &key, "1").await?;
    check_error!(
        cache.delete_prefix("").await,
        ErrorKind::InvalidArgument,
        "deleting by an empty prefix"
    );
    check_eq!(
        text(&*cache, &key).await?.as_deref(),
        Some("1"),
        "a key after that"
    );
    Ok(())
}

/// A scan returns every key that is there all along, however its pages fall and whatever is deleted meanwhile.
pub async fn cache_017_a_scan_returns_what_stays(harness: &Harness<dyn KeyValue>) -> Outcome {
    let cache = harness.client().await?;
    let root = harness.name("root/");
    let key = |number: u32| format!("{root}{number:02}");
    for number in 0..40 {
        put(&*cache, &key(number), "1").await?;
    }
    let mut seen = BTreeSet::new();
    let mut cursor: Option<String> = None;
    for page in 0..1_000 {
        let scanned = cache.scan(&root, cursor.as_deref(), 5).await?;
        seen.extend(scanned.keys);
        cursor = scanned.cursor;
        if cursor.is_none() {
            break;
        }
        // The even ones go, one with each page: from the front, where the scan was, and from the back, where it will be.
        if page < 10 {
            let (front, back) = (key(2 * page), key(38 - 2 * page));
            cache.delete(&[&front]).await.premise("a key is deleted")?;
            cache.delete(&[&back]).await.premise("a key is deleted")?;
        }
    }
    check!(cursor.is_none(), "a scan of 40 keys did not end after 1000 pages");
    let missing: Vec<_> = (0..20)
        .map(|number| key(2 * number + 1))
        .filter(|key| !seen.contains(key))
        .collect();
    check!(
        missing.is_empty(),
        "the scan did not return {missing:?}, which were there all along"
    );
    let foreign: Vec<_> = seen.iter().filter(|key| !key.starts_with(&root)).collect();
    check!(foreign.is_empty(), "the scan below {root} returned {foreign:?}");
    Ok(())
}

/// Every character of a scan's prefix stands for itself; the empty prefix is that of every key.
pub async fn cache_041_a_scan_takes_its_prefix_literally(harness: &Harness<dyn KeyValue>) -> Outcome {
    let cache = harness.client().await?;
    let root = harness.name("root/");
    for tail in PATTERNS {
        put(&*cache, &format!("{root}{tail}"), "1").await?;
    }
    for prefix in PREFIXES {
        let expected: Vec<_> = beginning_with(prefix)
            .iter()
            .map(|tail| format!("{root}{tail}"))
            .collect();
        let found = keys_below(&*cache, &format!("{root}{prefix}")).await?;
        check_eq!(found, expected, "the keys that begin with {prefix:?}");
    }
    let all = keys_below(&*cache, "").await?;
    let missing: Vec<_> = PATTERNS
        .iter()
        .filter(|tail| !all.contains(&format!("{root}{tail}")))
        .collect();
    check!(
        missing.is_empty(),
        "a scan of all keys did not return those that end with {missing:?}"
    );
    Ok(())
}

/// An expired key is in no page.
pub async fn cache_042_a_scan_hides_what_expired(harness: &Harness<dyn KeyValue>) -> Outcome {
    let cache = harness.client().await?;
    let (root, ttl) = (harness.name("root/"), short_lease(harness, &*cache));
    let (stays, expires) = (format!("{root}stays"), format!("{root}expires"));
    put(&*cache, &stays, "1").await?;
    put_for(&*cache, &expires, "1", ttl).await?;
    harness.pass(ttl + limits(&*cache).ttl_granularity).await;
    text(&*cache, &expires)
        .await?
        .is_none()
        .premise("an expired value is not read")?;
    check_eq!(
        keys_below(&*cache, &root).await?,
        [stays],
        "the keys after one of two expired"
    );
    Ok(())
}

/// A cursor that no scan of this prefix gave is refused: it is neither a new beginning nor the end.
pub async fn cache_035_a_foreign_cursor_is_refused(harness: &Harness<dyn KeyValue>) -> Outcome {
    let cache = harness.client().await?;
    let (root, other) = (harness.name("root/"), harness.name("other/"));
    for number in 0..200 {
        put(&*cache, &format!("{other}{number}"), "1").await?;
    }
    put(&*cache, &format!("{root}1"), "1").await?;
    let pages = pages(&*cache, &other, 10).await?;
    let given = pages.iter().find_map(|page| page.cursor.clone());
    let given = given.premise("200 keys are more than one page of about 10")?;
    for cursor in [given.as_str(), "no cursor", ""] {
        check_error!(
            cache.scan(&root, Some(cursor), 10).await,
            ErrorKind::InvalidArgument,
            "scanning {root:?} from {cursor:?}"
        );
    }
    Ok(())
}

/// Tails that a path, a pattern, a protocol, a case fold or a normal form would change.
const WEIRD: [&str; 32] = [
    "/",
    "//",
    "/.",
    "/..",
    "a",
    "A",
    "a ",
    " a",
    "%2f",
    "%2F",
    "%",
    "_",
    "*",
    "?",
    "\\",
    "'",
    "\"",
    ":",
    "::",
    "{x}",
    "{}",
    "[x]",
    "#",
    "\t",
    "\n",
    "\r\n$1\r\n",
    "\u{0}",
    "é",
    "e\u{301}",
    "锁",
    "🔒",
    "\u{200b}",
];

/// Any text is a key of its own, comes back from a scan as it was, and is deleted alone.
pub async fn cache_018_any_text_is_a_key_of_its_own(harness: &Harness<dyn KeyValue>) -> Outcome {
    let cache = harness.client().await?;
    let root = harness.name("key");
    for (number, tail) in WEIRD.into_iter().enumerate() {
        let key = format!("{root}{tail}");
        cache.set(&key, number.to_string().into(), Ttl::Never).await?;
    }
    for (number, tail) in WEIRD.into_iter().enumerate() {
        let value = text(&*cache, &format!("{root}{tail}")).await?;
        check_eq!(
            value,
            Some(number.to_string()),
            "the value of the key that ends with {tail:?}"
        );
    }
    let mut expected: Vec<_> = WEIRD.iter().map(|tail| format!("{root}{tail}")).collect();
    expected.sort_unstable();
    check_eq!(keys_below(&*cache, &root).await?, expected, "the keys of a scan");
    Ok(())
}

/// Scopes keep keys apart, also one in another: none reads, scans or deletes what another holds, and none sees its own prefix.
pub async fn cache_022_scopes_keep_keys_apart(harness: &Harness<dyn KeyValue>) -> Outcome {
    let (outer, inner) = (harness.name("outer"), harness.name("inner"));
    let paths: [&[&str]; 5] = [&[], &[&outer], &[&inner], &[&outer, &inner], &[&inner, &outer]];
    let (key, root) = (harness.name("root/key"), harness.name("root/"));
    let mut scopes = Vec::new();
    for path in paths {
        let cache = harness.scoped_client(path).await?;
        let value = path.concat();
        check_eq!(
            text(&*cache, &key).await?,
            None,
            "a key in {path:?} that others set"
        );
        put(&*cache, &key, &value).await?;
        scopes.push((path, cache, value));
    }
    for (path, cache, value) in &scopes {
        check_eq!(
            text(&**cache, &key).await?.as_ref(),
            Some(value),
            "the value in {path:?}"
        );
        check_eq!(
            keys_below(&**cache, &root).await?,
            [key.as_str()],
            "the keys in {path:?}"
        );
    }
    for (number, (path, cache, _)) in scopes.iter().enumerate() {
        let deleted = cache
            .delete_prefix(&root)
            .await
            .premise("keys are deleted by prefix")?;
        check_eq!(deleted, 1, "how many keys there were in {path:?}");
        for (path, cache, value) in &scopes[number + 1..] {
            check_eq!(
                text(&**cache, &key).await?.as_ref(),
                Some(value),
                "the value in {path:?}"
            );
        }
    }
    Ok(())
}
