//! What the contract costs beside bare `etcd-client` on the same server, in one run:
//! `eval "$(cargo servers up etcd)" && cargo bench -p infra-etcd`.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a program for people to read"
)]

#[path = "../../../../testkit/benches/coordination/mod.rs"]
mod coordination;

use std::time::Duration;

use bytes::Bytes;
use coordination::{compare, fleet};
use etcd_client::{Client, Compare, CompareOp, DeleteOptions, PutOptions, Txn, TxnOp};
use infra_core::Backend;
use infra_core::assembly::BackendOptions;
use infra_core::config::BackendUrl;
use infra_core::coordination::{ConfigCenter, ConfigWrite, Locks, Version, WatchScope};
use infra_etcd::{EtcdConfig, EtcdCoordinator};

const TTL: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() {
    let Ok(url) = std::env::var("INFRA_ETCD_URL") else {
        println!("skipped: no INFRA_ETCD_URL; eval \"$(cargo servers up etcd)\"");
        return;
    };
    let url = BackendUrl::parse(&url).expect("a URL");
    let mut config = EtcdConfig::development().with_key_prefix(format!("bench-{}/", std::process::id()));
    config.take_url(&url).expect("a URL of etcd");
    let endpoints: Vec<String> = url.hosts().iter().map(ToString::to_string).collect();
    let bare = Client::connect(endpoints, None).await.expect("connected");
    let ours = EtcdCoordinator::connect(config.clone()).await.expect("connected");

    single_calls(&ours, &bare, &config.key_prefix).await;
    let other = EtcdCoordinator::connect(config.clone()).await.expect("connected");
    fleet::handovers(&ours).await;
    fleet::fan_out(&ours).await;
    let registered = fleet::register(&ours, fleet::DISCOVERED).await;
    fleet::discover(&other, fleet::SERVICE).await;
    drop(registered);
    ours.shutdown(TTL).await.expect("given back");
    clean_up(bare, &config.key_prefix).await;
}

async fn single_calls(ours: &EtcdCoordinator, bare: &Client, prefix: &str) {
    let value = Bytes::from_static(&[7; 128]);
    let scope = WatchScope::Key("read".to_owned());
    let write = ConfigWrite::set("read", value.clone());
    ours.write(vec![write]).await.expect("written");
    let place = format!("{prefix}config/read");

    compare(
        "read one key",
        "etcd-client",
        &async |_| drop(ours.read(&scope).await.expect("read")),
        &async |_| {
            let mut bare = bare.clone();
            drop(bare.get(place.as_str(), None).await.expect("read"));
        },
    )
    .await;
    compare(
        "compare and set",
        "etcd-client",
        &async |call| {
            let key = format!("cas-{call}-{}", fastrand::u64(..));
            let create = ConfigWrite::compare_and_set(key, value.clone(), Version::ABSENT);
            ours.write(vec![create]).await.expect("written");
        },
        &async |call| {
            let key = format!("{prefix}config/cas-{call}-{}", fastrand::u64(..));
            let create = Txn::new()
                .when([Compare::mod_revision(key.as_str(), CompareOp::Equal, 0)])
                .and_then([TxnOp::put(key.as_str(), value.to_vec(), None)])
                // As ours: what is there instead, where the condition fails.
                .or_else([TxnOp::get(key, None)]);
            let mut bare = bare.clone();
            assert!(bare.txn(create).await.expect("written").succeeded());
        },
    )
    .await;
    let mut granting = bare.clone();
    let lease = granting.lease_grant(60, None).await.expect("granted").id();
    compare(
        "lock and unlock",
        "etcd-client",
        &async |call| {
            let guard = ours.try_acquire(&format!("lock-{call}"), TTL).await;
            let guard = guard.expect("answered").expect("free");
            guard.release().await.expect("released");
        },
        // The fewest round trips that a lock can have, on a lease that is there: one takes it, one gives it back.
        &async |call| {
            let key = format!("{prefix}bare-{call}");
            let free = Compare::create_revision(key.as_str(), CompareOp::Equal, 0);
            let put = TxnOp::put(key.as_str(), "", Some(PutOptions::new().with_lease(lease)));
            let mut bare = bare.clone();
            let taken = bare.txn(Txn::new().when([free]).and_then([put])).await;
            let taken = taken.expect("answered");
            let revision = taken.header().expect("a header").revision();
            let ours = Compare::create_revision(key.as_str(), CompareOp::Equal, revision);
            let delete = TxnOp::delete(key, None);
            let freed = bare.txn(Txn::new().when([ours]).and_then([delete])).await;
            assert!(freed.expect("answered").succeeded());
        },
    )
    .await;
}

async fn clean_up(mut bare: Client, prefix: &str) {
    let options = DeleteOptions::new().with_prefix();
    bare.delete(prefix, Some(options)).await.expect("removed");
}
