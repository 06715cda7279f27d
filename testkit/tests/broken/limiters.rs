//! Limiters that are broken on purpose: that of infra-core, with one defect in front of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use infra_core::capability::Capabilities;
use infra_core::config::{Compat, Validate};
use infra_core::coordination::{ConfigCenter, ConfigCenterExt};
use infra_core::rate_limit::{
    Basis, Check, Decision, Limiter, LimiterDependencies, LocalBuckets, Mode, OnFailure, RateLimitConfig,
    RateLimitStore, RateLimiter, Rule, RuleFile, UnknownRule,
};
use infra_core::telemetry::{
    Counter, Descriptor, Gauge, Histogram, Label, Meter, NoMeter, Unit, UpDownCounter,
};
use infra_core::{Backend, Error, ErrorKind, Result, async_trait};
use infra_testkit::conformance::limiters::{Followed, MakesLimiters, RuledLimiter};
use infra_testkit::conformance::{self, Breakage, Fixture, prove};

pub(crate) const FAMILY: &str = "limiters";

#[test]
#[rustfmt::skip] // a table
fn every_scenario_notices_its_defect_and_no_other() {
    prove(
        conformance::limiters::SCENARIOS,
        &[
            broken("LIMITER-001", Defect::UnknownOpens, "allows what has no rule"),
            broken("LIMITER-002", Defect::UnknownCloses, "denies what has no rule, also where that is allowed"),
            broken("LIMITER-003", Defect::RepairsRules, "takes the nearest value where one is out of range"),
            broken("LIMITER-003", Defect::NamesOneRule, "names only the first rule that is wrong"),
            broken("LIMITER-004", Defect::LocalWithoutStore, "limits in each process where there is no store"),
            broken("LIMITER-005", Defect::IgnoresRuleMode, "takes the place of buckets from the configuration alone"),
            broken("LIMITER-006", Defect::DeniesUnpayable, "denies a cost that could never pass, without saying so"),
            broken("LIMITER-007", Defect::TakesEmptyNames, "takes an empty resource for a resource"),
            broken("LIMITER-008", Defect::WaitsWholeSeconds, "cuts the time to wait to whole seconds"),
            broken("LIMITER-009", Defect::JoinsNames, "joins names with a colon that they may contain"),
            broken("LIMITER-010", Defect::OneServiceForAll, "leaves the service out of its keys"),
            broken("LIMITER-011", Defect::FleetApart, "has the process in its keys"),
            broken("LIMITER-012", Defect::LocalInStore, "uses the store for local rules if there is one"),
            broken("LIMITER-013", Defect::OneByOne, "decides several checks one after the other"),
            broken("LIMITER-014", Defect::TakesTheKnown, "takes the tokens of the rules that it knows"),
            broken("LIMITER-015", Defect::SplitsModes, "decides local and distributed rules one after the other"),
            broken("LIMITER-016", Defect::UnknownLast, "puts decisions without a rule behind the others"),
            broken("LIMITER-017", Defect::ErrorForAllow, "fails with its store where it should allow"),
            broken("LIMITER-018", Defect::AllowsForDeny, "allows without its store where it should deny"),
            broken("LIMITER-019", Defect::FallbackWithoutLimit, "does not count what it gives out by itself"),
            broken("LIMITER-020", Defect::WaitsForEver, "waits for its store however long that takes"),
            broken("LIMITER-021", Defect::StaysByItself, "does not go back to a store that failed once"),
            broken("LIMITER-022", Defect::MistakeIsOutage, "takes what the store refuses for an outage"),
            broken("LIMITER-023", Defect::AnewOnApply, "begins with full buckets when rules change"),
            broken("LIMITER-024", Defect::AppliesTheGood, "takes the good ones of rules of which one is wrong"),
            broken("LIMITER-025", Defect::KeepsDeleted, "keeps rules that were deleted"),
            broken("LIMITER-026", Defect::ReadsOnce, "reads the rules once and does not follow them"),
            broken("LIMITER-027", Defect::BadValueDeletes, "takes a value that is no rule for a deletion"),
            broken("LIMITER-028", Defect::LabelsResources, "makes the resource a label"),
            broken("LIMITER-029", Defect::HidesFailures, "does not count decisions without the store"),
            broken("LIMITER-030", Defect::OpenAfterShutdown, "goes on after its shutdown"),
            broken("LIMITER-031", Defect::EndsTheStore, "shuts its store down with itself"),
        ],
    );
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Defect {
    UnknownOpens,
    UnknownCloses,
    RepairsRules,
    NamesOneRule,
    LocalWithoutStore,
    IgnoresRuleMode,
    DeniesUnpayable,
    TakesEmptyNames,
    WaitsWholeSeconds,
    JoinsNames,
    OneServiceForAll,
    FleetApart,
    LocalInStore,
    OneByOne,
    TakesTheKnown,
    SplitsModes,
    UnknownLast,
    ErrorForAllow,
    AllowsForDeny,
    FallbackWithoutLimit,
    WaitsForEver,
    StaysByItself,
    MistakeIsOutage,
    AnewOnApply,
    AppliesTheGood,
    KeepsDeleted,
    ReadsOnce,
    BadValueDeletes,
    LabelsResources,
    HidesFailures,
    OpenAfterShutdown,
    EndsTheStore,
}

fn broken(breaks: &str, defect: Defect, words: &'static str) -> Breakage<dyn MakesLimiters> {
    Breakage::new(breaks, words, move |_setup| async move {
        let store: Arc<dyn RateLimitStore> = Arc::new(LocalBuckets::new(10_000));
        let processes = AtomicUsize::new(0);
        Ok(Fixture::in_process(move || {
            let maker = Maker {
                defect,
                store: Arc::clone(&store),
                process: processes.fetch_add(1, Ordering::SeqCst),
            };
            async move { Ok(Arc::new(maker) as Arc<dyn MakesLimiters>) }
        }))
    })
}

#[derive(Debug)]
struct Maker {
    defect: Defect,
    store: Arc<dyn RateLimitStore>,
    process: usize,
}

impl MakesLimiters for Maker {
    fn store(&self) -> &Arc<dyn RateLimitStore> {
        &self.store
    }

    fn limiter(
        &self,
        mut config: RateLimitConfig,
        store: Option<Arc<dyn RateLimitStore>>,
        meter: Arc<dyn Meter>,
    ) -> Result<Arc<dyn RuledLimiter>> {
        self.spoil(&mut config, store.is_some());
        let shown = Arc::clone(&meter);
        let meter: Arc<dyn Meter> = match self.defect {
            Defect::HidesFailures => Arc::new(WithoutFailures(meter)),
            _ => meter,
        };
        let mut dependencies = LimiterDependencies::new().with_meter(meter);
        if let Some(store) = &store {
            dependencies = dependencies.with_store(Arc::clone(store));
        }
        let inner = match Limiter::new(config.clone(), dependencies.clone()) {
            Err(error) if self.defect == Defect::NamesOneRule => {
                let first = error.message().split(['\n', ';']).next().unwrap_or_default();
                return Err(Error::invalid_config(first.to_owned()));
            }
            other => other?,
        };
        Ok(Arc::new(Twisted {
            defect: self.defect,
            config,
            dependencies,
            store,
            meter: shown,
            applied: Mutex::default(),
            failed: AtomicBool::new(false),
            inner: Arc::new(Mutex::new(inner)),
        }))
    }
}

impl Maker {
    /// Defects that are another configuration.
    fn spoil(&self, config: &mut RateLimitConfig, has_store: bool) {
        let local = config.mode == Mode::Local;
        match self.defect {
            Defect::RepairsRules => config.rules.values_mut().for_each(repair),
            Defect::LocalWithoutStore if !has_store => {
                config.mode = Mode::Local;
                config.rules.values_mut().for_each(|rule| rule.mode = None);
            }
            // Only where it matters to the defect: the scenario on mixed modes has a distributed configuration.
            Defect::IgnoresRuleMode if local && has_store => {
                config.rules.values_mut().for_each(|rule| rule.mode = None);
            }
            Defect::LocalInStore if local && has_store => config.mode = Mode::Distributed,
            Defect::JoinsNames => config.compat = Compat::GoChat,
            Defect::OneServiceForAll => config.service = "service".to_owned(),
            Defect::FleetApart => config.service.push_str(&format!("-{}", self.process)),
            Defect::WaitsForEver => config.store_timeout = Duration::from_secs(24 * 3600),
            _ => {}
        }
    }
}

fn repair(rule: &mut Rule) {
    rule.rate = if rule.rate > 0.0 { rule.rate } else { 0.001 };
    rule.capacity = rule.capacity.clamp(1, 1_000_000);
}

/// A limiter with one defect.
#[derive(Debug)]
struct Twisted {
    defect: Defect,
    config: RateLimitConfig,
    dependencies: LimiterDependencies,
    store: Option<Arc<dyn RateLimitStore>>,
    meter: Arc<dyn Meter>,
    applied: Mutex<BTreeMap<String, Rule>>,
    /// Whether a decision was made without the store.
    failed: AtomicBool,
    inner: Arc<Mutex<Limiter>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Twisted {
    fn is(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    fn inner(&self) -> Limiter {
        lock(&self.inner).clone()
    }

    fn decide(&self, mut decision: Decision) -> Result<Decision> {
        let unknown = decision.basis == Basis::UnknownRule;
        let unavailable = decision.basis == Basis::Unavailable;
        match self.defect {
            Defect::UnknownOpens if unknown => decision.allowed = true,
            Defect::UnknownCloses if unknown => decision.allowed = false,
            Defect::WaitsWholeSeconds => {
                decision.retry_after = Duration::from_secs(decision.retry_after.as_secs());
            }
            Defect::ErrorForAllow if unavailable && self.config.on_failure == OnFailure::Allow => {
                return Err(Error::new(ErrorKind::Unavailable, "the store is away"));
            }
            Defect::AllowsForDeny if unavailable => decision.allowed = true,
            Defect::FallbackWithoutLimit if decision.basis == Basis::LocalFallback => decision.allowed = true,
            Defect::StaysByItself => {
                let failed = self.failed.load(Ordering::SeqCst) || decision.basis == Basis::LocalFallback;
                self.failed.store(failed, Ordering::SeqCst);
                if failed {
                    decision.basis = Basis::LocalFallback;
                }
            }
            _ => {}
        }
        Ok(decision)
    }

    async fn one_by_one(&self, checks: &[Check]) -> Result<Vec<Decision>> {
        let mut decisions = Vec::new();
        for check in checks {
            decisions.push(self.check_n(&check.resource, &check.rule, check.cost).await?);
        }
        Ok(decisions)
    }
}

#[async_trait]
impl Backend for Twisted {
    fn backend(&self) -> &'static str {
        "twisted"
    }

    fn capabilities(&self) -> &Capabilities {
        // The inner limiter is behind a lock; the limits are those of every limiter.
        static CAPABILITIES: std::sync::LazyLock<Capabilities> =
            std::sync::LazyLock::new(|| Capabilities::new(infra_core::capability::Limits::DEFAULT));
        &CAPABILITIES
    }

    async fn health(&self) -> Result<()> {
        self.inner().health().await
    }

    async fn shutdown(&self, deadline: Duration) -> Result<()> {
        if self.is(Defect::OpenAfterShutdown) {
            return Ok(());
        }
        if let Some(store) = self.store.as_ref().filter(|_| self.is(Defect::EndsTheStore)) {
            store.shutdown(deadline).await?;
        }
        self.inner().shutdown(deadline).await
    }
}

#[async_trait]
impl RateLimiter for Twisted {
    async fn check_n(&self, resource: &str, rule: &str, cost: u32) -> Result<Decision> {
        let empty = self.is(Defect::TakesEmptyNames) && resource.is_empty();
        let answer = self
            .inner()
            .check_n(if empty { "-" } else { resource }, rule, cost)
            .await;
        let decision = match answer {
            Err(error) if error.kind() == ErrorKind::InvalidArgument => {
                let named = [resource, rule]
                    .iter()
                    .all(|name| (1..=1024).contains(&name.len()));
                if self.is(Defect::DeniesUnpayable) && cost > 1 {
                    Decision::without_bucket(false, Basis::Bucket)
                } else if self.is(Defect::MistakeIsOutage) && named && cost == 1 {
                    Decision::without_bucket(true, Basis::Unavailable)
                } else {
                    return Err(error);
                }
            }
            other => other?,
        };
        if self.is(Defect::LabelsResources) {
            const DECISIONS: Descriptor =
                Descriptor::new("infra.rate_limit.decisions", "Decisions.", Unit::Count);
            let labels = [("outcome", "any"), ("resource", resource), ("rule", rule)];
            self.meter.counter(&DECISIONS, &labels).add(1);
        }
        self.decide(decision)
    }

    async fn check_all(&self, checks: &[Check]) -> Result<Vec<Decision>> {
        let inner = self.inner();
        let names = inner.rule_names();
        let known = |check: &&Check| names.contains(&check.rule);
        let all_known = checks.iter().all(|check| known(&check));
        let one_place = self.config.rules.values().all(|rule| rule.mode.is_none());
        match self.defect {
            Defect::OneByOne if all_known && one_place => return self.one_by_one(checks).await,
            Defect::TakesTheKnown if !all_known && self.config.unknown_rule == UnknownRule::Deny => {
                return self.one_by_one(checks).await;
            }
            _ => {}
        }
        let mut decisions = match inner.check_all(checks).await {
            Err(error) if self.is(Defect::SplitsModes) && error.kind() == ErrorKind::InvalidArgument => {
                return self.one_by_one(checks).await;
            }
            other => other?,
        };
        if self.is(Defect::UnknownLast) && self.config.unknown_rule == UnknownRule::Allow {
            decisions.sort_by_key(|decision| decision.basis == Basis::UnknownRule);
        }
        Ok(decisions)
    }
}

#[async_trait]
impl RuledLimiter for Twisted {
    fn apply(&self, mut rules: BTreeMap<String, Rule>) -> Result<()> {
        if self.is(Defect::KeepsDeleted) {
            let mut applied = lock(&self.applied);
            applied.extend(rules);
            rules = applied.clone();
        }
        match self.inner().apply(rules.clone()) {
            Err(error) => {
                if self.is(Defect::AppliesTheGood) {
                    rules.retain(|_, rule| rule.check().is_ok());
                    self.inner().apply(rules)?;
                }
                Err(error)
            }
            Ok(()) if self.is(Defect::AnewOnApply) => {
                let anew = Limiter::new(self.config.clone(), self.dependencies.clone())?;
                anew.apply(rules)?;
                *lock(&self.inner) = anew;
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    async fn follow(&self, center: Arc<dyn ConfigCenter>) -> Result<Followed> {
        let limiter = self.inner();
        if self.is(Defect::BadValueDeletes) {
            return Ok(Box::new(
                poll(limiter, center, self.config.rules_path.clone()).await?,
            ));
        }
        let (rules, following) = limiter.follow(center).await?;
        if self.is(Defect::ReadsOnce) {
            return Ok(Box::new(rules));
        }
        Ok(Box::new((rules, following)))
    }
}

/// Reads the rules again and again, and leaves out what is none.
async fn poll(limiter: Limiter, center: Arc<dyn ConfigCenter>, path: String) -> Result<AbortOnDrop> {
    read(&limiter, &*center, &path).await?;
    let polling = tokio::spawn(async move {
        while read(&limiter, &*center, &path).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    Ok(AbortOnDrop(polling))
}

async fn read(limiter: &Limiter, center: &dyn ConfigCenter, path: &str) -> Result<()> {
    let entries = center.list(path).await?;
    let rule = |value: &[u8]| match serde_json::from_slice(value) {
        Ok(RuleFile::One(rule)) => Some(rule),
        _ => None,
    };
    let named = entries.iter().filter_map(|entry| {
        let name = entry.key.strip_prefix(path)?;
        Some((name.to_owned(), rule(&entry.value)?))
    });
    limiter.apply(named.collect())
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A meter that does not know of failures.
#[derive(Debug)]
struct WithoutFailures(Arc<dyn Meter>);

impl Meter for WithoutFailures {
    fn counter(&self, descriptor: &Descriptor, labels: &[Label<'_>]) -> Arc<dyn Counter> {
        match labels {
            [] => NoMeter.counter(descriptor, labels),
            _ => self.0.counter(descriptor, labels),
        }
    }

    fn up_down_counter(&self, descriptor: &Descriptor, labels: &[Label<'_>]) -> Arc<dyn UpDownCounter> {
        self.0.up_down_counter(descriptor, labels)
    }

    fn gauge(&self, descriptor: &Descriptor, labels: &[Label<'_>]) -> Arc<dyn Gauge> {
        self.0.gauge(descriptor, labels)
    }

    fn histogram(&self, descriptor: &Descriptor, labels: &[Label<'_>]) -> Arc<dyn Histogram> {
        self.0.histogram(descriptor, labels)
    }
}
