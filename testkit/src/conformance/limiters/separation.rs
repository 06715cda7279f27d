//! Who shares tokens with whom.

use infra_core::rate_limit::Mode;

use super::MakesLimiters;
use super::steps::{RULE, USER, config, decided, limiter, process, slow, spent};
use crate::conformance::{Harness, Outcome, check, check_eq};

/// Two resources, or two rules, never share a bucket, whatever characters their names consist of.
pub async fn limiter_009_resources_and_rules_never_share_tokens(
    harness: &Harness<dyn MakesLimiters>,
) -> Outcome {
    let names = ["a", "a:b", "b", "b:a", "{a}", "A", "a%3Ab", "a/b"];
    for mode in [Mode::Local, Mode::Distributed] {
        let process = harness.client().await?;
        let mut config = config(harness, mode).with_service(harness.name(&format!("{mode:?}")));
        for rule in names {
            config = config.with_rule(rule, slow(1));
        }
        let limiter = limiter(&*process, config)?;
        for rule in names {
            for resource in names {
                let decision = decided(&*limiter, resource, rule, 1).await?;
                check!(
                    decision.allowed,
                    "the first token of {resource:?} under {rule:?} was given to another ({mode:?})"
                );
            }
        }
    }
    Ok(())
}

/// Two services over one store have the same rules and resources, and buckets of their own.
pub async fn limiter_010_services_do_not_share_tokens(harness: &Harness<dyn MakesLimiters>) -> Outcome {
    let process = harness.client().await?;
    for service in ["orders", "payments"] {
        let config = config(harness, Mode::Distributed)
            .with_service(harness.name(service))
            .with_rule(RULE, slow(1));
        let limiter = limiter(&*process, config)?;
        let decision = decided(&*limiter, USER, RULE, 1).await?;
        check!(
            decision.allowed,
            "the first token of {service} was given to another service"
        );
    }
    Ok(())
}

/// What one process gives out of a distributed bucket, another cannot give out again.
pub async fn limiter_011_the_fleet_gives_out_a_distributed_quota_together(
    harness: &Harness<dyn MakesLimiters>,
) -> Outcome {
    let (_one, limiter) = process(harness, Mode::Distributed, 3).await?;
    let (_other, other) = process(harness, Mode::Distributed, 3).await?;
    spent(&*limiter, USER, RULE, 2).await?;
    let second = decided(&*other, USER, RULE, 1).await?;
    check_eq!(
        (second.allowed, second.remaining),
        (true, 0),
        "the third token of three, in another process"
    );
    let third = decided(&*other, USER, RULE, 1).await?;
    check!(!third.allowed, "two processes gave out four tokens of three");
    Ok(())
}

/// A local bucket is the process's own, also where there is a store.
pub async fn limiter_012_each_process_gives_out_a_local_quota(
    harness: &Harness<dyn MakesLimiters>,
) -> Outcome {
    let (_one, limiter) = process(harness, Mode::Local, 1).await?;
    let (_other, other) = process(harness, Mode::Local, 1).await?;
    spent(&*limiter, USER, RULE, 1).await?;
    let own = decided(&*other, USER, RULE, 1).await?;
    check!(own.allowed, "a local token was given out by another process");
    Ok(())
}
