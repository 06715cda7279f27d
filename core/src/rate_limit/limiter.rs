//! The rate limiter: rules, where their buckets are, and what happens when those cannot be reached.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;

use super::config::{Config, OnFailure, UnknownRule};
use super::contract::{Check, RateLimitStore, RateLimiter, Take};
use super::decision::{Basis, Decision};
use super::key::KeyWriter;
use super::local::LocalBuckets;
use super::quota::Quota;
use super::rule::{Mode, Rule, RuleFile, flatten};
use crate::backend::Backend;
use crate::capability::{Capabilities, Limits};
use crate::config::{Follow, Following, HotReload, Problems, Validate};
use crate::coordination::ConfigCenter;
use crate::error::{Error, ErrorKind, Result};
use crate::telemetry::{Counter, Descriptor, Meter, NoMeter, Unit};

const COMPONENT: &str = "rate_limit";
const DECISIONS: Descriptor = Descriptor::new(
    "infra.rate_limit.decisions",
    "Decisions of the rate limiter, by rule and outcome.",
    Unit::Count,
);
const FAILURES: Descriptor = Descriptor::new(
    "infra.rate_limit.failures",
    "Decisions that were made without the buckets they belong to.",
    Unit::Count,
);

/// What a [`Limiter`] needs besides its configuration.
#[derive(Debug, Clone)]
pub struct Dependencies {
    store: Option<Arc<dyn RateLimitStore>>,
    meter: Arc<dyn Meter>,
}

impl Default for Dependencies {
    fn default() -> Self {
        Self::new()
    }
}

impl Dependencies {
    /// No shared store, and no metrics.
    #[must_use]
    pub fn new() -> Self {
        Self {
            store: None,
            meter: Arc::new(NoMeter),
        }
    }

    /// The same with the store of distributed rules. It stays its owner's to shut down.
    #[must_use]
    pub fn with_store(mut self, store: Arc<dyn RateLimitStore>) -> Self {
        self.store = Some(store);
        self
    }

    /// The same, counting `infra.rate_limit.decisions` and `infra.rate_limit.failures` through `meter`.
    #[must_use]
    pub fn with_meter(mut self, meter: Arc<dyn Meter>) -> Self {
        self.meter = meter;
        self
    }
}

/// Decides by rules that can be replaced at any time without losing buckets; clones share them.
///
/// When the shared store fails, or takes longer than `store_timeout`, the decision is made as `on_failure` says.
#[derive(Clone)]
pub struct Limiter {
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    store: Option<Arc<dyn RateLimitStore>>,
    meter: Arc<dyn Meter>,
    local: LocalBuckets,
    rules: ArcSwap<HashMap<String, Arc<Compiled>>>,
    unknown: Arc<dyn Counter>,
    failures: Arc<dyn Counter>,
    /// Whether the last decision of the store failed; the log tells each change once.
    failing: AtomicBool,
    closed: AtomicBool,
    capabilities: Capabilities,
}

/// A rule, ready for use.
struct Compiled {
    quota: Quota,
    mode: Mode,
    keys: KeyWriter,
    allowed: Arc<dyn Counter>,
    denied: Arc<dyn Counter>,
}

impl Compiled {
    fn count(&self, decision: &Decision) {
        if decision.allowed {
            &self.allowed
        } else {
            &self.denied
        }
        .add(1);
    }
}

