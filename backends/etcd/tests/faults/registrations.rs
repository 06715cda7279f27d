//! Registrations: found again after each fault, also when the server has forgotten them.

use std::sync::Arc;
use std::time::Duration;

use infra_core::coordination::Registry;
use infra_etcd::EtcdCoordinator;
use infra_testkit::campaigns::registrations::come_back;

use crate::ground::Own;

const TTL: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn instances_are_found_again_after_every_fault() {
    let Some(server) = Own::start("etcd").await else {
        return;
    };
    let ways = server.ways();
    let mut clients: Vec<Arc<dyn Registry>> = Vec::new();
    for _ in 0..3 {
        clients.push(Arc::new(ways.connect().await));
    }
    let observer = EtcdCoordinator::connect(server.config.clone()).await.unwrap();
    let faults = [
        ways.reset("connections are reset"),
        server.kill(1),
        ways.partition("they are cut off beyond their leases", TTL * 2),
        server.freeze(1),
        server.forget(),
    ];
    let longest = come_back(&clients, &observer, "orders", &faults, TTL)
        .await
        .unwrap();
    println!("found again within {longest:?}");
}
