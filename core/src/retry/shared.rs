//! A policy that may change while it is in use, and the policies of a process by name.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

use super::budget::Budget;
use super::policy::Policy;
use crate::config::{Follow, Following, HotReload, Problems, Validate};
use crate::coordination::ConfigCenter;
use crate::error::Result;

/// The name of the policy of everything that has none of its own.
pub const DEFAULT_POLICY: &str = "default";

/// A policy that may be replaced while it is in use, with its budget. Clones share it.
///
/// An operation goes on by the policy with which it began to fail; the next one takes the new policy. The budget keeps what it
/// has unless the new policy describes another one.
///
/// ```
/// use infra_core::retry::{self, Policy, SharedPolicy};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let users = SharedPolicy::new(Policy::production())?;
/// let (policy, budget) = users.current();
/// let profile = retry::run(&policy, &budget, || async { Ok("profile") }).await?;
///
/// users.replace(Policy::production().with_max_attempts(1))?;
/// assert_eq!(users.current().0.max_attempts, 1);
/// # assert_eq!(profile, "profile");
/// # Ok::<(), infra_core::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct SharedPolicy {
    current: Arc<ArcSwap<(Policy, Budget)>>,
}

impl SharedPolicy {
    /// Begins with this policy and a full budget.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) lists everything that is wrong with it.
    pub fn new(policy: Policy) -> Result<Self> {
        policy.check()?;
        Ok(Self::of(policy))
    }

    fn of(policy: Policy) -> Self {
        let budget = policy.new_budget();
        Self {
            current: Arc::new(ArcSwap::from_pointee((policy, budget))),
        }
    }

    /// The policy and the budget now.
    #[must_use]
    pub fn current(&self) -> (Policy, Budget) {
        (**self.current.load()).clone()
    }

    /// Looks at the policy and the budget now, without copying them.
    pub fn read<R>(&self, look: impl FnOnce(&Policy, &Budget) -> R) -> R {
        let current = self.current.load();
        look(&current.0, &current.1)
    }

    /// Replaces the policy.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) lists everything that is wrong with it; the old one stays.
    pub fn replace(&self, policy: Policy) -> Result<()> {
        policy.check()?;
        self.install(policy);
        Ok(())
    }

    fn install(&self, policy: Policy) {
        let same_budget =
            self.read(|current, budget| (current.budget == policy.budget).then(|| budget.clone()));
        let budget = same_budget.unwrap_or_else(|| policy.new_budget());
        self.current.store(Arc::new((policy, budget)));
    }
}

impl fmt::Debug for SharedPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read(|policy, _| f.debug_tuple("SharedPolicy").field(policy).finish())
    }
}

/// Where the configuration centre has retry policies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RetryConfig {
    /// Where the policies are, with a slash at the end: `{name}.json` for one component, `default.json` for all others.
    /// Default `retry/`.
    pub policies_path: String,
    /// A file that keeps the policies, so that a service can start while the configuration centre is away.
    pub policies_snapshot: Option<PathBuf>,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            policies_path: "retry/".to_owned(),
            policies_snapshot: None,
        }
    }
}

impl RetryConfig {
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
}

impl Validate for RetryConfig {
    fn validate(&self, problems: &mut Problems) {
        problems.ensure(
            self.policies_path.ends_with('/'),
            "policies_path",
            "must end with a slash",
        );
    }
}

/// The retry policies of a process by name; clones share them.
///
/// ```
/// use std::collections::BTreeMap;
/// use infra_core::retry::{Policies, Policy, RetryConfig};
///
/// let policies = Policies::new(RetryConfig::default(), Policy::production())?;
/// let cache = policies.policy("cache");
///
/// policies.apply(BTreeMap::from([("cache".to_owned(), Policy::production().with_max_attempts(7))]))?;
/// assert_eq!(cache.current().0.max_attempts, 7);
///
/// policies.apply(BTreeMap::new())?; // back to the default
/// assert_eq!(cache.current().0.max_attempts, Policy::production().max_attempts);
/// # Ok::<(), infra_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Policies {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: RetryConfig,
    default: Policy,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    applied: BTreeMap<String, Policy>,
    given_out: BTreeMap<String, SharedPolicy>,
}