impl Limiter {
    /// Makes a limiter with the rules of its configuration.
    ///
    /// # Errors
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) lists everything that is wrong with `config`; a distributed mode or rule
    /// without a store is.
    pub fn new(config: Config, dependencies: Dependencies) -> Result<Self> {
        config.check()?;
        if config.mode == Mode::Distributed && dependencies.store.is_none() {
            return Err(Error::invalid_config(
                "mode: distributed needs a store that the fleet shares; inject one, or use local",
            )
            .at(COMPONENT, "local", "new"));
        }
        let Dependencies { store, meter } = dependencies;
        let limits = Limits::DEFAULT;
        let limiter = Self {
            shared: Arc::new(Shared {
                local: LocalBuckets::new(config.max_buckets),
                rules: ArcSwap::default(),
                unknown: meter.counter(
                    &DECISIONS,
                    &[("rule", ""), ("outcome", Basis::UnknownRule.name())],
                ),
                failures: meter.counter(&FAILURES, &[]),
                failing: AtomicBool::new(false),
                closed: AtomicBool::new(false),
                capabilities: Capabilities::new(limits),
                config,
                store,
                meter,
            }),
        };
        limiter.apply(BTreeMap::new())?;
        Ok(limiter)
    }

    /// Makes a limiter and checks that its store can work.
    ///
    /// # Errors
    /// As [`new`](Self::new), and what the store's health check says.
    ///
    /// # Cancellation
    /// Dropping the future leaves nothing behind.
    pub async fn connect(config: Config, dependencies: Dependencies) -> Result<Self> {
        let limiter = Self::new(config, dependencies)?;
        limiter.health().await?;
        Ok(limiter)
    }

    /// Replaces all rules but those of the configuration, which hold where `rules` has none of that name. Buckets keep their
    /// tokens.
    ///
    /// # Errors
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) lists everything that is wrong; no rule has changed then.
    pub fn apply(&self, rules: BTreeMap<String, Rule>) -> Result<()> {
        let shared = &self.shared;
        let mut all = shared.config.rules.clone();
        all.extend(rules);
        let mut problems = Problems::new();
        let mut compiled = HashMap::with_capacity(all.len());
        for (name, rule) in &all {
            problems.within(name, |problems| {
                rule.validate(problems);
                let mode = rule.mode.unwrap_or(shared.config.mode);
                problems.ensure(
                    mode == Mode::Local || shared.store.is_some(),
                    "mode",
                    "distributed needs a store that the fleet shares; inject one, or use local",
                );
                if let Ok(quota) = rule.quota() {
                    compiled.insert(name.clone(), Arc::new(self.compile(name, quota, mode)));
                }
            });
        }
        problems.finish()?;
        shared.rules.store(Arc::new(compiled));
        Ok(())
    }

    fn compile(&self, name: &str, quota: Quota, mode: Mode) -> Compiled {
        let shared = &self.shared;
        let counter = |outcome| {
            shared
                .meter
                .counter(&DECISIONS, &[("rule", name), ("outcome", outcome)])
        };
        Compiled {
            quota,
            mode,
            keys: KeyWriter::new(shared.config.compat, &shared.config.service, name),
            allowed: counter("allowed"),
            denied: counter("denied"),
        }
    }

    /// Takes the rules from the keys below the configured `rules_path`, now and whenever they change.
    ///
    /// A key holds one rule, named by it without `.json`, or a map of rules by name. A bad value leaves the last good one of
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
    ) -> Result<(HotReload<BTreeMap<String, RuleFile>>, Following)> {
        let limiter = self.clone();
        let rules = HotReload::applying(BTreeMap::new(), move |files| limiter.apply(flatten(files)?))?;
        let config = &self.shared.config;
        let mut what = Follow::new(config.rules_path.as_str());
        if let Some(path) = &config.rules_snapshot {
            what = what.with_snapshot(path);
        }
        let following = rules.follow_prefix(center, what).await?;
        Ok((rules, following))
    }

    /// The names of all rules, in order.
    #[must_use]
    pub fn rule_names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.shared.rules.load().keys().cloned().collect();
        names.sort_unstable();
        names
    }
}

/// What is known of a check before any I/O.
enum Plan {
    Decided(Decision),
    Ask(Take, Arc<Compiled>),
}

