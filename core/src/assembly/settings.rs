//! The configuration of everything that is assembled.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Backends, Section};
use crate::breaker::BreakerConfig;
use crate::config::{BackendUrl, Problems, Profile, Validate, humane};
use crate::error::Result;
use crate::intercept::StackConfig;
use crate::log::LogConfig;
use crate::once::OnceConfig;
use crate::rate_limit::RateLimitConfig;
use crate::retry::RetryConfig;
use crate::uid::UidConfig;

/// The configuration of all components: a section for each that has a backend, a plain struct for each that has none.
///
/// ```
/// use infra_core::assembly::InfraConfig;
/// use infra_core::config::{BackendUrl, Profile};
///
/// let mut config = InfraConfig::of(Profile::Development);
/// config.cache.url = BackendUrl::parse("memory://")?;
/// # Ok::<(), infra_core::Error>(())
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct InfraConfig {
    /// Logs.
    pub log: LogConfig,
    /// Registry, configuration centre, locks, instance ids.
    pub coordination: Section,
    /// The cache.
    pub cache: Section,
    /// The database.
    pub database: Section,
    /// Ids.
    pub uid: UidConfig,
    /// The message queue.
    pub queue: Section,
    /// Where distributed rate limits keep their buckets.
    pub rate_limit_store: Section,
    /// Rate limits.
    pub rate_limit: RateLimitConfig,
    /// Where idempotent operations keep their results.
    pub once_store: Section,
    /// Idempotent operations.
    pub once: OnceConfig,
    /// Circuit breakers.
    pub breaker: BreakerConfig,
    /// Where the configuration centre has retry policies; what holds without them is `stack.retry`.
    #[serde(default)]
    pub retry: RetryConfig,
    /// The search index.
    pub search: Section,
    /// The interceptors before every component.
    pub stack: StackConfig,
    /// How long each component may take to stop.
    #[serde(with = "humane")]
    pub shutdown_deadline: Duration,
}

impl InfraConfig {
    /// The defaults of a profile, with every backend embedded.
    #[must_use]
    pub fn of(profile: Profile) -> Self {
        let production = profile == Profile::Production;
        let memory = || Section::new(BackendUrl::memory());
        let embedded = |scheme| Section::new(BackendUrl::file(scheme, ":memory:"));
        macro_rules! pick {
            ($config:ty) => {
                if production {
                    <$config>::production()
                } else {
                    <$config>::development()
                }
            };
        }
        Self {
            log: pick!(LogConfig),
            coordination: memory(),
            cache: memory(),
            database: embedded("sqlite"),
            uid: pick!(UidConfig),
            queue: memory(),
            rate_limit_store: memory(),
            rate_limit: pick!(RateLimitConfig),
            once_store: memory(),
            once: pick!(OnceConfig),
            breaker: pick!(BreakerConfig),
            retry: RetryConfig::default(),
            search: embedded("tantivy"),
            stack: pick!(StackConfig),
            shutdown_deadline: Duration::from_secs(if production { 30 } else { 10 }),
        }
    }

    /// Refuses a configuration that cannot work, the options of each backend included; no I/O.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) with every problem and its path.
    pub fn check_with(&self, backends: &Backends, profile: Profile) -> Result<()> {
        let mut problems = Problems::new();
        self.validate_with(backends, profile, &mut problems);
        problems.finish()
    }

    /// Notes everything that is wrong, the options of each backend included; no I/O. For the [`Validate`] of a service's own
    /// configuration, so that one report has it all.
    pub fn validate_with(&self, backends: &Backends, profile: Profile, problems: &mut Problems) {
        self.validate(problems);
        macro_rules! sections {
            ($($field:ident => $check:ident),+ $(,)?) => {
                $(problems.within(stringify!($field), |problems| backends.$check(&self.$field, profile, problems));)+
            };
        }
        sections! {
            coordination => check_coordinator,
            cache => check_cache,
            database => check_database,
            queue => check_queue,
            rate_limit_store => check_rate_limit_store,
            once_store => check_once_store,
            search => check_search,
        }
    }
}

impl Validate for InfraConfig {
    fn validate(&self, problems: &mut Problems) {
        problems.within("log", |problems| self.log.validate(problems));
        problems.within("uid", |problems| self.uid.validate(problems));
        problems.within("rate_limit", |problems| self.rate_limit.validate(problems));
        problems.within("once", |problems| self.once.validate(problems));
        problems.within("breaker", |problems| self.breaker.validate(problems));
        problems.within("retry", |problems| self.retry.validate(problems));
        problems.within("stack", |problems| self.stack.validate(problems));
        problems.ensure(
            !self.shutdown_deadline.is_zero(),
            "shutdown_deadline",
            "must be more than zero",
        );
    }
}
