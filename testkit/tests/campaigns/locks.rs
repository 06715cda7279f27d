//! The campaign of locks, against locks that are right and wrong.

use std::sync::Arc;
use std::time::Duration;

use infra_core::coordination::Locks;
use infra_testkit::campaigns::locks::{Contention, Report, contend};
use infra_testkit::campaigns::{Fault, Verdict};

use crate::toy::{Client, Defect, Server, Toy};

const TTL: Duration = Duration::from_secs(2);

/// Five clients that are cut off beyond their leases, all and then each in its turn, on a paused clock.
async fn campaign(defect: Defect) -> Verdict<Report> {
    let server = Server::new(defect);
    let toys: Vec<_> = (0..5).map(|_| server.connect()).collect();
    let clients: Vec<_> = toys
        .iter()
        .map(|toy| Arc::new(Client(Arc::clone(toy))) as Arc<dyn Locks>)
        .collect();
    let all: Vec<usize> = (0..toys.len()).collect();
    let mut faults = vec![cut(&toys, &all)];
    faults.extend(all.iter().map(|client| cut(&toys, &[*client])));
    // Held for long, so that of the many faults some surely find a holder.
    let plan = Contention::new("the lock", 60, TTL).with_hold(TTL * 4);
    contend(&clients, &faults, &plan).await
}

/// These clients are cut off beyond their leases.
fn cut(toys: &[Arc<Toy>], which: &[usize]) -> Fault {
    let cut: Vec<_> = which.iter().map(|client| Arc::clone(&toys[*client])).collect();
    let healed = cut.clone();
    let set = |toys: &[Arc<Toy>], to: bool| {
        toys.iter().for_each(|toy| toy.cut(to));
        async { Ok::<(), String>(()) }
    };
    let name = format!("the clients {which:?} are cut off");
    Fault::new(
        name,
        TTL * 2,
        move || set(&cut, true),
        move || set(&healed, false),
    )
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_is_right_passes_and_shows_what_happened_to_it() {
    let report = campaign(Defect::None).await.unwrap();
    assert!(report.rounds >= 60 && report.faults >= 5, "{report:?}");
    assert!(report.lost > 0, "no holder was cut off: {report:?}");
    assert!(report.errors.contains_key("unavailable"), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn every_defect_is_seen_and_named() {
    for (defect, words) in [
        (Defect::NoExclusion, "two hold the lock at one instant"),
        (Defect::NoLeaseCheck, "two hold the lock at one instant"),
        (Defect::GivesAwayEarly, "two hold the lock at one instant"),
        (Defect::RepeatsTokens, "was given twice"),
        (Defect::CountsDown, "does not exceed it"),
        (Defect::Hangs, "has not returned"),
        (Defect::NeverFrees, "no round was done"),
    ] {
        let violation = campaign(defect).await.expect_err("a violation").to_string();
        assert!(violation.contains(words), "{defect:?}: {violation}");
    }
}
