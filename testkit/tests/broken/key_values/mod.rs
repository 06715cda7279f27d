//! Caches whose strings are broken on purpose.

mod cache;
mod defect;

use infra_testkit::conformance::{self, prove};

use defect::{Defect, broken};

pub(crate) const FAMILY: &str = "key_values";

#[test]
#[rustfmt::skip] // a table
fn every_scenario_notices_its_defect_and_no_other() {
    prove(
        conformance::key_values::SCENARIOS,
        &[
            broken("CACHE-001", Defect::AbsentIsAnError, "says not found where nothing is"),
            broken("CACHE-002", Defect::KeepsText, "keeps values as text"),
            broken("CACHE-003", Defect::LeavesTheRest, "writes over the beginning of a longer value"),
            broken("CACHE-004", Defect::LooksThenSets, "looks whether a key is absent and sets it in two steps"),
            broken("CACHE-005", Defect::ComparesOnlyValues, "takes an expected absence for a mismatch"),
            broken("CACHE-006", Defect::MismatchSaysNothing, "says that there is nothing with every mismatch"),
            broken("CACHE-007", Defect::CountsWhatWasAsked, "counts the keys that it was to delete"),
            broken("CACHE-008", Defect::ComparesBeginnings, "compares as many bytes as it was given"),
            broken("CACHE-009", Defect::KnowsOldOwners, "takes the value from before a deletion for the current one"),
            broken("CACHE-010", Defect::WholeMinutes, "rounds times up to whole minutes"),
            broken("CACHE-011", Defect::EvictsWhatIsIdle, "forgets what was not written for an hour"),
            broken("CACHE-012", Defect::KeepsTheFirstTime, "leaves a key the time that it was first given"),
            broken("CACHE-013", Defect::ZeroDeletes, "deletes a key that is given no time"),
            broken("CACHE-014", Defect::LeavesOutAbsent, "leaves out the absent of many"),
            broken("CACHE-015", Defect::AllOrNone, "refuses all of many writes for one bad one"),
            broken("CACHE-016", Defect::DeletesByPattern, "takes a star in a prefix for anything when it deletes"),
            broken("CACHE-017", Defect::CountsItsPages, "counts how far it came in a scan"),
            broken("CACHE-018", Defect::TrimsKeys, "trims blanks at the end of keys"),
            broken("CACHE-019", Defect::AsksBeforeChecking, "asks the server before it checks the arguments"),
            broken("CACHE-022", Defect::InnermostScopeOnly, "forgets the outer of two scopes"),
            broken("CACHE-023", Defect::AnswersTheNumberBefore, "gives the number from before an addition"),
            broken("CACHE-024", Defect::ReadsLeadingDigits, "takes the digits at the beginning of a text for a number"),
            broken("CACHE-025", Defect::StopsAtTheEnd, "stops at the largest number"),
            broken("CACHE-026", Defect::AddingClearsTheTime, "clears the time to live of a number that it adds to"),
            broken("CACHE-027", Defect::AddsInTwoSteps, "reads and writes a number in two steps"),
            broken("CACHE-028", Defect::ComparesThenSets, "compares and sets in two steps"),
            broken("CACHE-029", Defect::SaysTheTimeThatWasSet, "says the time that was set, not the one that is left"),
            broken("CACHE-030", Defect::ExpiresNothingToo, "says of an absent key that it was given a time"),
            broken("CACHE-031", Defect::ConditionalWritesLast, "stores what is set if absent without a time"),
            broken("CACHE-032", Defect::ExpiredKeysExist, "says of an expired key that it exists"),
            broken("CACHE-033", Defect::SwapsInTwoSteps, "reads and writes in two steps when it swaps"),
            broken("CACHE-034", Defect::OffByOne, "refuses a key of the length that it declares"),
            broken("CACHE-035", Defect::BeginsAgain, "begins again from a cursor that it does not know"),
            broken("CACHE-036", Defect::ConflictShowsTheValue, "shows the value that is no number"),
            broken("CACHE-037", Defect::ReadsAfterShutdown, "goes on reading after shutdown"),
            broken("CACHE-038", Defect::AwayIsInternal, "calls an unreachable server an internal error"),
            broken("CACHE-039", Defect::RemembersAbsence, "remembers in the client that a key was absent"),
            broken("CACHE-040", Defect::DeletesThenSets, "deletes the old value before it sets the new one"),
            broken("CACHE-041", Defect::ScansByPattern, "takes an underscore in a prefix for any character when it scans"),
            broken("CACHE-042", Defect::ScansWhatExpired, "scans what expired"),
            broken("CACHE-043", Defect::TakesItsKeysAlong, "deletes at shutdown what it wrote"),
            broken("CACHE-044", Defect::TouchesWhatIsThere, "clears the time to live of a key that is not absent"),
            broken("CACHE-045", Defect::EmptyIsAbsent, "takes an empty value for absent"),
        ],
    );
}
