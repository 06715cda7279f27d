//! Campaigns on a real Consul: many rounds of use while it is killed, frozen and cut off.

use std::sync::Arc;
use std::time::Duration;

use infra_consul::ConsulCoordinator;
use infra_core::config::Host;
use infra_core::coordination::{ConfigCenter, ConfigCenterExt, InstanceIds, Registry};
use infra_testkit::campaigns::{Fault, ids, registrations, rounds, watches};
use infra_testkit::servers::{Problem, Set};
use infra_testkit::tcp_proxy::{Cut, TcpProxy};

use crate::TTL;
use crate::server::Server;

/// So many instances start at once.
const FLEET: usize = 200;

/// Clients behind a proxy each.
pub(crate) async fn clients(server: &Server, number: usize) -> (Vec<ConsulCoordinator>, Vec<Arc<TcpProxy>>) {
    let (mut clients, mut proxies) = (Vec::new(), Vec::new());
    for _ in 0..number {
        let proxy = TcpProxy::start(server.url.hosts()[0].or_port(8500)).unwrap();
        let host = Host::new("127.0.0.1", Some(proxy.address().port()));
        clients.push(
            ConsulCoordinator::connect(server.config().with_hosts([host]))
                .await
                .unwrap(),
        );
        proxies.push(Arc::new(proxy));
    }
    (clients, proxies)
}

/// The server is killed, then frozen, then the first client is cut off, then its connections are reset once.
pub(crate) fn faults(server: &Arc<Server>, proxy: &Arc<TcpProxy>, freeze: Duration) -> Vec<Fault> {
    let act = |act: fn(&Set, &str) -> Result<(), Problem>| {
        let server = Arc::clone(server);
        move || {
            let server = Arc::clone(&server);
            async move {
                server.act(act).await;
                Ok::<(), Problem>(())
            }
        }
    };
    let cut = |refuse: bool| {
        let proxy = Arc::clone(proxy);
        move || {
            let proxy = Arc::clone(&proxy);
            async move {
                if refuse {
                    proxy.refuse()?;
                }
                proxy.cut(Cut::Reset)
            }
        }
    };
    let heal = || {
        let proxy = Arc::clone(proxy);
        move || {
            let proxy = Arc::clone(&proxy);
            async move { proxy.heal() }
        }
    };
    vec![
        Fault::new("killed", Duration::from_secs(1), act(Set::kill), act(Set::start)),
        Fault::new("frozen", freeze, act(Set::pause), act(Set::resume)),
        Fault::new("cut off", freeze, cut(true), heal()),
        Fault::new("reset", Duration::ZERO, cut(false), heal()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_end_with_the_state_of_the_server_whatever_happens() {
    let Some(server) = Server::start().await else {
        return;
    };
    let (clients, proxies) = clients(&server, 3).await;
    let writer: Arc<dyn ConfigCenter> = Arc::new(server.client().await);
    let readers: Vec<Arc<dyn ConfigCenter>> =
        clients.into_iter().map(|client| Arc::new(client) as _).collect();
    let faults = faults(&server, &proxies[0], Duration::from_secs(3));
    let report = watches::follow(
        &writer,
        &readers,
        "rules/",
        &faults,
        (rounds(300), Duration::from_millis(20)),
    )
    .await
    .unwrap();
    assert!(report.writes >= rounds(300), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn registrations_come_back_whatever_happens() {
    let Some(server) = Server::start().await else {
        return;
    };
    let (clients, proxies) = clients(&server, 3).await;
    let observer = server.client().await;
    let clients: Vec<Arc<dyn Registry>> = clients.into_iter().map(|client| Arc::new(client) as _).collect();
    let faults = faults(&server, &proxies[0], TTL + TTL / 4);
    registrations::come_back(&clients, &observer, "users", &faults, TTL)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_that_starts_at_once_gets_its_numbers_in_few_round_trips() {
    let Some(server) = Server::start().await else {
        return;
    };
    let mut clients: Vec<Arc<dyn InstanceIds>> = Vec::new();
    for _ in 0..FLEET {
        clients.push(Arc::new(server.client().await));
    }
    let counter = server.client().await;
    for (service, last, most) in [("wide", 1023, 4), ("exact", FLEET - 1, 12)] {
        // Each session and each attempt, successful or not, is an entry of the log, and so is this.
        let before = counter
            .set("counter", &format!("before {service}"))
            .await
            .unwrap();
        let range = 0..=u16::try_from(last).unwrap();
        let held = ids::start_at_once(&clients, service, range, Duration::from_secs(60))
            .await
            .unwrap();
        let after = counter.set("counter", &format!("after {service}")).await.unwrap();
        let entries = usize::try_from(after.0 - before.0).unwrap();
        assert!(
            entries <= FLEET * most,
            "{entries} entries for {FLEET} numbers of 0 to {last}"
        );
        drop(held);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_a_dead_instance_comes_back_after_its_rest() {
    let Some(server) = Server::start().await else {
        return;
    };
    let (clients, proxies) = clients(&server, 1).await;
    let taker = server.client().await;
    let kill = || async {
        proxies[0].refuse().unwrap();
        proxies[0].cut(Cut::Reset).unwrap();
    };
    ids::comes_back(&clients[0], &taker, "users", (TTL, TTL), kill)
        .await
        .unwrap();
}
