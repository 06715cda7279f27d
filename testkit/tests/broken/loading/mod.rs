//! Loaders that are broken on purpose.

mod loader;

use std::sync::Arc;

use infra_core::cache::{Cache, CacheLoader, LoadOptions};
use infra_core::{Error, Result};
use infra_memory::MemoryCache;
use infra_testkit::conformance::loading::{Loads, MakesLoaders};
use infra_testkit::conformance::{self, Breakage, Disturbance, Fixture, prove};
use tokio::time::Instant;

use loader::Plain;

pub(crate) const FAMILY: &str = "loading";

#[test]
#[rustfmt::skip] // a table
fn every_scenario_notices_its_defect_and_no_other() {
    prove(
        conformance::loading::SCENARIOS,
        &[
            broken("CACHE-020", Defect::SharesWithFew, "lets no more than 32 callers share a load"),
            broken("CACHE-021", Defect::CachesErrors, "remembers absence when the loader failed"),
            broken("LOAD-001", Defect::HidesFromWaiters, "tells those who wait only that the load failed"),
            broken("LOAD-002", Defect::PanicsForEver, "never ends the flight of a loader that panicked"),
            broken("LOAD-003", Defect::LoadsInTheCaller, "loads in the future of the first caller"),
            broken("LOAD-004", Defect::WaitsForEver, "gives loaders no time limit"),
            broken("LOAD-005", Defect::OneAtATime, "loads one key at a time"),
            broken("LOAD-006", Defect::TrustsOnlyItself, "takes what another process stored for foreign"),
            broken("LOAD-007", Defect::IgnoresLocks, "does not take the locks of the cluster"),
            broken("LOAD-008", Defect::InsistsOnLocks, "fails when the lock cannot be had"),
            broken("LOAD-009", Defect::KeepsTwiceAsLong, "keeps values twice as long as asked if nothing else is asked for"),
            broken("LOAD-010", Defect::AbsenceAsValue, "remembers absence as long as a value"),
            broken("LOAD-011", Defect::ZeroIsDefault, "takes no time for absence for the default time"),
            broken("LOAD-012", Defect::ChanceLengthens, "lengthens times at random as often as it shortens them"),
            broken("LOAD-012", Defect::NoChance, "does not spread times"),
            broken("LOAD-013", Defect::FoldsCase, "takes keys that differ in case for one"),
            broken("LOAD-014", Defect::RefreshesInFront, "lets the caller wait for an early refresh"),
            broken("LOAD-015", Defect::FailedRefreshForgets, "forgets the value when an early refresh fails"),
            broken("LOAD-016", Defect::NeverStale, "does not serve a stale value when its loader fails"),
            broken("LOAD-017", Defect::AlwaysStale, "serves stale values for ever when their loader fails"),
            broken("LOAD-018", Defect::StaleWhileLoading, "serves a stale value before it has asked the loader"),
            broken("LOAD-019", Defect::InvalidatesItsOwn, "invalidates only what it stored itself"),
            broken("LOAD-020", Defect::AlwaysForgot, "says of every invalidation that there was a value"),
            broken("LOAD-021", Defect::StoresOvertaken, "caches what it loaded though the key was invalidated meanwhile"),
            broken("LOAD-022", Defect::JoinsOvertaken, "lets callers after an invalidation join the load before it"),
            broken("LOAD-023", Defect::FailsWithCache, "fails when the cache is away"),
            broken("LOAD-024", Defect::InsistsOnCaching, "fails when a value cannot be cached"),
            broken("LOAD-025", Defect::CorruptIsOutage, "fails over bytes that no loader wrote"),
            broken("LOAD-026", Defect::AnotherTypeIsOutage, "fails over a cached value of another type"),
            broken("LOAD-027", Defect::AnotherTypeIsAbsent, "takes what was loaded as another type for nothing"),
            broken("LOAD-028", Defect::ShowsValues, "shows the value that is of another type"),
            broken("LOAD-029", Defect::LoadsWrongKeys, "loads under keys that the cache refuses"),
            broken("LOAD-030", Defect::LoadsAfterShutdown, "takes a cache that was shut down for one that is away"),
            broken("LOAD-031", Defect::SaysFirstProblem, "says only the first of what is wrong with its options"),
        ],
    );
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Defect {
    SharesWithFew,
    CachesErrors,
    HidesFromWaiters,
    PanicsForEver,
    LoadsInTheCaller,
    WaitsForEver,
    OneAtATime,
    TrustsOnlyItself,
    IgnoresLocks,
    InsistsOnLocks,
    KeepsTwiceAsLong,
    AbsenceAsValue,
    ZeroIsDefault,
    ChanceLengthens,
    NoChance,
    FoldsCase,
    RefreshesInFront,
    FailedRefreshForgets,
    NeverStale,
    AlwaysStale,
    StaleWhileLoading,
    InvalidatesItsOwn,
    AlwaysForgot,
    StoresOvertaken,
    JoinsOvertaken,
    FailsWithCache,
    InsistsOnCaching,
    CorruptIsOutage,
    AnotherTypeIsOutage,
    AnotherTypeIsAbsent,
    ShowsValues,
    LoadsWrongKeys,
    LoadsAfterShutdown,
    SaysFirstProblem,
}

fn broken(breaks: &str, defect: Defect, words: &'static str) -> Breakage<dyn MakesLoaders> {
    Breakage::new(breaks, words, move |_setup| async move {
        let server = MemoryCache::new();
        let (connecting, epoch) = (server.clone(), Instant::now());
        let fixture = Fixture::in_process(move || {
            let cache: Arc<dyn Cache> = Arc::new(connecting.connect());
            async move { Ok(Arc::new(Maker { cache, defect, epoch }) as Arc<dyn MakesLoaders>) }
        });
        Ok(fixture.on_disturbance(move |disturbance| {
            let known = match disturbance {
                Disturbance::GoAway => {
                    server.faults().go_away();
                    true
                }
                Disturbance::ComeBack => {
                    server.faults().come_back();
                    true
                }
                _ => false,
            };
            async move { Ok(known) }
        }))
    })
}

#[derive(Debug)]
struct Maker {
    cache: Arc<dyn Cache>,
    defect: Defect,
    /// Where the clock of all processes begins.
    epoch: Instant,
}

impl MakesLoaders for Maker {
    fn cache(&self) -> &Arc<dyn Cache> {
        &self.cache
    }

    fn loader(&self, cache: Arc<dyn Cache>, options: LoadOptions, locks: bool) -> Result<Arc<dyn Loads>> {
        // Checks the options; what it makes is not used.
        if let Err(error) = CacheLoader::new(cache.clone(), options) {
            if self.defect != Defect::SaysFirstProblem {
                return Err(error);
            }
            let first = error.message().lines().next().unwrap_or_default();
            let first = first.split(';').next().unwrap_or_default();
            return Err(Error::invalid_config(first.to_owned()));
        }
        Ok(Arc::new(Plain::new(
            self.defect,
            self.epoch,
            cache,
            options,
            locks,
        )))
    }
}
