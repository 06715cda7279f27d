//! Retries that are broken on purpose.

use std::sync::Arc;
use std::time::Duration;

use infra_core::retry::{Backoff, Budget, Idempotence, Jitter, Policy};
use infra_core::{Error, ErrorKind, Result, Retry, async_trait};
use infra_testkit::conformance::retries::{Repeated, Repeats};
use infra_testkit::conformance::{self, Breakage, Fixture, prove};
use tokio::time::Instant;

pub(crate) const FAMILY: &str = "retries";

#[test]
fn every_scenario_notices_its_defect_and_no_other() {
    use Defect::*;
    prove(
        conformance::retries::SCENARIOS,
        &[
            broken("RETRY-001", RepeatsNotFound, "repeats what was not found"),
            broken(
                "RETRY-002",
                TakesAllForIdempotent,
                "repeats what is not idempotent",
            ),
            broken(
                "RETRY-003",
                RepeatsTheExhausted,
                "repeats what an inner retry gave up",
            ),
            broken("RETRY-004", MarksNothing, "does not mark what it gives up"),
            broken("RETRY-005", Detaches, "runs attempts in tasks of their own"),
            broken("RETRY-006", OneMore, "makes one attempt too many"),
            broken(
                "RETRY-007",
                IgnoresHint,
                "does not wait as long as it is asked to",
            ),
            broken("RETRY-008", IgnoresDeadline, "goes on beyond the deadline"),
            broken("RETRY-009", WaitsForever, "gives attempts no time limit"),
            broken("RETRY-010", SpendsFreely, "does not ask the budget"),
            broken("RETRY-011", NoJitter, "does not spread its delays"),
        ],
    );
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Defect {
    RepeatsNotFound,
    TakesAllForIdempotent,
    RepeatsTheExhausted,
    MarksNothing,
    Detaches,
    OneMore,
    IgnoresHint,
    IgnoresDeadline,
    WaitsForever,
    SpendsFreely,
    NoJitter,
}

fn broken(breaks: &str, defect: Defect, words: &'static str) -> Breakage<dyn Repeats> {
    Breakage::new(breaks, words, move |_setup| async move {
        Ok(Fixture::in_process(move || async move {
            Ok(Arc::new(Plain(defect)) as Arc<dyn Repeats>)
        }))
    })
}

/// A retry loop, written plainly so that each defect is one branch.
#[derive(Debug)]
struct Plain(Defect);

impl Plain {
    fn is(&self, defect: Defect) -> bool {
        self.0 == defect
    }

    fn may_repeat(&self, error: &Error, idempotence: Idempotence) -> bool {
        let helps = match error.retry() {
            Retry::Exhausted => self.is(Defect::RepeatsTheExhausted),
            _ => {
                error.is_retryable()
                    || error.kind() == ErrorKind::NotFound && self.is(Defect::RepeatsNotFound)
            }
        };
        let harmless = idempotence == Idempotence::Idempotent
            || error.had_no_effect()
            || self.is(Defect::TakesAllForIdempotent);
        helps && harmless
    }

    fn delay(&self, policy: &Policy, made: u32, random: &mut fastrand::Rng) -> Duration {
        let whole = match policy.backoff {
            Backoff::Exponential { initial, factor, max } => {
                initial.mul_f32(factor.powi(made as i32 - 1)).min(max)
            }
            Backoff::Fixed { delay } => delay,
            _ => Duration::ZERO,
        };
        match policy.jitter {
            Jitter::Full if !self.is(Defect::NoJitter) => whole.mul_f64(random.f64()),
            _ => whole,
        }
    }

    async fn attempt(&self, policy: &Policy, operation: &mut Repeated<'_>) -> Result<u32> {
        let attempt = operation();
        let running = async {
            if !self.is(Defect::Detaches) {
                return attempt.await;
            }
            let joined = tokio::spawn(attempt).await;
            joined.unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "panicked")))
        };
        match policy.attempt_timeout.filter(|_| !self.is(Defect::WaitsForever)) {
            Some(limit) => tokio::time::timeout(limit, running)
                .await
                .unwrap_or_else(|_| Err(Error::new(ErrorKind::Timeout, "too slow"))),
            None => running.await,
        }
    }
}

#[async_trait]
impl Repeats for Plain {
    async fn repeat(
        &self,
        policy: &Policy,
        budget: &Budget,
        idempotence: Idempotence,
        mut operation: Repeated<'_>,
    ) -> Result<u32> {
        let began = Instant::now();
        // Seeds of the scenarios differ, and so do these numbers.
        let mut random = fastrand::Rng::new();
        let allowed = policy.max_attempts + u32::from(self.is(Defect::OneMore));
        for made in 1.. {
            let error = match self.attempt(policy, &mut operation).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            if !self.may_repeat(&error, idempotence) {
                return Err(error);
            }
            let hint = error
                .retry_after()
                .filter(|_| !self.is(Defect::IgnoresHint))
                .unwrap_or_default();
            let delay = self.delay(policy, made, &mut random).max(hint);
            let late = policy
                .total_deadline
                .is_some_and(|deadline| began.elapsed() + delay >= deadline);
            let paid = |budget: &Budget| budget.withdraw() || self.is(Defect::SpendsFreely);
            if made >= allowed || late && !self.is(Defect::IgnoresDeadline) || !paid(budget) {
                return Err(if self.is(Defect::MarksNothing) {
                    error
                } else {
                    error.with_retry(Retry::Exhausted)
                });
            }
            tokio::time::sleep(delay).await;
        }
        Err(Error::new(ErrorKind::Internal, "attempts are used up"))
    }
}
