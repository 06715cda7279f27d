//! Members that come and go, drains, changes of their bounds.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use infra_core::ErrorKind;
use infra_core::queue::{Delivery, Disposition, handler_fn};
use tokio::time::{Instant, sleep};

use super::ground::{FAR, Gate, Ground, Queues, Seen, a_while, bound, numbers, plan_for, quiet};
use crate::conformance::{Outcome, Premise, check, check_eq, check_error};

/// A subscription that is dropped begins nothing any more; a later member gets the rest.
pub async fn mq_015_a_dropped_subscription_stops(harness: &Queues) -> Outcome {
    let (ground, first, rest) = (Ground::new(harness).await?, Seen::default(), Seen::default());
    let plan = || ground.plan().with_max_in_flight(NonZeroU32::MIN);
    let slow = first.taking(a_while(harness), &Seen::default());
    let member = ground.join("group", plan(), slow).await?;
    ground.send_numbers(0..10).await?;
    first.reach(harness, 2).await.premise("handling begins")?;
    drop(member);
    sleep(Duration::from_millis(50)).await;
    let begun = first.count();
    quiet(harness).await;
    check_eq!(
        first.count(),
        begun,
        "handlers that began after the subscription was dropped"
    );
    let _rest = ground.join("group", ground.plan(), rest.acking()).await?;
    let all = async || {
        let mut all = [first.distinct(), rest.distinct()].concat();
        all.sort_unstable();
        all.dedup();
        all == numbers(0..10)
    };
    harness
        .eventually(bound(harness), "the later member gets the rest", all)
        .await
}

/// A drain lets running handlers finish and settles their answers; what had not begun goes to the next member, once.
pub async fn mq_026_a_drain_finishes_what_runs(harness: &Queues) -> Outcome {
    let ground = Ground::new(harness).await?;
    let (begun, done, next) = (Seen::default(), Seen::default(), Seen::default());
    let slow = begun.taking(a_while(harness), &done);
    let member = ground.join("group", ground.plan(), slow).await?;
    for number in 0..20_u32 {
        let key = format!("key{}", number % 4);
        ground.send(ground.keyed(&key, &number.to_string())).await?;
    }
    begun.reach(harness, 1).await.premise("handling begins")?;
    member.handle.drain(bound(harness)).await?;
    check_eq!(
        done.distinct(),
        begun.distinct(),
        "what was finished of what had begun"
    );
    let _next = ground.join("group", ground.plan(), next.acking()).await?;
    let left = 20 - done.count();
    next.reach(harness, left).await?;
    quiet(harness).await;
    let mut all = [done.texts(), next.texts()].concat();
    all.sort_unstable();
    check_eq!(all, numbers(0..20), "what both members handled");
    Ok(())
}

/// A drain ends at its deadline and says so; what was still being handled is delivered again.
pub async fn mq_027_a_drain_ends_at_its_deadline(harness: &Queues) -> Outcome {
    let (ground, first, next) = (Ground::new(harness).await?, Seen::default(), Seen::default());
    let member = ground
        .join("group", ground.plan(), first.taking(FAR, &Seen::default()))
        .await?;
    ground.send(ground.message("endless")).await?;
    first.reach(harness, 1).await.premise("handling begins")?;
    let begun = Instant::now();
    let answer = member.handle.drain(Duration::from_secs(1)).await;
    check_error!(
        answer,
        ErrorKind::Timeout,
        "a drain with a handler that does not end"
    );
    let took = begun.elapsed();
    check!(
        took < Duration::from_secs(20),
        "a drain of a second took {took:?}"
    );
    let _next = ground.join("group", ground.plan(), next.acking()).await?;
    next.reach(harness, 1).await.premise("it is delivered again")?;
    Ok(())
}

/// While members join and leave, no message is with two of them at the same time, and none is left over.
pub async fn mq_046_members_hand_over_in_good_order(harness: &Queues) -> Outcome {
    let (ground, done) = (Ground::new(harness).await?, Seen::default());
    let begun = Seen::default();
    let twice = Arc::new(Mutex::new((HashSet::new(), Vec::new())));
    let handler = handler_fn({
        let (begun, done, twice, takes) = (
            begun.clone(),
            done.clone(),
            Arc::clone(&twice),
            a_while(harness) / 3,
        );
        move |delivery: Delivery| {
            begun.note(&delivery);
            let (done, busy) = (done.clone(), Busy::new(&twice, super::ground::text_of(&delivery)));
            async move {
                sleep(takes).await;
                done.note(&delivery);
                drop(busy);
                Ok(Disposition::Ack)
            }
        }
    });
    let one = ground.join("group", ground.plan(), Arc::clone(&handler)).await?;
    for number in 0..40_u32 {
        let key = format!("key{}", number % 8);
        ground.send(ground.keyed(&key, &number.to_string())).await?;
    }
    begun.reach(harness, 5).await.premise("handling begins")?;
    let _two = ground.join("group", ground.plan(), handler).await?;
    done.reach(harness, 15).await.premise("handling goes on")?;
    one.handle
        .drain(bound(harness))
        .await
        .premise("a member leaves")?;
    done.until(harness, "everything is handled", || {
        done.distinct() == numbers(0..40)
    })
    .await?;
    let twice = twice.lock().unwrap_or_else(PoisonError::into_inner);
    check!(
        twice.1.is_empty(),
        "with two members at the same time: {:?}",
        twice.1
    );
    Ok(())
}

