//! Deliveries and settlements are recorded, and faults hit them.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use infra_core::intercept::Fault;
use infra_core::queue::{
    BatchHandler, Delivery, Disposition, Message, Subscription, SubscriptionHandle, handler_fn,
};
use infra_core::{ErrorKind, Result, async_trait};
use infra_testkit::TestInfra;
use infra_testkit::time::eventually;

const BOUND: Duration = Duration::from_secs(600);

/// What a handler was given, in its order.
type Seen = Arc<Mutex<Vec<String>>>;

fn seen(seen: &Seen) -> Vec<String> {
    seen.lock().expect("not poisoned").clone()
}

/// Sends messages `0`, `1`, … of one key, or of a key for each; subscribes only then, so that they come together.
async fn run(infra: &TestInfra, count: usize, one_key: bool) -> (SubscriptionHandle, Seen) {
    let producer = infra.producer().await.expect("open");
    for number in 0..count {
        let key = if one_key {
            "key".to_owned()
        } else {
            number.to_string()
        };
        let message = Message::new("orders", number.to_string()).with_key(key);
        producer.send(message).await.expect("sent");
    }
    let seen = Seen::default();
    let noted = seen.clone();
    let handler = handler_fn(move |delivery| {
        let text = String::from_utf8_lossy(&delivery.message.payload).into_owned();
        noted.lock().expect("not poisoned").push(text.clone());
        async move {
            Ok(match text.as_str() {
                "dead" => Disposition::DeadLetter {
                    reason: "asked for".to_owned(),
                },
                _ => Disposition::Ack,
            })
        }
    });
    let consumer = infra.consumer("billing").await.expect("open");
    let handle = consumer
        .subscribe(Subscription::to(["orders"]), handler)
        .await
        .expect("subscribed");
    (handle, seen)
}

