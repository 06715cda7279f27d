//! Members: what is added, removed and found.

use std::collections::BTreeSet;

use bytes::Bytes;
use infra_core::cache::Sets;

use crate::conformance::collections::counting;
use crate::conformance::{Harness, Outcome, Premise, check, check_eq};

/// A set that is absent has no members, and a member that is absent is not in it; neither is an error.
pub async fn set_001_an_absent_set_is_no_error(harness: &Harness<dyn Sets>) -> Outcome {
    let cache = harness.client().await?;
    let (absent, there) = (harness.name("absent"), harness.name("there"));
    cache
        .set_add(&there, &["a".into()])
        .await
        .premise("a member is added")?;
    for (key, members) in [(&absent, 0), (&there, 1)] {
        check!(
            !cache.set_contains(key, "b".into()).await?,
            "{key:?} contains what was never added"
        );
        check_eq!(
            cache.set_members(key).await?.len(),
            members,
            "the members of {key:?}"
        );
        check_eq!(
            cache.set_len(key).await?,
            members as u64,
            "how many members {key:?} has"
        );
    }
    Ok(())
}

/// Members are bytes: whatever they are each is found and comes back as it was.
pub async fn set_002_members_are_bytes(harness: &Harness<dyn Sets>) -> Outcome {
    let cache = harness.client().await?;
    let key = harness.name("key");
    let mut members: BTreeSet<Bytes> = [&[0xff_u8][..], &[0xfe], &[0], &[0, 0], b"\r\n", b"007", b"7"]
        .into_iter()
        .map(Bytes::copy_from_slice)
        .collect();
    members.insert((0..=u8::MAX).collect());
    let all: Vec<Bytes> = members.iter().cloned().collect();
    cache.set_add(&key, &all).await?;
    let found: BTreeSet<Bytes> = cache.set_members(&key).await?.into_iter().collect();
    check_eq!(found, members, "the members");
    for member in members {
        check!(
            cache.set_contains(&key, member.clone()).await?,
            "{member:?} is not contained"
        );
    }
    Ok(())
}

/// Adding answers how many members are new.
pub async fn set_003_adding_counts_what_is_new(harness: &Harness<dyn Sets>) -> Outcome {
    counting::adding_counts_what_is_new(harness).await
}

/// Removing answers how many members there were.
pub async fn set_004_removing_counts_what_was_there(harness: &Harness<dyn Sets>) -> Outcome {
    counting::removing_counts_what_was_there(harness).await
}

/// A set exists from its first member to its last.
pub async fn set_005_a_set_without_members_does_not_exist(harness: &Harness<dyn Sets>) -> Outcome {
    counting::without_members_it_does_not_exist(harness).await
}

/// Any text, the empty one too, is a member of its own.
pub async fn set_006_any_text_is_a_member_of_its_own(harness: &Harness<dyn Sets>) -> Outcome {
    counting::any_text_is_a_member_of_its_own(harness).await
}

/// More members than fit a page or a packet all come back, each once.
pub async fn set_007_many_members_all_come_back(harness: &Harness<dyn Sets>) -> Outcome {
    counting::many_members_all_come_back(harness).await
}
