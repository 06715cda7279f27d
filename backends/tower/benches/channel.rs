//! What a balanced channel costs beside a bare tonic channel: whole requests over the loopback interface to the same server,
//! in turns, in one process.

#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a bench prints, and stops where it cannot go on"
)]

#[path = "../../../core/benches/support/mod.rs"]
mod support;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use infra_core::coordination::{Instance, Registration, Registry};
use infra_memory::MemoryCoordinator;
use infra_tower::grpc::{ChannelOptions, Channels, ServiceChannel};
use support::{Case, compare};
use tonic::transport::{Channel, Endpoint, Server};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// How many requests are under way at once in the second comparison.
const AT_ONCE: usize = 64;

fn main() {
    let servers = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let ports: Vec<u16> = (0..100).map(|_| serve(&servers)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");

    let (bare, one, hundred, _registrations) = runtime.block_on(async {
        let registry = Arc::new(MemoryCoordinator::new());
        let mut registrations = register(&registry, "one", &ports[..1]).await;
        registrations.extend(register(&registry, "hundred", &ports).await);
        let channels = Channels::new(registry, ChannelOptions::production()).expect("valid options");
        let one = channels.channel("one").await.expect("a channel");
        let hundred = channels.channel("hundred").await.expect("a channel");
        let bare = Endpoint::from_shared(format!("http://127.0.0.1:{}", ports[0]))
            .expect("an address")
            .connect()
            .await
            .expect("a connection");
        // Until every instance is connected.
        for _ in 0..2_000 {
            ask_balanced(&hundred).await;
        }
        (bare, one, hundred, registrations)
    });

    let runtime = RefCell::new(runtime);
    let single = compare(
        "one request after the other",
        vec![
            Case::new("tonic, one connection", || {
                runtime.borrow_mut().block_on(ask_bare(&bare))
            }),
            Case::new("balanced over one instance", || {
                runtime.borrow_mut().block_on(ask_balanced(&one))
            }),
            Case::new("balanced over a hundred", || {
                runtime.borrow_mut().block_on(ask_balanced(&hundred))
            }),
        ],
    );
    let many = compare(
        "64 requests at once",
        vec![
            Case::new("tonic, one connection", || {
                let requests = (0..AT_ONCE).map(|_| ask_bare(&bare));
                runtime
                    .borrow_mut()
                    .block_on(futures_util::future::join_all(requests));
            }),
            Case::new("balanced over one instance", || {
                let requests = (0..AT_ONCE).map(|_| ask_balanced(&one));
                runtime
                    .borrow_mut()
                    .block_on(futures_util::future::join_all(requests));
            }),
        ],
    );
    println!(
        "\nbalanced beside bare: {:.3}x one after the other, {:.3}x with 64 at once",
        single[1].median / single[0].median,
        many[1].median / many[0].median
    );
}

fn serve(runtime: &tokio::runtime::Runtime) -> u16 {
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (_, health) = tonic_health::server::health_reporter();
        let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
        tokio::spawn(
            Server::builder()
                .add_service(health)
                .serve_with_incoming(incoming),
        );
        port
    })
}

async fn register(registry: &MemoryCoordinator, service: &str, ports: &[u16]) -> Vec<Registration> {
    let mut registrations = Vec::new();
    for port in ports {
        let instance = Instance::new(service, port.to_string(), "127.0.0.1", *port);
        let registered = registry.register(instance, Duration::from_secs(3600)).await;
        registrations.push(registered.expect("a registration"));
    }
    registrations
}

async fn ask_bare(channel: &Channel) {
    HealthClient::new(channel.clone())
        .check(HealthCheckRequest::default())
        .await
        .expect("an answer");
}

async fn ask_balanced(channel: &ServiceChannel) {
    HealthClient::new(channel.clone())
        .check(HealthCheckRequest::default())
        .await
        .expect("an answer");
}
