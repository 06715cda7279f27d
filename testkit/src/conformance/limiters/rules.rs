//! What a rule says, and what is no rule.

use std::sync::Arc;
use std::time::Duration;

use infra_core::ErrorKind;
use infra_core::intercept::Fault;
use infra_core::rate_limit::{Basis, Decision, Mode, OnFailure, Rule, UnknownRule};
use infra_core::telemetry::NoMeter;

use super::MakesLimiters;
use super::steps::{RULE, USER, config, decided, failing, limiter, process, slow, spent};
use crate::conformance::{Harness, Outcome, Premise, TimeControl, check, check_eq, check_error};

/// A typing error in the name of a rule does not open the gates, and the decision tells why.
pub async fn limiter_001_a_rule_that_does_not_exist_denies(harness: &Harness<dyn MakesLimiters>) -> Outcome {
    let (_process, limiter) = process(harness, Mode::Local, 5).await?;
    let decision = limiter.check_n(USER, "sned", 1).await?;
    check_eq!(
        decision,
        Decision::without_bucket(false, Basis::UnknownRule),
        "a check under a rule that does not exist"
    );
    Ok(())
}

/// Where it is configured so, what has no rule has no limit.
pub async fn limiter_002_a_rule_that_does_not_exist_allows_if_configured(
    harness: &Harness<dyn MakesLimiters>,
) -> Outcome {
    let process = harness.client().await?;
    let open = config(harness, Mode::Local).with_unknown_rule(UnknownRule::Allow);
    let limiter = limiter(&*process, open)?;
    let decision = limiter.check_n(USER, RULE, 1).await?;
    check_eq!(
        decision,
        Decision::without_bucket(true, Basis::UnknownRule),
        "a check under a rule that does not exist, where those are allowed"
    );
    Ok(())
}

/// A configuration with rates or capacities out of range is refused, and every rule that is wrong is named.
pub async fn limiter_003_invalid_rules_are_refused_by_name(harness: &Harness<dyn MakesLimiters>) -> Outcome {
    let process = harness.client().await?;
    let wrong = config(harness, Mode::Local)
        .with_rule("good", slow(5))
        .with_rule("no_rate", Rule::new(0.0, 5))
        .with_rule("negative_rate", Rule::new(-1.0, 5))
        .with_rule("no_number", Rule::new(f64::NAN, 5))
        .with_rule("no_capacity", Rule::new(1.0, 0))
        .with_rule("endless_capacity", Rule::new(1.0, u64::MAX));
    let made = process.limiter(wrong, None, Arc::new(NoMeter));
    let error = check_error!(made, ErrorKind::InvalidConfig, "rules that cannot be");
    for rule in [
        "no_rate",
        "negative_rate",
        "no_number",
        "no_capacity",
        "endless_capacity",
    ] {
        check!(
            error.message().contains(rule),
            "the error does not name {rule}: {error}"
        );
    }
    check!(
        !error.message().contains("good"),
        "the error names a rule that is right: {error}"
    );
    Ok(())
}

/// What the fleet is to share needs a store; without one nothing is limited in silence by each process.
pub async fn limiter_004_a_distributed_rule_without_a_store_is_refused(
    harness: &Harness<dyn MakesLimiters>,
) -> Outcome {
    let process = harness.client().await?;
    let by_default = config(harness, Mode::Distributed);
    let made = process.limiter(by_default, None, Arc::new(NoMeter));
    check_error!(
        made,
        ErrorKind::InvalidConfig,
        "distributed buckets without a store"
    );
    let by_rule = config(harness, Mode::Local).with_rule("shared", slow(5).with_mode(Mode::Distributed));
    let made = process.limiter(by_rule, None, Arc::new(NoMeter));
    let error = check_error!(
        made,
        ErrorKind::InvalidConfig,
        "a distributed rule without a store"
    );
    check!(
        error.message().contains("shared"),
        "the error does not name the rule: {error}"
    );
    Ok(())
}

/// A rule that says where its buckets are is not overruled by the configuration.
pub async fn limiter_005_a_rule_may_say_where_its_buckets_are(
    harness: &Harness<dyn MakesLimiters>,
) -> Outcome {
    let config = config(harness, Mode::Local)
        .with_on_failure(OnFailure::Deny)
        .with_rule(RULE, slow(5).with_mode(Mode::Distributed));
    let (_faults, limiter) = failing(harness, config, Fault::Err(ErrorKind::Unavailable)).await?;
    let decision = limiter.check_n(USER, RULE, 1).await?;
    check_eq!(
        decision.basis,
        Basis::Unavailable,
        "the basis of a decision under a distributed rule while the store is away"
    );
    Ok(())
}

/// A cost of nothing, and one that no bucket of the rule could ever pay, are mistakes and not denials.
pub async fn limiter_006_a_cost_that_cannot_be_paid_is_refused(
    harness: &Harness<dyn MakesLimiters>,
) -> Outcome {
    for mode in [Mode::Local, Mode::Distributed] {
        let (_process, limiter) = process(harness, mode, 5).await?;
        for cost in [0, 6] {
            let answer = limiter.check_n(USER, RULE, cost).await;
            check_error!(
                answer,
                ErrorKind::InvalidArgument,
                "a cost of {cost} where 5 is the capacity ({mode:?})"
            );
        }
    }
    Ok(())
}

/// Empty and oversized names are refused, whatever the rules are.
pub async fn limiter_007_names_outside_the_limits_are_refused(
    harness: &Harness<dyn MakesLimiters>,
) -> Outcome {
    let (_process, limiter) = process(harness, Mode::Local, 5).await?;
    let long = "n".repeat(limiter.capabilities().limits().max_key_bytes + 1);
    for (resource, rule) in [
        ("", RULE),
        (USER, ""),
        (long.as_str(), RULE),
        (USER, long.as_str()),
    ] {
        let answer = limiter.check_n(resource, rule, 1).await;
        check_error!(
            answer,
            ErrorKind::InvalidArgument,
            "names of {} and {} bytes",
            resource.len(),
            rule.len()
        );
    }
    Ok(())
}

/// Whoever waits as long as a denial says, passes; whoever waits less does not.
pub async fn limiter_008_the_time_to_wait_is_exact(harness: &Harness<dyn MakesLimiters>) -> Outcome {
    let process = harness.client().await?;
    let rule = config(harness, Mode::Local).with_rule(RULE, Rule::new(0.4, 3));
    let limiter = limiter(&*process, rule)?;
    spent(&*limiter, USER, RULE, 3).await?;
    let denied = decided(&*limiter, USER, RULE, 1).await?;
    (!denied.allowed).premise("an empty bucket denies")?;
    let whole = Duration::from_millis(2_500);
    let late = match harness.time() {
        TimeControl::Virtual => Duration::ZERO,
        TimeControl::Real => Duration::from_millis(500),
    };
    check!(
        denied.retry_after <= whole && denied.retry_after + late >= whole,
        "a token comes every {whole:?}, and an empty bucket says {:?}",
        denied.retry_after
    );
    harness
        .pass(denied.retry_after - Duration::from_millis(100))
        .await;
    if harness.time() == TimeControl::Virtual {
        let early = decided(&*limiter, USER, RULE, 1).await?;
        check!(!early.allowed, "passed before the time that the denial said");
    }
    harness.pass(Duration::from_millis(100)).await;
    let due = decided(&*limiter, USER, RULE, 1).await?;
    check!(due.allowed, "denied after the time that the denial said: {due:?}");
    Ok(())
}
