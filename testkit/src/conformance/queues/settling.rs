//! What a handler answers, and what becomes of its message.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use infra_core::queue::{Delivery, Disposition, handler_fn, names};
use infra_core::{Error, ErrorKind, Retry};
use tokio::time::sleep;

use super::ground::{FAR, Gate, Ground, Queues, Seen, either, quiet, text_of};
use crate::conformance::{Disturbance, Outcome, Premise, check, check_eq};

const NOW: Disposition = Disposition::Retry {
    after: Duration::ZERO,
};

fn attempts(number: u32) -> std::num::NonZeroU32 {
    std::num::NonZeroU32::MIN.saturating_add(number - 1)
}

fn failure() -> Error {
    Error::new(ErrorKind::Unavailable, "no such luck")
}

/// A message that is to be retried is delivered again, and each delivery says which one it is.
pub async fn mq_005_a_retry_is_delivered_again_and_counted(harness: &Queues) -> Outcome {
    let (ground, seen) = (Ground::new(harness).await?, Seen::default());
    let twice = seen.clone();
    let handler = seen.answering(move |_| Ok(if twice.count() < 3 { NOW } else { Disposition::Ack }));
    let _member = ground.join("group", ground.plan(), handler).await?;
    ground.send(ground.message("text")).await?;
    seen.reach(harness, 3).await?;
    let counted: Vec<u32> = seen.all().iter().map(|delivery| delivery.attempt.get()).collect();
    check_eq!(counted, [1, 2, 3], "the attempts");
    Ok(())
}

/// A message whose handler always fails, or asks for a retry, is delivered as often as the subscription says, and becomes exactly one dead letter.
pub async fn mq_006_a_failing_message_becomes_one_dead_letter(harness: &Queues) -> Outcome {
    let (ground, seen) = (Ground::new(harness).await?, Seen::default());
    let (letters, _letters) = ground.letters(".dlq").await?;
    let plan = ground.plan().with_max_attempts(attempts(3));
    let second = seen.clone();
    let handler = seen.answering(move |_| {
        if second.count() == 2 {
            Ok(NOW)
        } else {
            Err(failure())
        }
    });
    let _member = ground.join("group", plan, handler).await?;
    ground.send(ground.keyed("key", "poison")).await?;
    letters.reach(harness, 1).await?;
    quiet(harness).await;
    check_eq!(letters.texts(), ["poison"], "the dead letters");
    check_eq!(seen.count(), 3, "the deliveries before it was given up");
    Ok(())
}

/// What was acknowledged is not delivered again, neither to this member nor to the next one.
pub async fn mq_007_what_was_acknowledged_does_not_come_back(harness: &Queues) -> Outcome {
    let (ground, seen) = (Ground::new(harness).await?, Seen::default());
    let member = ground.join("group", ground.plan(), seen.acking()).await?;
    ground.send(ground.message("once")).await?;
    seen.reach(harness, 1).await.premise("the message arrives")?;
    ground.settled("group").await.premise("the message is settled")?;
    drop(member);
    let _next = ground.join("group", ground.plan(), seen.acking()).await?;
    ground.send(ground.message("next")).await?;
    seen.reach(harness, 2).await.premise("the next message arrives")?;
    quiet(harness).await;
    check_eq!(seen.texts(), ["once", "next"], "the deliveries");
    Ok(())
}

/// A handler that runs longer than the subscription allows is stopped, and its message is delivered again.
pub async fn mq_008_a_handler_that_runs_too_long_has_failed(harness: &Queues) -> Outcome {
    let (ground, seen, done) = (Ground::new(harness).await?, Seen::default(), Seen::default());
    let handler = handler_fn({
        let (seen, done) = (seen.clone(), done.clone());
        move |delivery: Delivery| {
            seen.note(&delivery);
            let (takes, done) = (if seen.count() == 1 { FAR } else { Duration::ZERO }, done.clone());
            async move {
                sleep(takes).await;
                done.note(&delivery);
                Ok(Disposition::Ack)
            }
        }
    });
    let plan = ground.plan().with_handler_timeout(Duration::from_millis(500));
    let _member = ground.join("group", plan, handler).await?;
    ground.send(ground.message("text")).await?;
    seen.reach(harness, 2).await?;
    quiet(harness).await;
    check_eq!(seen.count(), 2, "the deliveries");
    check_eq!(done.count(), 1, "the handlers that ran to their end");
    Ok(())
}

