//! What is refused, and how the refusal reads.

use infra_core::error::ErrorKind;

use super::steps::members;
use super::{Collection, key_calls};
use crate::conformance::answers::all_refused;
use crate::conformance::{Disturbance, Harness, Outcome, Premise, check, check_eq, check_error, limits};

/// An empty or oversized key and an oversized member are refused by every operation, whether the server can be asked or not.
pub(crate) async fn bad_sizes_are_refused_without_the_server<T: Collection + ?Sized>(
    harness: &Harness<T>,
) -> Outcome {
    let client = harness.client().await?;
    let (key, limits) = (harness.name("key"), limits(&*client));
    let long_key = "k".repeat(limits.max_key_bytes + 1);
    let large = "0".repeat(limits.max_value_bytes + 1);
    let mut answers = Vec::new();
    for away in [false, true] {
        if away {
            harness.disturb(Disturbance::GoAway).await?;
        }
        for key in ["", &long_key] {
            answers.extend(client.reads(key).await);
            answers.extend(client.writes(key, "1").await);
            answers.extend(key_calls(&*client, key).await);
        }
        answers.extend(client.writes(&key, &large).await);
    }
    harness.disturb(Disturbance::ComeBack).await?;
    all_refused(answers, ErrorKind::InvalidArgument, "with a bad size")
}

/// The longest key and the largest member that are declared are taken, and come back whole.
pub(crate) async fn the_largest_key_and_member_fit<T: Collection + ?Sized>(harness: &Harness<T>) -> Outcome {
    let client = harness.client().await?;
    let (name, limits) = (harness.name(""), limits(&*client));
    let key = format!(
        "{name}{}",
        "k".repeat(limits.max_key_bytes.saturating_sub(name.len()))
    );
    let large = "0".repeat(limits.max_value_bytes);
    check_eq!(
        client.add(&key, &[&large]).await?,
        1,
        "how many large members were new"
    );
    let found = members(&*client, &key).await?;
    check!(
        found == [large],
        "a member of the largest size came back as {} members",
        found.len()
    );
    client.delete(&[&key]).await?;
    Ok(())
}

/// One member that is refused refuses them all: nothing is changed.
pub(crate) async fn a_refused_write_changes_nothing<T: Collection + ?Sized>(harness: &Harness<T>) -> Outcome {
    let client = harness.client().await?;
    let key = harness.name("key");
    let large = "0".repeat(limits(&*client).max_value_bytes + 1);
    let refused = client.add(&key, &["a", &large, "b"]).await;
    check_error!(
        refused,
        ErrorKind::InvalidArgument,
        "adding one member too large of three"
    );
    let found = members(&*client, &key).await?;
    check!(found.is_empty(), "a refused write left {found:?}");
    Ok(())
}

/// No error shows a member or a value, not even to a debugger.
pub(crate) async fn errors_show_no_members<T: Collection + ?Sized>(harness: &Harness<T>) -> Outcome {
    let client = harness.client().await?;
    let (key, text) = (harness.name("key"), harness.name("text"));
    harness
        .disturb(Disturbance::StoreText { key: text.clone() })
        .await?;
    let large = "hunter2".repeat(limits(&*client).max_value_bytes / 7 + 1);
    let mut answers = client.writes(&key, &large).await;
    answers.extend(client.writes("", "hunter3").await);
    answers.extend(client.writes(&text, "hunter4").await);
    for (call, answer) in answers {
        let error = answer.err().premise("a bad call is refused")?;
        let said = format!("{error} {error:?}");
        check!(
            !said.contains("hunter"),
            "an error of {call} shows a member: {said}"
        );
    }
    Ok(())
}
