//! How one check is decided: here and now, by the shared store, or without it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;

use super::config::{OnFailure, RateLimitConfig, UnknownRule};
use super::contract::{Check, RateLimitStore, Take};
use super::decision::{Basis, Decision};
use super::key::KeyWriter;
use super::local::LocalBuckets;
use super::quota::Quota;
use super::rule::Mode;
use crate::capability::Capabilities;
use crate::error::{Error, ErrorKind, Result};
use crate::telemetry::{Counter, Meter};

/// What all clones of a limiter share.
pub(super) struct Shared {
    pub(super) config: RateLimitConfig,
    pub(super) store: Option<Arc<dyn RateLimitStore>>,
    pub(super) meter: Arc<dyn Meter>,
    pub(super) local: LocalBuckets,
    pub(super) rules: ArcSwap<HashMap<String, Arc<Compiled>>>,
    pub(super) unknown: Arc<dyn Counter>,
    pub(super) failures: Arc<dyn Counter>,
    /// Whether the last decision of the store failed; the log tells each change once.
    pub(super) failing: AtomicBool,
    pub(super) closed: AtomicBool,
    pub(super) capabilities: Capabilities,
}

/// A rule, ready for use.
pub(super) struct Compiled {
    pub(super) quota: Quota,
    pub(super) mode: Mode,
    pub(super) keys: KeyWriter,
    pub(super) allowed: Arc<dyn Counter>,
    pub(super) denied: Arc<dyn Counter>,
}

impl Compiled {
    pub(super) fn count(&self, decision: &Decision) {
        if decision.allowed {
            &self.allowed
        } else {
            &self.denied
        }
        .add(1);
    }
}

/// What is known of a check before any I/O.
pub(super) enum Plan {
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
    pub(super) fn plan(&self, resource: &str, rule: &str, cost: u32) -> Result<Plan> {
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

    /// Asks the shared store for one decision.
    pub(super) async fn ask_one(&self, take: Take, rule: &Compiled) -> Result<Decision> {
        let decisions = self.ask(&[take]).await?;
        let decision = first_of(decisions.iter().copied());
        rule.count(&decision);
        Ok(decision)
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

    pub(super) async fn check_all(&self, checks: &[Check]) -> Result<Vec<Decision>> {
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
                    let decision = first_of(&mut decisions);
                    rule.count(&decision);
                    decision
                }
                None => self.unknown_rule(),
            })
            .collect())
    }
}

/// The next decision of a store; one that answers too little has decided nothing, which denies.
fn first_of(mut decisions: impl Iterator<Item = Decision>) -> Decision {
    decisions
        .next()
        .unwrap_or_else(|| Decision::without_bucket(false, Basis::Unavailable))
}
