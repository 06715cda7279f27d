//! Elections over locks that are broken on purpose.

use infra_testkit::conformance::{self, Mode, play, prove};

use crate::lock_server::{Defect, broken, fixture};

pub(crate) const FAMILY: &str = "elections";

#[test]
fn the_server_without_a_defect_keeps_the_contract() {
    for scenario in conformance::elections::SCENARIOS {
        let report = play(scenario, Mode::Bare, |_| async { Ok(fixture(Defect::Nothing)) });
        let outcome = report.expect("a runtime").outcome;
        assert!(outcome.is_ok(), "{scenario:?}: {outcome:?}");
    }
}

#[test]
#[rustfmt::skip] // a table
fn every_scenario_notices_its_defect_and_no_other() {
    prove(
        conformance::elections::SCENARIOS,
        &[
            broken("ELECT-001", Defect::WaitsForARelease, "lets whoever waits for a free lock wait for a release"),
            broken("ELECT-002", Defect::WakesTwo, "hands the lock to two when many wait"),
            broken("ELECT-003", Defect::DoesNotExtend, "says yes to renewals and extends nothing"),
            broken("ELECT-004", Defect::PollsEveryFiveSeconds, "lets waiters poll every five seconds"),
            broken("ELECT-005", Defect::TellsLossLate, "tells owners of a loss after three leases"),
            broken("ELECT-006", Defect::DeadAfterALoss, "is of no use to a client that lost a lease"),
            broken("ELECT-007", Defect::DeclaresLongerNames, "declares longer names than it takes"),
            broken("ELECT-008", Defect::TokenOfTheClient, "uses the client's session as the token"),
            broken("ELECT-009", Defect::SwallowsFailedRenewals, "takes a renewal that failed for a renewal"),
            broken("ELECT-010", Defect::WaitersHearOnlyReleases, "wakes waiters when a lock is released and never else"),
            broken("ELECT-011", Defect::GhostInTheQueue, "keeps a waiter that went away in the queue"),
            broken("ELECT-012", Defect::ClosedAsTimeout, "tells waiters at shutdown that their time is over"),
            broken("ELECT-013", Defect::RenewsAfterShutdown, "goes on renewing after shutdown"),
            broken("ELECT-014", Defect::AwayIsInternal, "calls an unreachable server an internal error"),
            broken("ELECT-015", Defect::TimesOutAsUnavailable, "calls a wait that timed out an unreachable server"),
            broken("ELECT-016", Defect::NamesBelowSlash, "takes names for paths and looks at their last part"),
        ],
    );
}
