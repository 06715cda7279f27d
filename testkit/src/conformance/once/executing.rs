//! The work of a key is done once, and everybody gets its result.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use infra_core::error::ErrorKind;
use infra_core::once::{Once, OnceOutcome, OnceStore, Waiting};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::steps::{Counted, LONG_WAIT, begun, execute, over, remembering, start};
use crate::conformance::{
    Harness, Outcome, Premise, SLACK, check, check_eq, check_error, long_lease, short_lease,
};

/// The first call does the work and gives its result.
pub async fn idemp_001_the_first_call_executes(harness: &Harness<dyn OnceStore>) -> Outcome {
    let store = harness.client().await?;
    let once = over(&store, long_lease(&*store))?;
    let work = Counted::default();
    let outcome = once
        .execute_bytes(&harness.name("key"), remembering(&store), work.giving("done"))
        .await?;
    check_eq!(
        outcome,
        OnceOutcome::Executed(Bytes::from_static(b"done")),
        "the first outcome"
    );
    check_eq!(work.begun(), 1, "how often the work was done");
    Ok(())
}

/// A later call, of another client too, gets the stored result byte for byte, and the work is not done again.
pub async fn idemp_002_a_replay_gives_the_stored_result(harness: &Harness<dyn OnceStore>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let (first, second) = (
        over(&ours, long_lease(&*ours))?,
        over(&theirs, long_lease(&*theirs))?,
    );
    let every_byte: Bytes = (0..=u8::MAX).chain(0..=u8::MAX).collect();
    let large = Bytes::from(vec![7; 64 * 1024]);
    let results = [Bytes::new(), Bytes::from_static(b"\0"), every_byte, large];
    for (number, result) in results.into_iter().enumerate() {
        let key = harness.name(&format!("key{number}"));
        let given = result.clone();
        execute(
            &first,
            &key,
            remembering(&ours),
            Box::pin(async move { Ok(given) }),
        )
        .await?;
        let again = Counted::default();
        for once in [&first, &second] {
            let outcome = once
                .execute_bytes(&key, remembering(&ours), again.giving("again"))
                .await?;
            check!(outcome.is_replay(), "the work of {key} was done again");
            let replayed = outcome.into_inner();
            check!(
                replayed == result,
                "a result of {} bytes came back as one of {} bytes, or as others",
                result.len(),
                replayed.len()
            );
        }
        check_eq!(again.begun(), 0, "how often the work was done again");
    }
    Ok(())
}

/// Who comes while the work is in progress waits, and gets the result as soon as it is there.
pub async fn idemp_003_a_concurrent_call_waits_for_the_result(harness: &Harness<dyn OnceStore>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let (key, lease) = (harness.name("key"), long_lease(&*ours));
    let (first, second) = (over(&ours, lease)?, over(&theirs, lease)?);
    let (work, gate) = (Counted::default(), Arc::new(Notify::new()));
    let options = remembering(&ours).with_waiting(Waiting::UpTo(LONG_WAIT));
    let executing = start(
        &first,
        &key,
        options.clone(),
        work.behind(&gate, "the first one's"),
    );
    begun(harness, &work, 1).await?;
    let waiting = start(&second, &key, options, work.giving("the second one's"));
    harness.pass(Duration::from_millis(500)).await;
    check!(
        !waiting.is_finished(),
        "the second call did not wait for work in progress"
    );
    gate.notify_one();
    let executed = executing
        .await?
        .premise("the work of a key that nobody knows is done")?;
    (!executed.is_replay()).premise("the work of a key that nobody knows is done")?;
    let replayed = harness.within(SLACK * 2, "the result, for who waited for it", waiting);
    let expected = OnceOutcome::Replayed(Bytes::from_static(b"the first one's"));
    check_eq!(replayed.await???, expected, "what the second call got");
    check_eq!(work.begun(), 1, "how often the work was done");
    Ok(())
}

/// Who does not want to wait is refused at once, and told when the claim is over at the latest.
pub async fn idemp_004_a_concurrent_call_is_refused_if_it_wants(harness: &Harness<dyn OnceStore>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let (key, lease) = (harness.name("key"), long_lease(&*ours));
    let (first, second) = (over(&ours, lease)?, over(&theirs, lease)?);
    let (work, gate) = (Counted::default(), Arc::new(Notify::new()));
    let _executing = start(&first, &key, remembering(&ours), work.behind(&gate, "done"));
    begun(harness, &work, 1).await?;
    let options = remembering(&ours).with_waiting(Waiting::Refuse);
    let refused = second.execute_bytes(&key, options, work.giving("again"));
    let refused = harness
        .within(SLACK * 5, "the answer without waiting", refused)
        .await?;
    let error = check_error!(refused, ErrorKind::Conflict, "work in progress elsewhere");
    let after = error.retry_after();
    check!(
        after.is_some_and(|after| after <= lease),
        "the claim stands for {lease:?} and the error says to come back after {after:?}"
    );
    check_eq!(work.begun(), 1, "how often the work was done");
    Ok(())
}

