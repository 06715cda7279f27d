//! Producers: batches, pipelines, buffers, traces, cancelled sends.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use infra_core::ErrorKind;
use infra_core::capability::Capability;
use infra_core::queue::{DeliveryFuture, Disposition, Message, ProducerExt, handler_fn, names};
use infra_core::telemetry::{TraceContext, with_trace_context};
use tokio::time::sleep;

use super::ground::{Ground, Queues, Seen, bound, numbers, quiet, text_of};
use crate::conformance::answers::poll_then_drop;
use crate::conformance::{Failure, Outcome, Premise, check, check_eq, check_error, declares};

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A send that is given up, wherever it was, returns at once, sends its message at most once, and leaves the producer working.
pub async fn mq_016_a_send_can_be_given_up(harness: &Queues) -> Outcome {
    let (ground, seen) = (Ground::new(harness).await?, Seen::default());
    let _member = ground.join("group", ground.plan(), seen.acking()).await?;
    for polls in 0..8_u32 {
        let dropped = ground.producer.send(ground.message(&format!("dropped {polls}")));
        poll_then_drop(polls, dropped).await;
        let next = ground.producer.send(ground.message(&format!("sent {polls}")));
        harness
            .within(bound(harness), "a send after one that was given up", next)
            .await??;
    }
    let sent = || {
        seen.texts()
            .iter()
            .filter(|text| text.starts_with("sent"))
            .count()
    };
    harness
        .eventually(bound(harness), "what was sent arrives", async || sent() == 8)
        .await
        .premise("what was sent arrives")?;
    quiet(harness).await;
    let texts = seen.texts();
    check_eq!(
        seen.distinct().len(),
        texts.len(),
        "distinct messages of those that came"
    );
    check!(
        !texts.contains(&"dropped 0".to_owned()),
        "a send that was never polled sent its message"
    );
    Ok(())
}

/// A batch with a message that cannot be sent sends all others, and says of each what became of it.
pub async fn mq_017_a_batch_answers_for_each_message(harness: &Queues) -> Outcome {
    let (ground, seen) = (Ground::new(harness).await?, Seen::default());
    let _member = ground.join("group", ground.plan(), seen.acking()).await?;
    let batch = vec![
        ground.message("0"),
        Message::new("", "nowhere"),
        ground.message("1"),
        ground.message("2"),
    ];
    let results = ground.producer.send_batch(batch).await?;
    let kinds: Vec<_> = results
        .iter()
        .map(|result| result.as_ref().err().map(infra_core::Error::kind))
        .collect();
    check_eq!(
        kinds,
        [None, Some(ErrorKind::InvalidArgument), None, None],
        "what became of each message"
    );
    seen.reach(harness, 3).await?;
    check_eq!(seen.distinct(), numbers(0..3), "what arrived of the batch");
    let nothing = ground.producer.send_batch(Vec::new()).await?;
    check_eq!(nothing.len(), 0, "the results of an empty batch");
    Ok(())
}

/// Without a declared deduplication two messages of one id are two messages; with it, they are one.
pub async fn mq_024_duplicates_are_dropped_where_that_is_declared(harness: &Queues) -> Outcome {
    let (ground, seen) = (Ground::new(harness).await?, Seen::default());
    let _member = ground.join("group", ground.plan(), seen.acking()).await?;
    for _ in 0..2 {
        let message = ground.keyed("key", "text").with_header(names::MESSAGE_ID, "id-1");
        ground.send(message).await?;
    }
    ground.send(ground.keyed("key", "end")).await?;
    let arrived = async || seen.texts().iter().any(|text| text == "end");
    let end = harness.eventually(bound(harness), "the last message arrives", arrived);
    end.await.premise("the last message arrives")?;
    quiet(harness).await;
    let expected = if declares(&*ground.queue, Capability::ProducerDeduplication) {
        1
    } else {
        2
    };
    let came = seen.texts().iter().filter(|text| *text == "text").count();
    check_eq!(
        came,
        expected,
        "deliveries of a message that was sent twice under one id"
    );
    Ok(())
}

/// Headers of any name, several of one name, empty and binary ones arrive as they are, in their order.
pub async fn mq_025_headers_of_any_name_arrive(harness: &Queues) -> Outcome {
    let (ground, seen) = (Ground::new(harness).await?, Seen::default());
    let _member = ground.join("group", ground.plan(), seen.acking()).await?;
    let long = "n".repeat(infra_core::queue::MAX_HEADER_NAME_BYTES);
    let headers: [(&str, &[u8]); 12] = [
        ("twice", b"1"),
        ("twice", b"2"),
        ("Twice", b"3"),
        ("kl\u{fc}\u{44f}\u{1f511}", b"v"),
        ("a b", b"v"),
        (":", b"v"),
        ("a=b;c,d", b"v"),
        ("\"quoted\"", b"v"),
        ("empty", b""),
        ("binary", &[0, 255, 10, 13]),
        ("__proto__", b"v"),
        (&long, b"v"),
    ];
    let mut message = ground.message("text");
    for (name, value) in headers {
        message.headers.append(name, value.to_vec());
    }
    ground.producer.send(message).await?;
    let delivery = seen.only(harness).await?;
    let came: Vec<(&str, &[u8])> = delivery
        .message
        .headers
        .iter()
        .filter(|(name, _)| headers.iter().any(|(known, _)| known == name))
        .map(|(name, value)| (name, &value[..]))
        .collect();
    check_eq!(came, headers, "the headers");
    Ok(())
}