impl Policies {
    /// Gives everything the policy `default` until another is applied.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) lists everything that is wrong with the two.
    pub fn new(config: RetryConfig, default: Policy) -> Result<Self> {
        let mut problems = Problems::new();
        config.validate(&mut problems);
        problems.within("default", |problems| default.validate(problems));
        problems.finish()?;
        Ok(Self {
            shared: Arc::new(Shared {
                config,
                default,
                state: Mutex::default(),
            }),
        })
    }

    /// The policy of this name, which follows every change; the same, with the same budget, for everybody who asks.
    #[must_use]
    pub fn policy(&self, name: &str) -> SharedPolicy {
        let mut state = self.lock();
        if let Some(known) = state.given_out.get(name) {
            return known.clone();
        }
        let policy = SharedPolicy::of(self.of(&state.applied, name));
        state.given_out.insert(name.to_owned(), policy.clone());
        policy
    }

    /// Replaces all policies: [`DEFAULT_POLICY`] is that of every name without one of its own, and without it the default
    /// that this was made with is.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) lists everything that is wrong; no policy has changed then.
    pub fn apply(&self, policies: BTreeMap<String, Policy>) -> Result<()> {
        policies.check()?;
        let mut state = self.lock();
        for (name, given_out) in &state.given_out {
            given_out.install(self.of(&policies, name));
        }
        state.applied = policies;
        Ok(())
    }

    /// Takes the policies from the keys below the configured `policies_path`, now and whenever they change.
    ///
    /// `{name}.json` is the policy of one name, `default.json` that of all others; what a value leaves out is as in
    /// [`Policy::production`]. A bad value leaves the last good one of its key; the [`HotReload`] tells what was rejected.
    /// Dropping the [`Following`] ends it.
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
        let policies = self.clone();
        let reload = HotReload::applying(BTreeMap::new(), move |applied: &BTreeMap<_, _>| {
            policies.apply(applied.clone())
        })?;
        let config = &self.shared.config;
        let mut what = Follow::new(config.policies_path.as_str());
        if let Some(path) = &config.policies_snapshot {
            what = what.with_snapshot(path);
        }
        let following = reload.follow_prefix(center, what).await?;
        Ok((reload, following))
    }

    fn of(&self, applied: &BTreeMap<String, Policy>, name: &str) -> Policy {
        let policy = applied.get(name).or_else(|| applied.get(DEFAULT_POLICY));
        policy.unwrap_or(&self.shared.default).clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retry::BudgetPolicy;

    fn attempts(attempts: u32) -> Policy {
        Policy::development().with_max_attempts(attempts)
    }

    fn named<const N: usize>(policies: [(&str, Policy); N]) -> BTreeMap<String, Policy> {
        policies.map(|(name, policy)| (name.to_owned(), policy)).into()
    }

    #[test]
    fn the_nearest_policy_holds_and_a_bad_one_changes_nothing() {
        let policies = Policies::new(RetryConfig::default(), attempts(3)).expect("valid");
        let (cache, search) = (policies.policy("cache"), policies.policy("search"));
        let now = || [&cache, &search].map(|policy| policy.read(|policy, _| policy.max_attempts));
        assert_eq!(now(), [3, 3]);
        let both = named([("cache", attempts(5)), (DEFAULT_POLICY, attempts(4))]);
        policies.apply(both).expect("valid");
        assert_eq!(now(), [5, 4]);
        assert_eq!(policies.policy("later").current().0.max_attempts, 4);

        let bad = named([("cache", attempts(7)), ("search", attempts(0))]);
        let error = policies.apply(bad).expect_err("no attempt at all");
        assert!(
            error.message().contains("search") && error.message().contains("max_attempts"),
            "{error}"
        );
        assert_eq!(now(), [5, 4]);
        policies.apply(BTreeMap::new()).expect("valid");
        assert_eq!(now(), [3, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_budget_keeps_what_was_spent_until_it_is_described_anew() {
        let scarce = BudgetPolicy::default().with_min_per_second(1).with_ratio(0.0);
        let policy = attempts(3).with_budget(scarce);
        let shared = SharedPolicy::new(policy.clone()).expect("valid");
        while shared.read(|_, budget| budget.withdraw()) {}
        shared
            .replace(policy.clone().with_max_attempts(9))
            .expect("valid");
        assert!(
            !shared.read(|_, budget| budget.withdraw()),
            "it is as spent as before"
        );
        let other = policy.with_budget(scarce.with_min_per_second(2));
        shared.replace(other).expect("valid");
        assert!(shared.read(|_, budget| budget.withdraw()));
    }
}