impl Shared {
    fn admit(&self, resource: &str, rule: &str, cost: u32) -> Result<()> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(Error::closed("the rate limiter"));
        }
        let limits = self.capabilities.limits();
        limits.check_key("resource", resource)?;
        limits.check_key("rule", rule)?;
        if cost == 0 {
            return Err(Error::invalid_argument(
                "a cost of 0 tokens checks nothing; give at least 1",
            ));
        }
        Ok(())
    }

    /// Decides what can be decided here and now; says what the store must be asked for otherwise.
    fn plan(&self, resource: &str, rule: &str, cost: u32) -> Result<Plan> {
        self.admit(resource, rule, cost)?;
        let rules = self.rules.load();
        let Some(compiled) = rules.get(rule) else {
            return Ok(Plan::Decided(self.unknown_rule()));
        };
        compiled.quota.check_cost(cost)?;
        let key = compiled.keys.key(resource);
        match compiled.mode {
            Mode::Distributed => Ok(Plan::Ask(
                Take::new(key, compiled.quota, cost),
                Arc::clone(compiled),
            )),
            Mode::Local => {
                let decision = match self.local.take_now(&key, compiled.quota, cost) {
                    Ok(decision) => decision,
                    Err(error) => self.without_local_bucket(error)?,
                };
                compiled.count(&decision);
                Ok(Plan::Decided(decision))
            }
        }
    }

    fn unknown_rule(&self) -> Decision {
        self.unknown.add(1);
        Decision::without_bucket(self.config.unknown_rule == UnknownRule::Allow, Basis::UnknownRule)
    }

    /// There is no room for another local bucket.
    fn without_local_bucket(&self, error: Error) -> Result<Decision> {
        if error.kind() != ErrorKind::ResourceExhausted {
            return Err(error);
        }
        self.failures.add(1);
        let allowed = self.config.on_failure == OnFailure::Allow;
        Ok(Decision::without_bucket(allowed, Basis::Unavailable))
    }

    /// Asks the shared store, and decides without it when it fails.
    async fn ask(&self, takes: &[Take]) -> Result<Vec<Decision>> {
        let Some(store) = &self.store else {
            return Err(Error::new(
                ErrorKind::Internal,
                "a distributed rule has no store, which `apply` should have refused",
            ));
        };
        let limit = self.config.store_timeout;
        let error = match tokio::time::timeout(limit, store.take(takes)).await {
            Ok(Ok(decisions)) => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!(store = store.backend(), "the rate limit store answers again");
                }
                return Ok(decisions);
            }
            Ok(Err(error)) if error.kind().is_caller_fault() => return Err(error),
            Ok(Err(error)) => error,
            Err(_) => Error::new(ErrorKind::Timeout, format!("no answer within {limit:?}")),
        };
        self.failures.add(1);
        if !self.failing.swap(true, Ordering::Relaxed) {
            let on_failure = self.config.on_failure;
            tracing::warn!(store = store.backend(), %error, ?on_failure, "the rate limit store fails; deciding without it");
        }
        self.decide_without_store(takes)
    }

    fn decide_without_store(&self, takes: &[Take]) -> Result<Vec<Decision>> {
        let all = |allowed| vec![Decision::without_bucket(allowed, Basis::Unavailable); takes.len()];
        match self.config.on_failure {
            OnFailure::Allow => Ok(all(true)),
            OnFailure::Deny => Ok(all(false)),
            OnFailure::LocalFallback => match self.local.take_all_now(takes) {
                Ok(decisions) => Ok(decisions
                    .into_iter()
                    .map(|decision| decision.with_basis(Basis::LocalFallback))
                    .collect()),
                Err(error) if error.kind() == ErrorKind::ResourceExhausted => Ok(all(false)),
                Err(error) => Err(error),
            },
        }
    }

    /// The rules of several checks; an error when their buckets are in different places.
    fn rules_of(&self, checks: &[Check]) -> Result<Vec<Option<Arc<Compiled>>>> {
        let rules = self.rules.load();
        let mut found = Vec::with_capacity(checks.len());
        let mut mode = None;
        for check in checks {
            self.admit(&check.resource, &check.rule, check.cost)?;
            let rule = rules.get(&check.rule).cloned();
            if let Some(rule) = &rule {
                rule.quota.check_cost(check.cost)?;
                if *mode.get_or_insert(rule.mode) != rule.mode {
                    return Err(Error::invalid_argument(
                        "local and distributed rules cannot be decided together; check them one after the other",
                    ));
                }
            }
            found.push(rule);
        }
        Ok(found)
    }

    async fn check_all(&self, checks: &[Check]) -> Result<Vec<Decision>> {
        let rules = self.rules_of(checks)?;
        if self.config.unknown_rule == UnknownRule::Deny && rules.iter().any(Option::is_none) {
            // Nothing may be taken then, so no bucket is looked at.
            self.unknown.add(1);
            let decide = |rule: &Option<_>| Decision::without_bucket(rule.is_some(), Basis::UnknownRule);
            return Ok(rules.iter().map(decide).collect());
        }
        let takes: Vec<_> = checks
            .iter()
            .zip(&rules)
            .filter_map(|(check, rule)| {
                let rule = rule.as_ref()?;
                Some(Take::new(rule.keys.key(&check.resource), rule.quota, check.cost))
            })
            .collect();
        let local = rules.iter().flatten().all(|rule| rule.mode == Mode::Local);
        let decisions = if takes.is_empty() {
            Vec::new()
        } else if local {
            match self.local.take_all_now(&takes) {
                Ok(decisions) => decisions,
                Err(error) => vec![self.without_local_bucket(error)?; takes.len()],
            }
        } else {
            self.ask(&takes).await?
        };
        let mut decisions = decisions.into_iter();
        Ok(rules
            .iter()
            .map(|rule| match rule {
                Some(rule) => {
                    // A store that answers too little has decided nothing: deny.
                    let decision = decisions
                        .next()
                        .unwrap_or_else(|| Decision::without_bucket(false, Basis::Unavailable));
                    rule.count(&decision);
                    decision
                }
                None => self.unknown_rule(),
            })
            .collect())
    }
}