/// A handler that takes long, but no longer than allowed, keeps its message.
pub async fn mq_009_a_slow_handler_keeps_its_message(harness: &Queues) -> Outcome {
    let (ground, seen, done) = (Ground::new(harness).await?, Seen::default(), Seen::default());
    let takes = either(harness, Duration::from_secs(240), Duration::from_secs(3));
    let _member = ground
        .join("group", ground.plan(), seen.taking(takes, &done))
        .await?;
    ground.send(ground.message("text")).await?;
    seen.reach(harness, 1).await.premise("the message arrives")?;
    sleep(takes).await;
    quiet(harness).await;
    check_eq!(
        seen.count(),
        1,
        "the deliveries of a message whose handler took {takes:?}"
    );
    check_eq!(done.count(), 1, "the handlers that ran to their end");
    Ok(())
}

/// A message whose handler had not answered when its consumer went away is delivered again, whatever was acknowledged after it.
pub async fn mq_028_a_message_without_an_answer_survives_its_consumer(harness: &Queues) -> Outcome {
    let (ground, first, next) = (Ground::new(harness).await?, Seen::default(), Seen::default());
    let never = |delivery: &Delivery| text_of(delivery) == "unanswered";
    let member = ground
        .join("group", ground.plan(), first.behind(&Gate::default(), never))
        .await?;
    ground.send(ground.keyed("key", "unanswered")).await?;
    first.reach(harness, 1).await.premise("the message arrives")?;
    ground.send_numbers(0..20).await?;
    first.reach(harness, 21).await.premise("other keys go on")?;
    quiet(harness).await;
    drop(member);
    let _next = ground.join("group", ground.plan(), next.acking()).await?;
    let again = || next.texts().iter().any(|text| text == "unanswered");
    next.until(harness, "the unanswered message is delivered again", again)
        .await
}

/// A message is not delivered again before the delay that its handler asked for.
pub async fn mq_030_a_retry_is_not_early(harness: &Queues) -> Outcome {
    let (ground, seen) = (Ground::new(harness).await?, Seen::default());
    let after = either(harness, Duration::from_secs(20), Duration::from_secs(1));
    let once = seen.clone();
    let handler = seen.answering(move |_| {
        Ok(match once.count() {
            1 => Disposition::Retry { after },
            _ => Disposition::Ack,
        })
    });
    let _member = ground.join("group", ground.plan(), handler).await?;
    ground.send(ground.message("text")).await?;
    seen.reach(harness, 2).await.premise("it is delivered again")?;
    let times = seen.times();
    let waited = times[1] - times[0];
    check!(
        waited >= after,
        "it was to wait for {after:?} and came after {waited:?}"
    );
    Ok(())
}

/// A message that waits for its next attempt holds up neither its key nor the bound in flight.
pub async fn mq_031_a_message_that_waits_holds_up_nothing(harness: &Queues) -> Outcome {
    let (ground, seen) = (Ground::new(harness).await?, Seen::default());
    let after = either(harness, Duration::from_secs(60), Duration::from_secs(10));
    let handler = seen.answering(move |delivery| {
        Ok(match text_of(delivery).as_str() {
            "waits" => Disposition::Retry { after },
            _ => Disposition::Ack,
        })
    });
    let plan = ground.plan().with_max_in_flight(attempts(1));
    let _member = ground.join("group", plan, handler).await?;
    for text in ["waits", "one", "two", "three"] {
        ground.send(ground.keyed("key", text)).await?;
    }
    let passed = crate::time::eventually(after / 2, async || seen.count() >= 4).await;
    check!(
        passed,
        "{} of 4 messages were handled while one waited",
        seen.count()
    );
    check_eq!(seen.texts(), ["waits", "one", "two", "three"], "the order");
    Ok(())
}

