//! Opening everything in dependency order, and closing it again whatever happened.

use std::sync::Arc;

use super::{Backends, InfraConfig, OpenContext};
use crate::backend::Backend;
use crate::breaker::Breakers;
use crate::cache::Cache;
use crate::config::{Following, HotReload, Profile, Reloads};
use crate::coordination::{ConfigCenter, Coordinator};
use crate::database::Database;
use crate::error::Result;
use crate::intercept::{Stack, StackConfig, StandardStack};
use crate::lifecycle::{HealthReport, Lifecycle};
use crate::once::{Once, StoreOnce};
use crate::queue::{MessageQueue, Producer};
use crate::rate_limit::{Limiter, LimiterDependencies, RateLimiter};
use crate::retry;
use crate::search::Search;
use crate::telemetry::{Meter, NoMeter};
use crate::uid::{SnowflakeIds, UidProvider};

/// Every component of a service, open and behind the standard stack, ready to be handed to business code.
///
/// Components are opened in the order in which they need each other (coordination, cache, database, ids, queue, rate
/// limits, idempotency, search) and closed in exactly the reverse one. When one cannot be opened, those before it are
/// closed and the error says which one it was.
///
/// # Hot reload
/// What may change while the service runs follows the configuration centre, each part by a path of its configuration:
///
/// | what | where | read as |
/// | --- | --- | --- |
/// | breaker policies | `breaker.policies_path`, by default `breakers/` | `{breaker}.json`, and `default.json` for all others |
/// | rate-limit rules | `rate_limit.rules_path` | `{rule}.json`, or a map of rules |
/// | retry policies | `retry.policies_path`, by default `retry/` | `{component}.json` with a component's section name (`cache`, `database` …), and `default.json` for all others |
/// | log levels | the service's choice | [`log::Handle::hot_reload`](crate::log::Handle::hot_reload) |
/// | concurrency of a consumer | the service's choice | [`SubscriptionHandle::hot_reload`](crate::queue::SubscriptionHandle::hot_reload) |
///
/// A change takes effect at once and loses no state. A bad value is refused, and the last good one stays; which key it was and why
/// says the log, and [`Infra::reloads`]. Deletion goes back to the configuration. With a `…_snapshot` file, the service starts
/// with the last good values while the configuration centre is away.
///
/// ```
/// # use infra_core::{Result, assembly::{Backends, Infra, InfraConfig}, config::Profile};
/// # async fn start(backends: Backends) -> Result<()> {
/// let config = InfraConfig::of(Profile::Development);
/// let infra = Infra::open("profile-service", config, &backends, Profile::Development).await?;
/// let cache = infra.cache().clone();
/// // … serve …
/// infra.shutdown().await
/// # }
/// ```
#[derive(Debug)]
pub struct Infra {
    parts: Parts,
    reloads: Reloads,
    lifecycle: Lifecycle,
}

#[derive(Debug)]
struct Parts {
    meter: Arc<dyn Meter>,
    stacks: Stacks,
    breakers: Arc<Breakers>,
    coordinator: Arc<dyn Coordinator>,
    cache: Arc<dyn Cache>,
    database: Arc<dyn Database>,
    ids: Arc<dyn UidProvider>,
    queue: Arc<dyn MessageQueue>,
    producer: Arc<dyn Producer>,
    limiter: Arc<dyn RateLimiter>,
    once: Arc<dyn Once>,
    search: Arc<dyn Search>,
}

impl Infra {
    /// Opens everything, recording no metrics.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) with every problem of the configuration, before any I/O; otherwise
    /// the error of the first component that could not be opened, after those before it were closed.
    ///
    /// # Cancellation
    /// What was opened is dropped without an orderly end.
    pub async fn open(
        service: &str,
        config: InfraConfig,
        backends: &Backends,
        profile: Profile,
    ) -> Result<Self> {
        Self::open_with_meter(service, config, backends, profile, Arc::new(NoMeter)).await
    }

