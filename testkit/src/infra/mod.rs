//! A full set of components in one line, all of which misbehave on command.

mod consumer;
mod server_faults;

pub use server_faults::ServerFaults;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use infra_core::async_trait;
use infra_core::backend::Backend;
use infra_core::breaker::{BreakerConfig, Breakers};
use infra_core::cache::Cache;
use infra_core::coordination::{Coordinator, InstanceId};
use infra_core::error::Result;
use infra_core::intercept::{Fault, Faults, Proxy, Recorder, Stack, StackConfig, StandardStack};
use infra_core::lease::{Lease, LeaseKeeper, LeaseOptions};
use infra_core::once::{Once, OnceConfig, OnceStore, StoreOnce};
use infra_core::queue::{Consumer, MessageQueue, Producer};
use infra_core::rate_limit::{Limiter, LimiterDependencies, RateLimitConfig, RateLimiter, Rule};
use infra_core::uid::{SnowflakeIds, UidConfig, UidProvider};
use infra_memory::{MemoryCache, MemoryCoordinator, MemoryMeter, MemoryOnceStore, MemoryQueue};
use tokio::time::Instant;

use self::consumer::TestConsumer;
use crate::calls::Calls;

/// The instance under which a test's ids are made.
const INSTANCE: u16 = 1;

/// A full set of components in memory, behind one recorder and one source of faults.
///
/// Everything is well until a fault is asked for. Components are made when the set is made; asking twice for one gives the
/// same state. Must be made on a tokio runtime.
///
/// When it is dropped, it panics if a fault was asked for that no call has met, so that a mistyped name fails the test
/// instead of testing nothing; see [`TestInfra::allow_unused_faults`]. When it is dropped because a test fails, it prints
/// the seed of its chances.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
/// use infra_core::intercept::Fault;
/// use infra_core::queue::Message;
/// use infra_testkit::TestInfra;
///
/// // The broker takes the message, but its answer is lost.
/// let infra = TestInfra::new();
/// infra.faults().script("producer.send", [Fault::DropReply]);
/// let producer = infra.producer().await.unwrap();
/// let error = producer.send(Message::new("orders", "{}")).await.unwrap_err();
/// assert_eq!(error.kind(), infra_core::ErrorKind::OutcomeUnknown);
/// # });
/// ```
#[derive(Debug)]
pub struct TestInfra {
    faults: Arc<Faults>,
    recorder: Arc<Recorder>,
    meter: Arc<MemoryMeter>,
    /// The recorder and the faults alone.
    inner: Stack,
    /// The same behind what was put outside of them.
    stack: Stack,
    breakers: Arc<Breakers>,
    coordinator: MemoryCoordinator,
    cache: Arc<MemoryCache>,
    queue: Arc<MemoryQueue>,
    once_store: Arc<MemoryOnceStore>,
    ids: Arc<SnowflakeIds>,
    rules: BTreeMap<String, Rule>,
    end: End,
}

impl Default for TestInfra {
    fn default() -> Self {
        Self::new()
    }
}

