//! How long results are remembered, and how a key stands.

use std::sync::Arc;

use infra_core::error::ErrorKind;
use infra_core::once::{Once, OnceOptions, OnceStatus, OnceStore};
use tokio::sync::Notify;

use super::steps::{Counted, LONG_WAIT, begun, execute, over, remembering, start};
use crate::conformance::{
    Harness, Outcome, Premise, SLACK, check, check_eq, check_error, long_lease, over_within, short_lease,
};

/// A result is remembered for as long as was asked, and no longer.
pub async fn idemp_010_a_result_is_forgotten_after_its_time(harness: &Harness<dyn OnceStore>) -> Outcome {
    let store = harness.client().await?;
    let ttl = short_lease(harness, &*store);
    let once = over(&store, long_lease(&*store))?;
    let (key, work) = (harness.name("key"), Counted::default());
    execute(&once, &key, OnceOptions::new(ttl), work.giving("first")).await?;
    harness.pass(ttl / 2).await;
    let early = once
        .execute_bytes(&key, OnceOptions::new(ttl), work.giving("early"))
        .await?;
    check!(early.is_replay(), "a result was forgotten in half of its time");
    harness.pass(over_within(&*store, ttl) - ttl / 2).await;
    let late = once
        .execute_bytes(&key, OnceOptions::new(ttl), work.giving("late"))
        .await?;
    check!(
        !late.is_replay(),
        "a result is remembered beyond its time of {ttl:?}"
    );
    Ok(())
}

/// The time of a result begins when it is stored, however long the work took.
pub async fn idemp_033_the_time_of_a_result_begins_when_it_is_there(
    harness: &Harness<dyn OnceStore>,
) -> Outcome {
    let store = harness.client().await?;
    let (ttl, lease) = (short_lease(harness, &*store), long_lease(&*store));
    let once = over(&store, lease)?;
    let (key, work) = (harness.name("key"), Counted::default());
    execute(
        &once,
        &key,
        OnceOptions::new(ttl),
        work.after(ttl + ttl / 2, "done"),
    )
    .await?;
    harness.pass(ttl / 2).await;
    let again = once
        .execute_bytes(&key, OnceOptions::new(ttl), work.giving("again"))
        .await?;
    check!(
        again.is_replay(),
        "a result was forgotten in half of its time because its work took long"
    );
    Ok(())
}

/// A result that was cleared is forgotten; clearing says whether anything was known.
pub async fn idemp_022_a_cleared_result_is_forgotten(harness: &Harness<dyn OnceStore>) -> Outcome {
    let store = harness.client().await?;
    let once = over(&store, long_lease(&*store))?;
    let (key, work) = (harness.name("key"), Counted::default());
    check!(
        !once.clear(&key).await?,
        "clearing what nobody knows found something"
    );
    execute(&once, &key, remembering(&store), work.giving("first")).await?;
    check!(once.clear(&key).await?, "clearing a result found nothing");
    check!(!once.clear(&key).await?, "clearing a second time found something");
    let again = once
        .execute_bytes(&key, remembering(&store), work.giving("second"))
        .await?;
    check!(!again.is_replay(), "a cleared result is still there");
    Ok(())
}

/// Work whose key was cleared is stopped at the next renewal, and its result is not remembered.
pub async fn idemp_023_cleared_work_is_stopped(harness: &Harness<dyn OnceStore>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let (key, lease) = (harness.name("key"), short_lease(harness, &*ours));
    let (first, second) = (over(&ours, lease)?, over(&theirs, lease)?);
    let (work, gate) = (Counted::default(), Arc::new(Notify::new()));
    let executing = start(&first, &key, remembering(&ours), work.behind(&gate, "done"));
    begun(harness, &work, 1).await?;
    second.clear(&key).await.premise("a key is cleared")?;
    let stopped = harness.within(lease + SLACK, "stopping work whose key was cleared", executing);
    check_error!(
        stopped.await??,
        ErrorKind::LeaseLost,
        "work whose key was cleared"
    );
    check_eq!(
        second.status(&key).await?,
        OnceStatus::Unknown,
        "the status of a cleared key"
    );
    Ok(())
}

/// The status says whether a key is unknown, in progress or done.
pub async fn idemp_024_the_status_tells_how_a_key_stands(harness: &Harness<dyn OnceStore>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let (key, lease) = (harness.name("key"), long_lease(&*ours));
    let (first, second) = (over(&ours, lease)?, over(&theirs, lease)?);
    let (work, gate) = (Counted::default(), Arc::new(Notify::new()));
    check_eq!(
        second.status(&key).await?,
        OnceStatus::Unknown,
        "the status of a new key"
    );
    let executing = start(&first, &key, remembering(&ours), work.behind(&gate, "done"));
    begun(harness, &work, 1).await?;
    check_eq!(
        second.status(&key).await?,
        OnceStatus::InProgress,
        "the status during the work"
    );
    gate.notify_one();
    let executed = harness.within(LONG_WAIT, "the end of the work", executing).await;
    executed
        .premise("the work is done")??
        .premise("the work is done")?;
    check_eq!(
        second.status(&key).await?,
        OnceStatus::Done,
        "the status after the work"
    );
    Ok(())
}