/// A message that is sent without waiting is called back with its receipt, once.
pub async fn mq_038_a_detached_send_calls_back(harness: &Queues) -> Outcome {
    let (ground, seen) = (Ground::new(harness).await?, Seen::default());
    let _member = ground.join("group", ground.plan(), seen.acking()).await?;
    let fates = Arc::new(Mutex::new(Vec::new()));
    let calls = Arc::clone(&fates);
    let callback = move |fate: infra_core::Result<infra_core::queue::Receipt>| {
        let fate = fate.map(|receipt| receipt.topic);
        calls.lock().unwrap_or_else(PoisonError::into_inner).push(fate);
    };
    ground
        .producer
        .send_detached(ground.message("text"), callback)
        .await?;
    let called = async || !fates.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
    harness
        .eventually(bound(harness), "the callback is called", called)
        .await?;
    seen.only(harness).await?;
    let fates = fates.lock().unwrap_or_else(PoisonError::into_inner);
    let topics: Vec<_> = fates.iter().map(|fate| fate.as_deref().ok()).collect();
    check_eq!(
        topics,
        [Some(ground.topic.as_str())],
        "the topics of the receipts"
    );
    Ok(())
}

/// What is accepted one after the other, without waiting for each, leaves in that order, and each learns its fate.
pub async fn mq_039_a_pipeline_keeps_its_order(harness: &Queues) -> Outcome {
    let (ground, seen) = (Ground::new(harness).await?, Seen::default());
    let _member = ground.join("group", ground.plan(), seen.acking()).await?;
    for delivery in accept(&ground, 0..20).await? {
        delivery.await?;
    }
    seen.reach(harness, 20).await.premise("everything arrives")?;
    let expected: Vec<String> = (0..20).map(|number: u32| number.to_string()).collect();
    check_eq!(seen.texts(), expected, "the order of one key");
    Ok(())
}

/// A message that was accepted is sent also when nobody waits for its fate.
pub async fn mq_040_an_accepted_message_is_not_taken_back(harness: &Queues) -> Outcome {
    let (ground, seen) = (Ground::new(harness).await?, Seen::default());
    let _member = ground.join("group", ground.plan(), seen.acking()).await?;
    drop(accept(&ground, 0..5).await?);
    seen.reach(harness, 5).await?;
    check_eq!(seen.distinct(), numbers(0..5), "what was accepted");
    Ok(())
}

/// After a flush the fate of everything that was accepted before is known.
pub async fn mq_041_a_flush_waits_for_what_was_accepted(harness: &Queues) -> Outcome {
    let ground = Ground::new(harness).await?;
    let deliveries = accept(&ground, 0..20).await?;
    ground.producer.flush(bound(harness)).await?;
    let known = deliveries.into_iter().map(|delivery| delivery.now_or_never());
    let known: Vec<_> = known.map(|fate| fate.map(|fate| fate.is_ok())).collect();
    check_eq!(known, [Some(true); 20], "fates that are known after a flush");
    Ok(())
}

/// A producer that is shut down loses nothing that it accepted; then it is closed, and the queue is not.
pub async fn mq_042_a_producer_that_closes_loses_nothing(harness: &Queues) -> Outcome {
    let (ground, seen) = (Ground::new(harness).await?, Seen::default());
    let _member = ground.join("group", ground.plan(), seen.acking()).await?;
    let _fates = accept(&ground, 0..20).await?;
    ground.producer.shutdown(bound(harness)).await?;
    ground.producer.shutdown(bound(harness)).await?;
    seen.reach(harness, 20).await?;
    let answer = ground.producer.send(ground.message("late")).await;
    check_error!(answer, ErrorKind::Closed, "a send after the producer's shutdown");
    let another = ground.queue.producer().await?;
    another.send(ground.message("another")).await?;
    Ok(())
}