/// Waits until so many deliveries were acknowledged and nothing is on its way.
async fn settled(infra: &TestInfra, acknowledged: usize) {
    let done = eventually(BOUND, async || {
        infra.calls().of("consumer.ack").with_outcome("ok").count() >= acknowledged
    });
    assert!(done.await, "{}", infra.calls());
    tokio::time::sleep(BOUND).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_is_given_and_answers_is_recorded() {
    let infra = TestInfra::new();
    let (_subscription, _) = run(&infra, 1, true).await;
    settled(&infra, 1).await;
    infra
        .producer()
        .await
        .expect("open")
        .send(Message::new("orders", "dead"))
        .await
        .expect("sent");
    tokio::time::sleep(BOUND).await;
    infra.calls().of("consumer.*").assert_order([
        "consumer.subscribe",
        "consumer.handle",
        "consumer.ack",
        "consumer.handle",
        "consumer.dead_letter",
    ]);
    infra
        .calls()
        .of("consumer.handle")
        .assert_subjects(["orders", "orders"]);
}

#[tokio::test(start_paused = true)]
async fn a_delivery_fails_comes_late_and_comes_twice() {
    let infra = TestInfra::new();
    infra.faults().script_for(
        "consumer.handle",
        "orders",
        [
            Fault::Err(ErrorKind::Unavailable),
            Fault::Delay(Duration::from_secs(5)),
            Fault::Duplicate,
        ],
    );
    let (_subscription, given) = run(&infra, 2, true).await;
    settled(&infra, 2).await;
    // The first comes again after its back-off; meanwhile the second, late; the first is then handled twice.
    let given = seen(&given);
    assert_eq!(given.len(), 3, "{given:?}");
    assert_eq!(
        given.iter().filter(|text| *text == "0").count(),
        2,
        "or its twin: {given:?}"
    );
    infra.calls().of("consumer.handle").assert_at_least(3);
}

#[tokio::test(start_paused = true)]
async fn a_lost_acknowledgement_brings_the_message_back_and_a_lost_reply_does_not() {
    let infra = TestInfra::new();
    infra.faults().script(
        "consumer.ack",
        [Fault::Err(ErrorKind::Unavailable), Fault::DropReply],
    );
    let (_subscription, given) = run(&infra, 1, true).await;
    tokio::time::sleep(BOUND).await;
    assert_eq!(seen(&given), ["0", "0"]);
    infra
        .calls()
        .of("consumer.ack")
        .assert_outcomes(["unavailable", "outcome_unknown"]);
    assert_eq!(infra.faults().remaining(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_of_a_handler_brings_the_message_back() {
    let infra = TestInfra::new();
    infra.faults().on("consumer.handle").nth(1, Fault::DropReply);
    let (_subscription, given) = run(&infra, 1, true).await;
    settled(&infra, 1).await;
    assert_eq!(seen(&given), ["0", "0"], "it ran, and nobody knew");
}

#[tokio::test(start_paused = true)]
async fn deliveries_of_unlike_keys_swap_by_script_and_of_one_key_by_the_broker() {
    let infra = TestInfra::new();
    let within = Duration::from_secs(60);
    infra
        .faults()
        .script("consumer.handle", [Fault::Reorder { within }]);
    let (_subscription, given) = run(&infra, 2, false).await;
    settled(&infra, 2).await;
    let order: Vec<_> = infra
        .calls()
        .of("consumer.handle")
        .iter()
        .map(|call| call.elapsed)
        .collect();
    assert_eq!(seen(&given).len(), 2);
    assert!(order.iter().all(|elapsed| *elapsed < within), "{order:?}");

    let infra = TestInfra::new();
    infra.server_faults().reorder_deliveries(1);
    let (_subscription, given) = run(&infra, 3, true).await;
    settled(&infra, 3).await;
    assert_eq!(seen(&given), ["1", "0", "2"]);
}

#[tokio::test(start_paused = true)]
async fn the_broker_delivers_twice_and_loses_sessions() {
    let infra = TestInfra::new();
    infra.server_faults().duplicate_deliveries(1);
    let (subscription, given) = run(&infra, 1, true).await;
    settled(&infra, 2).await;
    assert_eq!(seen(&given), ["0", "0"]);
    assert_eq!(infra.server_faults().lose_consumers(), 1);
    infra.faults().script("consumer.handle", [Fault::Disconnect]);
    let producer = infra.producer().await.expect("open");
    producer
        .send(Message::new("orders", "after"))
        .await
        .expect("sent");
    settled(&infra, 3).await;
    assert_eq!(seen(&given)[2..], ["after"]);
    assert_eq!(infra.faults().remaining(), 0);
    subscription.drain(BOUND).await.expect("nothing is left");
}

#[tokio::test(start_paused = true)]
async fn the_standard_stack_does_not_repeat_handlers() {
    let infra = TestInfra::new().hardened().expect("the standard stack");
    infra
        .faults()
        .script("consumer.handle", [Fault::Err(ErrorKind::Unavailable)]);
    let (_subscription, given) = run(&infra, 1, true).await;
    settled(&infra, 1).await;
    assert_eq!(seen(&given), ["0"]);
    infra.calls().of("consumer.handle").assert_attempts([1, 1]);
}

struct Batches;

#[async_trait]
impl BatchHandler for Batches {
    async fn handle_batch(&self, deliveries: &[Delivery]) -> Result<Vec<Disposition>> {
        Ok(vec![Disposition::Ack; deliveries.len()])
    }
}

#[tokio::test(start_paused = true)]
async fn batches_are_one_call_and_as_many_settlements() {
    let infra = TestInfra::new();
    let producer = infra.producer().await.expect("open");
    for number in 0..4 {
        let message = Message::new("orders", number.to_string());
        producer.send(message).await.expect("sent");
    }
    let consumer = infra.consumer("billing").await.expect("open");
    let _subscription = consumer
        .subscribe_batch(
            Subscription::to(["orders"]),
            NonZeroU32::new(4).expect("positive"),
            Duration::from_secs(1),
            Arc::new(Batches),
        )
        .await
        .expect("subscribed");
    settled(&infra, 4).await;
    infra.calls().of("consumer.handle").assert_once();
    infra.calls().of("consumer.ack").assert_count(4);
}
