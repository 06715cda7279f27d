//! What is refused, and how the refusal reads.

use infra_core::cache::Hashes;

use crate::conformance::collections::arguments;
use crate::conformance::{Disturbance, Harness, Outcome, Premise, check, limits};

/// Empty or oversized keys, oversized fields and values are refused, whether the server can be asked or not.
pub async fn hash_020_bad_sizes_are_refused_without_the_server(harness: &Harness<dyn Hashes>) -> Outcome {
    arguments::bad_sizes_are_refused_without_the_server(harness).await
}

/// The longest key and the largest field are taken, and come back whole.
pub async fn hash_021_the_largest_key_and_field_fit(harness: &Harness<dyn Hashes>) -> Outcome {
    arguments::the_largest_key_and_member_fit(harness).await
}

/// One field that is refused refuses them all.
pub async fn hash_022_a_refused_write_changes_nothing(harness: &Harness<dyn Hashes>) -> Outcome {
    arguments::a_refused_write_changes_nothing(harness).await
}

/// No error shows a value: neither one that was to be set nor the one that is no number. Names of fields may be shown, as keys are.
pub async fn hash_023_errors_show_no_values(harness: &Harness<dyn Hashes>) -> Outcome {
    let cache = harness.client().await?;
    let (key, text) = (harness.name("number"), harness.name("text"));
    harness
        .disturb(Disturbance::StoreText { key: text.clone() })
        .await?;
    let set = cache.hash_set(&key, &[("n", "hunter1".into())]).await;
    set.premise("a field is set")?;
    let large = "hunter2".repeat(limits(&*cache).max_value_bytes / 7 + 1);
    let answers = [
        cache.hash_incr_by(&key, "n", 1).await.map(drop),
        cache.hash_set(&key, &[("n", large.into())]).await.map(drop),
        cache.hash_set("", &[("n", "hunter3".into())]).await.map(drop),
        cache.hash_set(&text, &[("n", "hunter4".into())]).await.map(drop),
    ];
    for answer in answers {
        let error = answer.err().premise("a bad call is refused")?;
        let said = format!("{error} {error:?}");
        check!(!said.contains("hunter"), "an error shows a value: {said}");
    }
    Ok(())
}
