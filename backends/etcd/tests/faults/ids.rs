//! Instance ids: a fleet that starts at once, and a holder that dies.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use infra_core::coordination::InstanceIds;
use infra_etcd::EtcdCoordinator;
use infra_testkit::campaigns::ids::{comes_back, start_at_once};
use infra_testkit::unique;

use crate::ground::Own;

/// How many requests this server has answered, by its own count.
fn requests(address: &str) -> f64 {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = "GET /metrics HTTP/1.0\r\nHost: x\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let counted = |line: &&str| {
        line.starts_with("grpc_server_handled_total{")
            && line.contains("grpc_type=\"unary\"")
            && line.contains("etcdserverpb")
    };
    let lines = text.lines().filter(counted);
    lines
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_instances_that_start_at_once_get_different_ids_in_few_round_trips() {
    let Some(server) = Own::start("etcd").await else {
        return;
    };
    let connecting = (0..200).map(|_| EtcdCoordinator::connect(server.config.clone()));
    let clients: Vec<Arc<dyn InstanceIds>> = join_all(connecting)
        .await
        .into_iter()
        .map(|client| Arc::new(client.unwrap()) as Arc<dyn InstanceIds>)
        .collect();
    let address = server.config.endpoints[0].or_port(2379);
    let before = requests(&address);
    let ids = start_at_once(&clients, &unique("fleet"), 0..=1023, Duration::from_secs(30))
        .await
        .unwrap();
    let each = (requests(&address) - before) / ids.len() as f64;
    println!("{each:.1} requests for each instance");
    assert!(each <= 4.0, "{each:.1} requests for each instance");
}

#[tokio::test]
async fn the_id_of_a_dead_instance_comes_back_after_its_rest() {
    let Some(server) = Own::start("etcd").await else {
        return;
    };
    let lease = (Duration::from_secs(3), Duration::from_secs(3));
    let short = |config: infra_etcd::EtcdConfig| config.with_instance_ids(lease.0, lease.1);
    let (dying, other) = (server.ways().with(short), server.ways().with(short));
    let (holder, taker) = (dying.connect().await, other.connect().await);
    let kill = || async { dying.stall() };
    let after = comes_back(&holder, &taker, &unique("dying"), lease, kill)
        .await
        .unwrap();
    println!("came back after {after:?}");
}
