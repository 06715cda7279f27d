//! The breakers of a process by name, with their policies.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

use super::contract::{Breaker, BreakerProvider, Force, State};
use super::machine::Machine;
use super::observe::{Hub, Transition};
use super::policy::Policy;
use crate::config::{Follow, Following, HotReload, Problems, Validate};
use crate::coordination::ConfigCenter;
use crate::error::Result;
use crate::telemetry::{Meter, NoMeter};
use crate::watch::Watch;

/// The name of the policy of all breakers that have none of their own.
pub const DEFAULT_POLICY: &str = "default";
/// The name of the breaker that is shared once there are too many.
const OVERFLOW: &str = "overflow";

/// How a [`Breakers`] is set up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BreakerConfig {
    /// Where in the configuration centre the policies are, with a slash at the end: `{name}.json` for one breaker,
    /// `default.json` for all others. Default `breakers/`.
    pub policies_path: String,
    /// A file that keeps the policies, so that a service can start while the configuration centre is away.
    pub policies_snapshot: Option<PathBuf>,
    /// How many breakers there may be; beyond it, idle ones make room, and if there are none, further names share one
    /// breaker. Default 1024.
    pub max_breakers: usize,
    /// The policy until the configuration centre has another.
    pub default_policy: Policy,
}

impl Default for BreakerConfig {
    /// The same as [`BreakerConfig::production`].
    fn default() -> Self {
        Self::production()
    }
}

impl BreakerConfig {
    /// For a developer's machine; the same numbers as in production.
    #[must_use]
    pub fn development() -> Self {
        Self::production()
    }

    /// For a fleet: policies under `breakers/`, 1024 breakers, 5 failures open, 2 successes close, 1 min open.
    #[must_use]
    pub fn production() -> Self {
        Self {
            policies_path: "breakers/".to_owned(),
            policies_snapshot: None,
            max_breakers: 1024,
            default_policy: Policy::default(),
        }
    }

    /// The same with policies at another place; it ends with a slash.
    #[must_use]
    pub fn with_policies_path(mut self, path: impl Into<String>) -> Self {
        self.policies_path = path.into();
        self
    }

    /// The same, keeping the policies in a file.
    #[must_use]
    pub fn with_policies_snapshot(mut self, path: impl Into<PathBuf>) -> Self {
        self.policies_snapshot = Some(path.into());
        self
    }

    /// The same with another bound on the number of breakers.
    #[must_use]
    pub fn with_max_breakers(mut self, breakers: usize) -> Self {
        self.max_breakers = breakers;
        self
    }

    /// The same with another default policy.
    #[must_use]
    pub fn with_default_policy(mut self, policy: Policy) -> Self {
        self.default_policy = policy;
        self
    }
}

impl Validate for BreakerConfig {
    /// Finds: a path that does not end with a slash, no breaker at all, and what is wrong with the default policy.
    fn validate(&self, problems: &mut Problems) {
        problems.ensure(
            self.policies_path.ends_with('/'),
            "policies_path",
            "must end with a slash",
        );
        problems.ensure(self.max_breakers > 0, "max_breakers", "must be at least 1");
        problems.within("default_policy", |problems| {
            self.default_policy.validate(problems)
        });
    }
}

/// One breaker as seen from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Its name.
    pub name: Arc<str>,
    /// What it would do with a call.
    pub state: State,
    /// Whether an operator or its policy overrules it.
    pub force: Force,
    /// Failures since the last success, while closed.
    pub consecutive_failures: u32,
    /// Calls in the sliding window.
    pub calls: u64,
    /// Those of them that failed.
    pub failures: u64,
    /// Those of them that were slow.
    pub slow_calls: u64,
}

/// The breakers of a process: one per name, made at first use; clones share them.
///
/// Looking a breaker up takes no lock; keep the `Arc` where speed matters. Policies are replaced as a whole with
/// [`apply`](Self::apply) and take effect at once, also on breakers that exist, whose state stays.
///
/// ```
/// use std::collections::BTreeMap;
/// use std::time::Duration;
/// use infra_core::breaker::{Breaker, BreakerProvider, Breakers, BreakerConfig, Force, Policy, State};
///
/// let breakers = Breakers::new(BreakerConfig::production())?;
/// let users = breakers.breaker("grpc:user-service");
///
/// let held_open = Policy::new(3, 1, Duration::from_secs(10)).with_force(Force::Open);
/// breakers.apply(BTreeMap::from([("grpc:user-service".to_owned(), held_open)]))?;
/// assert_eq!(users.state(), State::Open);
///
/// breakers.apply(BTreeMap::new())?; // back to the default policy
/// assert_eq!(users.state(), State::Closed);
/// # Ok::<(), infra_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Breakers {
    shared: Arc<Shared>,
}

struct Shared {
    config: BreakerConfig,
    hub: Arc<Hub>,
    /// Copied when a breaker is added, so that looking one up takes no lock.
    breakers: ArcSwap<HashMap<Arc<str>, Arc<Machine>>>,
    overflow: OnceLock<Arc<Machine>>,
    /// Also serialises additions, so that a new breaker and a new policy cannot miss each other.
    policies: Mutex<Policies>,
}

struct Policies {
    named: BTreeMap<String, Arc<Policy>>,
    fallback: Arc<Policy>,
}

impl Policies {
    fn of(&self, name: &str) -> Arc<Policy> {
        Arc::clone(self.named.get(name).unwrap_or(&self.fallback))
    }
}

impl Breakers {
    /// Makes an empty set of breakers that reports no metrics.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) lists everything that is wrong with `config`.
    pub fn new(config: BreakerConfig) -> Result<Self> {
        Self::with_meter(config, Arc::new(NoMeter))
    }

