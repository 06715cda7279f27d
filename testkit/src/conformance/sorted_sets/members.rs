//! Members and their scores: what is added, removed and found.

use bytes::Bytes;
use infra_core::cache::{RankRange, ScoreRange, Scored, SortedSets};

use super::steps::put;
use crate::conformance::collections::counting;
use crate::conformance::{Harness, Outcome, check, check_eq};

/// A sorted set that is absent has no members, and a member that is absent has no score; neither is an error.
pub async fn zset_001_an_absent_sorted_set_is_no_error(harness: &Harness<dyn SortedSets>) -> Outcome {
    let cache = harness.client().await?;
    let (absent, there) = (harness.name("absent"), harness.name("there"));
    put(&*cache, &there, &[("a", 1.0)]).await?;
    for (key, members) in [(&absent, 0), (&there, 1)] {
        check_eq!(
            cache.sorted_score(key, "b".into()).await?,
            None,
            "the score of an absent member of {key:?}"
        );
        let ranked = cache.sorted_range(key, RankRange::ALL).await?;
        check_eq!(ranked.len(), members, "the members of {key:?} by rank");
        let scored = cache.sorted_range_by_score(key, ScoreRange::ALL).await?;
        check_eq!(scored.len(), members, "the members of {key:?} by score");
        check_eq!(
            cache.sorted_len(key).await?,
            members as u64,
            "how many members {key:?} has"
        );
        let counted = cache.sorted_count(key, ScoreRange::ALL).await?;
        check_eq!(counted, members as u64, "how many scores {key:?} has");
    }
    let removed = cache.sorted_remove_by_rank(&absent, RankRange::ALL).await?;
    check_eq!(removed, 0, "how many members an absent sorted set had by rank");
    Ok(())
}

/// Members are bytes: whatever they are each has its score and comes back as it was, in the order of bytes.
pub async fn zset_002_members_are_bytes(harness: &Harness<dyn SortedSets>) -> Outcome {
    let cache = harness.client().await?;
    let key = harness.name("key");
    let all: Vec<u8> = (0..=u8::MAX).collect();
    let mut members =
        [&[0xff_u8][..], &[0xfe], b"7", b"007", &all, &[0, 0], &[0]].map(Bytes::copy_from_slice);
    let added = members.clone().map(|member| Scored::new(member, 1.0));
    cache.sorted_add(&key, &added).await?;
    members.sort_unstable();
    let found = cache.sorted_range(&key, RankRange::ALL).await?;
    let found: Vec<Bytes> = found.into_iter().map(|scored| scored.member).collect();
    check_eq!(found, members, "the members");
    for member in members {
        let score = cache.sorted_score(&key, member.clone()).await?;
        check_eq!(score, Some(1.0), "the score of {member:?}");
    }
    Ok(())
}

/// Adding answers how many members are new.
pub async fn zset_003_adding_counts_what_is_new(harness: &Harness<dyn SortedSets>) -> Outcome {
    counting::adding_counts_what_is_new(harness).await
}

/// Adding a member again gives it the new score, greater or smaller; the last counts where it is named twice.
pub async fn zset_004_adding_again_changes_the_score(harness: &Harness<dyn SortedSets>) -> Outcome {
    let cache = harness.client().await?;
    let key = harness.name("key");
    put(&*cache, &key, &[("a", 1.0), ("b", 2.0), ("c", 3.0)]).await?;
    put(&*cache, &key, &[("a", 4.0), ("c", -1.0), ("b", 9.0), ("b", 0.5)]).await?;
    let found = cache.sorted_range(&key, RankRange::ALL).await?;
    let expected = [("c", -1.0), ("b", 0.5), ("a", 4.0)].map(|(member, score)| Scored::new(member, score));
    check!(found == expected, "after new scores {found:?} came back");
    for Scored { member, score } in expected {
        let found = cache.sorted_score(&key, member.clone()).await?;
        check_eq!(found, Some(score), "the new score of {member:?}");
    }
    Ok(())
}

/// Removing answers how many members there were.
pub async fn zset_005_removing_counts_what_was_there(harness: &Harness<dyn SortedSets>) -> Outcome {
    counting::removing_counts_what_was_there(harness).await
}

/// A sorted set exists from its first member to its last.
pub async fn zset_006_a_sorted_set_without_members_does_not_exist(
    harness: &Harness<dyn SortedSets>,
) -> Outcome {
    counting::without_members_it_does_not_exist(harness).await
}

/// Any text, the empty one too, is a member of its own.
pub async fn zset_007_any_text_is_a_member_of_its_own(harness: &Harness<dyn SortedSets>) -> Outcome {
    counting::any_text_is_a_member_of_its_own(harness).await
}

/// More members than fit a page or a packet all come back, each once.
pub async fn zset_008_many_members_all_come_back(harness: &Harness<dyn SortedSets>) -> Outcome {
    counting::many_members_all_come_back(harness).await
}

/// Scores are 64-bit floating point numbers, and come back as exactly those, one by one and with their members.
pub async fn zset_009_scores_keep_full_precision(harness: &Harness<dyn SortedSets>) -> Outcome {
    let cache = harness.client().await?;
    let key = harness.name("key");
    let members = [
        ("least", f64::MIN),
        ("third", -1.0 / 3.0),
        ("tiny", f64::MIN_POSITIVE),
        ("tenth", 0.1),
        ("above a tenth", 0.1_f64.next_up()),
        ("milliseconds", 1_766_000_000_123.456_7),
        ("two to the 53rd", 9_007_199_254_740_992.0),
        ("greatest", f64::MAX),
    ];
    put(&*cache, &key, &members).await?;
    let found = cache.sorted_range(&key, RankRange::ALL).await?;
    let expected = members.map(|(member, score)| Scored::new(member, score));
    check!(
        found == expected,
        "{expected:?} were added, and {found:?} came back"
    );
    for (member, score) in members {
        check_eq!(
            cache.sorted_score(&key, member.into()).await?,
            Some(score),
            "the score of {member:?}"
        );
    }
    Ok(())
}

/// Both infinities are scores: the least and the greatest.
pub async fn zset_010_infinite_scores_are_scores(harness: &Harness<dyn SortedSets>) -> Outcome {
    let cache = harness.client().await?;
    let key = harness.name("key");
    let members = [
        ("last", f64::INFINITY),
        ("middle", 0.0),
        ("first", f64::NEG_INFINITY),
    ]
    .map(|(member, score)| Scored::new(member, score));
    check_eq!(
        cache.sorted_add(&key, &members).await?,
        3,
        "how many members were new"
    );
    let found = cache.sorted_range(&key, RankRange::ALL).await?;
    let [last, middle, first] = members;
    check!(
        found == [first, middle, last],
        "infinite scores came back as {found:?}"
    );
    Ok(())
}
