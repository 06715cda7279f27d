//! What is refused, and that it leaves everything as it was.

use std::time::Duration;

use bytes::Bytes;
use infra_core::Ttl;
use infra_core::cache::{
    Batch, BatchOutcome, Check, Operation, OperationResult, RankRange, Scored, Script, ScriptValue, Scripts,
};
use infra_core::capability::Capability;
use infra_core::error::ErrorKind;

use super::steps::{alone, batch, get, put, set, text, together};
use crate::conformance::{
    Disturbance, Failure, Harness, Outcome, Premise, check, check_eq, check_error, declares, limits,
    short_lease,
};

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// A step that fails fails the batch, and everything that was done before it is undone, in values of every type and in times.
pub async fn script_005_a_step_that_fails_undoes_those_before_it(harness: &Harness<dyn Scripts>) -> Outcome {
    let scripts = harness.client().await?;
    let ttl = short_lease(harness, &*scripts);
    let [text_key, new, old, timed, hash, set_key, sorted] =
        ["text", "new", "old", "timed", "hash", "set", "sorted"].map(|suffix| together(harness, suffix));
    let field = |name: &str| Operation::HashSet(hash.clone(), vec![(name.to_owned(), bytes("1"))]);
    let add = |member| Operation::SetAdd(set_key.clone(), vec![bytes(member)]);
    let remove = |member| Operation::SetRemove(set_key.clone(), vec![bytes(member)]);
    let scored =
        |member: &'static str, score| Operation::SortedAdd(sorted.clone(), vec![Scored::new(member, score)]);
    for step in [
        set(&text_key, "text"),
        set(&old, "old"),
        set(&timed, "timed"),
        field("old"),
        add("old"),
        scored("old", 1.0),
    ] {
        alone(&*scripts, step).await?;
    }
    let failing = batch([
        set(&new, "new"),
        Operation::Delete(old.clone()),
        Operation::Expire(timed.clone(), Ttl::After(ttl)),
        field("new"),
        add("new"),
        remove("old"),
        scored("new", 2.0),
        Operation::SortedRemoveByRank(sorted.clone(), RankRange::new(0, 0)),
        Operation::IncrBy(text_key.clone(), 1),
        set(&text_key, "after"),
    ]);
    check_error!(
        scripts.atomically(failing).await,
        ErrorKind::Conflict,
        "a batch whose ninth step adds to a text"
    );
    for (key, value) in [(&new, None), (&old, Some("old")), (&text_key, Some("text"))] {
        check_eq!(
            text(&*scripts, key).await?.as_deref(),
            value,
            "{key} after the batch failed"
        );
    }
    // What is added anew counts, what is still there does not.
    for (what, step, count) in [
        ("the new field", field("new"), 1),
        ("the new member", add("new"), 1),
        ("the old member", add("old"), 0),
        ("the new scored member", scored("new", 2.0), 1),
        ("the old scored member", scored("old", 1.0), 0),
    ] {
        let counted = alone(&*scripts, step).await?;
        check_eq!(
            counted,
            OperationResult::Number(count),
            "adding {what} after the batch failed"
        );
    }
    harness.pass(ttl + limits(&*scripts).ttl_granularity).await;
    check_eq!(
        text(&*scripts, &timed).await?.as_deref(),
        Some("timed"),
        "what a failed batch gave {ttl:?}, after them"
    );
    Ok(())
}

