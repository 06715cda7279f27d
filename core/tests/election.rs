//! Elections when the locks below misbehave.

use std::sync::Arc;
use std::time::Duration;

use infra_core::ErrorKind;
use infra_core::coordination::{Election, ElectionOptions, Locks};
use infra_core::intercept::{Fault, Faults, Recorder, Retrying, Stack};
use infra_core::retry::Policy;

/// A deadline of a layer in between (a connection, a proxy) is a timeout too, and may come at once.
#[tokio::test(start_paused = true)]
async fn timeouts_that_come_at_once_do_not_make_a_busy_loop() {
    let (faults, recorder) = (Arc::new(Faults::new()), Arc::new(Recorder::new()));
    faults.script(
        "locks.acquire",
        std::iter::repeat_n(Fault::Err(ErrorKind::Timeout), 100),
    );
    let stack = Stack::new()
        .with_shared(recorder.clone())
        .with_shared(faults.clone());
    let locks: Arc<dyn Locks> = Arc::new(infra_memory::MemoryCoordinator::new());
    let locks: Arc<dyn Locks> = stack.wrap(locks);

    let options = ElectionOptions::default().with_pause(Duration::from_secs(1));
    let election = Election::new(locks, "writer", options).expect("valid");
    let begun = tokio::time::Instant::now();
    let leadership = election.campaign().await.expect("leads in the end");
    assert!(!leadership.is_lost());
    assert!(
        begun.elapsed() >= Duration::from_secs(100),
        "{:?}",
        begun.elapsed()
    );
}

/// A stack that repeats says when it has repeated enough; the election is not over for that.
#[tokio::test(start_paused = true)]
async fn a_server_that_stays_away_does_not_end_an_election_behind_a_stack() {
    let coordinator = infra_memory::MemoryCoordinator::new();
    let stack = Stack::new().with(Retrying::new(Policy::development()));
    let locks: Arc<dyn Locks> = stack.wrap(Arc::new(coordinator.clone()) as Arc<dyn Locks>);
    let election = Election::new(locks, "writer", ElectionOptions::default()).expect("valid");
    coordinator.faults().go_away();
    let leading = tokio::spawn(async move { election.lead(|_| async { Ok("led") }).await });
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!leading.is_finished());
    coordinator.faults().come_back();
    assert_eq!(leading.await.expect("no panic").expect("leads"), "led");
}
