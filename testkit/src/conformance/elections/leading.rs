//! Leading: who does, for how long, and how the end is learnt.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use infra_core::coordination::Locks;
use infra_core::error::ErrorKind;

use super::steps::{candidate, lead_now, lock_of, stand};
use crate::conformance::locks::steps::LONG_WAIT;
use crate::conformance::{
    Disturbance, Failure, Harness, Outcome, Premise, SLACK, check, check_eq, check_error, long_lease,
    over_within, short_lease,
};

/// A candidate without a rival leads at once.
pub async fn elect_001_a_sole_candidate_leads(harness: &Harness<dyn Locks>) -> Outcome {
    let locks = harness.client().await?;
    let election = candidate(&locks, &harness.name("writer"), long_lease(&*locks))?;
    let leading = harness.within(SLACK * 5, "leading without a rival", election.campaign());
    let leadership = leading.await??;
    check!(!leadership.is_lost(), "the leadership is lost from the beginning");
    leadership.resign().await?;
    Ok(())
}

/// Of twelve candidates on three clients one leads at any instant, and each gets its turn.
pub async fn elect_002_of_many_candidates_one_leads(harness: &Harness<dyn Locks>) -> Outcome {
    let name = harness.name("writer");
    let leaders = Arc::new(AtomicUsize::new(0));
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(harness.client().await?);
    }
    let mut candidates = Vec::new();
    for number in 0..12 {
        let locks = &clients[number % clients.len()];
        let election = candidate(locks, &name, long_lease(&**locks))?;
        let leaders = Arc::clone(&leaders);
        candidates.push(tokio::spawn(async move {
            for _ in 0..5 {
                let leadership = election.campaign().await?;
                let others = leaders.fetch_add(1, Ordering::SeqCst);
                check_eq!(others, 0, "other leaders besides {leadership:?}");
                tokio::time::sleep(Duration::from_millis(3)).await;
                leaders.fetch_sub(1, Ordering::SeqCst);
                leadership.resign().await?;
            }
            Ok::<_, Failure>(())
        }));
    }
    for candidate in candidates {
        let turns = harness
            .within(LONG_WAIT, "five turns of a candidate", candidate)
            .await;
        match turns.premise("every candidate gets its turn")?? {
            Err(failure) if failure.message().contains("other leaders") => return Err(failure),
            turn => turn.premise("every candidate gets its turn")?,
        }
    }
    Ok(())
}

/// A leader leads on for many leases, whoever waits.
pub async fn elect_003_a_leader_leads_while_it_lives(harness: &Harness<dyn Locks>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let (name, ttl) = (harness.name("writer"), short_lease(harness, &*ours));
    let leadership = lead_now(harness, &candidate(&ours, &name, ttl)?).await?;
    let rival = stand(&candidate(&theirs, &name, ttl)?);
    for _ in 0..6 {
        harness.pass(ttl / 2).await;
        check!(
            !leadership.is_lost(),
            "the leader lives and its leadership is lost"
        );
        check!(!rival.is_finished(), "a second one leads while the leader lives");
    }
    leadership.resign().await?;
    Ok(())
}

/// A leader whose lock was taken is told within a lease, in every form in which it can ask.
pub async fn elect_005_a_leader_is_told_of_its_loss(harness: &Harness<dyn Locks>) -> Outcome {
    let locks = harness.client().await?;
    let (name, ttl) = (harness.name("writer"), short_lease(harness, &*locks));
    let leadership = lead_now(harness, &candidate(&locks, &name, ttl)?).await?;
    let token = leadership.lost_token();
    check!(
        !leadership.is_lost() && !token.is_cancelled(),
        "a leader was told of a loss that did not happen"
    );
    harness
        .disturb(Disturbance::StealLock { key: lock_of(&name) })
        .await?;
    harness
        .within(
            ttl + SLACK,
            "telling a leader that it was robbed",
            leadership.lost(),
        )
        .await?;
    check!(leadership.is_lost(), "the loss was told and is denied");
    check!(
        token.is_cancelled(),
        "the loss was told and its token knows nothing"
    );
    check_error!(
        leadership.resign().await,
        ErrorKind::LeaseLost,
        "resigning from what was lost"
    );
    Ok(())
}

/// A leader that cannot reach the server steps down before anybody else can lead.
pub async fn elect_009_a_leader_without_the_server_steps_down(harness: &Harness<dyn Locks>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let (name, ttl) = (harness.name("writer"), short_lease(harness, &*ours));
    let leadership = lead_now(harness, &candidate(&ours, &name, ttl)?).await?;
    harness.disturb(Disturbance::Disconnect { client: 0 }).await?;
    let what = "stepping down without the server";
    harness.within(ttl + SLACK / 2, what, leadership.lost()).await?;
    harness.pass(over_within(&*theirs, ttl).saturating_sub(ttl)).await;
    let next = lead_now(harness, &candidate(&theirs, &name, ttl)?).await?;
    harness.disturb(Disturbance::Reconnect { client: 0 }).await?;
    harness.pass(SLACK / 2).await;
    check!(
        leadership.is_lost() && !next.is_lost(),
        "the old leader came back and leads besides the new one"
    );
    Ok(())
}