/// A step on a key that holds another type is a conflict; a plain set replaces whatever is there.
pub async fn script_011_a_value_of_another_type_is_a_conflict(harness: &Harness<dyn Scripts>) -> Outcome {
    let scripts = harness.client().await?;
    let [hash, string] = ["hash", "string"].map(|suffix| together(harness, suffix));
    let fields = vec![("field".to_owned(), bytes("1"))];
    alone(&*scripts, Operation::HashSet(hash.clone(), fields.clone())).await?;
    put(&*scripts, &string, "1").await?;
    for step in [
        get(&hash),
        Operation::IncrBy(hash.clone(), 1),
        Operation::SetAdd(hash.clone(), vec![bytes("a")]),
        Operation::SetRemove(hash.clone(), vec![bytes("a")]),
        Operation::SortedAdd(hash.clone(), vec![Scored::new("a", 1.0)]),
        Operation::SortedRemoveByRank(hash.clone(), RankRange::new(0, 0)),
        Operation::HashSet(string.clone(), fields.clone()),
    ] {
        let answer = scripts.atomically(batch([step.clone()])).await;
        check_error!(answer, ErrorKind::Conflict, "{step:?} on another type");
    }
    let replaced = scripts.atomically(batch([set(&hash, "1")])).await?;
    check_eq!(
        replaced,
        BatchOutcome::Applied(vec![OperationResult::Done]),
        "setting what was a hash"
    );
    check_eq!(
        text(&*scripts, &hash).await?.as_deref(),
        Some("1"),
        "what was a hash, after it was set"
    );
    Ok(())
}

/// Batches that can never be right, by what is wrong with them.
fn bad_batches(scripts: &dyn Scripts, key: &str) -> Vec<(&'static str, Batch)> {
    let limits = limits(scripts);
    let long_key = format!("{key}{}", "k".repeat(limits.max_key_bytes));
    let large = Bytes::from(vec![b'0'; limits.max_value_bytes + 1]);
    let key = || key.to_owned();
    let zero = Ttl::After(Duration::ZERO);
    let too_long = Ttl::After(limits.max_ttl.saturating_add(Duration::from_secs(1)));
    vec![
        ("an empty key", batch([set("", "1")])),
        ("a key that is too long", batch([get(&long_key)])),
        (
            "a condition on an empty key",
            Batch::new().when(Check::Absent(String::new())),
        ),
        (
            "a condition on a key that is too long",
            Batch::new().when(Check::Exists(long_key)),
        ),
        (
            "a value that is too large",
            batch([Operation::Set(key(), large.clone(), Ttl::Never)]),
        ),
        (
            "a field that is too large",
            batch([Operation::HashSet(key(), vec![("f".into(), large.clone())])]),
        ),
        (
            "a member that is too large",
            batch([Operation::SetAdd(key(), vec![large.clone()])]),
        ),
        (
            "a scored member that is too large",
            batch([Operation::SortedAdd(key(), vec![Scored::new(large, 1.0)])]),
        ),
        (
            "a score that is no number",
            batch([Operation::SortedAdd(key(), vec![Scored::new("m", f64::NAN)])]),
        ),
        (
            "no time to live",
            batch([Operation::Set(key(), bytes("1"), zero)]),
        ),
        (
            "a time that is too long",
            batch([Operation::Expire(key(), too_long)]),
        ),
    ]
}

/// What is wrong in itself is refused whole, also behind good steps, and whether the server can be asked or not.
pub async fn script_012_bad_arguments_are_refused_without_the_server(
    harness: &Harness<dyn Scripts>,
) -> Outcome {
    let scripts = harness.client().await?;
    let [key, good] = ["key", "good"].map(|suffix| together(harness, suffix));
    let mut answers = Vec::new();
    for away in [false, true] {
        if away {
            harness.disturb(Disturbance::GoAway).await?;
        }
        for (what, mut bad) in bad_batches(&*scripts, &key) {
            bad.operations.insert(0, set(&good, "1"));
            answers.push((what, away, scripts.atomically(bad).await));
        }
    }
    harness.disturb(Disturbance::ComeBack).await?;
    for (what, away, answer) in answers {
        let when = if away { "away" } else { "there" };
        check_error!(
            answer,
            ErrorKind::InvalidArgument,
            "{what} while the server is {when}"
        );
    }
    check_eq!(
        text(&*scripts, &good).await?,
        None,
        "a good step before a bad one"
    );
    Ok(())
}

