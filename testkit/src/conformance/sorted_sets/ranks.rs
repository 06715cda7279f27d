//! Order and ranks.

use infra_core::cache::{Order, RankRange, ScoreRange, SortedSets};

use super::steps::{by_rank, by_score, put};
use crate::conformance::{Harness, Outcome, Premise, check_eq};

fn descending(start: i64, stop: i64) -> RankRange {
    let mut range = RankRange::new(start, stop);
    range.order = Order::Descending;
    range
}

/// Members of one score, given in no order, of which one begins like another and one sorts otherwise without regard to case.
const TIED: [(&str, f64); 6] = [
    ("b", 1.0),
    ("a", 1.0),
    ("B", 1.0),
    ("aa", 1.0),
    ("z", 0.5),
    ("A", 2.0),
];

/// Equal scores are ordered by member, compared as bytes, by rank and by score.
pub async fn zset_011_equal_scores_are_ordered_by_member(harness: &Harness<dyn SortedSets>) -> Outcome {
    let cache = harness.client().await?;
    let key = harness.name("key");
    put(&*cache, &key, &TIED).await?;
    let expected = ["z", "B", "a", "aa", "b", "A"];
    check_eq!(
        by_rank(&*cache, &key, RankRange::ALL).await?,
        expected,
        "the members by rank"
    );
    check_eq!(
        by_score(&*cache, &key, ScoreRange::ALL).await?,
        expected,
        "the members by score"
    );
    Ok(())
}

/// Descending is exactly the other way round, among equal scores too, by rank and by score.
pub async fn zset_012_descending_is_exactly_the_other_way(harness: &Harness<dyn SortedSets>) -> Outcome {
    let cache = harness.client().await?;
    let key = harness.name("key");
    put(&*cache, &key, &TIED).await?;
    let expected = ["A", "b", "aa", "a", "B", "z"];
    check_eq!(
        by_rank(&*cache, &key, descending(0, -1)).await?,
        expected,
        "the members by rank"
    );
    let scores = ScoreRange::ALL.descending();
    check_eq!(
        by_score(&*cache, &key, scores).await?,
        expected,
        "the members by score"
    );
    Ok(())
}

/// Ranks count from 0, negative ones from the end; both are included, and what lies beyond an end is left out.
pub async fn zset_013_ranks_count_from_either_end(harness: &Harness<dyn SortedSets>) -> Outcome {
    let cache = harness.client().await?;
    let key = harness.name("key");
    put(&*cache, &key, &[("a", 1.0), ("b", 2.0), ("c", 3.0), ("d", 4.0)]).await?;
    for (start, stop, up, down) in [
        (0, 0, "a", "d"),
        (1, 2, "bc", "cb"),
        (-2, -1, "cd", "ba"),
        (2, 99, "cd", "ba"),
        (-99, 1, "ab", "dc"),
        (-99, 99, "abcd", "dcba"),
        (4, 9, "", ""),
        (-9, -5, "", ""),
        (3, 1, "", ""),
        (-1, 0, "", ""),
        (i64::MIN, i64::MAX, "abcd", "dcba"),
        (i64::MAX, i64::MIN, "", ""),
    ] {
        let found = by_rank(&*cache, &key, RankRange::new(start, stop))
            .await?
            .concat();
        check_eq!(found, up, "the members from rank {start} to {stop}");
        let found = by_rank(&*cache, &key, descending(start, stop)).await?.concat();
        check_eq!(found, down, "the members from rank {start} to {stop}, descending");
    }
    Ok(())
}

/// Of the greatest so many come as were asked for, greatest first: none for none, and all where there are fewer.
pub async fn zset_014_the_greatest_come_first(harness: &Harness<dyn SortedSets>) -> Outcome {
    let cache = harness.client().await?;
    let key = harness.name("key");
    put(&*cache, &key, &[("a", 1.0), ("b", 2.0), ("c", 3.0)]).await?;
    for (count, expected) in [
        (0, ""),
        (1, "c"),
        (2, "cb"),
        (3, "cba"),
        (4, "cba"),
        (u32::MAX, "cba"),
    ] {
        let found = by_rank(&*cache, &key, RankRange::greatest(count)).await?.concat();
        check_eq!(found, expected, "the {count} greatest");
    }
    Ok(())
}

/// Removing by rank takes the members of these ranks in this order, answers how many there were, and leaves the others.
pub async fn zset_015_removing_by_rank_takes_those_of_its_order(
    harness: &Harness<dyn SortedSets>,
) -> Outcome {
    let cache = harness.client().await?;
    let key = harness.name("key");
    put(
        &*cache,
        &key,
        &[("a", 1.0), ("b", 2.0), ("c", 3.0), ("d", 4.0), ("e", 5.0)],
    )
    .await?;
    for (range, removed, left) in [
        (RankRange::new(9, 99), 0, "abcde"),
        (RankRange::new(0, 0), 1, "bcde"),
        (descending(0, 0), 1, "bcd"),
        // What keeps the greatest two: the limit of a time line.
        (RankRange::new(0, -3), 1, "cd"),
        (RankRange::new(0, -3), 0, "cd"),
        (RankRange::new(1, 99), 1, "c"),
    ] {
        let there = cache.sorted_remove_by_rank(&key, range).await?;
        check_eq!(there, removed, "how many members there were in {range:?}");
        let found = by_rank(&*cache, &key, RankRange::ALL)
            .await
            .premise("members are read")?;
        check_eq!(found.concat(), left, "what {range:?} left");
    }
    Ok(())
}