    /// Opens everything, recording into `meter`.
    ///
    /// # Errors
    /// As [`Infra::open`].
    ///
    /// # Cancellation
    /// As [`Infra::open`].
    pub async fn open_with_meter(
        service: &str,
        config: InfraConfig,
        backends: &Backends,
        profile: Profile,
        meter: Arc<dyn Meter>,
    ) -> Result<Self> {
        config.check_with(backends, profile)?;
        let mut lifecycle = Lifecycle::new(config.shutdown_deadline);
        let context = OpenContext::new(profile, meter);
        let mut following = Followed {
            lifecycle: &mut lifecycle,
            reloads: Reloads::new(),
        };
        let opened = open_parts(service, &config, backends, &context, &mut following).await;
        let reloads = following.reloads;
        match opened {
            Ok(parts) => Ok(Self {
                parts,
                reloads,
                lifecycle,
            }),
            Err(error) => {
                tracing::error!(%error, "a component could not be opened; closing those that were");
                for (step, failure) in lifecycle.shutdown().await.failures() {
                    tracing::error!(step, error = %failure, "did not close cleanly after a failed start");
                }
                Err(error)
            }
        }
    }

    /// A standard stack like those in front of the components, for one of the service's own traits. Each has limits and a
    /// retry budget of its own.
    ///
    /// # Errors
    /// None that [`Infra::open`] would not have found; the type leaves room for others.
    pub fn stack(&self) -> Result<Stack> {
        self.stack_named(retry::DEFAULT_POLICY)
    }

    /// A standard stack like [`Infra::stack`] whose retry policy is the one of this name: `{name}.json` below
    /// `retry.policies_path`. Stacks of one name share a retry budget.
    ///
    /// # Errors
    /// As [`Infra::stack`].
    pub fn stack_named(&self, name: &str) -> Result<Stack> {
        self.parts.stacks.named(name)
    }

    /// What follows the configuration centre, with what of it was refused and why.
    #[must_use]
    pub fn reloads(&self) -> &Reloads {
        &self.reloads
    }

    /// The same, for a service to add what it follows itself.
    pub fn reloads_mut(&mut self) -> &mut Reloads {
        &mut self.reloads
    }

    /// Where metrics are recorded.
    #[must_use]
    pub fn meter(&self) -> &Arc<dyn Meter> {
        &self.parts.meter
    }

    /// Circuit breakers by name.
    #[must_use]
    pub fn breakers(&self) -> &Arc<Breakers> {
        &self.parts.breakers
    }

    /// Registry, configuration centre, locks and instance ids.
    #[must_use]
    pub fn coordinator(&self) -> &Arc<dyn Coordinator> {
        &self.parts.coordinator
    }