#[async_trait]
impl Backend for Limiter {
    fn backend(&self) -> &'static str {
        self.shared
            .store
            .as_ref()
            .map_or("local", |store| store.backend())
    }

    fn capabilities(&self) -> &Capabilities {
        &self.shared.capabilities
    }

    async fn health(&self) -> Result<()> {
        if self.shared.closed.load(Ordering::Relaxed) {
            return Err(Error::closed("the rate limiter").at(COMPONENT, self.backend(), "health"));
        }
        match &self.shared.store {
            Some(store) => store.health().await,
            None => Ok(()),
        }
    }

    async fn shutdown(&self, _: Duration) -> Result<()> {
        self.shared.closed.store(true, Ordering::Relaxed);
        Ok(())
    }
}

#[async_trait]
impl RateLimiter for Limiter {
    async fn check_n(&self, resource: &str, rule: &str, cost: u32) -> Result<Decision> {
        let place = |error: Error| error.at(COMPONENT, self.backend(), "check_n");
        match self.shared.plan(resource, rule, cost).map_err(place)? {
            Plan::Decided(decision) => Ok(decision),
            Plan::Ask(take, compiled) => {
                let decisions = self.shared.ask(&[take]).await.map_err(place)?;
                let decision = decisions
                    .first()
                    .copied()
                    .unwrap_or_else(|| Decision::without_bucket(false, Basis::Unavailable));
                compiled.count(&decision);
                Ok(decision)
            }
        }
    }

    async fn check_all(&self, checks: &[Check]) -> Result<Vec<Decision>> {
        self.shared
            .check_all(checks)
            .await
            .map_err(|error| error.at(COMPONENT, self.backend(), "check_all"))
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter")
            .field("rules", &self.rule_names())
            .field("local", &self.shared.local)
            .field("store", &self.shared.store)
            .finish_non_exhaustive()
    }
}