/// A producer that is flooded waits or refuses with an error that says so; what it accepted arrives.
pub async fn mq_043_a_full_buffer_waits_or_refuses(harness: &Queues) -> Outcome {
    let (ground, seen) = (Ground::new(harness).await?, Seen::default());
    let slowly = handler_fn({
        let seen = seen.clone();
        move |delivery| {
            seen.note(&delivery);
            async {
                sleep(Duration::from_millis(5)).await;
                Ok(Disposition::Ack)
            }
        }
    });
    let _member = ground.join("group", ground.plan(), slowly).await?;
    let mut fates = Vec::new();
    for number in 0..FLOOD {
        loop {
            match ground.producer.enqueue(ground.message(&number.to_string())).await {
                Ok(fate) => {
                    fates.push(fate);
                    break;
                }
                Err(error) => {
                    check_eq!(
                        error.kind(),
                        ErrorKind::ResourceExhausted,
                        "a full buffer says {error}"
                    );
                    check!(error.is_retryable(), "a full buffer is not said to pass: {error}");
                    sleep(Duration::from_millis(5)).await;
                }
            }
        }
    }
    seen.until(harness, "what was accepted arrives", || {
        seen.count() >= FLOOD as usize && seen.distinct() == numbers(0..FLOOD)
    })
    .await
}

/// A message that brings a trace of its own keeps it.
pub async fn mq_044_the_trace_of_a_message_is_kept(harness: &Queues) -> Outcome {
    let (ground, seen) = (Ground::new(harness).await?, Seen::default());
    let _member = ground.join("group", ground.plan(), seen.acking()).await?;
    let message = ground
        .message("text")
        .with_header(names::TRACEPARENT, TRACEPARENT);
    with_trace_context(TraceContext::fresh(), ground.producer.send(message)).await?;
    let delivery = seen.only(harness).await?;
    let carried: Vec<_> = delivery
        .message
        .headers
        .iter()
        .filter(|(name, _)| *name == names::TRACEPARENT)
        .collect();
    check_eq!(carried.len(), 1, "headers of the name traceparent");
    let kept = delivery.message.headers.get_str(names::TRACEPARENT);
    check_eq!(kept, Some(TRACEPARENT), "the trace of the message");
    Ok(())
}

/// The trace of the sender's work travels in the headers, and the handler runs under it.
pub async fn mq_045_the_trace_travels_to_the_handler(harness: &Queues) -> Outcome {
    let (ground, seen) = (Ground::new(harness).await?, Seen::default());
    let under = Arc::new(Mutex::new(None));
    let noted = Arc::clone(&under);
    let handler = seen.answering(move |_| {
        let current = TraceContext::current().map(|context| context.trace_id().to_owned());
        *noted.lock().unwrap_or_else(PoisonError::into_inner) = current;
        Ok(Disposition::Ack)
    });
    let _member = ground.join("group", ground.plan(), handler).await?;
    let context = TraceContext::parse_traceparent(TRACEPARENT).premise("a valid header")?;
    with_trace_context(context, ground.producer.send(ground.message("text"))).await?;
    let headers = seen.only(harness).await?.message.headers;
    check_eq!(
        headers.get_str(names::TRACE_ID),
        Some(TRACE_ID),
        "the header X-Trace-ID"
    );
    let traceparent = headers.get_str(names::TRACEPARENT).unwrap_or_default();
    check!(
        traceparent.contains(TRACE_ID),
        "the header traceparent is {traceparent:?}"
    );
    let under = under.lock().unwrap_or_else(PoisonError::into_inner).clone();
    check_eq!(
        under.as_deref(),
        Some(TRACE_ID),
        "the trace under which the handler ran"
    );
    Ok(())
}

/// A delivery names its group, and carries the sender's time, or the time of the send where the sender gave none.
pub async fn mq_064_a_delivery_names_its_group_and_time(harness: &Queues) -> Outcome {
    let (ground, seen) = (Ground::new(harness).await?, Seen::default());
    let _member = ground.join("group", ground.plan(), seen.acking()).await?;
    // Whole seconds, which every broker can keep.
    let happened = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    let sent = ground.keyed("key", "with").with_timestamp(happened);
    ground.send(sent).await?;
    ground.send(ground.keyed("key", "without")).await?;
    seen.reach(harness, 2).await.premise("both arrive")?;
    for delivery in seen.all() {
        check_eq!(*delivery.group, harness.name("group"), "the group");
        let time = delivery.message.timestamp;
        if text_of(&delivery) == "with" {
            check_eq!(time, Some(happened), "the time that the sender gave");
        } else {
            check!(
                time.is_some_and(|time| time > happened),
                "the time of the send is {time:?}"
            );
        }
    }
    Ok(())
}

/// More than any buffer of a backend under test holds.
const FLOOD: u32 = 300;

/// Has messages of one key accepted without waiting for their fate.
async fn accept(ground: &Ground<'_>, numbers: std::ops::Range<u32>) -> Result<Vec<DeliveryFuture>, Failure> {
    let mut deliveries = Vec::new();
    for number in numbers {
        let message = ground.keyed("key", &number.to_string());
        deliveries.push(
            ground
                .producer
                .enqueue(message)
                .await
                .premise("a message is accepted")?,
        );
    }
    Ok(deliveries)
}
