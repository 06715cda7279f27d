//! What the scenarios of elections have in common.

use std::sync::Arc;
use std::time::Duration;

use infra_core::coordination::{Election, ElectionOptions, Leadership, Locks};
use infra_core::error::Result;
use tokio::task::JoinHandle;

use crate::conformance::{Failure, Harness, Outcome, Premise, SLACK, locks::steps::queued};

/// The name of the lock behind an election.
pub(super) fn lock_of(name: &str) -> String {
    format!("election/{name}")
}

/// One client's candidacy.
pub(super) fn candidate(locks: &Arc<dyn Locks>, name: &str, ttl: Duration) -> Result<Election, Failure> {
    let election = Election::new(Arc::clone(locks), name, ElectionOptions::default().with_ttl(ttl));
    election.premise("an election can be stood for")
}

/// Leads at once, because nobody else does.
pub(super) async fn lead_now(
    harness: &Harness<dyn Locks>,
    election: &Election,
) -> Result<Leadership, Failure> {
    let leading = harness
        .within(SLACK * 5, "leading alone", election.campaign())
        .await;
    leading
        .premise("a sole candidate leads")?
        .premise("a sole candidate leads")
}

/// Stands for election in a task of its own.
pub(super) fn stand(election: &Election) -> JoinHandle<Result<Leadership>> {
    let election = election.clone();
    tokio::spawn(async move { election.campaign().await })
}

/// Until the leader and so many candidates who wait stand in the queue.
pub(super) async fn waiting(harness: &Harness<dyn Locks>, name: &str, candidates: u64) -> Outcome {
    queued(harness, &lock_of(name), candidates + 1).await
}