/// Any keys can be in one batch where that is declared; elsewhere those without a common hash tag are refused and nothing is changed.
pub async fn script_014_keys_that_cannot_be_in_one_batch_are_refused(
    harness: &Harness<dyn Scripts>,
) -> Outcome {
    let scripts = harness.client().await?;
    // So many that they cannot be on one node of a cluster by chance.
    let keys: Vec<String> = (0..64)
        .map(|number| harness.name(&format!("key{{{number}}}")))
        .collect();
    let answer = scripts
        .atomically(batch(keys.iter().map(|key| set(key, "1"))))
        .await;
    let expected = if declares(&*scripts, Capability::AtomicAcrossKeys) {
        let outcome = answer?;
        check!(
            matches!(&outcome, BatchOutcome::Applied(results) if results.len() == keys.len()),
            "atomicity across keys is declared, and a batch of them is {outcome:?}"
        );
        Some("1")
    } else {
        check_error!(
            answer,
            ErrorKind::InvalidArgument,
            "a batch of keys without a common hash tag"
        );
        None
    };
    for key in &keys {
        check_eq!(
            text(&*scripts, key).await?.as_deref(),
            expected,
            "{key} after that batch"
        );
    }
    Ok(())
}

/// No error shows a value, not even to a debugger: neither those that are there nor those that were to be stored.
pub async fn script_017_errors_show_no_values(harness: &Harness<dyn Scripts>) -> Outcome {
    let scripts = harness.client().await?;
    let key = together(harness, "key");
    put(&*scripts, &key, "hunter2").await?;
    let zero = Ttl::After(Duration::ZERO);
    let equals = Check::Equals(String::new(), bytes("hunter5"));
    for bad in [
        batch([set(&key, "hunter3"), Operation::IncrBy(key.clone(), 1)]),
        batch([Operation::SetAdd(key.clone(), vec![bytes("hunter4")])]),
        batch([Operation::Set(key.clone(), bytes("hunter6"), zero)]),
        Batch::new().when(equals),
    ] {
        let error = scripts
            .atomically(bad)
            .await
            .err()
            .premise("a bad batch is refused")?;
        let said = format!("{error} {error:?}");
        check!(!said.contains("hunter"), "an error shows a value: {said}");
    }
    Ok(())
}

/// Raw scripts are refused as unsupported where they are not declared. Where they are, they get keys with the prefix of all keys, and
/// arguments as bytes.
pub async fn script_019_raw_scripts_need_their_capability(harness: &Harness<dyn Scripts>) -> Outcome {
    let scripts = harness.client().await?;
    let key = together(harness, "key");
    if !declares(&*scripts, Capability::RawScripts) {
        let answer = scripts
            .run_script(&Script::new("return 1"), &[&key], &[bytes("1")])
            .await;
        check_error!(
            answer,
            ErrorKind::Unsupported,
            "a raw script where none is declared"
        );
        return Ok(());
    }
    if scripts.backend() != "redis" {
        return Err(Failure::skipped(
            "raw scripts are declared, and in the backend's own language: its own tests prove them",
        ));
    }
    put(&*scripts, &key, "1").await?;
    let script = Script::new("return {redis.call('GET', KEYS[1]), ARGV[1], -7, false, {ARGV[2]}}");
    let arguments = [Bytes::from_static(b"\xff\0\r\n"), Bytes::new()];
    let [first, second] = arguments.clone().map(ScriptValue::Bytes);
    let expected = ScriptValue::List(vec![
        ScriptValue::Bytes(bytes("1")),
        first,
        ScriptValue::Integer(-7),
        ScriptValue::Null,
        ScriptValue::List(vec![second]),
    ]);
    // The second time the server knows the script.
    for time in ["first", "second"] {
        let answer = scripts.run_script(&script, &[&key], &arguments).await?;
        check_eq!(answer, expected, "what a raw script returned the {time} time");
    }
    Ok(())
}
