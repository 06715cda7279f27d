//! What the scenarios of limiters have in common.

use std::sync::Arc;
use std::time::Duration;

use infra_core::intercept::{Fault, Faults, Stack};
use infra_core::rate_limit::{Decision, Mode, RateLimitConfig, RateLimitStore, RateLimiter, Rule};
use infra_core::telemetry::NoMeter;

use super::{MakesLimiters, RuledLimiter};
use crate::conformance::{Failure, Harness, Outcome, Premise};

/// What everything that should not hang is given.
pub(super) const BOUND: Duration = Duration::from_secs(60);

/// The rule of most scenarios.
pub(super) const RULE: &str = "send";

/// The resource of most scenarios.
pub(super) const USER: &str = "user:1";

/// A rule that gains nothing while a scenario runs.
pub(super) fn slow(capacity: u64) -> Rule {
    Rule::new(0.000_1, capacity)
}

/// A configuration of this run, with buckets in this place, that waits for its store as long as calls may be repeated.
pub(super) fn config(harness: &Harness<dyn MakesLimiters>, mode: Mode) -> RateLimitConfig {
    RateLimitConfig::development()
        .with_service(harness.name("service"))
        .with_mode(mode)
        .with_store_timeout(BOUND * 10)
}

/// A limiter of this process over its own store.
pub(super) fn limiter(
    process: &dyn MakesLimiters,
    config: RateLimitConfig,
) -> Result<Arc<dyn RuledLimiter>, Failure> {
    over(process, config, Arc::clone(process.store()))
}

/// A limiter of this process over this store.
pub(super) fn over(
    process: &dyn MakesLimiters,
    config: RateLimitConfig,
    store: Arc<dyn RateLimitStore>,
) -> Result<Arc<dyn RuledLimiter>, Failure> {
    let made = process.limiter(config, Some(store), Arc::new(NoMeter));
    made.premise("a valid configuration is accepted")
}

/// A fresh process with a limiter of buckets in this place and the rule [`RULE`].
pub(super) async fn process(
    harness: &Harness<dyn MakesLimiters>,
    mode: Mode,
    capacity: u64,
) -> Result<(Arc<dyn MakesLimiters>, Arc<dyn RuledLimiter>), Failure> {
    let process = harness.client().await?;
    let limiter = limiter(&*process, config(harness, mode).with_rule(RULE, slow(capacity)))?;
    Ok((process, limiter))
}

/// A limiter whose store does this at each call until the faults are cleared.
pub(super) async fn failing(
    harness: &Harness<dyn MakesLimiters>,
    config: RateLimitConfig,
    fault: Fault,
) -> Result<(Arc<Faults>, Arc<dyn RuledLimiter>), Failure> {
    let process = harness.client().await?;
    let faults = Arc::new(Faults::new());
    faults.always("rate_limit_store.take", fault);
    let store = Stack::new()
        .with_shared(faults.clone())
        .wrap(Arc::clone(process.store()));
    Ok((faults, over(&*process, config, store)?))
}

/// A check that is expected to be decided, somehow.
pub(super) async fn decided<L: RateLimiter + ?Sized>(
    limiter: &L,
    resource: &str,
    rule: &str,
    cost: u32,
) -> Result<Decision, Failure> {
    let decision = limiter.check_n(resource, rule, cost).await;
    decision.premise("a check under a rule is decided")
}

/// Takes tokens that are there.
pub(super) async fn spent<L: RateLimiter + ?Sized>(
    limiter: &L,
    resource: &str,
    rule: &str,
    cost: u32,
) -> Outcome {
    let decision = decided(limiter, resource, rule, cost).await?;
    decision
        .allowed
        .premise("a check passes when its bucket holds enough")
}