/// What a handler gives up goes to the dead-letter topic at once, with its content as it was and its history in headers.
pub async fn mq_032_a_dead_letter_tells_its_history(harness: &Queues) -> Outcome {
    let (ground, seen) = (Ground::new(harness).await?, Seen::default());
    let (letters, _letters) = ground.letters(".dlq").await?;
    let handler = seen.answering(|_| {
        Ok(Disposition::DeadLetter {
            reason: "not for us".to_owned(),
        })
    });
    let _member = ground.join("group", ground.plan(), handler).await?;
    ground
        .send(ground.keyed("key", "text").with_header("x-own", "kept"))
        .await?;
    let letter = letters.only(harness).await?.message;
    check_eq!(letter.payload, "text", "the content of the letter");
    check_eq!(
        letter.key.as_deref(),
        Some(b"key".as_slice()),
        "the key of the letter"
    );
    let group = harness.name("group");
    for (name, expected) in [
        ("x-own", "kept"),
        (names::ORIGINAL_TOPIC, ground.topic.as_str()),
        (names::ORIGINAL_GROUP, group.as_str()),
        (names::ATTEMPT, "1"),
        (names::DEAD_LETTER_REASON, "not for us"),
    ] {
        check_eq!(letter.headers.get_str(name), Some(expected), "the header {name}");
    }
    ground.settled("group").await?;
    check_eq!(
        seen.count(),
        1,
        "the deliveries of a message that was given up at once"
    );
    Ok(())
}

/// A panic of a handler counts as a retry of its message, and harms no other.
pub async fn mq_033_a_panic_counts_as_a_retry(harness: &Queues) -> Outcome {
    let (ground, seen) = (Ground::new(harness).await?, Seen::default());
    let panicked = Arc::new(AtomicUsize::new(0));
    let handler = seen.answering(move |delivery| {
        if text_of(delivery) == "panics" && panicked.fetch_add(1, Ordering::SeqCst) == 0 {
            // As a panic, but without the lines that a panic prints.
            std::panic::resume_unwind(Box::new("on purpose"));
        }
        Ok(Disposition::Ack)
    });
    let _member = ground.join("group", ground.plan(), handler).await?;
    ground.send(ground.keyed("one", "panics")).await?;
    ground.send(ground.keyed("two", "calm")).await?;
    seen.reach(harness, 3).await?;
    quiet(harness).await;
    let mut texts = seen.texts();
    texts.sort_unstable();
    check_eq!(texts, ["calm", "panics", "panics"], "the deliveries");
    Ok(())
}

/// The delay that a handler's error asks for is kept when it is longer than the back-off.
pub async fn mq_061_the_delay_of_an_error_is_kept(harness: &Queues) -> Outcome {
    let (ground, seen) = (Ground::new(harness).await?, Seen::default());
    let after = either(harness, Duration::from_secs(20), Duration::from_secs(1));
    let once = seen.clone();
    let handler = seen.answering(move |_| match once.count() {
        1 => Err(Error::new(ErrorKind::RateLimited, "slow down").with_retry(Retry::After(after))),
        _ => Ok(Disposition::Ack),
    });
    let _member = ground.join("group", ground.plan(), handler).await?;
    ground.send(ground.message("text")).await?;
    seen.reach(harness, 2).await.premise("it is delivered again")?;
    let times = seen.times();
    let waited = times[1] - times[0];
    check!(
        waited >= after,
        "the error asked for {after:?}; it came after {waited:?}"
    );
    Ok(())
}

