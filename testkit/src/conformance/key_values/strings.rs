//! What is stored comes back: one value, or many in one round trip.

use bytes::Bytes;
use infra_core::Ttl;
use infra_core::cache::KeyValue;
use infra_core::error::ErrorKind;

use super::steps::{put, text, together};
use crate::conformance::{Harness, Outcome, Premise, check, check_eq, limits};

/// A key that was never set is no error: there is no value.
pub async fn cache_001_an_absent_key_is_no_error(harness: &Harness<dyn KeyValue>) -> Outcome {
    let cache = harness.client().await?;
    let key = harness.name("key");
    check_eq!(
        cache.get(&key).await?,
        None,
        "the value of a key that was never set"
    );
    Ok(())
}

/// Bytes come back as they were: none at all, each of the 256, and what is no text.
pub async fn cache_002_bytes_come_back_as_they_were(harness: &Harness<dyn KeyValue>) -> Outcome {
    let cache = harness.client().await?;
    let every_byte: Vec<u8> = (0..=u8::MAX).collect();
    for (number, value) in [Bytes::new(), every_byte.into(), "\r\n$-1\r\n".into()]
        .into_iter()
        .enumerate()
    {
        let key = harness.name(&format!("key{number}"));
        cache.set(&key, value.clone(), Ttl::Never).await?;
        check_eq!(cache.get(&key).await?, Some(value), "the value of {key}");
    }
    Ok(())
}

/// The last value set is the value, whole, also where it is shorter than the one before.
pub async fn cache_003_overwriting_replaces(harness: &Harness<dyn KeyValue>) -> Outcome {
    let cache = harness.client().await?;
    let key = harness.name("key");
    for value in ["a long one", "short", "another"] {
        put(&*cache, &key, value).await?;
        check_eq!(
            text(&*cache, &key).await?.as_deref(),
            Some(value),
            "the last value set"
        );
    }
    Ok(())
}

/// Several keys are read in their order, with `None` for each that is absent, and twice where a key is named twice.
pub async fn cache_014_many_are_read_in_their_order(harness: &Harness<dyn KeyValue>) -> Outcome {
    let cache = harness.client().await?;
    let [one, two, none] = ["one", "two", "none"].map(|suffix| together(harness, suffix));
    put(&*cache, &one, "1").await?;
    put(&*cache, &two, "2").await?;
    let read = cache.get_many(&[&two, &none, &one, &two]).await?;
    let expected = [Some("2"), None, Some("1"), Some("2")].map(|value| value.map(Bytes::from));
    check_eq!(read, expected, "the values of two, none, one and two");
    check_eq!(cache.get_many(&[]).await?, Vec::new(), "the values of no keys");
    Ok(())
}

/// Setting several values gives a result for each, in their order: what cannot be stored fails alone.
pub async fn cache_015_of_many_writes_only_bad_ones_fail(harness: &Harness<dyn KeyValue>) -> Outcome {
    let cache = harness.client().await?;
    let [one, large, two] = ["one", "large", "two"].map(|suffix| together(harness, suffix));
    let too_large = Bytes::from(vec![b'0'; limits(&*cache).max_value_bytes + 1]);
    let entries = [
        (one.as_str(), Bytes::from("1")),
        (large.as_str(), too_large),
        (two.as_str(), Bytes::from("2")),
    ];
    let results = cache.set_many(&entries, Ttl::Never).await?;
    let kinds: Vec<_> = results
        .iter()
        .map(|result| result.as_ref().map_err(|error| error.kind()).err())
        .collect();
    check_eq!(
        kinds,
        [None, Some(ErrorKind::InvalidArgument), None],
        "the errors of a good, a too large and a good write"
    );
    for (key, value) in [(&one, Some("1")), (&large, None), (&two, Some("2"))] {
        check_eq!(text(&*cache, key).await?.as_deref(), value, "the value of {key}");
    }
    Ok(())
}

/// An empty value is a value: its key exists, is not absent to whoever wants it so, and counts when it is deleted.
pub async fn cache_045_an_empty_value_is_a_value(harness: &Harness<dyn KeyValue>) -> Outcome {
    let cache = harness.client().await?;
    let key = together(harness, "key");
    put(&*cache, &key, "").await?;
    check!(
        cache.exists(&key).await?,
        "a key with an empty value does not exist"
    );
    check_eq!(
        cache.get_many(&[&key]).await?,
        [Some(Bytes::new())],
        "an empty value among many"
    );
    check!(
        !cache.set_if_absent(&key, "1".into(), Ttl::Never).await?,
        "a key with an empty value was taken for absent"
    );
    check!(
        cache.compare_and_delete(&key, Bytes::new()).await?,
        "an empty value is not equal to an empty value"
    );
    check!(!cache.exists(&key).await?, "a deleted key exists");
    Ok(())
}

/// What one client wrote every client reads, also one that looked before.
pub async fn cache_039_clients_see_one_another(harness: &Harness<dyn KeyValue>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let key = harness.name("key");
    for (before, value) in [(None, "1"), (Some("1"), "2")] {
        check_eq!(text(&*theirs, &key).await?.as_deref(), before, "before the write");
        put(&*ours, &key, value).await?;
        check_eq!(
            text(&*theirs, &key).await?.as_deref(),
            Some(value),
            "what another client wrote"
        );
    }
    Ok(())
}

/// The longest key and the largest value that are declared are taken, and come back whole.
pub async fn cache_034_the_largest_key_and_value_fit(harness: &Harness<dyn KeyValue>) -> Outcome {
    let cache = harness.client().await?;
    let limits = limits(&*cache);
    let name = harness.name("");
    let rest = limits.max_key_bytes.saturating_sub(name.len());
    let key = format!("{name}{}", "k".repeat(rest));
    let value = Bytes::from(vec![b'0'; limits.max_value_bytes]);
    cache.set(&key, value.clone(), Ttl::Never).await?;
    let read = cache.get(&key).await.premise("a key is read")?;
    check!(
        read.as_ref() == Some(&value),
        "{} bytes were stored under a key of {}, and {:?} were read",
        value.len(),
        key.len(),
        read.map(|read| read.len())
    );
    cache.delete(&[&key]).await.premise("a key is deleted")?;
    Ok(())
}
