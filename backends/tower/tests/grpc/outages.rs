//! Instances that die, hang or never were there.

use std::time::{Duration, Instant};

use infra_core::coordination::{Instance, Registry};
use infra_memory::{MemoryCoordinator, MemoryMeter};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::node::{Load, Node, SERVICE, TTL, ask, channels, eventually_answered_by, options};

/// A port that nobody listens on.
fn closed_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test]
async fn a_crash_fails_only_what_was_being_answered_and_a_restart_gets_requests_again() {
    const CALLERS: usize = 8;
    let registry = MemoryCoordinator::new();
    let mut dying = Node::start_slow("dying", Duration::from_millis(2));
    let staying = Node::start_slow("staying", Duration::from_millis(2));
    let _registered = (dying.register(&registry).await, staying.register(&registry).await);
    let channel = channels(&registry, options()).channel(SERVICE).await.unwrap();

    let load = Load::start(&channel, CALLERS);
    load.passes(500).await;
    dying.crash();
    load.passes(500).await;
    let failures = load.stop().await;
    // It did not deregister, and each caller had at most one request there.
    assert!(failures.len() <= CALLERS, "{failures:?}");

    let restarted = Node::start_at("restarted", dying.address);
    let load = Load::start(&channel, CALLERS);
    assert!(
        infra_testkit::time::eventually(super::node::SOON, async || {
            ask(&channel).await.unwrap() == restarted.id
        })
        .await
    );
    assert!(load.stop().await.is_empty());
}

#[tokio::test]
async fn an_instance_that_cannot_be_reached_costs_no_request() {
    let registry = MemoryCoordinator::new();
    let alive = Node::start("alive");
    let _alive = alive.register(&registry).await;
    let dead = Instance::new(SERVICE, "dead", "127.0.0.1", closed_port()).with_weight(100);
    let _dead = registry.register(dead, TTL).await.unwrap();
    let nonsense = Instance::new(SERVICE, "nonsense", "not an address", 1);
    let _nonsense = registry.register(nonsense, TTL).await.unwrap();
    let channel = channels(&registry, options()).channel(SERVICE).await.unwrap();
    for _ in 0..200 {
        assert_eq!(ask(&channel).await.unwrap(), "alive");
    }
}

#[tokio::test]
async fn when_nobody_can_be_reached_a_request_fails_within_its_wait_and_says_why() {
    let registry = MemoryCoordinator::new();
    let dead = Instance::new(SERVICE, "dead", "127.0.0.1", closed_port());
    let _dead = registry.register(dead, TTL).await.unwrap();
    let wait = Duration::from_millis(300);
    let channels = channels(&registry, options().with_request_wait(wait));
    let channel = channels.channel(SERVICE).await.unwrap();
    let began = Instant::now();
    let status = ask(&channel).await.unwrap_err();
    let took = began.elapsed();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("refused"), "{status:?}");
    assert!(took >= wait && took < wait * 5, "{took:?}");
}

#[tokio::test]
async fn the_timeout_of_a_request_bounds_its_wait() {
    let registry = MemoryCoordinator::new();
    let dead = Instance::new(SERVICE, "dead", "127.0.0.1", closed_port());
    let _dead = registry.register(dead, TTL).await.unwrap();
    let channel = channels(&registry, options()).channel(SERVICE).await.unwrap();
    let mut request = tonic::Request::new(HealthCheckRequest::default());
    request.set_timeout(Duration::from_millis(100));
    let began = Instant::now();
    let status = HealthClient::new(channel).check(request).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_request_larger_than_what_is_kept_is_sent_once_and_answered() {
    let registry = MemoryCoordinator::new();
    let node = Node::start("only");
    let _registered = node.register(&registry).await;
    let channels = channels(&registry, options().with_max_replay_bytes(10));
    let channel = channels.channel(SERVICE).await.unwrap();
    for _ in 0..20 {
        assert_eq!(ask(&channel).await.unwrap(), "only");
    }
}

#[tokio::test]
async fn who_can_be_reached_and_what_went_elsewhere_is_measured() {
    let registry = MemoryCoordinator::new();
    let meter = MemoryMeter::new();
    let mut nodes = ["1", "2"].map(Node::start);
    let _registered = (
        nodes[0].register(&registry).await,
        nodes[1].register(&registry).await,
    );
    let channels = channels(&registry, options()).with_meter(std::sync::Arc::new(meter.clone()));
    let channel = channels.channel(SERVICE).await.unwrap();
    while ask(&channel).await.unwrap() != "1" {}
    let service = [("service", SERVICE)];
    assert_eq!(meter.value("grpc.channel.instances", &service), Some(2.0));

    nodes[0].crash();
    assert!(eventually_answered_by(&channel, &["2"]).await);
    assert_eq!(meter.value("grpc.channel.instances", &service), Some(1.0));
    assert!(meter.value("grpc.channel.redirected", &service) > Some(0.0));
}

#[cfg(feature = "grpc-tls")]
#[tokio::test]
async fn a_channel_that_is_asked_for_tls_never_speaks_plaintext() {
    let registry = MemoryCoordinator::new();
    let plain = Node::start("plain");
    let _registered = plain.register(&registry).await;
    let channels = channels(&registry, options().with_request_wait(Duration::from_millis(300)))
        .with_tls(tonic::transport::ClientTlsConfig::new())
        .unwrap();
    let channel = channels.channel(SERVICE).await.unwrap();
    let status = ask(&channel).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(
        status.message().contains("127.0.0.1") || status.message().contains(SERVICE),
        "{status:?}"
    );
    assert_eq!(plain.begun.load(std::sync::atomic::Ordering::Relaxed), 0);
}
