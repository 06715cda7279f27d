//! The rate limiter: rules, where their buckets are, and what happens when those cannot be reached.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;

use super::config::RateLimitConfig;
use super::contract::{Check, RateLimitStore, RateLimiter};
use super::decide::{Compiled, Plan, Shared};
use super::decision::{Basis, Decision};
use super::key::KeyWriter;
use super::lease::TokenLeases;
use super::local::LocalBuckets;
use super::quota::Quota;
use super::rule::{Mode, Rule, RuleFile, flatten};
use crate::backend::Backend;
use crate::capability::{Capabilities, Limits};
use crate::config::{Follow, Following, HotReload, Problems, Validate};
use crate::coordination::ConfigCenter;
use crate::error::{Error, Result};
use crate::telemetry::{Descriptor, Meter, NoMeter, Unit};

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
pub struct LimiterDependencies {
    store: Option<Arc<dyn RateLimitStore>>,
    meter: Arc<dyn Meter>,
}

impl Default for LimiterDependencies {
    fn default() -> Self {
        Self::new()
    }
}

impl LimiterDependencies {
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

impl Limiter {
    /// Makes a limiter with the rules of its configuration.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) lists everything that is wrong with `config`; a distributed mode or rule
    /// without a store is.
    pub fn new(config: RateLimitConfig, dependencies: LimiterDependencies) -> Result<Self> {
        config.check()?;
        if config.mode == Mode::Distributed && dependencies.store.is_none() {
            return Err(Error::invalid_config(
                "mode: distributed needs a store that the fleet shares; inject one, or use local",
            )
            .at(COMPONENT, "local", "new"));
        }
        let LimiterDependencies { mut store, meter } = dependencies;
        if let (Some(shared), Some(lease)) = (&store, config.lease) {
            store = Some(Arc::new(TokenLeases::new(
                Arc::clone(shared),
                lease,
                config.max_buckets,
            )?));
        }
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
    pub async fn connect(config: RateLimitConfig, dependencies: LimiterDependencies) -> Result<Self> {
        let limiter = Self::new(config, dependencies)?;
        limiter.health().await?;
        Ok(limiter)
    }

    /// Replaces all rules but those of the configuration, which hold where `rules` has none of that name. Buckets keep their
    /// tokens.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) lists everything that is wrong; no rule has changed then.
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
            // Boxed on its own, so that the future of a local decision stays small.
            Plan::Ask(take, compiled) => Box::pin(self.shared.ask_one(take, &compiled))
                .await
                .map_err(place),
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
