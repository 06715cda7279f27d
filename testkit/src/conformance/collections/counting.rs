//! Which members there are, and how many of them a call changed.

use std::collections::BTreeSet;

use super::Collection;
use super::steps::{members, put};
use crate::conformance::{Harness, Outcome, Premise, check, check_eq};

/// Adding answers how many are new: not those that were there, and each once that is named twice.
pub(crate) async fn adding_counts_what_is_new<T: Collection + ?Sized>(harness: &Harness<T>) -> Outcome {
    let client = harness.client().await?;
    let key = harness.name("key");
    for (added, expected) in [
        (&["a", "b"][..], 2),
        (&["a", "b"], 0),
        (&["b", "c"], 1),
        (&["d", "d", "c"], 1),
    ] {
        let new = client.add(&key, added).await?;
        check_eq!(new, expected, "how many of {added:?} were new");
    }
    Ok(())
}

/// Removing answers how many there were: not those that are absent, and each once that is named twice.
pub(crate) async fn removing_counts_what_was_there<T: Collection + ?Sized>(harness: &Harness<T>) -> Outcome {
    let client = harness.client().await?;
    let key = harness.name("key");
    put(&*client, &key, &["a", "b", "c", "d"]).await?;
    for (removed, expected) in [(&["a", "x"][..], 1), (&["a"], 0), (&["b", "b", "c"], 2), (&[], 0)] {
        let there = client.remove(&key, removed).await?;
        check_eq!(there, expected, "how many of {removed:?} there were");
    }
    check_eq!(members(&*client, &key).await?, ["d"], "what was not removed");
    let absent = harness.name("absent");
    let there = client.remove(&absent, &["a"]).await?;
    check_eq!(there, 0, "how many there were under a key that is absent");
    Ok(())
}

/// It exists from its first member to its last: adding none makes nothing, and what is made anew has no old time to live.
pub(crate) async fn without_members_it_does_not_exist<T: Collection + ?Sized>(
    harness: &Harness<T>,
) -> Outcome {
    let client = harness.client().await?;
    let key = harness.name("key");
    check_eq!(client.add(&key, &[]).await?, 0, "how many of no members were new");
    check!(!client.exists(&key).await?, "it exists before its first member");
    put(&*client, &key, &["a", "b"]).await?;
    super::steps::give_time(&*client, &key, crate::conformance::long_lease(&*client)).await?;
    client
        .remove(&key, &["a", "b"])
        .await
        .premise("all are removed")?;
    check!(!client.exists(&key).await?, "it exists after its last member");
    check_eq!(client.ttl(&key).await?, None, "the time of one without members");
    put(&*client, &key, &["a"]).await?;
    check!(client.exists(&key).await?, "it does not exist with a member");
    let left = client.ttl(&key).await?;
    check_eq!(left, Some(infra_core::Ttl::Never), "the time of one made anew");
    Ok(())
}

/// Texts that a protocol, a path, a trim, a case fold or a normal form would take for one another.
const WEIRD: [&str; 22] = [
    "",
    " ",
    "a",
    "A",
    "a ",
    " a",
    "a/",
    "a//",
    "a/../a",
    "%61",
    "*",
    "?",
    "\\",
    "'",
    "\"",
    "\t",
    "\r\n$1\r\n",
    "\u{0}",
    "é",
    "e\u{301}",
    "锁🔒",
    "\u{200b}",
];

/// Any text, the empty one too, is a member of its own: all are new, all come back, and each is removed alone.
pub(crate) async fn any_text_is_a_member_of_its_own<T: Collection + ?Sized>(harness: &Harness<T>) -> Outcome {
    let client = harness.client().await?;
    let key = harness.name("key");
    for member in WEIRD {
        let new = client.add(&key, &[member]).await?;
        check_eq!(new, 1, "whether {member:?} was new");
    }
    let mut left: BTreeSet<String> = WEIRD.iter().map(|&member| member.to_owned()).collect();
    for member in WEIRD {
        let expected: Vec<_> = left.iter().cloned().collect();
        check_eq!(members(&*client, &key).await?, expected, "the members");
        client
            .remove(&key, &[member])
            .await
            .premise("a member is removed")?;
        left.remove(member);
    }
    Ok(())
}

/// More members than fit a page or a packet all come back, each once.
pub(crate) async fn many_members_all_come_back<T: Collection + ?Sized>(harness: &Harness<T>) -> Outcome {
    const MANY: usize = 2_000;
    let client = harness.client().await?;
    let key = harness.name("key");
    let all: Vec<String> = (0..MANY).map(|number| format!("member {number:05}")).collect();
    let names: Vec<&str> = all.iter().map(String::as_str).collect();
    for some in names.chunks(MANY / 4) {
        put(&*client, &key, some).await?;
    }
    let found = members(&*client, &key).await?;
    check!(
        found == all,
        "{MANY} members were added, and {} came back",
        found.len()
    );
    Ok(())
}