/// The delay between the deliveries of a failing message doubles up to its maximum.
pub async fn mq_062_the_back_off_doubles(harness: &Queues) -> Outcome {
    let (ground, seen) = (Ground::new(harness).await?, Seen::default());
    let first = Duration::from_millis(100);
    let few = seen.clone();
    let handler = seen.answering(move |_| match few.count() {
        1..4 => Err(failure()),
        _ => Ok(Disposition::Ack),
    });
    let plan = ground.plan().with_backoff(first, first * 100);
    let _member = ground.join("group", plan, handler).await?;
    ground.send(ground.message("text")).await?;
    seen.reach(harness, 4).await.premise("it is delivered again")?;
    for (pair, least) in seen.times().windows(2).zip([first, first * 2, first * 4]) {
        let waited = pair[1] - pair[0];
        check!(
            waited >= least,
            "it was to wait for {least:?} and came after {waited:?}"
        );
    }
    Ok(())
}

/// Dead letters go to the topic whose suffix the subscription gives.
pub async fn mq_063_the_dead_letter_topic_is_the_subscribers_choice(harness: &Queues) -> Outcome {
    let (ground, seen) = (Ground::new(harness).await?, Seen::default());
    let (letters, _letters) = ground.letters(".parked").await?;
    let plan = ground
        .plan()
        .with_max_attempts(attempts(1))
        .with_dead_letter_suffix(".parked");
    let _member = ground
        .join("group", plan, seen.answering(|_| Err(failure())))
        .await?;
    ground.send(ground.message("text")).await?;
    letters.reach(harness, 1).await
}

/// A message that the broker delivers again although it was settled is acknowledged again, without harm to others.
pub async fn mq_066_acknowledging_twice_does_no_harm(harness: &Queues) -> Outcome {
    let (ground, seen) = (Ground::new(harness).await?, Seen::default());
    let _member = ground.join("group", ground.plan(), seen.acking()).await?;
    harness
        .disturb(Disturbance::RepeatDeliveries { count: 3 })
        .await?;
    for text in ["0", "1", "2"] {
        ground.send(ground.keyed("key", text)).await?;
    }
    seen.reach(harness, 6).await?;
    for text in ["3", "4"] {
        ground.send(ground.keyed("key", text)).await?;
    }
    seen.until(harness, "what is sent afterwards arrives", || {
        seen.distinct().len() == 5
    })
    .await?;
    ground.settled("group").await
}

/// A message that is given up while the broker is away is not lost: its letter is stored, and it is settled, when the broker is back.
pub async fn mq_068_a_dead_letter_waits_for_the_broker(harness: &Queues) -> Outcome {
    let (ground, seen, gate) = (Ground::new(harness).await?, Seen::default(), Gate::default());
    let (letters, _letters) = ground.letters(".dlq").await?;
    let given_up = Disposition::DeadLetter {
        reason: "not for us".to_owned(),
    };
    let handler = seen.answering_behind(&gate, |_| true, given_up);
    let _member = ground.join("group", ground.plan(), handler).await?;
    ground.send(ground.message("text")).await?;
    seen.reach(harness, 1).await.premise("the message arrives")?;
    while_away(harness, &gate).await?;
    letters.reach(harness, 1).await?;
    check_eq!(letters.distinct(), ["text"], "the dead letters");
    ground.settled("group").await
}

/// An answer that is given while the broker is away counts when the broker is back.
pub async fn mq_069_an_acknowledgement_waits_for_the_broker(harness: &Queues) -> Outcome {
    let (ground, seen, gate) = (Ground::new(harness).await?, Seen::default(), Gate::default());
    let _member = ground
        .join("group", ground.plan(), seen.behind(&gate, |_| true))
        .await?;
    ground.send(ground.message("text")).await?;
    seen.reach(harness, 1).await.premise("the message arrives")?;
    while_away(harness, &gate).await?;
    ground.settled("group").await
}

/// Opens the gate while the broker is away.
async fn while_away(harness: &Queues, gate: &Gate) -> Outcome {
    harness.disturb(Disturbance::GoAway).await?;
    gate.open();
    sleep(Duration::from_millis(500)).await;
    harness.disturb(Disturbance::ComeBack).await
}
