//! Fields: what is read, set and deleted.

use std::collections::BTreeMap;

use bytes::Bytes;
use infra_core::cache::Hashes;

use crate::conformance::collections::counting;
use crate::conformance::{Harness, Outcome, Premise, check, check_eq};

/// A hash that is absent, and a field that is absent, have no value and are no error.
pub async fn hash_001_an_absent_hash_is_no_error(harness: &Harness<dyn Hashes>) -> Outcome {
    let cache = harness.client().await?;
    let (absent, there) = (harness.name("absent"), harness.name("there"));
    let set = cache.hash_set(&there, &[("a", "1".into())]).await;
    set.premise("a field is set")?;
    for (key, fields) in [(&absent, 0), (&there, 1)] {
        check_eq!(
            cache.hash_get(key, "b").await?,
            None,
            "an absent field of {key:?}"
        );
        check!(
            !cache.hash_exists(key, "b").await?,
            "an absent field of {key:?} exists"
        );
        check_eq!(
            cache.hash_get_all(key).await?.len(),
            fields,
            "the fields of {key:?}"
        );
        check_eq!(
            cache.hash_len(key).await?,
            fields as u64,
            "how many fields {key:?} has"
        );
    }
    Ok(())
}

/// Values are bytes: whatever they are they come back, one by one and all at once.
pub async fn hash_002_bytes_come_back_as_they_were(harness: &Harness<dyn Hashes>) -> Outcome {
    let cache = harness.client().await?;
    let key = harness.name("key");
    let all: Vec<u8> = (0..=u8::MAX).collect();
    let values = [
        ("text", Bytes::from_static(b"hello")),
        ("number", Bytes::from_static(b"007")),
        ("lines", Bytes::from_static(b"\r\n+OK\r\n")),
        ("no text", Bytes::from_static(&[0xff, 0xfe, 0])),
        ("every byte", Bytes::from(all)),
    ];
    cache.hash_set(&key, &values).await?;
    for (field, value) in &values {
        check_eq!(
            cache.hash_get(&key, field).await?.as_ref(),
            Some(value),
            "the field {field:?}"
        );
    }
    let expected: BTreeMap<String, Bytes> = values
        .into_iter()
        .map(|(field, value)| (field.to_owned(), value))
        .collect();
    check_eq!(cache.hash_get_all(&key).await?, expected, "all fields");
    Ok(())
}

/// Setting answers how many fields are new.
pub async fn hash_003_setting_counts_what_is_new(harness: &Harness<dyn Hashes>) -> Outcome {
    counting::adding_counts_what_is_new(harness).await
}

/// Setting replaces the values of the fields that it names, the last one where it names one twice, and leaves the others.
pub async fn hash_004_setting_replaces_only_what_it_names(harness: &Harness<dyn Hashes>) -> Outcome {
    let cache = harness.client().await?;
    let key = harness.name("key");
    for fields in [
        &[("a", "1"), ("b", "1")][..],
        &[("b", "2"), ("c", "2")],
        &[("c", "3"), ("c", "4")],
    ] {
        let fields: Vec<_> = fields
            .iter()
            .map(|(field, value)| (*field, Bytes::from(*value)))
            .collect();
        cache.hash_set(&key, &fields).await.premise("fields are set")?;
    }
    for (field, expected) in [("a", "1"), ("b", "2"), ("c", "4")] {
        let value = cache.hash_get(&key, field).await?;
        check_eq!(value, Some(Bytes::from(expected)), "the field {field:?}");
    }
    Ok(())
}

/// Deleting answers how many fields there were.
pub async fn hash_005_deleting_counts_what_was_there(harness: &Harness<dyn Hashes>) -> Outcome {
    counting::removing_counts_what_was_there(harness).await
}

/// A hash exists from its first field to its last.
pub async fn hash_006_a_hash_without_fields_does_not_exist(harness: &Harness<dyn Hashes>) -> Outcome {
    counting::without_members_it_does_not_exist(harness).await
}

/// A field with an empty value is there: it exists, counts, and is read as empty.
pub async fn hash_007_an_empty_value_is_a_value(harness: &Harness<dyn Hashes>) -> Outcome {
    let cache = harness.client().await?;
    let key = harness.name("key");
    cache.hash_set(&key, &[("empty", Bytes::new())]).await?;
    check_eq!(
        cache.hash_get(&key, "empty").await?,
        Some(Bytes::new()),
        "an empty value"
    );
    check!(
        cache.hash_exists(&key, "empty").await?,
        "a field with an empty value does not exist"
    );
    check_eq!(
        cache.hash_len(&key).await?,
        1,
        "how many fields have an empty value"
    );
    Ok(())
}

/// Any text, the empty one too, is a field of its own.
pub async fn hash_008_any_text_is_a_field_of_its_own(harness: &Harness<dyn Hashes>) -> Outcome {
    counting::any_text_is_a_member_of_its_own(harness).await
}

/// More fields than fit a page or a packet all come back.
pub async fn hash_009_many_fields_all_come_back(harness: &Harness<dyn Hashes>) -> Outcome {
    counting::many_members_all_come_back(harness).await
}
