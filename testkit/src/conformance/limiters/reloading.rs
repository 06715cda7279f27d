//! Rules that change while the service runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use infra_core::ErrorKind;
use infra_core::coordination::{ConfigCenter, ConfigCenterExt};
use infra_core::rate_limit::{Basis, Mode, RateLimiter, Rule};
use infra_memory::MemoryCoordinator;

use super::steps::{RULE, USER, config, decided, limiter, process, slow, spent};
use super::{MakesLimiters, RuledLimiter};
use crate::conformance::{Failure, Harness, Outcome, Premise, check_eq, check_error};

/// How long a change may take from the configuration centre to the limiter.
const SOON: Duration = Duration::from_secs(10);

fn rules<const N: usize>(rules: [(&str, Rule); N]) -> BTreeMap<String, Rule> {
    rules.map(|(name, rule)| (name.to_owned(), rule)).into()
}

/// What was spent before a change of a rule is not given out again after it.
pub async fn limiter_023_a_change_of_a_rule_keeps_its_tokens(
    harness: &Harness<dyn MakesLimiters>,
) -> Outcome {
    for mode in [Mode::Local, Mode::Distributed] {
        let (_process, limiter) = process(harness, mode, 10).await?;
        spent(&*limiter, USER, RULE, 6).await?;
        limiter
            .apply(rules([(RULE, slow(8))]))
            .premise("good rules are taken")?;
        let after = decided(&*limiter, USER, RULE, 1).await?;
        check_eq!(
            (after.limit, after.remaining),
            (8, 3),
            "the limit, and what is left of ten after six and one, of which eight may be kept ({mode:?})"
        );
    }
    Ok(())
}

/// Rules are replaced together or not at all, and the error names what is wrong.
pub async fn limiter_024_of_rules_of_which_one_is_wrong_none_is_taken(
    harness: &Harness<dyn MakesLimiters>,
) -> Outcome {
    let (_process, limiter) = process(harness, Mode::Local, 5).await?;
    let applied = limiter.apply(rules([(RULE, slow(7)), ("wrong", slow(0))]));
    let error = check_error!(applied, ErrorKind::InvalidConfig, "rules of which one is wrong");
    check_eq!(
        error.message().contains("wrong"),
        true,
        "whether the error names the rule that is wrong: {error}"
    );
    let after = decided(&*limiter, USER, RULE, 1).await?;
    check_eq!(
        after.limit,
        5,
        "the capacity of a rule after a change that was refused"
    );
    Ok(())
}

/// A rule that is gone is what the configuration says, or does not exist.
pub async fn limiter_025_a_rule_that_was_deleted_is_that_of_the_configuration(
    harness: &Harness<dyn MakesLimiters>,
) -> Outcome {
    let (_process, limiter) = process(harness, Mode::Local, 5).await?;
    limiter
        .apply(rules([(RULE, slow(7)), ("more", slow(7))]))
        .premise("good rules are taken")?;
    let replaced = decided(&*limiter, USER, RULE, 1).await?;
    (replaced.limit == 7).premise("good rules are taken")?;
    limiter.apply(BTreeMap::new()).premise("good rules are taken")?;
    let default = decided(&*limiter, USER, RULE, 1).await?;
    check_eq!(
        default.limit,
        5,
        "the capacity of a rule of the configuration again"
    );
    let gone = decided(&*limiter, USER, "more", 1).await?;
    check_eq!(
        gone.basis,
        Basis::UnknownRule,
        "the basis of a decision under a rule that was deleted"
    );
    Ok(())
}

/// A limiter without rules of its own, that follows those of a configuration centre in which [`RULE`] has a capacity of five.
async fn following(
    harness: &Harness<dyn MakesLimiters>,
) -> Result<(Arc<dyn RuledLimiter>, Arc<MemoryCoordinator>, super::Followed), Failure> {
    let process = harness.client().await?;
    let limiter = limiter(&*process, config(harness, Mode::Local))?;
    let center = Arc::new(MemoryCoordinator::new());
    put(&*center, RULE, &slow(5)).await?;
    let followed = limiter.follow(center.clone()).await;
    let followed = followed.premise("rules are read")?;
    let first = decided(&*limiter, "first", RULE, 1).await?;
    (first.limit == 5).premise("rules are read")?;
    Ok((limiter, center, followed))
}

async fn put(center: &dyn ConfigCenter, rule: &str, value: &(impl serde::Serialize + Sync)) -> Outcome {
    let written = center.set(&format!("ratelimit/{rule}"), value).await;
    written.premise("a value is written").map(|_| ())
}

async fn has_capacity<L: RateLimiter + ?Sized>(limiter: &L, rule: &str, capacity: u64) -> bool {
    let decision = limiter.check_n(USER, rule, 1).await;
    decision.is_ok_and(|decision| decision.limit == capacity)
}

/// Rules that are added, changed and deleted in the configuration centre hold soon.
pub async fn limiter_026_rules_are_followed(harness: &Harness<dyn MakesLimiters>) -> Outcome {
    let (limiter, center, _followed) = following(harness).await?;
    put(&*center, RULE, &slow(7)).await?;
    put(&*center, "more", &slow(3)).await?;
    harness
        .eventually(SOON, "following a change", async || {
            has_capacity(&*limiter, RULE, 7).await && has_capacity(&*limiter, "more", 3).await
        })
        .await?;
    center
        .delete(&format!("ratelimit/{RULE}"))
        .await
        .premise("a value is deleted")?;
    harness
        .eventually(SOON, "following a deletion", async || {
            let decision = limiter.check_n(USER, RULE, 1).await;
            decision.is_ok_and(|decision| decision.basis == Basis::UnknownRule)
        })
        .await
}

/// A value that is no rule changes nothing of its own key, and the rules of other keys go on changing.
pub async fn limiter_027_a_bad_value_leaves_the_last_good_one(
    harness: &Harness<dyn MakesLimiters>,
) -> Outcome {
    let (limiter, center, _followed) = following(harness).await?;
    put(&*center, RULE, &"five a day").await?;
    put(&*center, "more", &slow(3)).await?;
    harness
        .eventually(SOON, "following a change", async || {
            has_capacity(&*limiter, "more", 3).await
        })
        .await
        .premise("changes are followed")?;
    let after = decided(&*limiter, USER, RULE, 1).await?;
    check_eq!(
        after.limit,
        5,
        "the capacity of a rule after a value that is none"
    );
    Ok(())
}
