//! The models catch what is wrong, and shrink it to what is needed to see it.

use std::sync::Arc;

use infra_core::cache::Cache;
use infra_testkit::conformance::{Outcome, TimeControl};
use infra_testkit::models::{self, ModelOptions};

use crate::{twisted_cache, twisted_center, twisted_queue};

/// What it takes at most to see any one fault: something there, something done to it, time, a look.
const FEW: usize = 5;

const TIME: TimeControl = TimeControl::Virtual;

fn options() -> ModelOptions {
    ModelOptions::new(7)
}

/// Checks that the fault was found, and that the schedule that shows it is short.
pub(crate) fn check_caught(twist: &impl std::fmt::Debug, outcome: Outcome) {
    let Err(failure) = outcome else {
        panic!("{twist:?} was not caught");
    };
    let lines = failure.message().lines();
    let steps = lines.filter(|line| line.starts_with("  ")).count();
    assert!((1..=FEW).contains(&steps), "{twist:?}: {}", failure.message());
}

#[tokio::test(start_paused = true)]
async fn every_wrong_cache_is_caught_in_a_few_steps() {
    use twisted_cache::{Twist, Twisted};
    for twist in [
        Twist::ForgetsTimeToLive,
        Twist::KeepsTimeToLiveOnOverwrite,
        Twist::LosesTimeToLiveOnIncrement,
        Twist::OverwritesWhatIsThere,
        Twist::TakesPrefixesForPatterns,
        Twist::CountsOldFieldsAsNew,
        Twist::ForgetsOneOfManyFields,
        Twist::CountsOldMembersAsNew,
        Twist::ReversesTies,
        Twist::TakesOpenEndsForClosed,
        Twist::CountsRanksFromOne,
        Twist::TearsBatches,
        Twist::IgnoresConditions,
    ] {
        let cache: Arc<dyn Cache> = Arc::new(Twisted::new(twist));
        let outcome = match twist {
            Twist::ForgetsTimeToLive
            | Twist::KeepsTimeToLiveOnOverwrite
            | Twist::LosesTimeToLiveOnIncrement
            | Twist::OverwritesWhatIsThere
            | Twist::TakesPrefixesForPatterns => models::cache_strings(cache, "m", TIME, options()).await,
            Twist::CountsOldFieldsAsNew | Twist::ForgetsOneOfManyFields => {
                models::cache_hashes(cache, "m", TIME, options()).await
            }
            Twist::CountsOldMembersAsNew => models::cache_sets(cache, "m", TIME, options()).await,
            Twist::ReversesTies | Twist::TakesOpenEndsForClosed | Twist::CountsRanksFromOne => {
                models::cache_sorted_sets(cache, "m", TIME, options()).await
            }
            Twist::TearsBatches | Twist::IgnoresConditions => {
                models::cache_batches(cache, "m", TIME, options()).await
            }
        };
        check_caught(&twist, outcome);
    }
}

#[tokio::test(start_paused = true)]
async fn every_wrong_configuration_centre_is_caught_in_a_few_steps() {
    use twisted_center::{Twist, Twisted};
    for twist in [
        Twist::WritesHalfATransaction,
        Twist::IgnoresConditions,
        Twist::LosesAnEvent,
        Twist::RepeatsAnEvent,
        Twist::MissesLaterKeys,
        Twist::MovesPastTheSnapshot,
        Twist::GivesOldVersions,
    ] {
        let center = Arc::new(Twisted::new(twist));
        check_caught(&twist, models::config_center(center, "m", TIME, options()).await);
    }
}

#[tokio::test(start_paused = true)]
async fn every_wrong_queue_is_caught_in_a_few_steps() {
    use twisted_queue::{Twist, Twisted};
    for twist in [
        Twist::LosesAMessage,
        Twist::SwapsMessages,
        Twist::AcknowledgesFailures,
        Twist::AcknowledgesBeforeTheHandler,
        Twist::ForgetsAttempts,
        Twist::DeliversTwice,
        Twist::DropsDeadLetters,
        Twist::CommitsTooMuch,
    ] {
        let queue = Arc::new(Twisted::new(twist));
        check_caught(&twist, models::queue(queue, "m", TIME, options()).await);
    }
}
