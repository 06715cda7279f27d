//! Instance ids: unique among the living, rested before reuse.

use std::collections::BTreeSet;

use infra_core::coordination::{InstanceId, InstanceIds};
use infra_core::{Backend, ErrorKind, Result};
use tokio::time::Instant;

use super::*;
use crate::{MemoryCoordinator, MemoryCoordinatorConfig};

const TTL: Duration = Duration::from_secs(30);
const QUARANTINE: Duration = Duration::from_secs(5);

async fn acquire(ids: &MemoryCoordinator) -> Result<InstanceId> {
    ids.acquire_instance_id("users", 0..=1).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn hundreds_of_instances_starting_at_once_all_get_their_own() {
    let ids = MemoryCoordinator::new();
    let tasks: Vec<_> = (0..500)
        .map(|_| {
            let client = ids.connect();
            tokio::spawn(async move { client.acquire_instance_id("users", 0..=1023).await })
        })
        .collect();
    let mut held = Vec::new();
    for task in tasks {
        held.push(task.await.expect("no panic").expect("there are enough"));
    }
    let distinct: BTreeSet<_> = held.iter().map(InstanceId::id).collect();
    assert_eq!(distinct.len(), held.len());
    assert!(distinct.iter().all(|id| *id <= 1023));
}

#[tokio::test(start_paused = true)]
async fn a_released_number_rests_before_it_is_given_again() {
    let ids = MemoryCoordinator::new();
    let first = acquire(&ids).await.expect("free");
    let second = acquire(&ids).await.expect("free");
    assert_ne!(first.id(), second.id());
    let elsewhere = ids
        .acquire_instance_id("other", 0..=0)
        .await
        .expect("another service");
    assert_eq!(elsewhere.id(), 0);

    let error = acquire(&ids).await.expect_err("all taken");
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    let released = first.id();
    first.release().await.expect("ours");
    let error = acquire(&ids).await.expect_err("it rests");
    assert_eq!(error.retry_after(), Some(QUARANTINE), "and says how long");
    tokio::time::sleep(QUARANTINE).await;
    assert_eq!(acquire(&ids).await.expect("rested").id(), released);
}

#[tokio::test(start_paused = true)]
async fn a_dead_holder_is_told_before_its_number_is_given_again() {
    let (dying, living) = {
        let dying = MemoryCoordinator::new();
        let living = dying.connect();
        (dying, living)
    };
    let held = dying.acquire_instance_id("users", 7..=7).await.expect("free");
    tokio::time::sleep(TTL * 4).await;
    assert!(!held.is_lost(), "it was renewed");
    dying.faults().disconnect();
    let begun = Instant::now();
    held.lost().await;
    assert!(begun.elapsed() <= TTL);
    let refused = living
        .acquire_instance_id("users", 7..=7)
        .await
        .expect_err("it rests");
    tokio::time::sleep(refused.retry_after().expect("says how long")).await;
    let next = living
        .acquire_instance_id("users", 7..=7)
        .await
        .expect("free again");
    dying.faults().reconnect();
    assert_eq!(
        held.release().await.expect_err("lost").kind(),
        ErrorKind::LeaseLost
    );
    assert!(
        living.acquire_instance_id("users", 7..=7).await.is_err(),
        "the new holder was not touched"
    );
    assert!(!next.is_lost());
}

#[tokio::test(start_paused = true)]
async fn a_revoked_number_is_not_given_again_before_its_holder_noticed() {
    let ids = MemoryCoordinator::new();
    let held = ids.acquire_instance_id("users", 7..=7).await.expect("free");
    assert!(ids.faults().revoke_instance_id("users", 7) && !ids.faults().revoke_instance_id("users", 8));
    let mut given_again = Box::pin(async {
        loop {
            match ids.acquire_instance_id("users", 7..=7).await {
                Ok(id) => break id,
                Err(error) => tokio::time::sleep(error.retry_after().expect("exhausted")).await,
            }
        }
    });
    tokio::select! {
        () = held.lost() => {}
        _ = &mut given_again => panic!("two holders"),
    }
    assert_eq!(given_again.await.id(), 7);
}

#[tokio::test(start_paused = true)]
async fn shutdown_and_drop_give_numbers_back() {
    let leaving = MemoryCoordinator::new();
    let staying = leaving.connect();
    let _held = acquire(&leaving).await.expect("free");
    drop(acquire(&leaving).await.expect("free"));
    leaving.shutdown(Duration::from_secs(1)).await.expect("closed");
    assert_eq!(
        acquire(&leaving).await.expect_err("closed").kind(),
        ErrorKind::Closed
    );
    tokio::time::sleep(QUARANTINE + Duration::from_millis(1)).await;
    let both = (
        acquire(&staying).await.expect("free"),
        acquire(&staying).await.expect("free"),
    );
    assert_ne!(both.0.id(), both.1.id());
}

#[tokio::test(start_paused = true)]
async fn bad_arguments_are_refused_and_memory_is_bounded() {
    let ids = MemoryCoordinator::with_config(MemoryCoordinatorConfig::default().with_max_entries(3))
        .expect("valid");
    #[expect(clippy::reversed_empty_ranges, reason = "that is what is refused")]
    for (service, range) in [("", 0..=1), ("users", 5..=4)] {
        let error = ids
            .acquire_instance_id(service, range)
            .await
            .expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    let mut held = Vec::new();
    for service in ["a", "b", "c"] {
        held.push(
            ids.acquire_instance_id(service, 65535..=65535)
                .await
                .expect("room"),
        );
    }
    let error = ids.acquire_instance_id("d", 0..=9).await.expect_err("full");
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    held.clear();
    tokio::time::sleep(QUARANTINE * 2).await;
    ids.acquire_instance_id("d", 0..=9).await.expect("room again");
}
