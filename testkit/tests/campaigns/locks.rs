//! The campaign of locks, against locks that are right and wrong.

use std::sync::Arc;
use std::time::Duration;

use infra_core::coordination::Locks;
use infra_testkit::campaigns::locks::{Contention, Report, contend};
use infra_testkit::campaigns::{Fault, Verdict};

use crate::toy::{Client, Defect, Server};

const TTL: Duration = Duration::from_secs(2);

/// Five clients, each of which is cut off beyond its lease in its turn, on a paused clock.
async fn campaign(defect: Defect) -> Verdict<Report> {
    let server = Server::new(defect);
    let toys: Vec<_> = (0..5).map(|_| server.connect()).collect();
    let clients: Vec<_> = toys
        .iter()
        .map(|toy| Arc::new(Client(Arc::clone(toy))) as Arc<dyn Locks>)
        .collect();
    let fault = |(number, toy): (usize, &Arc<crate::toy::Toy>)| {
        let (cutting, healing) = (Arc::clone(toy), Arc::clone(toy));
        Fault::new(
            format!("client {number} is cut off"),
            TTL * 2,
            move || {
                cutting.cut(true);
                async { Ok::<(), String>(()) }
            },
            move || {
                healing.cut(false);
                async { Ok::<(), String>(()) }
            },
        )
    };
    let faults: Vec<Fault> = toys.iter().enumerate().map(fault).collect();
    // Held for long, so that whoever is cut off nearly always holds it at some time.
    let plan = Contention::new("the lock", 60, TTL).with_hold(TTL * 2);
    contend(&clients, &faults, &plan).await
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