type Handled = Mutex<(HashSet<String>, Vec<String>)>;

/// A message that is being handled, also if the handler is stopped.
struct Busy(Arc<Handled>, String);

impl Busy {
    fn new(handled: &Arc<Handled>, text: String) -> Self {
        {
            let mut handled = handled.lock().unwrap_or_else(PoisonError::into_inner);
            if !handled.0.insert(text.clone()) {
                handled.1.push(text.clone());
            }
        }
        Self(Arc::clone(handled), text)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut handled = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        handled.0.remove(&self.1);
    }
}

/// A subscription says how many messages it holds, and none when it is done.
pub async fn mq_047_a_subscription_says_how_much_is_in_flight(harness: &Queues) -> Outcome {
    let (ground, seen, gate) = (Ground::new(harness).await?, Seen::default(), Gate::default());
    let member = ground
        .join("group", ground.plan(), seen.behind(&gate, |_| true))
        .await?;
    ground.send_numbers(0..3).await?;
    seen.reach(harness, 3).await.premise("handling begins")?;
    let shown = async |count: usize, what: &str| {
        let shows = async || member.handle.in_flight() == count;
        harness.eventually(bound(harness), what, shows).await
    };
    shown(3, "3 messages are in flight").await?;
    gate.open();
    shown(0, "none is in flight").await
}

/// The bound in flight can be raised while the subscription runs, and takes effect at once.
pub async fn mq_048_the_bound_in_flight_can_be_changed(harness: &Queues) -> Outcome {
    let (ground, seen, gate) = (Ground::new(harness).await?, Seen::default(), Gate::default());
    let plan = ground.plan().with_max_in_flight(NonZeroU32::MIN);
    let member = ground.join("group", plan, seen.behind(&gate, |_| true)).await?;
    ground.send_numbers(0..8).await?;
    seen.reach(harness, 1).await.premise("handling begins")?;
    member.handle.set_max_in_flight(NonZeroU32::MIN.saturating_add(7));
    let raised = seen.reach(harness, 2).await;
    gate.open();
    raised
}

/// Two subscriptions of one consumer work side by side.
pub async fn mq_049_a_consumer_has_several_subscriptions(harness: &Queues) -> Outcome {
    let ground = Ground::new(harness).await?;
    let (other, one, two) = (ground.topic("other").await?, Seen::default(), Seen::default());
    let first = ground.join("group", ground.plan(), one.acking()).await?;
    let _second = first
        .consumer
        .subscribe(plan_for(&other), two.acking())
        .await
        .premise("a second subscription")?;
    ground.send(ground.message("one")).await?;
    ground
        .send(infra_core::queue::Message::new(other.as_str(), "two"))
        .await?;
    harness
        .eventually(
            bound(harness),
            "both subscriptions get their message",
            async || one.texts() == ["one"] && two.texts() == ["two"],
        )
        .await
}

/// A consumer that is shut down lets its handlers finish, gets nothing any more and is closed; other groups go on.
pub async fn mq_050_a_consumer_is_shut_down_alone(harness: &Queues) -> Outcome {
    let ground = Ground::new(harness).await?;
    let (begun, done, other) = (Seen::default(), Seen::default(), Seen::default());
    let slow = begun.taking(a_while(harness), &done);
    let member = ground.join("ending", ground.plan(), slow).await?;
    let _other = ground.join("other", ground.plan(), other.acking()).await?;
    ground.send(ground.message("before")).await?;
    begun.reach(harness, 1).await.premise("handling begins")?;
    member.consumer.shutdown(bound(harness)).await?;
    check_eq!(
        done.texts(),
        ["before"],
        "what was handled when the shutdown had ended"
    );
    ground.send(ground.message("after")).await?;
    other.reach(harness, 2).await.premise("the other group goes on")?;
    quiet(harness).await;
    check_eq!(
        begun.texts(),
        ["before"],
        "what a consumer got that was shut down"
    );
    member.consumer.shutdown(bound(harness)).await?;
    let answer = member.consumer.subscribe(ground.plan(), begun.acking()).await;
    check_error!(
        answer,
        ErrorKind::Closed,
        "a subscription after the consumer's shutdown"
    );
    Ok(())
}
