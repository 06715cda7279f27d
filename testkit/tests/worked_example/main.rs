//! The tests of the order service: what it does when what it depends on does not do what it should.
#![allow(
    clippy::expect_used,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    reason = "tests"
)]

mod service;

use std::sync::Arc;
use std::time::Duration;

use infra_core::ErrorKind;
use infra_core::config::HotReload;
use infra_core::coordination::{ConfigCenter, ConfigCenterExt as _, LockOptions};
use infra_core::intercept::Fault;
use infra_core::queue::{Message, Subscription, handler_fn};
use infra_testkit::TestInfra;
use infra_testkit::time::eventually;
use tokio::time::sleep;

use service::{Bank, Fee, Orders, Payments, Reports};

/// On the paused clock, any bound is free.
const BOUND: Duration = Duration::from_secs(3600);
const UNAVAILABLE: Fault = Fault::Err(ErrorKind::Unavailable);

/// The service as it runs in production, but for what stands behind it.
struct Fixture {
    infra: TestInfra,
    bank: Arc<Bank>,
    orders: Arc<Orders>,
}

fn fixture() -> Fixture {
    let infra = TestInfra::new().hardened().expect("the standard stack");
    let bank = Arc::new(Bank::new(infra.once().expect("valid"), 100));
    let payments: Arc<dyn Payments> = bank.clone();
    let orders = Orders {
        payments: infra.wrap_named("bank", payments),
        locks: infra.coordinator(),
        reports: Arc::new(Reports::default()),
        fee: HotReload::new(Fee { cents: 1 }).expect("valid"),
    };
    Fixture {
        infra,
        bank,
        orders: Arc::new(orders),
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_recovers_from_two_failures() {
    let Fixture { infra, orders, .. } = fixture();
    infra
        .faults()
        .script("payments.balance", [UNAVAILABLE, UNAVAILABLE]);
    assert!(orders.can_pay("ann", 50).await.expect("the third attempt"));
    infra
        .calls()
        .of("payments.balance")
        .with_subject("ann")
        .assert_outcomes(["unavailable", "unavailable", "ok"])
        .assert_attempts([1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_opens_and_the_bank_is_left_alone_until_it_is_well() {
    let Fixture { infra, orders, .. } = fixture();
    infra.faults().always("payments.*", UNAVAILABLE);
    for _ in 0..5 {
        let error = orders.can_pay("ann", 50).await.expect_err("unavailable");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
    infra.recorder().clear();
    let error = orders.can_pay("ann", 50).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::CircuitOpen);
    infra.calls().of("payments.*").assert_never();

    infra.faults().on("payments.*").clear();
    sleep(Duration::from_secs(61)).await;
    assert!(orders.can_pay("ann", 50).await.expect("a probe goes through"));
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_asked_for_again_and_the_money_is_taken_once() {
    let Fixture { infra, bank, orders } = fixture();
    infra.faults().script("payments.charge", [Fault::DropReply]);
    assert_eq!(
        orders.pay("ann", "order-1", 10).await.expect("the second time"),
        89
    );
    infra
        .calls()
        .of("payments.charge")
        .assert_outcomes(["outcome_unknown", "ok"])
        // The stack did not dare to repeat it: both are first attempts, of two calls.
        .assert_attempts([1, 1]);
    assert_eq!(bank.taken(), ["order-1"]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_arrives_twice_takes_the_money_once() {
    let Fixture { infra, bank, orders } = fixture();
    infra.faults().script("payments.charge", [Fault::Duplicate]);
    assert_eq!(orders.pay("ann", "order-1", 10).await.expect("well"), 89);
    infra.calls().of("once_store.*").assert_at_least(2);
    assert_eq!(bank.taken(), ["order-1"]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_bank_meets_the_timeout_of_every_attempt() {
    let Fixture { infra, bank, orders } = fixture();
    infra
        .faults()
        .always("payments.charge", Fault::Delay(Duration::from_secs(60)));
    let error = orders.pay("ann", "order-1", 10).await.expect_err("too slow");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    infra
        .calls()
        .of("payments.charge")
        // It had not reached the bank each time, so it was safe to repeat.
        .assert_outcomes(["cancelled"; 3])
        .assert_within(Duration::from_secs(3));
    assert!(bank.taken().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stolen_lock_stops_the_work_and_a_late_writer_is_kept_out() {
    let Fixture { infra, orders, .. } = fixture();
    infra.faults().script("payments.balance", [Fault::Hang]);
    let (closed, thief) = tokio::join!(orders.close_day("monday"), async {
        sleep(Duration::from_secs(1)).await;
        infra
            .server_faults()
            .steal_lock("monday", Duration::from_secs(60))
    });
    assert_eq!(closed.expect_err("stopped").kind(), ErrorKind::LeaseLost);
    infra
        .calls()
        .of("payments.balance")
        .assert_outcomes(["cancelled"])
        // Noticed at the next renewal, a third of the lease later.
        .assert_within(Duration::from_secs(2));
    assert_eq!(orders.reports.total("monday"), None);

    // A process that slept through the loss of its lock, and writes when it wakes up.
    let options = LockOptions::new(Duration::from_secs(60));
    let held = orders.locks.acquire("tuesday", options).await.expect("free");
    let late = held.fencing_token();
    let later = infra
        .server_faults()
        .steal_lock("tuesday", Duration::from_secs(60));
    orders.reports.write("monday", thief, 1).expect("its own");
    orders.reports.write("tuesday", later, 2).expect("the holder");
    let error = orders.reports.write("tuesday", late, 3).expect_err("fenced");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(orders.reports.total("tuesday"), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_comes_twice_has_one_effect() {
    let Fixture { infra, bank, orders } = fixture();
    infra.server_faults().duplicate_deliveries(1);
    let handler = handler_fn(move |delivery| {
        let orders = orders.clone();
        async move { orders.handle(&delivery).await }
    });
    let consumer = infra.consumer("billing").await.expect("open");
    let _subscription = consumer
        .subscribe(Subscription::to(["orders"]), handler)
        .await
        .expect("subscribed");
    let producer = infra.producer().await.expect("open");
    let message = Message::new("orders", "{}").with_key("order-1");
    producer.send(message).await.expect("sent");

    let twice = eventually(BOUND, async || infra.calls().of("consumer.ack").count() == 2);
    assert!(twice.await, "{}", infra.calls());
    infra.calls().of("consumer.handle").assert_outcomes(["ok", "ok"]);
    assert_eq!(bank.taken(), ["order-1"]);
}

#[tokio::test(start_paused = true)]
async fn the_last_good_fee_stays_while_the_configuration_centre_is_away() {
    let Fixture { infra, orders, .. } = fixture();
    let center: Arc<dyn ConfigCenter> = infra.coordinator();
    let _following = orders.fee.follow(center, "orders/fee").await.expect("reached");
    let fee = || orders.fee.current().cents;
    // Whoever changes the configuration is another process, with a connection and without a breaker of ours.
    let operator = infra.memory_coordinator().connect();

    operator
        .set("orders/fee", &serde_json::json!({ "cents": 5 }))
        .await
        .expect("reached");
    assert!(eventually(BOUND, async || fee() == 5).await);

    infra.server_faults().go_away();
    infra.server_faults().reset_watches();
    sleep(Duration::from_secs(600)).await;
    assert_eq!(fee(), 5, "ten minutes later");

    infra.server_faults().come_back();
    for (cents, expected) in [(7, 7), (100, 7), (9, 9)] {
        let value = serde_json::json!({ "cents": cents });
        operator.set("orders/fee", &value).await.expect("reached");
        assert!(eventually(BOUND, async || fee() == expected).await);
    }
}