impl TestInfra {
    /// A set whose chances, if any are asked for, are drawn from a random seed; [`TestInfra::seed`] tells it.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn new() -> Self {
        Self::with_faults(Faults::new())
    }

    /// A set whose chances are drawn from `seed`: the same calls in the same order meet the same faults.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self::with_faults(Faults::seeded(seed))
    }

    /// The same set, in which every call meets `fault` with this probability (0 to 1).
    #[must_use]
    pub fn with_chance(self, probability: f64, fault: Fault) -> Self {
        self.faults.by_chance(probability, fault);
        self
    }

    /// The same set, which does not mind faults that no call has met.
    #[must_use]
    pub fn allow_unused_faults(mut self) -> Self {
        self.end.strict = false;
        self
    }

    /// The same set with one more rate-limit rule. A rule that was not added denies, as in production.
    #[must_use]
    pub fn with_rule(mut self, name: impl Into<String>, rule: Rule) -> Self {
        self.rules.insert(name.into(), rule);
        self
    }

    /// The same set with the standard stack of development outside the faults, so that retries, breakers and timeouts
    /// have to cope with them. Components that were taken before are not changed.
    ///
    /// # Errors
    /// None: the development configuration is valid; the type leaves room for others.
    pub fn hardened(self) -> Result<Self> {
        self.behind(StandardStack::new(StackConfig::development()))
    }

    /// The same set with a stack of your own outside the faults; metrics and breakers of the set are added to it.
    ///
    /// # Errors
    /// [`InvalidConfig`](infra_core::ErrorKind::InvalidConfig) for a stack that cannot work.
    pub fn behind(mut self, stack: StandardStack) -> Result<Self> {
        let outer = stack
            .with_meter(self.meter.clone())
            .with_breakers(self.breakers.clone())
            .build()?;
        self.stack = outer.with_stack(&self.inner);
        Ok(self)
    }

    /// Scripts and chances.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// What was called.
    #[must_use]
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// What was called up to now, to be asserted on.
    #[must_use]
    pub fn calls(&self) -> Calls {
        Calls::from(&*self.recorder)
    }

    /// The seed of the chances, to be printed when a test fails.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.faults.seed()
    }

    /// What the components recorded.
    #[must_use]
    pub fn meter(&self) -> &Arc<MemoryMeter> {
        &self.meter
    }

    /// The memory coordinator itself, whose leases and watches can be lost on command.
    #[must_use]
    pub fn memory_coordinator(&self) -> &MemoryCoordinator {
        &self.coordinator
    }

    /// Puts a component that memory cannot be, a database for example, behind the same recorder and faults.
    ///
    /// `let database: Arc<dyn Database> = infra.wrap(database);`
    #[must_use]
    pub fn wrap<T: Backend + ?Sized>(&self, component: Arc<T>) -> Arc<Proxy<T>> {
        self.stack.wrap(component)
    }

    /// Puts a trait of the service's own behind the same recorder and faults; `name` says what serves it.
    #[must_use]
    pub fn wrap_named<T: ?Sized>(&self, name: &'static str, component: Arc<T>) -> Arc<Proxy<T>> {
        self.stack.wrap_named(name, component)
    }

    /// The cache.
    #[must_use]
    pub fn cache(&self) -> Arc<dyn Cache> {
        let cache: Arc<dyn Cache> = self.cache.clone();
        self.wrap(cache)
    }

    /// Registry, configuration centre, locks and instance ids.
    #[must_use]
    pub fn coordinator(&self) -> Arc<dyn Coordinator> {
        let coordinator: Arc<dyn Coordinator> = Arc::new(self.coordinator.clone());
        self.wrap(coordinator)
    }

    /// A producer of the set's queue.
    ///
    /// # Errors
    /// [`Closed`](infra_core::ErrorKind::Closed) after the queue was shut down.
    pub async fn producer(&self) -> Result<Arc<dyn Producer>> {
        Ok(self.wrap(self.queue.producer().await?))
    }

    /// A member of the group `group` of the set's queue.
    ///
    /// What it is given is recorded and can be hit by faults, as calls whose subject is the topic: `consumer.handle` around the
    /// handler, then `consumer.ack`, `consumer.retry` or `consumer.dead_letter` for what the handler answered.
    ///
    /// | fault | of `consumer.handle` | of a settlement |
    /// |---|---|---|
    /// | `Err`, `Fail` | the handler does not run; the message is delivered again | it is lost; the message is delivered again |
    /// | `Delay` | the message comes late | |
    /// | `Hang` | the handler's timeout ends it | the same |
    /// | `DropReply` | the handler ran; the message is delivered again | it stands |
    /// | `Duplicate` | the handler runs twice | it stands |
    /// | `Reorder` | a later delivery is handled first, of another key | |
    /// | `Disconnect` | every member is put out of its group | the same |
    ///
    /// The stack of [`TestInfra::hardened`] is around `consumer.subscribe`, not around handlers, as in production.
    ///
    /// # Errors
    /// [`Closed`](infra_core::ErrorKind::Closed) after the queue was shut down.
    pub async fn consumer(&self, group: &str) -> Result<Arc<dyn Consumer>> {
        let inner = self.queue.consumer(group).await?;
        let consumer: Arc<dyn Consumer> = Arc::new(TestConsumer::new(inner, self.inner.clone()));
        Ok(self.wrap(consumer))
    }

    /// The queue itself, without faults.
    #[must_use]
    pub fn memory_queue(&self) -> &Arc<MemoryQueue> {
        &self.queue
    }

    /// Idempotent operations; faults are those of the component `once_store`.
    ///
    /// # Errors
    /// None: the development configuration is valid.
    pub fn once(&self) -> Result<Arc<dyn Once>> {
        let store: Arc<dyn OnceStore> = self.once_store.clone();
        Ok(Arc::new(StoreOnce::new(
            self.wrap(store),
            OnceConfig::development(),
        )?))
    }

    /// Rate limits by the rules that were added with [`TestInfra::with_rule`]; each call of this starts with full buckets.
    ///
    /// # Errors
    /// [`InvalidConfig`](infra_core::ErrorKind::InvalidConfig) for a rule that cannot work.
    pub fn limiter(&self) -> Result<Arc<dyn RateLimiter>> {
        let mut config = RateLimitConfig::development();
        config.rules = self.rules.clone();
        let limiter: Arc<dyn RateLimiter> = Arc::new(Limiter::new(config, LimiterDependencies::new())?);
        Ok(self.wrap(limiter))
    }

    /// Ids.
    #[must_use]
    pub fn ids(&self) -> Arc<dyn UidProvider> {
        self.ids.clone()
    }

    /// Breakers.
    #[must_use]
    pub fn breakers(&self) -> &Arc<Breakers> {
        &self.breakers
    }

    fn with_faults(faults: Faults) -> Self {
        let (faults, recorder) = (Arc::new(faults), Arc::new(Recorder::new()));
        let stack = Stack::new()
            .with_shared(recorder.clone())
            .with_shared(faults.clone());
        let instance = InstanceId::new(
            INSTANCE,
            Lease::keep(Arc::new(Unlosable), LeaseOptions::new(FOREVER), Instant::now()),
        );
        let ids = SnowflakeIds::new(instance, UidConfig::development());
        let breakers = Breakers::new(BreakerConfig::development());
        // Both take the defaults that their own tests prove valid.
        #[expect(
            clippy::expect_used,
            reason = "constants; a test kit may say loudly that it is broken"
        )]
        let (ids, breakers) = (
            ids.expect("the default ids"),
            breakers.expect("the default breakers"),
        );
        let (coordinator, queue) = (MemoryCoordinator::new(), Arc::new(MemoryQueue::new()));
        server_faults::connect(&faults, &coordinator, &queue);
        Self {
            end: End {
                faults: Arc::clone(&faults),
                strict: true,
            },
            faults,
            recorder,
            meter: Arc::new(MemoryMeter::new()),
            inner: stack.clone(),
            stack,
            breakers: Arc::new(breakers),
            coordinator,
            cache: Arc::new(MemoryCache::new()),
            queue,
            once_store: Arc::new(MemoryOnceStore::new()),
            ids: Arc::new(ids),
            rules: BTreeMap::new(),
        }
    }
}

/// What has to be said when a set is dropped.
#[derive(Debug)]
struct End {
    faults: Arc<Faults>,
    strict: bool,
}

impl Drop for End {
    #[expect(
        clippy::panic,
        clippy::print_stderr,
        reason = "the last moment at which a test can fail; and a seed is of no use unless it is seen"
    )]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.faults.seed();
            eprintln!("if faults came by chance, TestInfra::seeded({seed}) draws them again");
        } else if self.strict
            && let Err(error) = self.faults.verify()
        {
            panic!("{error}; or say TestInfra::allow_unused_faults");
        }
    }
}

/// Longer than any test, virtual time included.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Keeps the lease of a test's instance id: nobody else asks for it.
#[derive(Debug)]
struct Unlosable;

#[async_trait]
impl LeaseKeeper for Unlosable {
    async fn renew(&self) -> Result<()> {
        Ok(())
    }

    async fn release(&self) -> Result<()> {
        Ok(())
    }
}
