//! Several checks that are decided together.

use infra_core::ErrorKind;
use infra_core::rate_limit::{Basis, Check, Mode, UnknownRule};

use super::MakesLimiters;
use super::steps::{USER, config, decided, limiter, slow};
use crate::conformance::{Harness, Outcome, Premise, check_eq, check_error};

/// When one bucket holds too little, nothing is taken from the others, and each decision speaks of its own bucket.
pub async fn limiter_013_several_checks_take_all_or_nothing(harness: &Harness<dyn MakesLimiters>) -> Outcome {
    for mode in [Mode::Local, Mode::Distributed] {
        let process = harness.client().await?;
        let rules = config(harness, mode)
            .with_rule("wide", slow(10))
            .with_rule("narrow", slow(1));
        let limiter = limiter(&*process, rules)?;
        let both = [Check::new(USER, "wide").with_cost(3), Check::new(USER, "narrow")];
        let first = limiter.check_all(&both).await;
        let first = first.premise("checks are decided together")?;
        (first.iter().all(|decision| decision.allowed)).premise("what full buckets hold is given")?;
        let second = limiter.check_all(&both).await;
        let second = second.premise("checks are decided together")?;
        let allowed: Vec<_> = second.iter().map(|decision| decision.allowed).collect();
        check_eq!(
            allowed,
            [true, false],
            "a bucket that holds enough and one that does not ({mode:?})"
        );
        let left = decided(&*limiter, USER, "wide", 1).await?;
        check_eq!(
            left.remaining,
            6,
            "tokens of ten after three, none, and one were taken ({mode:?})"
        );
    }
    Ok(())
}

/// Where rules that do not exist deny, one of them keeps all the others from being taken.
pub async fn limiter_014_with_an_unknown_rule_nothing_is_taken(
    harness: &Harness<dyn MakesLimiters>,
) -> Outcome {
    let process = harness.client().await?;
    let limiter = limiter(
        &*process,
        config(harness, Mode::Local).with_rule("known", slow(5)),
    )?;
    let checks = [Check::new(USER, "known"), Check::new(USER, "unknown")];
    let decisions = limiter.check_all(&checks).await;
    let decisions = decisions.premise("checks are decided together")?;
    (decisions.len() == 2 && !decisions[1].allowed).premise("a rule that does not exist denies")?;
    let left = decided(&*limiter, USER, "known", 1).await?;
    check_eq!(
        left.remaining,
        4,
        "tokens of five, after one was taken and one was checked with a rule that does not exist"
    );
    Ok(())
}

/// What no store could decide at once is refused, and nothing is taken.
pub async fn limiter_015_local_and_distributed_rules_are_not_decided_together(
    harness: &Harness<dyn MakesLimiters>,
) -> Outcome {
    let process = harness.client().await?;
    let rules = config(harness, Mode::Distributed)
        .with_rule("shared", slow(5))
        .with_rule("own", slow(5).with_mode(Mode::Local));
    let limiter = limiter(&*process, rules)?;
    let checks = [Check::new(USER, "own"), Check::new(USER, "shared")];
    let answer = limiter.check_all(&checks).await;
    check_error!(
        answer,
        ErrorKind::InvalidArgument,
        "a local and a distributed rule together"
    );
    for rule in ["own", "shared"] {
        let left = decided(&*limiter, USER, rule, 1).await?;
        check_eq!(
            left.remaining,
            4,
            "tokens of five under {rule:?}, after one was taken"
        );
    }
    Ok(())
}

/// There is one decision for each check, at its place, also for rules that do not exist and are allowed.
pub async fn limiter_016_decisions_are_in_the_order_of_the_checks(
    harness: &Harness<dyn MakesLimiters>,
) -> Outcome {
    let process = harness.client().await?;
    let rules = config(harness, Mode::Local)
        .with_unknown_rule(UnknownRule::Allow)
        .with_rule("wide", slow(10))
        .with_rule("narrow", slow(5));
    let limiter = limiter(&*process, rules)?;
    let checks = ["unknown", "wide", "unknown", "narrow"].map(|rule| Check::new(USER, rule));
    let decisions = limiter.check_all(&checks).await;
    let decisions = decisions.premise("checks are decided together")?;
    let seen: Vec<_> = decisions
        .iter()
        .map(|decision| (decision.basis, decision.limit))
        .collect();
    check_eq!(
        seen,
        [
            (Basis::UnknownRule, 0),
            (Basis::Bucket, 10),
            (Basis::UnknownRule, 0),
            (Basis::Bucket, 5),
        ],
        "the decisions of four checks"
    );
    Ok(())
}
