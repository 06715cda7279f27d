//! Stores of idempotent operations that are broken on purpose.

mod store;

use infra_testkit::conformance::{self, prove};

use store::{Defect, broken};

pub(crate) const FAMILY: &str = "once";

#[test]
#[rustfmt::skip] // a table
fn every_scenario_notices_its_defect_and_no_other() {
    prove(
        conformance::once::SCENARIOS,
        &[
            broken("IDEMP-001", Defect::MistakesTheFirst, "takes the first request under a key for another one"),
            broken("IDEMP-002", Defect::CutsAtNul, "ends results at their first zero byte"),
            broken("IDEMP-003", Defect::SleepsTheWholeTime, "lets waiters sleep for the whole of their time"),
            broken("IDEMP-004", Defect::RemainsForADay, "says of every claim that it stands for a day"),
            broken("IDEMP-005", Defect::WaitsForEver, "waits for a change however long that takes"),
            broken("IDEMP-006", Defect::KeepsUnrenewed, "releases only claims that were renewed"),
            broken("IDEMP-007", Defect::ComparesOnlyClaims, "forgets the fingerprint when there is a result"),
            broken("IDEMP-008", Defect::ComparesOnlyResults, "compares fingerprints when there is a result and not before"),
            broken("IDEMP-009", Defect::AbsentIsAnother, "takes no fingerprint for another fingerprint"),
            broken("IDEMP-010", Defect::RemembersTwiceAsLong, "remembers results twice as long as asked"),
            broken("IDEMP-011", Defect::RenewsForADay, "forgets the lease when it renews"),
            broken("IDEMP-012", Defect::FenceAnewAfterClear, "counts fences from 1 again when a key was cleared"),
            broken("IDEMP-013", Defect::DoesNotExtend, "says yes to renewals and extends nothing"),
            broken("IDEMP-014", Defect::CompletesForAnybody, "stores results without comparing the owner"),
            broken("IDEMP-015", Defect::RenewsForAnybody, "renews without comparing the owner"),
            broken("IDEMP-016", Defect::ReleasesForAnybody, "releases without comparing the owner"),
            broken("IDEMP-017", Defect::RevivesExpired, "lets a late renewal revive a claim that is over"),
            broken("IDEMP-018", Defect::HandsWaitersNothing, "hands waiters an empty result when the work failed"),
            broken("IDEMP-019", Defect::CutsLargeResults, "cuts results that are too large"),
            broken("IDEMP-020", Defect::CutsLongKeys, "cuts keys that are too long"),
            broken("IDEMP-021", Defect::KeepsRenewed, "releases only claims that were not renewed"),
            broken("IDEMP-022", Defect::ClearSaysTrue, "says of every key that was cleared that it was known"),
            broken("IDEMP-023", Defect::ClearKeepsClaims, "clears results and leaves claims"),
            broken("IDEMP-024", Defect::SaysDoneTooEarly, "calls work in progress done"),
            broken("IDEMP-025", Defect::RefusesOwnClaim, "tells an owner that its own claim is somebody's"),
            broken("IDEMP-026", Defect::RefusesRepetition, "refuses an owner's second completion"),
            broken("IDEMP-027", Defect::ShortensLongTimes, "shortens times that are too long without a word"),
            broken("IDEMP-028", Defect::OpenAfterShutdown, "tells the status after shutdown"),
            broken("IDEMP-029", Defect::AwayIsInternal, "calls an unreachable store an internal error"),
            broken("IDEMP-030", Defect::TakesRepetitionForDone, "takes a completion after one that failed for a repetition"),
            broken("IDEMP-031", Defect::PretendsInTheEnd, "says yes to a result when it could not store it four times"),
            broken("IDEMP-032", Defect::LooksThenTakes, "looks at a key and takes it in two steps"),
            broken("IDEMP-033", Defect::CountsFromTheClaim, "counts the time of a result from the claim"),
            broken("IDEMP-034", Defect::TrimsSlashes, "takes keys for paths and trims slashes"),
            broken("IDEMP-035", Defect::ShowsResults, "shows the result that it refuses"),
        ],
    );
}
