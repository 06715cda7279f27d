//! ID: numbers that nobody else has, whatever the clock does.

pub mod clock;
pub mod uniqueness;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use infra_core::coordination::InstanceId;
use infra_core::lease::{Lease, LeaseKeeper, LeaseOptions};
use infra_core::uid::{Clock, SnowflakeIds, UidConfig, UidProvider};
use infra_core::{Error, ErrorKind, Result, async_trait};
use tokio::time::Instant;

use super::Scenario;
use super::making::makers;

/// Makes the id providers under test.
pub trait MakesIds: fmt::Debug + Send + Sync + 'static {
    /// A provider under a leased number, by this clock.
    ///
    /// # Errors
    /// [`InvalidConfig`](ErrorKind::InvalidConfig).
    fn ids(
        &self,
        instance: InstanceId,
        config: UidConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn UidProvider>>;
}

makers!(MakesIds);

/// Makes those of infra-core.
#[derive(Debug, Clone, Copy, Default)]
pub struct CoreIds;

impl MakesIds for CoreIds {
    fn ids(
        &self,
        instance: InstanceId,
        config: UidConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn UidProvider>> {
        Ok(Arc::new(SnowflakeIds::with_clock(instance, config, clock)?))
    }
}

/// A clock that stands until it is moved; a pause moves it, so that nothing really waits.
#[derive(Debug)]
pub(super) struct HandClock(AtomicU64);

impl HandClock {
    /// Some day after every epoch.
    fn starting() -> Self {
        Self(AtomicU64::new(1_800_000_000_000_000))
    }

    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self::starting())
    }

    pub(super) fn forward(&self, by: Duration) {
        self.0.fetch_add(micros(by), Ordering::SeqCst);
    }

    pub(super) fn back(&self, by: Duration) {
        self.0.fetch_sub(micros(by), Ordering::SeqCst);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Clock for HandClock {
    fn since_unix_epoch(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::SeqCst))
    }

    fn pause(&self, duration: Duration) {
        self.forward(duration.max(Duration::from_micros(1)));
    }
}

/// A clock that moves on by a microsecond whenever it is read: it goes on while ids are made, and as fast on every machine.
#[derive(Debug)]
pub(super) struct ReadingClock(HandClock);

impl ReadingClock {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(HandClock::starting()))
    }
}

impl Clock for ReadingClock {
    fn since_unix_epoch(&self) -> Duration {
        Duration::from_micros(self.0.0.fetch_add(1, Ordering::SeqCst))
    }

    fn pause(&self, duration: Duration) {
        self.0.pause(duration);
    }
}

/// The lease of an instance number that can be taken away.
#[derive(Debug, Default)]
pub(super) struct Revocable {
    revoked: AtomicBool,
}

impl Revocable {
    pub(super) fn revoke(&self) {
        self.revoked.store(true, Ordering::SeqCst);
    }

    fn check(&self) -> Result<()> {
        if self.revoked.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::LeaseLost, "another has the number now"));
        }
        Ok(())
    }
}

#[async_trait]
impl LeaseKeeper for Revocable {
    async fn renew(&self) -> Result<()> {
        self.check()
    }

    async fn release(&self) -> Result<()> {
        self.check()
    }
}

/// How long a lease of a number lasts without renewal.
pub(super) const LEASE: Duration = Duration::from_secs(30);

/// A leased number, and what takes it away.
pub(super) fn lease(number: u16) -> (InstanceId, Arc<Revocable>) {
    let keeper = Arc::new(Revocable::default());
    let lease = Lease::keep(
        Arc::<Revocable>::clone(&keeper),
        LeaseOptions::new(LEASE),
        Instant::now(),
    );
    (InstanceId::new(number, lease), keeper)
}

/// Every scenario of this family.
pub const SCENARIOS: &[Scenario<dyn MakesIds>] = crate::ids!(@list __conformance_table ());

/// One test per scenario of ID: `conformance::ids!(make_ids)`.
#[macro_export]
macro_rules! ids {
    (@list $callback:ident $arguments:tt) => {
        $crate::$callback! { (ids) $arguments {
            uniqueness {
                id_001_tasks_and_instances_never_make_the_same_id,
                id_002_ids_of_an_instance_increase,
                id_003_more_ids_than_a_millisecond_holds_are_still_unique,
                id_004_parts_round_trip,
                id_005_a_negative_number_is_no_id,
                id_006_several_at_once_are_as_many_as_asked_and_too_many_are_refused,
                id_007_uuids_are_of_version_7_and_increase,
            }
            clock {
                id_008_a_clock_that_steps_back_a_little_is_waited_for,
                id_009_a_clock_that_steps_back_far_gives_no_id,
                id_010_a_lost_lease_gives_no_id,
                id_011_a_clock_that_goes_on_gives_ids_again,
                id_012_ids_are_sorted_by_their_time_across_instances,
            }
        } }
    };
    ($($arguments:tt)+) => { $crate::ids!(@list __conformance_tests ($($arguments)+)); };
}
