//! The first instance of a service: waited for with a bound, and nothing left behind where there is none.

use std::time::Duration;

use infra_core::ErrorKind;
use infra_core::config::Validate as _;
use infra_core::coordination::{InstanceState, Registry};
use infra_memory::MemoryCoordinator;
use infra_testkit::time::eventually;
use infra_tower::grpc::ChannelOptions;
use tokio::time::Instant;

use super::node::{Node, SERVICE, SOON, TTL, ask, channels, options};

async fn no_watch_is_left(registry: &MemoryCoordinator) -> bool {
    eventually(SOON, async || registry.faults().open_watches() == (0, 0)).await
}

#[tokio::test(start_paused = true)]
async fn an_unknown_service_is_a_typed_error_after_a_bounded_wait_and_leaves_nothing_behind() {
    let registry = MemoryCoordinator::new();
    let channels = channels(&registry, options());
    let began = Instant::now();
    let error = channels.channel("user-servise").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.is_retryable() && error.had_no_effect());
    assert!(error.to_string().contains("\"user-servise\""), "{error}");
    let waited = began.elapsed();
    assert!(
        (Duration::from_millis(300)..Duration::from_millis(350)).contains(&waited),
        "{waited:?}"
    );
    assert!(no_watch_is_left(&registry).await);
}

#[tokio::test(start_paused = true)]
async fn with_no_time_to_wait_the_registry_is_asked_once() {
    let registry = MemoryCoordinator::new();
    let channels = channels(&registry, options().with_first_instance_timeout(Duration::ZERO));
    let began = Instant::now();
    let error = channels.channel(SERVICE).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(began.elapsed(), Duration::ZERO);

    let instance = infra_core::coordination::Instance::new(SERVICE, "1", "127.0.0.1", 9);
    let _registered = registry.register(instance, TTL).await.unwrap();
    channels.channel(SERVICE).await.expect("there is one now");
}

#[tokio::test]
async fn an_instance_that_comes_while_it_is_waited_for_ends_the_wait() {
    let registry = MemoryCoordinator::new();
    let channels = channels(&registry, options().with_first_instance_timeout(SOON));
    let node = Node::start("late");
    let (channel, _registered) = tokio::join!(channels.channel(SERVICE), async {
        assert!(eventually(SOON, async || registry.faults().open_watches().0 == 1).await);
        node.register(&registry).await
    });
    assert_eq!(ask(&channel.unwrap()).await.unwrap(), "late");
}

#[tokio::test(start_paused = true)]
async fn instances_that_take_nothing_are_another_error_than_none() {
    let registry = MemoryCoordinator::new();
    let channels = channels(&registry, options());
    let instance = infra_core::coordination::Instance::new(SERVICE, "1", "127.0.0.1", 9);
    let mut registered = registry.register(instance.with_weight(1), TTL).await.unwrap();
    registered.set_state(InstanceState::Draining).await.unwrap();
    let error = channels.channel(SERVICE).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("none of the 1 instances"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_the_registry_refuses_is_not_waited_for() {
    let registry = MemoryCoordinator::new();
    let channels = channels(&registry, options());
    let began = Instant::now();
    for name in [String::new(), "x".repeat(10_000)] {
        let error = channels.channel(&name).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_is_away_from_the_beginning_is_waited_for_and_named() {
    let registry = MemoryCoordinator::new();
    registry.faults().go_away();
    let channels = channels(&registry, options());
    let error = channels.channel(SERVICE).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error.message().contains("first instance of \"user-service\""),
        "{error}"
    );
    registry.faults().come_back();
}

#[tokio::test]
async fn a_service_is_watched_once_however_many_ask_and_no_more_once_nobody_can() {
    let registry = MemoryCoordinator::new();
    let node = Node::start("only");
    let _registered = node.register(&registry).await;
    let channels = channels(&registry, options());
    let asked = futures_util::future::join_all((0..20).map(|_| channels.channel(SERVICE))).await;
    let asked: Vec<_> = asked.into_iter().map(Result::unwrap).collect();
    let again = channels.clone().channel(SERVICE).await.unwrap();
    assert_eq!(again.service(), SERVICE);
    assert_eq!(again.instances().len(), 1);
    assert!(eventually(SOON, async || registry.faults().open_watches() == (1, 0)).await);

    drop(asked);
    drop(channels);
    assert_eq!(ask(&again).await.unwrap(), "only", "a channel outlives its maker");
    drop(again);
    assert!(no_watch_is_left(&registry).await);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_given_up_leaves_nothing_behind() {
    let registry = MemoryCoordinator::new();
    let channels = channels(&registry, options().with_first_instance_timeout(SOON));
    let given_up = tokio::time::timeout(Duration::from_millis(50), channels.channel(SERVICE)).await;
    assert!(given_up.is_err());
    assert!(no_watch_is_left(&registry).await);
}

#[test]
fn every_problem_of_the_options_is_reported_at_once() {
    let options: ChannelOptions = serde_json::from_str(
        r#"{ "zone": "", "connect_timeout": "0s", "max_reconnect_delay": "0s",
             "keep_alive_interval": "0s", "keep_alive_timeout": "0s" }"#,
    )
    .unwrap();
    let error = options.check().unwrap_err().to_string();
    for path in [
        "zone",
        "connect_timeout",
        "max_reconnect_delay",
        "keep_alive_interval",
        "keep_alive_timeout",
    ] {
        assert!(error.contains(path), "{path} in {error}");
    }
    assert!(serde_json::from_str::<ChannelOptions>(r#"{ "zones": "a" }"#).is_err());
}
