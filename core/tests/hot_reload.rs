//! What a service hot-reloads has effect: on calls that are being made, and on messages that are being handled.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "helpers of tests stop where they cannot go on"
)]

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use infra_core::coordination::{ConfigCenter, ConfigCenterExt};
use infra_core::intercept::{StackConfig, StandardStack};
use infra_core::queue::{Concurrency, Disposition, Message, MessageQueue, Subscription, handler_fn};
use infra_core::retry::{Policies, Policy, RetryConfig};
use infra_core::{Error, ErrorKind, Result, async_trait};
use infra_memory::{MemoryCoordinator, MemoryQueue};
use infra_testkit::time::eventually;
use serde_json::json;
use tokio::time::Instant;

const SOON: Duration = Duration::from_secs(10);

#[infra_core::intercept(component = "users")]
#[async_trait]
trait Users: std::fmt::Debug + Send + Sync + 'static {
    #[call(idempotent)]
    async fn find(&self) -> Result<()>;
}

/// Fails, or hangs, and counts how often it was called.
#[derive(Debug, Default)]
struct Failing {
    calls: AtomicU32,
    hang: bool,
}

#[async_trait]
impl Users for Failing {
    async fn find(&self) -> Result<()> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.hang {
            std::future::pending::<()>().await;
        }
        Err(Error::new(ErrorKind::Unavailable, "connection refused"))
    }
}

/// Users behind the standard stack with the policy of this name, and the calls that got through to them.
fn users(policies: &Policies, hang: bool) -> (Arc<dyn Users>, Arc<Failing>) {
    let failing = Arc::new(Failing {
        hang,
        ..Failing::default()
    });
    let stack = StandardStack::new(StackConfig::development())
        .with_retry_policy(policies.policy("users"))
        .build()
        .unwrap();
    (stack.wrap_named("test", failing.clone()), failing)
}