    /// The cache.
    #[must_use]
    pub fn cache(&self) -> &Arc<dyn Cache> {
        &self.parts.cache
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> &Arc<dyn Database> {
        &self.parts.database
    }

    /// Unique ids.
    #[must_use]
    pub fn ids(&self) -> &Arc<dyn UidProvider> {
        &self.parts.ids
    }

    /// The message queue, for consumers and administration.
    #[must_use]
    pub fn queue(&self) -> &Arc<dyn MessageQueue> {
        &self.parts.queue
    }

    /// A producer of the message queue.
    #[must_use]
    pub fn producer(&self) -> &Arc<dyn Producer> {
        &self.parts.producer
    }

    /// Rate limits.
    #[must_use]
    pub fn limiter(&self) -> &Arc<dyn RateLimiter> {
        &self.parts.limiter
    }

    /// Idempotent operations.
    #[must_use]
    pub fn once(&self) -> &Arc<dyn Once> {
        &self.parts.once
    }

    /// The search index.
    #[must_use]
    pub fn search(&self) -> &Arc<dyn Search> {
        &self.parts.search
    }

    /// What has to stop, for a service to add its own servers and subscriptions to: they stop before the components.
    pub fn lifecycle_mut(&mut self) -> &mut Lifecycle {
        &mut self.lifecycle
    }

    /// The components with their backends, in the order in which they were opened.
    #[must_use]
    pub fn backends(&self) -> Vec<(String, Arc<dyn Backend>)> {
        self.lifecycle
            .backends()
            .map(|(name, backend)| (name.to_owned(), Arc::clone(backend)))
            .collect()
    }

    /// Asks every component how it is.
    pub async fn health(&self) -> HealthReport {
        self.lifecycle.health().await
    }

    /// Stops what the service added, then every component, in reverse order of opening, each within its deadline.
    ///
    /// # Errors
    /// One error that names every step that did not stop cleanly; the others did.
    ///
    /// # Cancellation
    /// What has not stopped yet is dropped where it is.
    pub async fn shutdown(self) -> Result<()> {
        let Self { parts, lifecycle, .. } = self;
        let stopped = lifecycle.shutdown().await.into_result();
        drop(parts);
        stopped
    }
}

async fn open_parts(
    service: &str,
    config: &InfraConfig,
    backends: &Backends,
    context: &OpenContext,
    opened: &mut Followed<'_>,
) -> Result<Parts> {
    let meter = Arc::clone(&context.meter);
    let breakers = Arc::new(Breakers::with_meter(config.breaker.clone(), Arc::clone(&meter))?);
    let stacks = Stacks {
        config: config.stack.clone(),
        meter: Arc::clone(&meter),
        breakers: breakers.clone(),
        policies: config
            .stack
            .retry
            .clone()
            .map(|default| retry::Policies::new(config.retry.clone(), default))
            .transpose()?,
    };

    let coordinator = backends.open_coordinator(&config.coordination, context).await?;
    opened.lifecycle.push("coordination", coordinator.clone());
    let coordinator: Arc<dyn Coordinator> = stacks.named("coordination")?.wrap(coordinator);
    let center: Arc<dyn ConfigCenter> = coordinator.clone();
    opened.keep("breaker policies", breakers.follow(center.clone()).await?);
    if let Some(policies) = &stacks.policies {
        opened.keep("retry policies", policies.follow(center.clone()).await?);
    }

    let cache = backends.open_cache(&config.cache, context).await?;
    opened.lifecycle.push("cache", cache.clone());
    let cache: Arc<dyn Cache> = stacks.named("cache")?.wrap(cache);

    let database = backends.open_database(&config.database, context).await?;
    opened.lifecycle.push("database", database.clone());
    let database: Arc<dyn Database> = stacks.named("database")?.wrap(database);

    let ids = Arc::new(SnowflakeIds::connect(coordinator.clone(), service, config.uid.clone()).await?);
    let releasing = Arc::clone(&ids);
    opened.lifecycle.push_stop("instance id", move |_| {
        Box::pin(async move { releasing.close().await })
    });

    let queue = backends.open_queue(&config.queue, context).await?;
    opened.lifecycle.push("queue", queue.clone());
    let producer: Arc<dyn Producer> = stacks.named("queue")?.wrap(queue.producer().await?);

    let rate_limit_store = backends
        .open_rate_limit_store(&config.rate_limit_store, context)
        .await?;
    opened.lifecycle.push("rate_limit", rate_limit_store.clone());
    let limits = LimiterDependencies::new()
        .with_store(stacks.named("rate_limit_store")?.wrap(rate_limit_store))
        .with_meter(Arc::clone(&meter));
    let limiter = Arc::new(Limiter::connect(config.rate_limit.clone(), limits).await?);
    opened.keep("rate-limit rules", limiter.follow(center).await?);

    let once_store = backends.open_once_store(&config.once_store, context).await?;
    opened.lifecycle.push("once", once_store.clone());
    let once = Arc::new(StoreOnce::new(
        stacks.named("once_store")?.wrap(once_store),
        config.once.clone(),
    )?);

    let search = backends.open_search(&config.search, context).await?;
    opened.lifecycle.push("search", search.clone());
    let search: Arc<dyn Search> = stacks.named("search")?.wrap(search);

    Ok(Parts {
        meter,
        stacks,
        breakers,
        coordinator,
        cache,
        database,
        ids,
        queue,
        producer,
        limiter,
        once,
        search,
    })
}

/// Makes the standard stacks: a fresh one for each component, so that a slow one does not use up the limit or the retry
/// budget of the others.
#[derive(Debug)]
struct Stacks {
    config: StackConfig,
    meter: Arc<dyn Meter>,
    breakers: Arc<Breakers>,
    /// Absent where nothing is repeated.
    policies: Option<retry::Policies>,
}

impl Stacks {
    /// The stack of a component, whose retry policy has this name.
    fn named(&self, name: &str) -> Result<Stack> {
        let mut stack = StandardStack::new(self.config.clone())
            .with_meter(Arc::clone(&self.meter))
            .with_breakers(self.breakers.clone());
        if let Some(policies) = &self.policies {
            stack = stack.with_retry_policy(policies.policy(name));
        }
        stack.build()
    }
}

/// What was opened so far, and what it follows.
struct Followed<'a> {
    lifecycle: &'a mut Lifecycle,
    reloads: Reloads,
}

impl Followed<'_> {
    /// Following ends before the configuration centre that is followed.
    fn keep<C: Send + Sync + 'static>(
        &mut self,
        name: &'static str,
        (reload, following): (HotReload<C>, Following),
    ) {
        self.reloads.add(name, &reload);
        self.lifecycle.push_stop(name, move |_| {
            drop(following);
            Box::pin(async { Ok(()) })
        });
    }
}
