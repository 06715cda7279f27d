//! What can be wrong with the strings of a cache, and the fixture of each such cache.

use std::sync::Arc;

use infra_core::cache::KeyValue;
use infra_memory::MemoryCache;
use infra_testkit::conformance::{Breakage, Fixture};

use super::cache::Client;
use crate::cache_server;

/// What is wrong with the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Defect {
    AbsentIsAnError,
    KeepsText,
    LeavesTheRest,
    LooksThenSets,
    ComparesOnlyValues,
    MismatchSaysNothing,
    CountsWhatWasAsked,
    ComparesBeginnings,
    KnowsOldOwners,
    WholeMinutes,
    EvictsWhatIsIdle,
    KeepsTheFirstTime,
    ZeroDeletes,
    LeavesOutAbsent,
    AllOrNone,
    DeletesByPattern,
    CountsItsPages,
    TrimsKeys,
    AsksBeforeChecking,
    InnermostScopeOnly,
    AnswersTheNumberBefore,
    ReadsLeadingDigits,
    StopsAtTheEnd,
    AddingClearsTheTime,
    AddsInTwoSteps,
    ComparesThenSets,
    SaysTheTimeThatWasSet,
    ExpiresNothingToo,
    ConditionalWritesLast,
    ExpiredKeysExist,
    SwapsInTwoSteps,
    OffByOne,
    BeginsAgain,
    ConflictShowsTheValue,
    ReadsAfterShutdown,
    AwayIsInternal,
    RemembersAbsence,
    DeletesThenSets,
    ScansByPattern,
    ScansWhatExpired,
    TakesItsKeysAlong,
    TouchesWhatIsThere,
    EmptyIsAbsent,
}

/// A breakage of the scenario `breaks` by clients with this defect.
pub(crate) fn broken(breaks: &str, defect: Defect, words: &'static str) -> Breakage<dyn KeyValue> {
    Breakage::new(breaks, words, move |_| async move { Ok(fixture(defect)) })
}

fn fixture(defect: Defect) -> Fixture<dyn KeyValue> {
    let server = MemoryCache::new();
    let scoping = server.clone();
    let fixture = cache_server::fixture(server.clone()).on_scope(move |scopes| {
        let forgotten = match defect {
            Defect::InnermostScopeOnly => scopes.len().saturating_sub(1),
            _ => 0,
        };
        let client = scopes[forgotten..]
            .iter()
            .fold(scoping.connect(), |client, scope| client.scoped(scope));
        async { Ok(Arc::new(client)) }
    });
    fixture.map(move |inner| {
        let client = Client::new(MemoryCache::clone(&inner), server.connect(), defect);
        Arc::new(client) as Arc<dyn KeyValue>
    })
}
