//! Caches that are broken on purpose: one client for hashes, sets, sorted sets and bloom filters, with one defect.
//!
//! What may go wrong in any of them is in [`client`]; what only one of them can get wrong is in its own file.

mod bloom;
mod client;
mod hashes;
mod sets;
mod sorted_sets;

use std::sync::Arc;

use infra_core::Ttl;
use infra_core::cache::KeyValue;
use infra_memory::MemoryCache;
use infra_testkit::conformance::{Breakage, Disturbance, Fixture, Subject};

use client::Client;

pub(crate) use bloom::FAMILY as BLOOM;
pub(crate) use hashes::FAMILY as HASHES;
pub(crate) use sets::FAMILY as SETS;
pub(crate) use sorted_sets::FAMILY as SORTED_SETS;

/// What is wrong with a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Defect {
    // Of whatever holds members.
    AbsentIsAnError,
    CountsNamesake,
    CountsWhatWasAsked,
    KeepsEmpty,
    TrimsNames,
    FirstPageOnly,
    WritingClearsTheTime,
    CountsWhatExpired,
    AnotherTypeIsEmpty,
    LooksThenAdds,
    CountsOutsideOfItsScope,
    TakesItsKeysAlong,
    AsksBeforeChecking,
    OffByOne,
    WritesUpToTheRefused,
    ShowsMembers,
    CountsAfterShutdown,
    AwayIsEmpty,
    WritesOneByOne,
    KeepsText,
    // Of hashes.
    ReplacesTheHash,
    EmptyIsAbsent,
    AddsOnlyToWhatIsThere,
    TextCountsAsZero,
    WrapsAround,
    ReadsThenAdds,
    // Of sorted sets.
    KeepsGreaterScores,
    RoundsScores,
    RefusesInfinity,
    IgnoresCaseInTies,
    TiesAscendAlways,
    RefusesRanksBeforeTheFirst,
    ZeroIsAll,
    RemovesAscendingAlways,
    IncludesExcluded,
    RoundsBounds,
    InfiniteIsUnbounded,
    TurnsRangesRound,
    PagesAscendingAlways,
    CountsThePage,
    NoNumberIsEmpty,
    // Of bloom filters.
    FullTakesNothing,
    ReservesATenth,
    RepeatsItsAnswer,
    MakesWhatIsAbsent,
    ReservingEmpties,
    TakesAnyOptions,
    ZeroIsOne,
}

/// A family's client with one defect, on a cache of its own.
fn broken<T: Subject + ?Sized>(
    breaks: &str,
    defect: Defect,
    words: &'static str,
    view: fn(Arc<Client>) -> Arc<T>,
) -> Breakage<T> {
    Breakage::new(breaks, words, move |_setup| async move {
        let server = MemoryCache::new();
        let spare = server.connect();
        Ok(fixture(server).map(move |inner| {
            view(Arc::new(Client::new(
                MemoryCache::clone(&inner),
                spare.clone(),
                defect,
            )))
        }))
    })
}

/// A cache that keeps the contract, and what can be done to it.
fn fixture(server: MemoryCache) -> Fixture<MemoryCache> {
    let (connecting, scoping) = (server.clone(), server.clone());
    Fixture::in_process(move || {
        let client = connecting.connect();
        async { Ok(Arc::new(client)) }
    })
    .on_scope(move |scopes| {
        let client = scopes
            .iter()
            .fold(scoping.connect(), |client, scope| client.scoped(scope));
        async { Ok(Arc::new(client)) }
    })
    .on_disturbance(move |disturbance| {
        let server = server.clone();
        async move {
            match disturbance {
                Disturbance::GoAway => server.faults().go_away(),
                Disturbance::ComeBack => server.faults().come_back(),
                Disturbance::StoreText { key } => server.set(&key, "text".into(), Ttl::Never).await?,
                _ => return Ok(false),
            }
            Ok(true)
        }
    })
}
