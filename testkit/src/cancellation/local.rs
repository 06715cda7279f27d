//! The cases of what needs no backend: breakers, retries, leases, lifecycle, signals, contexts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use infra_core::breaker::{
    Breaker, BreakerConfig, BreakerExt, BreakerProvider, Breakers, Policy as BreakerPolicy, State, classify,
};
use infra_core::lease::{Lease, LeaseKeeper, LeaseOptions};
use infra_core::lifecycle::{Ended, HealthReport, Lifecycle, Signals, run_until_signal};
use infra_core::retry::{self, Backoff, Budget, Policy};
use infra_core::telemetry::{TraceContext, current_trace_id, with_trace_context, with_trace_id};
use infra_core::{Backend, Error, ErrorKind, Result, async_trait, log, watch};
use infra_memory::MemoryCache;
use tokio::time::{Instant, sleep};

use super::ground::{Case, Ground, cases};
use super::route::Route;
use crate::check;
use crate::conformance::{Failure, Outcome};

/// How long anything takes.
const MOMENT: Duration = Duration::from_millis(20);

/// A half-open breaker that admits one probe, and other things that need no backend.
#[derive(Debug)]
pub struct LocalGround {
    route: Route,
    breaker: Arc<dyn Breaker>,
    keeper: Arc<SlowKeeper>,
}

impl LocalGround {
    /// Opens a breaker and waits until it lets a probe pass. Give it a paused clock, or it takes a while.
    ///
    /// # Errors
    /// A breaker that does not behave.
    pub async fn new(route: Route) -> Result<Self, Failure> {
        let long_window = Duration::from_secs(60);
        let policy = BreakerPolicy::new(1, 1, MOMENT)
            .with_window(long_window, 1, 1.0)
            .with_probes(1, long_window);
        let breakers = Breakers::new(BreakerConfig::development().with_default_policy(policy))?;
        let breaker = breakers.breaker("cancel");
        let failed: Result<()> = breaker
            .call(|| async { Err(Error::new(ErrorKind::Unavailable, "down")) })
            .await;
        check!(failed.is_err(), "the call succeeded");
        sleep(MOMENT * 2).await;
        Ok(Self {
            route,
            breaker,
            keeper: Arc::default(),
        })
    }

    fn lease(&self) -> Lease {
        let options = LeaseOptions::new(Duration::from_secs(120));
        Lease::keep(self.keeper.clone(), options, Instant::now())
    }

    /// One failure, then success.
    async fn retry(&self, idempotent: bool) -> Outcome {
        let policy = Policy::development().with_backoff(Backoff::Fixed { delay: MOMENT });
        let attempts = AtomicUsize::new(0);
        let operation = || async {
            sleep(MOMENT).await;
            match attempts.fetch_add(1, Ordering::SeqCst) {
                0 => Err(Error::new(ErrorKind::Unavailable, "at first").without_effect()),
                _ => Ok(()),
            }
        };
        let budget = Budget::unlimited();
        let done: Result<()> = if idempotent {
            retry::run(&policy, &budget, operation).await
        } else {
            retry::run_not_idempotent(&policy, &budget, operation).await
        };
        Ok(done?)
    }

    async fn lifecycle(&self) -> Lifecycle {
        let mut lifecycle = Lifecycle::new(Duration::from_secs(5));
        lifecycle.push("cache", Arc::new(MemoryCache::new()));
        lifecycle.push_stop("server", |_| {
            Box::pin(async {
                sleep(MOMENT).await;
                Ok(())
            })
        });
        lifecycle
    }

    /// A source of a watch that waits until nobody reads it.
    async fn abandoned(&self) -> Outcome {
        let (sink, changes) = watch::channel::<u8>(1);
        let leaving = async {
            sleep(MOMENT).await;
            drop(changes);
        };
        tokio::join!(sink.abandoned(), leaving);
        Ok(())
    }
}

/// Gives a lease back slowly.
#[derive(Debug, Default)]
struct SlowKeeper {
    released: AtomicUsize,
}

#[async_trait]
impl LeaseKeeper for SlowKeeper {
    async fn renew(&self) -> Result<()> {
        Ok(())
    }

    async fn release(&self) -> Result<()> {
        sleep(MOMENT).await;
        self.released.fetch_add(1, Ordering::SeqCst);
        sleep(MOMENT).await;
        Ok(())
    }
}

impl Ground for LocalGround {
    fn observe(&self) -> LocalBoxFuture<'_, Result<String, Failure>> {
        Box::pin(async {
            check!(current_trace_id().is_none(), "a trace context is left over");
            let released = self.keeper.released.load(Ordering::SeqCst) > 0;
            let closed = self.breaker.state() == State::Closed;
            Ok(format!("breaker closed: {closed}, lease given back: {released}"))
        })
    }

    fn route(&self) -> &Route {
        &self.route
    }

    fn leave(self) -> LocalBoxFuture<'static, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

/// Every operation that needs no backend.
#[must_use]
pub fn cases() -> Vec<Case<LocalGround>> {
    let mut all = resilience();
    all.extend(running());
    all
}

fn resilience() -> Vec<Case<LocalGround>> {
    cases![
        "BreakerExt::call" => |g| g.breaker.call(|| async { sleep(MOMENT).await; Ok::<_, Error>(()) }).await?,
        "BreakerExt::call_with" => |g| {
            g.breaker.call_with(classify, || async { sleep(MOMENT).await; Ok::<_, Error>(()) }).await?
        },
        "retry::run" => |g| g.retry(true).await?,
        "retry::run_not_idempotent" => |g| g.retry(false).await?,
        "Lease::lost" => |g| {
            let lease = g.lease();
            let lost = tokio::time::timeout(MOMENT, lease.lost()).await;
            check!(lost.is_err(), "the lease was lost");
        },
        "Lease::release" => |g| g.lease().release().await?,
        "WatchSink::abandoned" => |g| g.abandoned().await?,
    ]
}

fn running() -> Vec<Case<LocalGround>> {
    cases![
        "Lifecycle::health" => |g| g.lifecycle().await.health().await,
        "Lifecycle::shutdown" => |g| g.lifecycle().await.shutdown().await.into_result()?,
        "HealthReport::of" => |_g| {
            let cache: Arc<dyn Backend> = Arc::new(MemoryCache::new());
            HealthReport::of([("cache", &cache)].into_iter()).await
        },
        "lifecycle::run_until_signal" => |_g| {
            let ended = run_until_signal(&Signals::manual(), sleep(MOMENT)).await;
            check!(matches!(ended, Ended::Finished(())), "{ended:?} without a signal");
        },
        "telemetry::with_trace_context" => |_g| with_trace_context(TraceContext::fresh(), sleep(MOMENT)).await,
        "telemetry::with_trace_id" => |_g| with_trace_id("t", sleep(MOMENT)).await,
        "log::namespaced" => |_g| log::namespaced("n", sleep(MOMENT)).await,
    ]
}
