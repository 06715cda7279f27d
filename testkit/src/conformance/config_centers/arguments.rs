//! What is refused, and how the refusal reads.

use bytes::Bytes;
use infra_core::coordination::{ConfigCenter, ConfigCenterExt, ConfigWrite, Version, WatchScope};
use infra_core::error::ErrorKind;

use super::steps::{put, text};
use crate::conformance::{Disturbance, Harness, Outcome, Premise, check, check_eq, check_error, limits};

/// No write at all, a key written twice, an empty or oversized key, an oversized value: invalid arguments that write nothing.
pub async fn config_020_bad_writes_are_refused(harness: &Harness<dyn ConfigCenter>) -> Outcome {
    let center = harness.client().await?;
    let (key, limits) = (harness.name("key"), limits(&*center));
    let large = Bytes::from(vec![b'0'; limits.max_value_bytes + 1]);
    for (what, writes) in [
        ("no write", vec![]),
        (
            "a key twice",
            vec![
                ConfigWrite::set(key.as_str(), "1"),
                ConfigWrite::set(key.as_str(), "2"),
            ],
        ),
        ("an empty key", vec![ConfigWrite::set("", "1")]),
        (
            "a key that is too long",
            vec![ConfigWrite::set("k".repeat(limits.max_key_bytes + 1), "1")],
        ),
        (
            "a value that is too long",
            vec![ConfigWrite::set(key.as_str(), large)],
        ),
    ] {
        check_error!(
            center.write(writes).await,
            ErrorKind::InvalidArgument,
            "writing {what}"
        );
    }
    check_eq!(text(&*center, &key).await?, None, "the key of refused writes");
    Ok(())
}

/// Arguments that can never be right are refused before the server is asked: also while it is away.
pub async fn config_021_bad_arguments_are_refused_without_the_server(
    harness: &Harness<dyn ConfigCenter>,
) -> Outcome {
    let center = harness.client().await?;
    harness.disturb(Disturbance::GoAway).await?;
    let written = center.write(vec![ConfigWrite::set("", "1")]).await;
    let read = center.read(&WatchScope::Key(String::new())).await;
    let watched = center.watch(&WatchScope::Key(String::new()), 0).await.map(drop);
    harness.disturb(Disturbance::ComeBack).await?;
    check_error!(written, ErrorKind::InvalidArgument, "writing an empty key");
    check_error!(read, ErrorKind::InvalidArgument, "reading an empty key");
    check_error!(watched, ErrorKind::InvalidArgument, "watching an empty key");
    Ok(())
}

/// The longest key and the longest value that are declared are taken, and come back whole.
pub async fn config_022_the_largest_key_and_value_fit(harness: &Harness<dyn ConfigCenter>) -> Outcome {
    let center = harness.client().await?;
    let limits = limits(&*center);
    let name = harness.name("");
    let key = format!(
        "{name}{}",
        "k".repeat(limits.max_key_bytes.saturating_sub(name.len()))
    );
    let value = Bytes::from(vec![b'0'; limits.max_value_bytes]);
    center
        .write(vec![ConfigWrite::set(key.as_str(), value.clone())])
        .await?;
    let entry = center.entry(&key).await?;
    check!(
        entry.as_ref().is_some_and(|entry| entry.value == value),
        "{} bytes were written under a key of {}, and {entry:?} was read",
        value.len(),
        key.len()
    );
    center.delete(&key).await?;
    Ok(())
}

/// No error shows a value, not even to a debugger: neither the one that is there nor the one that was to be written.
pub async fn config_023_errors_show_no_values(harness: &Harness<dyn ConfigCenter>) -> Outcome {
    let center = harness.client().await?;
    let key = harness.name("key");
    put(&*center, &key, r#""hunter2""#).await?;
    let conflict = center.compare_and_set(&key, "hunter3", Version::ABSENT).await;
    let twice = ["hunter4", "hunter5"].map(|value| ConfigWrite::set(key.as_str(), value));
    let refused = center.write(twice.to_vec()).await;
    let misfit = center.get::<u32>(&key).await.map(|_| Version::ABSENT);
    for answer in [conflict, refused, misfit] {
        let error = answer.err().premise("a bad call is refused")?;
        let said = format!("{error} {error:?}");
        check!(!said.contains("hunter"), "an error shows a value: {said}");
    }
    Ok(())
}
