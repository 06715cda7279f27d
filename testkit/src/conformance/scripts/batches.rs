//! Steps: what they give, what they see, and that nobody sees a part of them.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join;
use infra_core::Ttl;
use infra_core::cache::{Batch, BatchOutcome, Operation, OperationResult, RankRange, Scored, Scripts};

use super::steps::{alone, batch, get, is_there, put, set, text, together, value};
use crate::conformance::answers::poll_then_drop;
use crate::conformance::{Failure, Harness, Outcome, Premise, check, check_eq, limits, short_lease};

/// The steps are done in order, and the results are in that order: one for each.
pub async fn script_001_each_step_says_what_it_gave(harness: &Harness<dyn Scripts>) -> Outcome {
    let scripts = harness.client().await?;
    let [old, number, new, none] = ["old", "number", "new", "none"].map(|suffix| together(harness, suffix));
    put(&*scripts, &old, "1").await?;
    put(&*scripts, &number, "5").await?;
    let outcome = scripts
        .atomically(batch([
            get(&old),
            Operation::IncrBy(number.clone(), -7),
            set(&new, "2"),
            Operation::Delete(old.clone()),
            Operation::Delete(none.clone()),
            get(&none),
            Operation::Expire(none, Ttl::Never),
        ]))
        .await?;
    let expected = BatchOutcome::Applied(vec![
        OperationResult::Value(Some("1".into())),
        OperationResult::Number(-2),
        OperationResult::Done,
        OperationResult::Number(1),
        OperationResult::Number(0),
        OperationResult::Value(None),
        OperationResult::Number(0),
    ]);
    check_eq!(outcome, expected, "what seven steps gave");
    for (key, value) in [(&old, None), (&number, Some("-2")), (&new, Some("2"))] {
        check_eq!(
            text(&*scripts, key).await?.as_deref(),
            value,
            "{key} after the steps"
        );
    }
    Ok(())
}

/// Each step finds what those before it left, also under a key that is worked on several times.
pub async fn script_006_steps_see_those_before_them(harness: &Harness<dyn Scripts>) -> Outcome {
    let scripts = harness.client().await?;
    let key = together(harness, "key");
    put(&*scripts, &key, "before").await?;
    let outcome = scripts
        .atomically(batch([
            set(&key, "1"),
            get(&key),
            Operation::IncrBy(key.clone(), 4),
            get(&key),
            Operation::Delete(key.clone()),
            get(&key),
            Operation::IncrBy(key.clone(), 3),
        ]))
        .await?;
    let expected = BatchOutcome::Applied(vec![
        OperationResult::Done,
        OperationResult::Value(Some("1".into())),
        OperationResult::Number(5),
        OperationResult::Value(Some("5".into())),
        OperationResult::Number(1),
        OperationResult::Value(None),
        OperationResult::Number(3),
    ]);
    check_eq!(outcome, expected, "what seven steps on one key gave");
    Ok(())
}

/// Nothing of others comes in between: who reads two keys in one batch never sees one of them written and the other not.
pub async fn script_007_readers_see_whole_batches(harness: &Harness<dyn Scripts>) -> Outcome {
    let (writer, reader) = (harness.client().await?, harness.client().await?);
    let [one, two] = ["one", "two"].map(|suffix| together(harness, suffix));
    let writing = async {
        for round in 0..32 {
            let value = round.to_string();
            let written = writer
                .atomically(batch([set(&one, &value), set(&two, &value)]))
                .await;
            written.premise("two keys are written")?;
            tokio::task::yield_now().await;
        }
        Ok::<(), Failure>(())
    };
    let reading = async {
        for _ in 0..64 {
            let outcome = reader.atomically(batch([get(&one), get(&two)])).await;
            if let BatchOutcome::Applied(values) = outcome.premise("two keys are read")? {
                check!(
                    values.first() == values.last(),
                    "a reader saw a part of a batch: {values:?} are not the same"
                );
            }
            tokio::task::yield_now().await;
        }
        Ok::<(), Failure>(())
    };
    let (written, read) = join(writing, reading).await;
    read.and(written)
}

/// A step sets, changes and clears the time that a key has to live, as the operation of its name does.
pub async fn script_009_steps_set_times_to_live(harness: &Harness<dyn Scripts>) -> Outcome {
    let scripts = harness.client().await?;
    let ttl = Ttl::After(short_lease(harness, &*scripts));
    let keys = ["set", "given", "taken", "added", "kept"].map(|suffix| together(harness, suffix));
    let [set_for, given, taken, added, kept] = keys.clone();
    let stored = |key: &String, ttl| Operation::Set(key.clone(), "1".into(), ttl);
    let outcome = scripts
        .atomically(batch([
            stored(&set_for, ttl),
            stored(&given, Ttl::Never),
            Operation::Expire(given, ttl),
            stored(&taken, ttl),
            Operation::Expire(taken, Ttl::Never),
            stored(&added, ttl),
            Operation::IncrBy(added, 1),
            stored(&kept, ttl),
            stored(&kept, Ttl::Never),
        ]))
        .await?;
    check!(
        matches!(&outcome, BatchOutcome::Applied(results) if results.get(2) == Some(&OperationResult::Number(1))),
        "giving a time to a key that is there: {outcome:?}"
    );
    for key in &keys {
        is_there(&*scripts, key)
            .await?
            .premise("what was stored is there")?;
    }
    let over = ttl.duration().unwrap_or_default() + limits(&*scripts).ttl_granularity;
    harness.pass(over).await;
    for (key, stays) in keys.iter().zip([false, false, true, false, true]) {
        let there = text(&*scripts, key).await?.is_some();
        check_eq!(there, stays, "whether {key} is there after {ttl:?}");
    }
    Ok(())
}

