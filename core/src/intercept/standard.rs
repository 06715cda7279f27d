//! The standard stack and its configuration.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::breaker::CircuitBreaking;
use super::concurrency::ConcurrencyLimit;
use super::faults::Faults;
use super::log::Log;
use super::metrics::Metrics;
use super::retry::Retrying;
use super::stack::Stack;
use super::timeout::Timeout;
use super::trace::Trace;
use crate::breaker::BreakerProvider;
use crate::config::{Problems, Validate, humane};
use crate::error::Result;
use crate::retry::{self, Budget, SharedPolicy};
use crate::telemetry::Meter;

/// What the standard stack does. Parts that are absent are left out of the stack.
///
/// ```
/// use infra_core::config::Validate;
/// use infra_core::intercept::StackConfig;
///
/// let config: StackConfig = serde_json::from_str(
///     r#"{ "timeout": "300ms", "concurrency": { "limit": 64, "queue": 0, "max_wait": "0s" }, "retry": null }"#,
/// )?;
/// config.check()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct StackConfig {
    /// A call that takes longer is logged as slow.
    #[serde(with = "humane")]
    pub slow_threshold: Duration,
    /// How many calls may run at once.
    pub concurrency: Option<ConcurrencyConfig>,
    /// How failed calls are repeated.
    pub retry: Option<retry::Policy>,
    /// The time allowed to each attempt; if `retry.attempt_timeout` is shorter, that one counts.
    #[serde(with = "humane::option")]
    pub timeout: Option<Duration>,
}

/// How many calls may run at once, and how many may queue for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ConcurrencyConfig {
    /// So many run at once.
    pub limit: NonZeroUsize,
    /// So many queue; beyond them a call fails at once with [`ResourceExhausted`](crate::ErrorKind::ResourceExhausted).
    pub queue: usize,
    /// How long a call queues at most.
    #[serde(with = "humane")]
    pub max_wait: Duration,
}

impl ConcurrencyConfig {
    /// Lets `limit` calls run, as many queue, each for a second at most.
    #[must_use]
    pub const fn new(limit: NonZeroUsize) -> Self {
        Self {
            limit,
            queue: limit.get(),
            max_wait: Duration::from_secs(1),
        }
    }

    /// Lets `queue` calls queue, each for `max_wait` at most.
    #[must_use]
    pub const fn with_queue(mut self, queue: usize, max_wait: Duration) -> Self {
        self.queue = queue;
        self.max_wait = max_wait;
        self
    }
}

const DEVELOPMENT_LIMIT: NonZeroUsize = NonZeroUsize::MIN.saturating_add(255);
const PRODUCTION_LIMIT: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1023);

impl StackConfig {
    /// For a developer's machine: 256 calls at once, [`retry::Policy::development`], 3 s for each attempt, slow from 500 ms.
    #[must_use]
    pub fn development() -> Self {
        Self {
            slow_threshold: Duration::from_millis(500),
            concurrency: Some(ConcurrencyConfig::new(DEVELOPMENT_LIMIT)),
            retry: Some(retry::Policy::development()),
            timeout: Some(Duration::from_secs(3)),
        }
    }

    /// For a fleet: 1024 calls at once, [`retry::Policy::production`], 5 s for each attempt, slow from 500 ms.
    #[must_use]
    pub fn production() -> Self {
        Self {
            concurrency: Some(ConcurrencyConfig::new(PRODUCTION_LIMIT)),
            retry: Some(retry::Policy::production()),
            timeout: Some(Duration::from_secs(5)),
            ..Self::development()
        }
    }

    /// The same, with calls slow from `threshold`.
    #[must_use]
    pub fn with_slow_threshold(mut self, threshold: Duration) -> Self {
        self.slow_threshold = threshold;
        self
    }

    /// The same, with this limit.
    #[must_use]
    pub fn with_concurrency(mut self, concurrency: ConcurrencyConfig) -> Self {
        self.concurrency = Some(concurrency);
        self
    }

    /// The same, with any number of calls at once.
    #[must_use]
    pub fn without_concurrency(mut self) -> Self {
        self.concurrency = None;
        self
    }

    /// The same, with this policy.
    #[must_use]
    pub fn with_retry(mut self, policy: retry::Policy) -> Self {
        self.retry = Some(policy);
        self
    }

    /// The same, with nothing repeated.
    #[must_use]
    pub fn without_retry(mut self) -> Self {
        self.retry = None;
        self
    }

    /// The same, with this time for each attempt.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The same, without a bound for each attempt; dangerous with backends that can hang.
    #[must_use]
    pub fn without_timeout(mut self) -> Self {
        self.timeout = None;
        self
    }

    fn attempt_timeout(&self) -> Option<Duration> {
        let policy = self.retry.as_ref().and_then(|policy| policy.attempt_timeout);
        self.timeout.into_iter().chain(policy).min()
    }
}

impl Default for StackConfig {
    /// The same as [`StackConfig::production`].
    fn default() -> Self {
        Self::production()
    }
}

