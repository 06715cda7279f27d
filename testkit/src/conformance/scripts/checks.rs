//! Conditions: what holds, what does not, and that nobody acts in between.

use bytes::Bytes;
use futures_util::future::join_all;
use infra_core::Ttl;
use infra_core::cache::{Batch, BatchOutcome, Check, Operation, Scripts};

use super::steps::{alone, put, set, text, together};
use crate::conformance::{Harness, Outcome, Premise, check_eq, limits, short_lease};

fn exists(key: &str) -> Check {
    Check::Exists(key.to_owned())
}

fn absent(key: &str) -> Check {
    Check::Absent(key.to_owned())
}

fn equals(key: &str, value: &'static str) -> Check {
    Check::Equals(key.to_owned(), Bytes::from_static(value.as_bytes()))
}

/// A condition that does not hold refuses the batch, and no step of it is done.
pub async fn script_002_an_unmet_condition_changes_nothing(harness: &Harness<dyn Scripts>) -> Outcome {
    let scripts = harness.client().await?;
    let [owned, none, target] = ["owned", "none", "target"].map(|suffix| together(harness, suffix));
    put(&*scripts, &owned, "owner-1").await?;
    put(&*scripts, &target, "old").await?;
    for condition in [
        exists(&none),
        absent(&owned),
        equals(&owned, "owner-2"),
        equals(&owned, "owner"),
        equals(&owned, "owner-11"),
        equals(&owned, ""),
        equals(&none, "owner-1"),
        equals(&none, ""),
    ] {
        let refused = Batch::new()
            .when(condition.clone())
            .then(set(&target, "new"))
            .then(Operation::Delete(owned.clone()))
            .then(set(&none, "new"));
        let outcome = scripts.atomically(refused).await?;
        check_eq!(
            outcome,
            BatchOutcome::Refused { check: 0 },
            "a batch under {condition:?}"
        );
        for (key, value) in [(&target, Some("old")), (&owned, Some("owner-1")), (&none, None)] {
            check_eq!(
                text(&*scripts, key).await?.as_deref(),
                value,
                "{key} after {condition:?}"
            );
        }
    }
    Ok(())
}

/// The refusal names the first condition that does not hold, counted from 0.
pub async fn script_003_the_first_unmet_condition_is_named(harness: &Harness<dyn Scripts>) -> Outcome {
    let scripts = harness.client().await?;
    let [there, none] = ["there", "none"].map(|suffix| together(harness, suffix));
    put(&*scripts, &there, "1").await?;
    for (conditions, first) in [
        (vec![exists(&none), exists(&there), absent(&there)], 0),
        (
            vec![exists(&there), absent(&there), absent(&none), exists(&none)],
            1,
        ),
        (
            vec![
                exists(&there),
                equals(&there, "1"),
                absent(&none),
                equals(&there, "2"),
            ],
            3,
        ),
    ] {
        let refused = conditions.into_iter().fold(Batch::new(), Batch::when);
        let outcome = scripts.atomically(refused).await?;
        check_eq!(
            outcome,
            BatchOutcome::Refused { check: first },
            "the first unmet condition"
        );
    }
    Ok(())
}

/// Conditions that hold let the steps through; an empty value is a value, and a structure exists.
pub async fn script_004_conditions_that_hold_let_the_steps_through(
    harness: &Harness<dyn Scripts>,
) -> Outcome {
    let scripts = harness.client().await?;
    let [there, empty, hash, none, target] =
        ["there", "empty", "hash", "none", "target"].map(|suffix| together(harness, suffix));
    put(&*scripts, &there, "1").await?;
    put(&*scripts, &empty, "").await?;
    let fields = vec![("field".to_owned(), Bytes::from("1"))];
    alone(&*scripts, Operation::HashSet(hash.clone(), fields)).await?;
    for (round, condition) in [
        exists(&there),
        equals(&there, "1"),
        exists(&empty),
        equals(&empty, ""),
        exists(&hash),
        absent(&none),
    ]
    .into_iter()
    .enumerate()
    {
        let value = round.to_string();
        let allowed = Batch::new().when(condition.clone()).then(set(&target, &value));
        let outcome = scripts.atomically(allowed).await?;
        let applied = matches!(&outcome, BatchOutcome::Applied(results) if results.len() == 1);
        check_eq!(
            applied,
            true,
            "{outcome:?} under {condition:?}, which holds; applied"
        );
        check_eq!(text(&*scripts, &target).await?, Some(value), "what the step set");
    }
    Ok(())
}

/// Of many who act if a key is absent exactly one does: nobody comes between a condition and the steps.
pub async fn script_008_one_racer_meets_the_condition(harness: &Harness<dyn Scripts>) -> Outcome {
    let (one, two) = (harness.client().await?, harness.client().await?);
    for round in 0..8 {
        let [flag, count] = ["flag", "count"].map(|suffix| together(harness, &format!("{suffix}{round}")));
        let races = (0..16).map(|racer| {
            let scripts = if racer % 2 == 0 { &one } else { &two };
            let first_only = Batch::new()
                .when(absent(&flag))
                .then(set(&flag, "taken"))
                .then(Operation::IncrBy(count.clone(), 1));
            async move { scripts.atomically(first_only).await }
        });
        let mut winners = 0;
        for outcome in join_all(races).await {
            winners += usize::from(matches!(outcome?, BatchOutcome::Applied(_)));
        }
        check_eq!(winners, 1, "how many of 16 found the key absent");
        check_eq!(
            text(&*one, &count).await?.as_deref(),
            Some("1"),
            "how often the steps were done"
        );
    }
    Ok(())
}

/// To a condition what expired is absent.
pub async fn script_021_what_expired_is_absent_to_conditions(harness: &Harness<dyn Scripts>) -> Outcome {
    let scripts = harness.client().await?;
    let (key, ttl) = (together(harness, "key"), short_lease(harness, &*scripts));
    let stored = Operation::Set(key.clone(), "1".into(), Ttl::After(ttl));
    alone(&*scripts, stored).await?;
    harness.pass(ttl + limits(&*scripts).ttl_granularity).await;
    text(&*scripts, &key)
        .await?
        .is_none()
        .premise("an expired value is not read")?;
    for (condition, outcome) in [
        (absent(&key), BatchOutcome::Applied(Vec::new())),
        (exists(&key), BatchOutcome::Refused { check: 0 }),
        (equals(&key, "1"), BatchOutcome::Refused { check: 0 }),
    ] {
        let asked = scripts.atomically(Batch::new().when(condition.clone())).await?;
        check_eq!(asked, outcome, "{condition:?} of an expired key");
    }
    Ok(())
}