async fn set(center: &dyn ConfigCenter, key: &str, value: serde_json::Value) {
    center.set(key, &value).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stack_repeats_as_the_config_centre_says() {
    let center = Arc::new(MemoryCoordinator::new());
    let policies = Policies::new(RetryConfig::default(), Policy::development()).unwrap();
    let (users, backend) = users(&policies, false);
    let (reload, _following) = policies.follow(center.clone()).await.unwrap();
    let attempts = async || {
        let before = backend.calls.load(Ordering::SeqCst);
        users.find().await.unwrap_err();
        backend.calls.load(Ordering::SeqCst) - before
    };
    assert_eq!(attempts().await, 3, "the default");

    set(&*center, "retry/users.json", json!({"max_attempts": 2})).await;
    assert!(eventually(SOON, async || reload.generation() == 1).await);
    assert_eq!(attempts().await, 2);

    set(&*center, "retry/default.json", json!({"max_attempts": 1})).await;
    assert!(eventually(SOON, async || reload.generation() == 2).await);
    assert_eq!(attempts().await, 2, "its own policy is nearer");

    set(&*center, "retry/users.json", json!({"max_attempts": 0})).await;
    assert!(eventually(SOON, async || reload.last_error().is_some()).await);
    let rejection = reload.last_error().unwrap();
    assert!(
        rejection.source.to_string().contains("retry/users.json"),
        "{rejection:?}"
    );
    assert!(
        rejection.error.message().contains("max_attempts"),
        "{rejection:?}"
    );
    assert_eq!(attempts().await, 2, "the last good one");

    center.delete("retry/users.json").await.unwrap();
    assert!(eventually(SOON, async || reload.generation() == 3).await);
    assert_eq!(attempts().await, 1);
}

#[tokio::test(start_paused = true)]
async fn the_time_of_an_attempt_follows_too() {
    let policies = Policies::new(RetryConfig::default(), Policy::development()).unwrap();
    let (users, backend) = users(&policies, true);
    let once = Policy::development().with_max_attempts(1);
    let quick = once.clone().with_attempt_timeout(Duration::from_millis(20));
    for (policy, limit) in [
        (once.clone(), Duration::from_secs(3)),
        (quick, Duration::from_millis(20)),
    ] {
        policies.apply([("users".to_owned(), policy)].into()).unwrap();
        let began = Instant::now();
        assert_eq!(users.find().await.unwrap_err().kind(), ErrorKind::Timeout);
        assert!(
            began.elapsed() >= limit && began.elapsed() < limit + Duration::from_millis(5),
            "{limit:?}"
        );
    }
    assert_eq!(backend.calls.load(Ordering::SeqCst), 2);
}

/// What handlers have seen.
#[derive(Debug, Default)]
struct Seen {
    now: AtomicUsize,
    most: AtomicUsize,
    handled: Mutex<Vec<String>>,
}

#[tokio::test(start_paused = true)]
async fn concurrency_changes_while_messages_are_handled_and_each_is_handled_once() {
    const MESSAGES: usize = 400;
    let (center, queue) = (Arc::new(MemoryCoordinator::new()), MemoryQueue::new());
    let seen = Arc::new(Seen::default());
    let handler = {
        let seen = seen.clone();
        handler_fn(move |delivery| {
            let seen = seen.clone();
            async move {
                let now = seen.now.fetch_add(1, Ordering::SeqCst) + 1;
                seen.most.fetch_max(now, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(50)).await;
                seen.now.fetch_sub(1, Ordering::SeqCst);
                let payload = String::from_utf8(delivery.message.payload.to_vec()).unwrap();
                seen.handled.lock().unwrap().push(payload);
                Ok(Disposition::Ack)
            }
        })
    };
    let producer = queue.producer().await.unwrap();
    for number in 0..MESSAGES {
        producer
            .send(Message::new("orders", number.to_string()))
            .await
            .unwrap();
    }
    let count = |count| NonZeroU32::new(count).unwrap();
    let subscription = Subscription::to(["orders"]).with_max_in_flight(count(4));
    let consumer = queue.consumer("billing").await.unwrap();
    let handle = consumer.subscribe(subscription, handler).await.unwrap();
    let reload = handle.hot_reload(Concurrency::new(count(4))).unwrap();
    let _following = reload
        .follow(center.clone(), "consumers/billing.json")
        .await
        .unwrap();

    let handled = || seen.handled.lock().unwrap().len();
    let most_from_now = async |more: usize| {
        // What began under the old limit ends first.
        tokio::time::sleep(Duration::from_millis(200)).await;
        seen.most.store(0, Ordering::SeqCst);
        let enough = handled() + more;
        assert!(eventually(SOON, async || handled() >= enough).await);
        seen.most.load(Ordering::SeqCst)
    };
    assert_eq!(most_from_now(20).await, 4);
    for (generation, limit) in [(1, 16), (2, 2)] {
        set(
            &*center,
            "consumers/billing.json",
            json!({"max_in_flight": limit}),
        )
        .await;
        assert!(eventually(SOON, async || reload.generation() == generation).await);
        assert_eq!(most_from_now(30).await, limit);
    }
    for bad in [
        json!({"max_in_flight": 0}),
        json!({"max_in_flight": 70_000}),
        json!({"workers": 3}),
    ] {
        set(&*center, "consumers/billing.json", bad.clone()).await;
        assert!(
            eventually(SOON, async || reload.last_error().is_some()).await,
            "{bad}"
        );
        assert_eq!(most_from_now(4).await, 2, "the last good one");
    }
    center.delete("consumers/billing.json").await.unwrap();
    assert!(eventually(SOON, async || reload.generation() == 3).await);
    assert_eq!(most_from_now(20).await, 4, "the default");

    assert!(eventually(SOON * 10, async || handled() >= MESSAGES).await);
    handle.drain(SOON).await.unwrap();
    let all: BTreeSet<_> = seen.handled.lock().unwrap().iter().cloned().collect();
    assert_eq!((handled(), all.len()), (MESSAGES, MESSAGES), "each once");
}