impl Validate for StackConfig {
    /// Finds a timeout of zero, a queue in which nobody may wait, and what is wrong with the retry policy.
    fn validate(&self, problems: &mut Problems) {
        problems.ensure(
            self.timeout != Some(Duration::ZERO),
            "timeout",
            "must not be zero; leave it out for no bound",
        );
        if let Some(concurrency) = &self.concurrency {
            problems.ensure(
                concurrency.queue == 0 || !concurrency.max_wait.is_zero(),
                "concurrency.max_wait",
                "must not be zero where calls may queue; set `queue` to 0 to refuse them at once",
            );
        }
        if let Some(policy) = &self.retry {
            problems.within("retry", |problems| policy.validate(problems));
        }
    }
}

/// Builds the standard stack, outermost first: trace, metrics, log, concurrency limit, breaker, retry, timeout for each attempt,
/// faults.
///
/// Trace, metrics and log see the call as its caller does, retries included. The limit counts calls and not attempts. The
/// breaker counts what is left after retries. Metrics, breaker and faults are in the stack if they are given.
///
/// ```
/// use std::sync::Arc;
/// use infra_core::breaker::{self, Breakers};
/// use infra_core::intercept::{StackConfig, StandardStack};
/// use infra_core::telemetry::NoMeter;
///
/// let breakers = Breakers::new(breaker::BreakerConfig::production())?;
/// let stack = StandardStack::new(StackConfig::production())
///     .with_meter(Arc::new(NoMeter))
///     .with_breakers(Arc::new(breakers))
///     .build()?;
/// assert_eq!(
///     format!("{stack:?}"),
///     r#"["trace", "metrics", "log", "concurrency limit", "breaker", "retry", "timeout"]"#
/// );
/// # Ok::<(), infra_core::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "call `build`"]
pub struct StandardStack {
    config: StackConfig,
    meter: Option<Arc<dyn Meter>>,
    breakers: Option<Arc<dyn BreakerProvider>>,
    retry: Option<SharedPolicy>,
    budget: Option<Budget>,
    faults: Option<Arc<Faults>>,
}

impl StandardStack {
    /// The standard stack of this configuration, without metrics, breaker and faults.
    pub fn new(config: StackConfig) -> Self {
        Self {
            config,
            meter: None,
            breakers: None,
            retry: None,
            budget: None,
            faults: None,
        }
    }

    /// Records metrics in this meter.
    pub fn with_meter(mut self, meter: Arc<dyn Meter>) -> Self {
        self.meter = Some(meter);
        self
    }

    /// Takes breakers from this provider.
    pub fn with_breakers(mut self, breakers: Arc<dyn BreakerProvider>) -> Self {
        self.breakers = Some(breakers);
        self
    }

    /// Repeats as this policy says, which may change while the stack is in use, in the place of the configured one. Where the
    /// configuration repeats nothing, nothing is repeated all the same.
    pub fn with_retry_policy(mut self, policy: SharedPolicy) -> Self {
        self.retry = Some(policy);
        self
    }

    /// Shares a retry budget with other stacks.
    pub fn with_budget(mut self, budget: &Budget) -> Self {
        self.budget = Some(budget.clone());
        self
    }

    /// Injects faults, innermost.
    pub fn with_faults(mut self, faults: Arc<Faults>) -> Self {
        self.faults = Some(faults);
        self
    }

    /// Builds the stack. What is wrapped by it, or by a clone of it, shares one limit and one budget.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) that lists everything that is wrong with the configuration.
    pub fn build(self) -> Result<Stack> {
        self.config.check()?;
        let mut stack = Stack::new().with(Trace::new());
        if let Some(meter) = self.meter {
            stack = stack.with(Metrics::new(meter));
        }
        stack = stack.with(Log::new().with_slow_threshold(self.config.slow_threshold));
        if let Some(concurrency) = &self.config.concurrency {
            let limit = ConcurrencyLimit::new(concurrency.limit);
            stack = stack.with(limit.with_queue(concurrency.queue, concurrency.max_wait));
        }
        if let Some(breakers) = self.breakers {
            stack = stack.with(CircuitBreaking::new(breakers));
        }
        let shared = self.retry.filter(|_| self.config.retry.is_some());
        let timeout = match &shared {
            Some(policy) => Some(Timeout::following(policy.clone(), self.config.timeout)),
            None => self.config.attempt_timeout().map(Timeout::new),
        };
        if let Some(policy) = self.config.retry {
            let retrying = match shared {
                Some(shared) => Retrying::following(shared),
                None => Retrying::new(policy),
            };
            stack = stack.with(match &self.budget {
                Some(budget) => retrying.with_budget(budget),
                None => retrying,
            });
        }
        if let Some(timeout) = timeout {
            stack = stack.with(timeout);
        }
        if let Some(faults) = self.faults {
            stack = stack.with_shared(faults);
        }
        stack.validate()?;
        Ok(stack)
    }
}
