//! What can be asked for: leases, names.

use std::time::Duration;

use infra_core::coordination::{LockOptions, Locks};
use infra_core::error::ErrorKind;

use super::steps::hold;
use crate::conformance::{
    Disturbance, Failure, Harness, Outcome, Premise, check_eq, check_error, limits, long_lease,
};

/// A time to live of zero or outside the declared limits is refused, by waiting and by trying alike.
pub async fn lock_017_leases_outside_the_limits_are_refused(harness: &Harness<dyn Locks>) -> Outcome {
    let locks = harness.client().await?;
    let name = harness.name("lock");
    let limits = limits(&*locks);
    let too_short = limits.min_ttl.saturating_sub(Duration::from_nanos(1));
    let too_long = limits.max_ttl.saturating_add(Duration::from_secs(1));
    for ttl in [Duration::ZERO, too_short, too_long, Duration::MAX] {
        refused(&*locks, &name, ttl, &format!("a lease of {ttl:?}")).await?;
    }
    for (what, ttl) in [("shortest", limits.min_ttl), ("longest", limits.max_ttl)] {
        let guard = locks.try_acquire(&harness.name(what), ttl).await?;
        let guard = guard.premise("a free lock is given out")?;
        // The shortest of all may be over by now for us and not yet for the server, and that is no fault.
        let _ = guard.release().await;
    }
    Ok(())
}

/// A name that is empty or longer than declared is refused; the longest one is not.
pub async fn lock_018_names_outside_the_limits_are_refused(harness: &Harness<dyn Locks>) -> Outcome {
    let locks = harness.client().await?;
    let (longest, ttl) = (limits(&*locks).max_key_bytes, long_lease(&*locks));
    let base = harness.name("");
    let name = format!("{base}{}", "n".repeat(longest.saturating_sub(base.len())));
    hold(&*locks, &name, ttl).await?;
    refused(&*locks, "", ttl, "an empty name").await?;
    refused(
        &*locks,
        &format!("{name}n"),
        ttl,
        "a name that is one byte too long",
    )
    .await
}

/// What is wrong in itself is refused without asking the server.
pub async fn lock_019_bad_arguments_are_refused_without_the_server(harness: &Harness<dyn Locks>) -> Outcome {
    let locks = harness.client().await?;
    let name = harness.name("lock");
    harness.disturb(Disturbance::GoAway).await?;
    let ttl = refused(
        &*locks,
        &name,
        Duration::ZERO,
        "no lease, while the server is away",
    )
    .await;
    let empty = refused(
        &*locks,
        "",
        long_lease(&*locks),
        "no name, while the server is away",
    )
    .await;
    harness.disturb(Disturbance::ComeBack).await?;
    ttl.and(empty)
}

async fn refused(locks: &dyn Locks, name: &str, ttl: Duration, what: &str) -> Outcome {
    check_error!(
        locks.try_acquire(name, ttl).await,
        ErrorKind::InvalidArgument,
        "try_acquire with {what}"
    );
    check_error!(
        locks.acquire(name, LockOptions::new(ttl)).await,
        ErrorKind::InvalidArgument,
        "acquire with {what}"
    );
    Ok(())
}

/// Names are data: no two of them are one lock, whatever they look like to a path, a pattern or a parser.
pub async fn lock_021_similar_names_are_different_locks(harness: &Harness<dyn Locks>) -> Outcome {
    let locks = harness.client().await?;
    let (base, ttl) = (harness.name("lock"), long_lease(&*locks));
    let mut guards = vec![hold(&*locks, &base, ttl).await?];
    for ending in WEIRD {
        let name = format!("{base}{ending}");
        match locks.try_acquire(&name, ttl).await {
            Ok(Some(guard)) => guards.push(guard),
            Ok(None) => {
                return Err(Failure::broken(format!(
                    "{name:?} is taken for another lock; only others were asked for"
                )));
            }
            // A backend may refuse what it cannot keep apart.
            Err(error) if error.kind() == ErrorKind::InvalidArgument => {}
            Err(error) => return Err(error.into()),
        }
    }
    for guard in guards {
        guard.release().await?;
    }
    Ok(())
}

const WEIRD: &[&str] = &[
    "/", "//", "/.", "/..", "/../x", "/a", "/a/", "/A", "%2f", "%2F", "%", "_", "*", "?", "\\", "'", "\"",
    ":", "{x}", "[x]", "#", " ", "\t", "\n", "\u{0}", "é", "e\u{301}", "锁", "🔒", "\u{200b}",
];

/// A guard has the name and the lease that were asked for, not what the backend made of them.
pub async fn lock_032_a_guard_says_what_was_asked(harness: &Harness<dyn Locks>) -> Outcome {
    let locks = harness.client().await?;
    let (name, ttl) = (harness.name("of/a kind"), long_lease(&*locks));
    let tried = hold(&*locks, &name, ttl).await?;
    check_eq!(tried.key(), name, "the name of the guard from try_acquire");
    check_eq!(tried.ttl(), ttl, "the lease of the guard from try_acquire");
    tried.release().await.premise("a held lock is released")?;
    let waited = locks.acquire(&name, LockOptions::new(ttl)).await;
    let waited = waited.premise("a free lock is given out")?;
    check_eq!(waited.key(), name, "the name of the guard from acquire");
    check_eq!(waited.ttl(), ttl, "the lease of the guard from acquire");
    Ok(())
}
