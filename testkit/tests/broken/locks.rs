//! Locks that are broken on purpose.

use infra_testkit::conformance::{self, Mode, play, prove};

use crate::lock_server::{Defect, broken, fixture};

pub(crate) const FAMILY: &str = "locks";

#[test]
fn the_server_without_a_defect_keeps_the_contract() {
    for scenario in conformance::locks::SCENARIOS {
        let report = play(scenario, Mode::Bare, |_| async { Ok(fixture(Defect::Nothing)) });
        let outcome = report.expect("a runtime").outcome;
        assert!(outcome.is_ok(), "{scenario:?}: {outcome:?}");
    }
}

#[test]
#[rustfmt::skip] // a table
fn every_scenario_notices_its_defect_and_no_other() {
    prove(
        conformance::locks::SCENARIOS,
        &[
            broken("LOCK-001", Defect::RefusesFirst, "refuses a lock that nobody ever held"),
            broken("LOCK-002", Defect::SeesGrantsLate, "lets other clients see a grant 50 ms late"),
            broken("LOCK-003", Defect::Reentrant, "gives a lock to its holder again"),
            broken("LOCK-004", Defect::TimesOutAsUnavailable, "calls a wait that timed out an unreachable server"),
            broken("LOCK-005", Defect::DelaysOwnReturn, "refuses a lock to whoever just released it"),
            broken("LOCK-006", Defect::PollsEveryFiveSeconds, "lets waiters poll every five seconds"),
            broken("LOCK-007", Defect::ReleasesForeign, "releases without comparing the owner"),
            broken("LOCK-008", Defect::RenewsForEver, "forgets the time to live when it renews"),
            broken("LOCK-009", Defect::DoesNotExtend, "says yes to renewals and extends nothing"),
            broken("LOCK-010", Defect::HidesLossFromTriers, "renews for an owner that was robbed"),
            broken("LOCK-011", Defect::WakesTwo, "hands the lock to two when many wait"),
            broken("LOCK-012", Defect::TokenOfTheClient, "uses the client's session as the token"),
            broken("LOCK-013", Defect::KeepsItselfAlive, "goes on renewing what nobody holds any more"),
            broken("LOCK-014", Defect::GhostInTheQueue, "keeps a waiter that went away in the queue"),
            broken("LOCK-015", Defect::ClosedAsTimeout, "tells waiters at shutdown that their time is over"),
            broken("LOCK-016", Defect::LastComesFirst, "serves the last waiter first"),
            broken("LOCK-017", Defect::ShortensLongLeases, "shortens leases that are too long without a word"),
            broken("LOCK-018", Defect::CutsLongNames, "cuts names that are too long"),
            broken("LOCK-019", Defect::AsksBeforeChecking, "asks the server before it checks the arguments"),
            broken("LOCK-020", Defect::RoundsUpToAMinute, "makes a minute of leases below a second"),
            broken("LOCK-021", Defect::TrimsSlashes, "takes names for paths and trims slashes"),
            broken("LOCK-022", Defect::HidesLossFromWaiters, "renews for a robbed owner if it had to wait"),
            broken("LOCK-023", Defect::WaitersHearOnlyReleases, "wakes waiters when a lock is released and never else"),
            broken("LOCK-024", Defect::LeaseFromTheQuestion, "counts a lease from when it was asked for"),
            broken("LOCK-025", Defect::KeepsUntakenGrants, "keeps a lock for a waiter that went away as it was granted"),
            broken("LOCK-026", Defect::OpenAfterShutdown, "gives locks out after shutdown"),
            broken("LOCK-027", Defect::RenewsAfterShutdown, "goes on renewing after shutdown"),
            broken("LOCK-028", Defect::AwayIsInternal, "calls an unreachable server an internal error"),
            broken("LOCK-029", Defect::SwallowsFailedRenewals, "takes a renewal that failed for a renewal"),
            broken("LOCK-030", Defect::GivesUpAtOnce, "takes one failed renewal for a loss"),
            broken("LOCK-031", Defect::ForgetsTokensWithSessions, "counts tokens from 1 again after it lost its sessions"),
            broken("LOCK-032", Defect::NamesGuardsItsOwnWay, "puts its own prefix into the guard's name"),
            broken("LOCK-033", Defect::KeepsPlacesOfTimedOut, "keeps the places of waits that timed out"),
        ],
    );
}
