//! METRIC, second half, and STACK: what the standard stack does to a call, and what it records of it.

pub mod calls;
pub mod limits;
pub mod metrics;
pub mod work;

use std::fmt;
use std::sync::Arc;

use infra_core::Result;
use infra_core::breaker::BreakerProvider;
use infra_core::intercept::{StackConfig, StandardStack};
use infra_core::telemetry::Meter;

use super::Scenario;
use super::making::makers;
use work::Work;

/// Puts the standard stack of a configuration in front of a component: what is under test.
pub trait MakesStacks: fmt::Debug + Send + Sync + 'static {
    /// `work`, which is called `worker`, behind a stack that records in `meter` and takes its breakers from `breakers`.
    ///
    /// # Errors
    /// [`InvalidConfig`](infra_core::ErrorKind::InvalidConfig) that lists everything that is wrong with the configuration.
    fn behind(
        &self,
        config: StackConfig,
        meter: Arc<dyn Meter>,
        breakers: Arc<dyn BreakerProvider>,
        work: Arc<dyn Work>,
    ) -> Result<Arc<dyn Work>>;
}

makers!(MakesStacks);

/// The standard stack of infra-core.
#[derive(Debug, Clone, Copy, Default)]
pub struct CoreStacks;

impl MakesStacks for CoreStacks {
    fn behind(
        &self,
        config: StackConfig,
        meter: Arc<dyn Meter>,
        breakers: Arc<dyn BreakerProvider>,
        work: Arc<dyn Work>,
    ) -> Result<Arc<dyn Work>> {
        let stack = StandardStack::new(config)
            .with_meter(meter)
            .with_breakers(breakers)
            .build()?;
        Ok(stack.wrap_named("worker", work))
    }
}

/// Every scenario of this family.
pub const SCENARIOS: &[Scenario<dyn MakesStacks>] = crate::stacks!(@list __conformance_table ());

/// One test per scenario of STACK and on the metrics of calls: `conformance::stacks!(make_stacks)`.
#[macro_export]
macro_rules! stacks {
    (@list $callback:ident $arguments:tt) => {
        $crate::$callback! { (stacks) $arguments {
            metrics {
                metric_011_calls_have_the_names_and_labels_of_the_contract,
                metric_012_calls_under_way_go_back_to_none,
                metric_013_a_repeated_call_is_one_call_and_its_repetitions_are_counted,
                metric_014_each_way_to_end_has_an_outcome_of_its_own,
            }
            calls {
                stack_001_answers_come_through_unchanged,
                stack_002_what_is_not_idempotent_is_not_repeated,
                stack_003_each_attempt_is_bounded_and_the_next_may_succeed,
                stack_004_a_method_that_waits_by_design_is_not_bounded,
                stack_005_a_breaker_counts_what_is_left_after_retries,
                stack_006_an_open_breaker_keeps_calls_from_the_backend,
                stack_007_a_dropped_call_reaches_the_backend,
            }
            limits {
                stack_008_a_limit_counts_calls_and_not_attempts,
                stack_009_a_queue_is_bounded_in_length,
                stack_010_nobody_queues_longer_than_allowed,
                stack_011_a_dropped_call_gives_its_place_back,
                stack_012_a_call_that_panicked_gives_its_place_back,
                stack_013_a_wrong_configuration_is_refused_with_all_that_is_wrong,
            }
        } }
    };
    ($($arguments:tt)+) => { $crate::stacks!(@list __conformance_tests ($($arguments)+)); };
}