/// Steps on hashes, sets and sorted sets say how many fields or members they added or removed.
pub async fn script_010_steps_count_what_they_changed(harness: &Harness<dyn Scripts>) -> Outcome {
    let scripts = harness.client().await?;
    let [hash, set, sorted] = ["hash", "set", "sorted"].map(|suffix| together(harness, suffix));
    let fields = |names: &[&str]| {
        let fields = names.iter().map(|name| ((*name).to_owned(), Bytes::from("1")));
        Operation::HashSet(hash.clone(), fields.collect())
    };
    let members = |names: &[&'static str]| names.iter().map(|name| Bytes::from(*name)).collect::<Vec<_>>();
    let scored = |names: &[(&'static str, f64)]| {
        let scored = names.iter().map(|(name, score)| Scored::new(*name, *score));
        Operation::SortedAdd(sorted.clone(), scored.collect())
    };
    let removed = |first, last| Operation::SortedRemoveByRank(sorted.clone(), RankRange::new(first, last));
    for (what, operation, expected) in [
        ("two new fields", fields(&["a", "b"]), 2),
        ("a new and an old field", fields(&["b", "c"]), 1),
        (
            "two new members",
            Operation::SetAdd(set.clone(), members(&["a", "b"])),
            2,
        ),
        (
            "a new and an old member",
            Operation::SetAdd(set.clone(), members(&["b", "c"])),
            1,
        ),
        (
            "a member and none",
            Operation::SetRemove(set.clone(), members(&["c", "d"])),
            1,
        ),
        (
            "four scored members",
            scored(&[("a", 1.0), ("b", 2.0), ("c", 3.0), ("d", 4.0)]),
            4,
        ),
        ("another score of a member", scored(&[("d", 0.5)]), 0),
        ("all but the last two", removed(0, -3), 2),
        ("again all but the last two", removed(0, -3), 0),
        (
            "those that were removed and one that was not",
            scored(&[("a", 1.0), ("d", 4.0), ("c", 3.0)]),
            2,
        ),
    ] {
        let counted = alone(&*scripts, operation).await?;
        check_eq!(counted, OperationResult::Number(expected), "the count of {what}");
    }
    Ok(())
}

/// A batch of nothing is applied, and gives nothing.
pub async fn script_013_an_empty_batch_is_applied(harness: &Harness<dyn Scripts>) -> Outcome {
    let scripts = harness.client().await?;
    let outcome = scripts.atomically(Batch::new()).await?;
    check_eq!(outcome, BatchOutcome::Applied(Vec::new()), "a batch of nothing");
    Ok(())
}

/// Keys and values that a generated script would take for a part of itself, or for text.
const CODE: [&[u8]; 9] = [
    b"",
    b" ",
    b"\0",
    b"\xff\xfe",
    b"']] --",
    b"\") return 1 --",
    b"'; DROP TABLE cache; --",
    b"%s %d {0} $1 KEYS[1]",
    b"\r\n$-1\r\n",
];

/// Keys and values are data, whatever they look like to the language in which the backend does a batch.
pub async fn script_018_keys_and_values_are_data(harness: &Harness<dyn Scripts>) -> Outcome {
    let scripts = harness.client().await?;
    let keys: Vec<String> = CODE
        .iter()
        .map(|code| together(harness, &format!("key{}", String::from_utf8_lossy(code))))
        .collect();
    let writes = keys.iter().zip(CODE);
    let writes = writes.map(|(key, code)| Operation::Set(key.clone(), Bytes::from_static(code), Ttl::Never));
    scripts.atomically(batch(writes)).await?;
    for (key, code) in keys.iter().zip(CODE) {
        let read = value(&*scripts, key).await?;
        check_eq!(read, Some(Bytes::from_static(code)), "the value of {key:?}");
    }
    Ok(())
}

/// A batch whose future is dropped was done whole or not at all, wherever it was dropped.
pub async fn script_020_a_dropped_batch_is_done_or_not(harness: &Harness<dyn Scripts>) -> Outcome {
    let scripts = harness.client().await?;
    for polls in 0..8_u32 {
        let keys = ["one", "two", "three"].map(|suffix| together(harness, &format!("{suffix}{polls}")));
        let additions = keys.clone().map(|key| Operation::IncrBy(key, 1));
        poll_then_drop(polls, scripts.atomically(batch(additions))).await;
        // What was sent may still be on its way.
        harness.pass(Duration::from_millis(50)).await;
        let mut there = 0;
        for key in &keys {
            there += usize::from(text(&*scripts, key).await?.is_some());
        }
        check!(
            there == 0 || (there == keys.len() && polls > 0),
            "a batch dropped after {polls} polls did {there} of its {} steps",
            keys.len()
        );
    }
    Ok(())
}
