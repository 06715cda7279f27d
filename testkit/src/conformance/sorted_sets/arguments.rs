//! What is refused, and how the refusal reads.

use infra_core::cache::{RankRange, ScoreBound, ScoreRange, Scored, SortedSets};
use infra_core::error::ErrorKind;

use crate::conformance::answers::all_refused;
use crate::conformance::collections::arguments;
use crate::conformance::{Disturbance, Harness, Outcome, Premise, check};

/// Empty or oversized keys and oversized members are refused, whether the server can be asked or not.
pub async fn zset_028_bad_sizes_are_refused_without_the_server(harness: &Harness<dyn SortedSets>) -> Outcome {
    arguments::bad_sizes_are_refused_without_the_server(harness).await
}

/// The longest key and the largest member are taken, and come back whole.
pub async fn zset_029_the_largest_key_and_member_fit(harness: &Harness<dyn SortedSets>) -> Outcome {
    arguments::the_largest_key_and_member_fit(harness).await
}

/// One member that is refused refuses them all.
pub async fn zset_030_a_refused_write_changes_nothing(harness: &Harness<dyn SortedSets>) -> Outcome {
    arguments::a_refused_write_changes_nothing(harness).await
}

/// What is not a number is no score and no bound; it is refused before the server is asked, and nothing is added.
pub async fn zset_031_what_is_not_a_number_is_refused(harness: &Harness<dyn SortedSets>) -> Outcome {
    let cache = harness.client().await?;
    let key = harness.name("key");
    let members = [Scored::new("a", 1.0), Scored::new("b", f64::NAN)];
    let (included, excluded) = (ScoreBound::Included(f64::NAN), ScoreBound::Excluded(f64::NAN));
    let mut answers = Vec::new();
    for away in [false, true] {
        if away {
            harness.disturb(Disturbance::GoAway).await?;
        }
        answers.push(("sorted_add", cache.sorted_add(&key, &members).await.map(drop)));
        for bound in [included, excluded] {
            for range in [ScoreRange::ALL.with_min(bound), ScoreRange::ALL.with_max(bound)] {
                let found = cache.sorted_range_by_score(&key, range).await;
                answers.push(("sorted_range_by_score", found.map(drop)));
                answers.push(("sorted_count", cache.sorted_count(&key, range).await.map(drop)));
            }
        }
    }
    harness.disturb(Disturbance::ComeBack).await?;
    all_refused(answers, ErrorKind::InvalidArgument, "with what is not a number")?;
    let found = cache
        .sorted_range(&key, RankRange::ALL)
        .await
        .premise("members are read")?;
    check!(found.is_empty(), "a refused write left {found:?}");
    Ok(())
}

/// No error shows a member.
pub async fn zset_032_errors_show_no_members(harness: &Harness<dyn SortedSets>) -> Outcome {
    arguments::errors_show_no_members(harness).await
}