    /// Makes an empty set of breakers that counts `infra.breaker.transitions` and shows `infra.breaker.state` through
    /// `meter`, both labelled with the breaker's name.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) lists everything that is wrong with `config`.
    pub fn with_meter(config: BreakerConfig, meter: Arc<dyn Meter>) -> Result<Self> {
        config.check()?;
        let fallback = Arc::new(config.default_policy.clone());
        Ok(Self {
            shared: Arc::new(Shared {
                config,
                hub: Arc::new(Hub::new(meter)),
                breakers: ArcSwap::default(),
                overflow: OnceLock::new(),
                policies: Mutex::new(Policies {
                    named: BTreeMap::new(),
                    fallback,
                }),
            }),
        })
    }

    /// Replaces all policies: [`DEFAULT_POLICY`] is that of every breaker without one of its own, and without it the
    /// configured default is. Breakers keep their state.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) lists everything that is wrong; no policy has changed then.
    pub fn apply(&self, policies: BTreeMap<String, Policy>) -> Result<()> {
        policies.check()?;
        let shared = &self.shared;
        let mut named: BTreeMap<_, _> = policies
            .into_iter()
            .map(|(name, policy)| (name, Arc::new(policy)))
            .collect();
        let fallback = named
            .remove(DEFAULT_POLICY)
            .unwrap_or_else(|| Arc::new(shared.config.default_policy.clone()));
        let mut current = shared.policies.lock().unwrap_or_else(PoisonError::into_inner);
        *current = Policies { named, fallback };
        for breaker in shared.breakers.load().values().chain(shared.overflow.get()) {
            breaker.apply(&current.of(breaker.name()));
        }
        Ok(())
    }

    /// Takes the policies from the keys below the configured `policies_path`, now and whenever they change.
    ///
    /// `{name}.json` is the policy of one breaker, `default.json` that of all others. A bad value leaves the last good one of
    /// its key; the [`HotReload`] tells what was rejected. Dropping the [`Following`] ends it.
    ///
    /// # Errors
    /// The error of the first read, if no snapshot could stand in for it.
    ///
    /// # Cancellation
    /// Dropping the future before it completes follows nothing.
    pub async fn follow(
        &self,
        center: Arc<dyn ConfigCenter>,
    ) -> Result<(HotReload<BTreeMap<String, Policy>>, Following)> {
        let breakers = self.clone();
        let policies = HotReload::applying(BTreeMap::new(), move |policies: &BTreeMap<_, _>| {
            breakers.apply(policies.clone())
        })?;
        let config = &self.shared.config;
        let mut what = Follow::new(config.policies_path.as_str());
        if let Some(path) = &config.policies_snapshot {
            what = what.with_snapshot(path);
        }
        let following = policies.follow_prefix(center, what).await?;
        Ok((policies, following))
    }

    /// Watches the changes of state of all breakers, those made later included; a slow reader never holds anybody up.
    #[must_use]
    pub fn watch(&self) -> Watch<Transition> {
        self.shared.hub.watch()
    }

    /// All breakers as they are now, by name.
    #[must_use]
    pub fn list(&self) -> Vec<Snapshot> {
        let breakers = self.shared.breakers.load();
        let mut list: Vec<_> = breakers
            .values()
            .chain(self.shared.overflow.get())
            .map(|breaker| {
                let counts = breaker.counts();
                Snapshot {
                    name: breaker.shared_name(),
                    state: breaker.state(),
                    force: breaker.effective_force(),
                    consecutive_failures: counts.consecutive_failures,
                    calls: counts.window.calls,
                    failures: counts.window.failures,
                    slow_calls: counts.window.slow,
                }
            })
            .collect();
        list.sort_unstable_by(|left, right| left.name.cmp(&right.name));
        list
    }

    /// The way of a name that is asked for the first time.
    #[cold]
    fn add(&self, name: &str) -> Arc<Machine> {
        let shared = &self.shared;
        let policies = shared.policies.lock().unwrap_or_else(PoisonError::into_inner);
        let current = shared.breakers.load_full();
        if let Some(breaker) = current.get(name) {
            return Arc::clone(breaker);
        }
        let mut next = HashMap::clone(&current);
        // Each breaker has one reference in this copy and one in the map that it replaces.
        drop(current);
        if next.len() >= shared.config.max_breakers {
            next.retain(|_, breaker| Arc::strong_count(breaker) > 2 || !breaker.is_pristine());
        }
        if next.len() >= shared.config.max_breakers {
            return Arc::clone(shared.overflow.get_or_init(|| {
                tracing::warn!(
                    max_breakers = shared.config.max_breakers,
                    "there are too many circuit breakers; further names share one. Are names made of ids?"
                );
                Arc::new(Machine::new(
                    OVERFLOW,
                    policies.of(OVERFLOW),
                    Arc::clone(&shared.hub),
                ))
            }));
        }
        let breaker = Arc::new(Machine::new(name, policies.of(name), Arc::clone(&shared.hub)));
        next.insert(breaker.shared_name(), Arc::clone(&breaker));
        shared.breakers.store(Arc::new(next));
        breaker
    }
}

impl BreakerProvider for Breakers {
    fn breaker(&self, name: &str) -> Arc<dyn Breaker> {
        if let Some(breaker) = self.shared.breakers.load().get(name) {
            return Arc::clone(breaker) as Arc<dyn Breaker>;
        }
        self.add(name)
    }
}

impl fmt::Debug for Breakers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breakers")
            .field("config", &self.shared.config)
            .field("breakers", &self.shared.breakers.load().len())
            .finish_non_exhaustive()
    }
}
