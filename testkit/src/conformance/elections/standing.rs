//! Standing for election: what is refused, waiting, withdrawing, shutdown.

use std::sync::Arc;
use std::time::Duration;

use infra_core::coordination::{Election, ElectionOptions, Locks};
use infra_core::error::ErrorKind;

use super::steps::{candidate, lead_now, lock_of, stand, waiting};
use crate::conformance::locks::steps::LONG_WAIT;
use crate::conformance::{
    Disturbance, Failure, Harness, Outcome, Premise, SLACK, TimeControl, check, check_eq, check_error,
    limits, long_lease,
};

/// Names and leases that the backend cannot take are refused when the election is made, and what was not refused works.
pub async fn elect_007_what_cannot_work_is_refused_and_the_rest_works(
    harness: &Harness<dyn Locks>,
) -> Outcome {
    let locks = harness.client().await?;
    let limits = limits(&*locks);
    let base = harness.name("");
    let room = limits.max_key_bytes - lock_of(&base).len();
    let longest = format!("{base}{}", "n".repeat(room));
    let too_long = limits.max_ttl.saturating_add(Duration::from_secs(1));
    let ttl = long_lease(&*locks);
    for (name, ttl, what) in [
        ("", ttl, "an empty name"),
        (&*format!("{longest}n"), ttl, "a name that is one byte too long"),
        (&*longest, Duration::ZERO, "no lease"),
        (&*longest, too_long, "a lease that is too long"),
    ] {
        let options = ElectionOptions::default().with_ttl(ttl);
        let answer = Election::new(Arc::clone(&locks), name, options);
        check_error!(answer, ErrorKind::InvalidArgument, "an election with {what}");
    }
    let election = Election::new(
        Arc::clone(&locks),
        &longest,
        ElectionOptions::default().with_ttl(ttl),
    )?;
    let leading = harness.within(SLACK * 5, "leading under the longest name", election.campaign());
    leading.await.premise("a sole candidate leads")??.resign().await?;
    Ok(())
}

/// A candidate that withdraws while it waits is not elected.
pub async fn elect_011_a_withdrawn_candidate_leaves_no_ghost(harness: &Harness<dyn Locks>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let (name, ttl) = (harness.name("writer"), long_lease(&*ours));
    let leadership = lead_now(harness, &candidate(&ours, &name, ttl)?).await?;
    let ghost = stand(&candidate(&theirs, &name, ttl)?);
    waiting(harness, &name, 1).await?;
    ghost.abort();
    check!(ghost.await.is_err(), "a second one leads while the leader lives");
    leadership.resign().await.premise("a leader resigns")?;
    let next = candidate(&theirs, &name, ttl)?;
    let what = "leading after a rival withdrew";
    harness.within(SLACK * 5, what, next.campaign()).await??;
    Ok(())
}

/// A candidate whose client is shut down is told so at once, and one that stands afterwards too.
pub async fn elect_012_candidates_learn_of_shutdown(harness: &Harness<dyn Locks>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let (name, ttl) = (harness.name("writer"), long_lease(&*ours));
    let _leadership = lead_now(harness, &candidate(&ours, &name, ttl)?).await?;
    // A long pause after errors, so that an error of another kind would show.
    let options = ElectionOptions::default().with_ttl(ttl).with_pause(LONG_WAIT);
    let election = Election::new(Arc::clone(&theirs), &name, options)?;
    let rival = stand(&election);
    waiting(harness, &name, 1).await?;
    theirs.shutdown(SLACK).await.premise("a client is shut down")?;
    let told = harness.within(SLACK * 2, "telling a candidate of the shutdown", rival);
    check_error!(
        told.await??,
        ErrorKind::Closed,
        "standing while the client is shut down"
    );
    let late = harness.within(
        SLACK * 2,
        "standing after shutdown",
        election.lead(|_| async { Ok(()) }),
    );
    check_error!(late.await?, ErrorKind::Closed, "leading after shutdown");
    Ok(())
}

/// Whoever stands while the server is away leads when it is back, without being asked again.
pub async fn elect_014_leading_begins_when_the_server_comes_back(harness: &Harness<dyn Locks>) -> Outcome {
    let locks = harness.client().await?;
    let election = candidate(&locks, &harness.name("writer"), long_lease(&*locks))?;
    harness.disturb(Disturbance::GoAway).await?;
    let leading = tokio::spawn(async move { election.lead(|_| async { Ok("led") }).await });
    harness.pass(SLACK).await;
    let early = leading.is_finished();
    harness.disturb(Disturbance::ComeBack).await?;
    if early {
        let answer = leading.await?;
        return Err(Failure::broken(format!(
            "leading ended while the server was away: {answer:?}"
        )));
    }
    let led = harness
        .within(LONG_WAIT, "leading after the server came back", leading)
        .await;
    let led = led
        .premise("a sole candidate leads")??
        .premise("a sole candidate leads")?;
    check_eq!(led, "led", "the result of the work that led");
    Ok(())
}

/// A candidate waits for a leader that leads for hours, however long its calls wait.
pub async fn elect_015_a_candidate_waits_as_long_as_it_takes(harness: &Harness<dyn Locks>) -> Outcome {
    if harness.time() == TimeControl::Real {
        return Err(Failure::skipped("it takes hours where time is not virtual"));
    }
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let (name, ttl) = (harness.name("writer"), long_lease(&*ours));
    let leadership = lead_now(harness, &candidate(&ours, &name, ttl)?).await?;
    let rival = stand(&candidate(&theirs, &name, ttl)?);
    harness.pass(Duration::from_secs(3 * 3600)).await;
    if rival.is_finished() {
        let answer = rival.await?;
        answer.is_err().premise("nobody leads besides the leader")?;
        answer?;
        return Ok(());
    }
    leadership.resign().await.premise("a leader resigns")?;
    let succeeded = harness
        .within(LONG_WAIT, "leading after three hours", rival)
        .await;
    succeeded.premise("a resignation hands over")???;
    Ok(())
}

/// Elections of other names, and a lock with an election's name, are other things.
pub async fn elect_016_elections_and_locks_do_not_meet(harness: &Harness<dyn Locks>) -> Outcome {
    let locks = harness.client().await?;
    let (name, ttl) = (harness.name("writer"), long_lease(&*locks));
    let _leadership = lead_now(harness, &candidate(&locks, &name, ttl)?).await?;
    let lock = locks.try_acquire(&name, ttl).await?;
    check!(
        lock.is_some(),
        "the lock {name} is refused because the election {name} has a leader"
    );
    for other in [
        format!("reports/{name}"),
        format!("{name}/reports"),
        format!("{name}s"),
    ] {
        let election = candidate(&locks, &other, ttl)?;
        let what = format!("leading in {other} while another leads in {name}");
        harness.within(SLACK * 5, &what, election.campaign()).await??;
    }
    Ok(())
}
