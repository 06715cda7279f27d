//! The provider: the generator, fenced by the lease of its instance number.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use uuid::Uuid;

use super::clock::{Clock, SystemClock};
use super::config::UidConfig;
use super::contract::{SnowflakeParts, UidProvider};
use super::generator::Generator;
use super::layout::{SEQUENCES, Tick, split};
use crate::config::Validate;
use crate::coordination::{InstanceId, InstanceIds};
use crate::error::{Error, ErrorKind, Result};
use crate::lease::LeaseStatus;

/// Unique ids: snowflakes under a leased instance number, and UUIDs of version 7.
///
/// # What keeps ids unique
/// - Within the instance: one word that only grows; at most 4096 ids per millisecond, and a clock that steps back is waited
///   for or refused.
/// - Among instances: the number is leased, and from the moment its lease is lost (or its time to live has passed without
///   a renewal, even while this process was suspended) every call is [`LeaseLost`](ErrorKind::LeaseLost).
/// - Across restarts: a number is not leased again before its quarantine ([`InstanceIds`]). Where the clocks of a fleet
///   differ by no more than that quarantine less `borrow_ahead`, the next holder starts later than the last one ended.
///
/// # Blocking
/// Making an id does no I/O and takes no lock. A call that finds all ids of the millisecond taken takes one of the next
/// and blocks its thread until then, 1 ms when it is alone; one that finds the clock turned back blocks until it has
/// caught up; neither blocks for longer than `max_wait`. So short a wait is why the contract is not asynchronous: a boxed
/// future for each id would cost more than the ids.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use infra_core::uid::{SnowflakeIds, UidConfig, UidProvider};
///
/// let coordinator = Arc::new(infra_memory::MemoryCoordinator::new());
/// let ids = SnowflakeIds::connect(coordinator, "message-service", UidConfig::production()).await?;
/// let (first, second) = (ids.snowflake()?, ids.snowflake()?);
/// assert!(first < second);
/// assert_eq!(ids.parse_snowflake(first)?.instance, ids.instance());
/// ids.close().await?;
/// # Ok::<(), infra_core::Error>(())
/// # }).unwrap();
/// ```
pub struct SnowflakeIds {
    number: u16,
    lease: LeaseStatus,
    generator: Generator,
    clock: Arc<dyn Clock>,
    epoch: Duration,
    closed: AtomicBool,
    /// Kept so that the lease is renewed; taken by `close`.
    instance: Mutex<Option<InstanceId>>,
}

impl fmt::Debug for SnowflakeIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnowflakeIds")
            .field("instance", &self.number)
            .field("lost", &self.lease.is_lost())
            .finish_non_exhaustive()
    }
}

impl SnowflakeIds {
    /// Makes ids under a number that is leased already.
    ///
    /// # Errors
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) for a configuration that cannot work, or a number outside its range.
    pub fn new(instance: InstanceId, config: UidConfig) -> Result<Self> {
        Self::with_clock(instance, config, Arc::new(SystemClock))
    }

    /// Makes ids by another clock, in tests.
    ///
    /// # Errors
    /// As [`SnowflakeIds::new`].
    pub fn with_clock(instance: InstanceId, config: UidConfig, clock: Arc<dyn Clock>) -> Result<Self> {
        config.check().map_err(at("new"))?;
        let number = instance.id();
        if !config.instances().contains(&number) {
            return Err(at("new")(Error::invalid_config(format!(
                "instance id {number} is outside the configured {:?}; lease one from that range",
                config.instances()
            ))));
        }
        Ok(Self {
            number,
            lease: instance.status(),
            generator: Generator::new(&config),
            clock,
            epoch: Duration::from_millis(config.epoch_unix_millis()),
            closed: AtomicBool::new(false),
            instance: Mutex::new(Some(instance)),
        })
    }

    /// Leases a number for an instance of `service`, and makes ids under it.
    ///
    /// # Errors
    /// Those of [`InstanceIds::acquire_instance_id`] and [`SnowflakeIds::new`].
    ///
    /// # Cancellation
    /// A number that was just leased is given back in the background.
    pub async fn connect(
        instance_ids: Arc<dyn InstanceIds>,
        service: &str,
        config: UidConfig,
    ) -> Result<Self> {
        config.check().map_err(at("connect"))?;
        let instance = instance_ids
            .acquire_instance_id(service, config.instances())
            .await?;
        Self::new(instance, config)
    }

    /// The leased number.
    #[must_use]
    pub fn instance(&self) -> u16 {
        self.number
    }

    /// Stops making ids and gives the number back. Again: does nothing.
    ///
    /// # Errors
    /// [`LeaseLost`](ErrorKind::LeaseLost) when it was not ours any more, or what the backend answered.
    ///
    /// # Cancellation
    /// No more ids are made; the number is free at the end of its lease.
    pub async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        let instance = self
            .instance
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match instance {
            Some(instance) => instance.release().await.map_err(at("close")),
            None => Ok(()),
        }
    }

    fn claim(&self, count: u64) -> Result<Tick> {
        self.check()?;
        let claimed = self.generator.claim(count, &*self.clock)?;
        if claimed.waited {
            self.check()?;
        }
        Ok(claimed.first)
    }

    fn check(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::closed("this id provider"));
        }
        if self.lease.is_lost() {
            return Err(Error::new(
                ErrorKind::LeaseLost,
                format!(
                    "instance id {} is not leased to us any more, another may use it; connect again for a new one",
                    self.number
                ),
            )
            .without_effect());
        }
        Ok(())
    }
}

fn at(operation: &'static str) -> impl Fn(Error) -> Error {
    move |error| error.at("uid", "", operation)
}

impl UidProvider for SnowflakeIds {
    fn uuid(&self) -> Uuid {
        Uuid::now_v7()
    }

    fn snowflake(&self) -> Result<i64> {
        self.claim(1)
            .map(|tick| tick.id(self.number))
            .map_err(at("snowflake"))
    }

    fn snowflakes(&self, count: usize) -> Result<Vec<i64>> {
        let make = || {
            let wanted = u64::try_from(count)
                .ok()
                .filter(|count| *count <= SEQUENCES)
                .ok_or_else(|| {
                    Error::invalid_argument(format!(
                        "{count} snowflake ids at once; ask for at most {SEQUENCES}"
                    ))
                })?;
            if wanted == 0 {
                return Ok(Vec::new());
            }
            let first = self.claim(wanted)?.0;
            Ok((first..first + wanted)
                .map(|tick| Tick(tick).id(self.number))
                .collect())
        };
        make().map_err(at("snowflakes"))
    }

    fn parse_snowflake(&self, id: i64) -> Result<SnowflakeParts> {
        let (millis, instance, sequence) = split(id).map_err(at("parse_snowflake"))?;
        let time = UNIX_EPOCH + self.epoch + Duration::from_millis(millis);
        Ok(SnowflakeParts::new(time, instance, sequence))
    }
}