/// Who waited as long as it wanted gets a timeout, and never a result that is not there.
pub async fn idemp_005_waiting_for_a_result_is_bounded(harness: &Harness<dyn OnceStore>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let (key, lease) = (harness.name("key"), long_lease(&*ours));
    let (first, second) = (over(&ours, lease)?, over(&theirs, lease)?);
    let (work, gate) = (Counted::default(), Arc::new(Notify::new()));
    let _executing = start(&first, &key, remembering(&ours), work.behind(&gate, "done"));
    begun(harness, &work, 1).await?;
    let wait = Duration::from_millis(1500);
    let options = remembering(&ours).with_waiting(Waiting::UpTo(wait));
    let asked_at = Instant::now();
    let answer = second.execute_bytes(&key, options, work.giving("again")).await;
    let waited = asked_at.elapsed();
    check_error!(answer, ErrorKind::Timeout, "waiting for work that does not end");
    check!(
        waited >= wait && waited <= wait + SLACK,
        "the wait of {wait:?} took {waited:?}"
    );
    Ok(())
}

/// A key that has a result is refused to another request.
pub async fn idemp_007_another_request_after_the_result_is_refused(
    harness: &Harness<dyn OnceStore>,
) -> Outcome {
    let store = harness.client().await?;
    let once = over(&store, long_lease(&*store))?;
    let (key, work) = (harness.name("key"), Counted::default());
    let ours = remembering(&store).with_fingerprint("amount=100");
    execute(&once, &key, ours.clone(), work.giving("done")).await?;
    let other = remembering(&store).with_fingerprint("amount=200");
    check_error!(
        once.execute_bytes(&key, other, work.giving("again")).await,
        ErrorKind::Conflict,
        "another request under a key with a result"
    );
    let same = once.execute_bytes(&key, ours, work.giving("again")).await?;
    check!(same.is_replay(), "the same request was taken for another");
    check_eq!(work.begun(), 1, "how often the work was done");
    Ok(())
}

/// A key whose work is in progress is refused to another request, which does not wait for what is not its own.
pub async fn idemp_008_another_request_during_the_work_is_refused(
    harness: &Harness<dyn OnceStore>,
) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let (key, lease) = (harness.name("key"), long_lease(&*ours));
    let (first, second) = (over(&ours, lease)?, over(&theirs, lease)?);
    let (work, gate) = (Counted::default(), Arc::new(Notify::new()));
    let request = remembering(&ours).with_fingerprint("amount=100");
    let _executing = start(&first, &key, request, work.behind(&gate, "done"));
    begun(harness, &work, 1).await?;
    let other = remembering(&ours)
        .with_fingerprint("amount=200")
        .with_waiting(Waiting::UpTo(LONG_WAIT));
    let refused = second.execute_bytes(&key, other, work.giving("again"));
    let refused = harness
        .within(SLACK * 5, "refusing another request", refused)
        .await?;
    check_error!(
        refused,
        ErrorKind::Conflict,
        "another request under a key in progress"
    );
    check_eq!(work.begun(), 1, "how often the work was done");
    Ok(())
}

/// Fingerprints are compared only where both requests have one.
pub async fn idemp_009_a_request_without_fingerprint_is_not_compared(
    harness: &Harness<dyn OnceStore>,
) -> Outcome {
    let store = harness.client().await?;
    let once = over(&store, long_lease(&*store))?;
    let work = Counted::default();
    let with = || remembering(&store).with_fingerprint("amount=100");
    let without = || remembering(&store);
    for (first, second, suffix) in [(with(), without(), "with"), (without(), with(), "without")] {
        let key = harness.name(suffix);
        execute(&once, &key, first, work.giving("done")).await?;
        let outcome = once.execute_bytes(&key, second, work.giving("again")).await?;
        check!(
            outcome.is_replay(),
            "the request was not taken for the one {suffix} fingerprint"
        );
    }
    Ok(())
}

/// Work that takes many leases keeps its claim all along.
pub async fn idemp_013_a_claim_is_renewed_while_the_work_runs(harness: &Harness<dyn OnceStore>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let (key, lease) = (harness.name("key"), short_lease(harness, &*ours));
    let (first, second) = (over(&ours, lease)?, over(&theirs, lease)?);
    let (work, gate) = (Counted::default(), Arc::new(Notify::new()));
    let executing = start(&first, &key, remembering(&ours), work.behind(&gate, "done"));
    begun(harness, &work, 1).await?;
    for _ in 0..6 {
        harness.pass(lease / 2).await;
        let options = remembering(&ours).with_waiting(Waiting::Refuse);
        let answer = second.execute_bytes(&key, options, work.giving("again")).await;
        check_error!(
            answer,
            ErrorKind::Conflict,
            "work in progress for longer than its lease"
        );
    }
    gate.notify_one();
    let outcome = executing.await??;
    check!(
        !outcome.is_replay(),
        "the outcome of the work itself is called a replay"
    );
    check_eq!(work.begun(), 1, "how often the work was done");
    Ok(())
}
