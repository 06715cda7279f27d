//! What the contract costs beside bare `etcd-client` on the same server, in one run:
//! `eval "$(cargo servers up etcd)" && cargo bench -p infra-etcd`.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a program for people to read"
)]

mod fleet;

use std::time::{Duration, Instant};

use bytes::Bytes;
use etcd_client::{Client, Compare, CompareOp, PutOptions, Txn, TxnOp};
use infra_core::Backend;
use infra_core::assembly::BackendOptions;
use infra_core::config::BackendUrl;
use infra_core::coordination::{ConfigCenter, ConfigWrite, Locks, Version, WatchScope};
use infra_etcd::{EtcdConfig, EtcdCoordinator};

const ROUNDS: usize = 15;
const CALLS: u32 = 200;
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
    fleet::run(&ours, &config).await;
    ours.shutdown(TTL).await.expect("given back");
    fleet::clean_up(bare, &config.key_prefix).await;
}

async fn single_calls(ours: &EtcdCoordinator, bare: &Client, prefix: &str) {
    let value = Bytes::from_static(&[7; 128]);
    let scope = WatchScope::Key("read".to_owned());
    let write = ConfigWrite::set("read", value.clone());
    ours.write(vec![write]).await.expect("written");
    let place = format!("{prefix}config/read");

    compare(
        "read one key",
        &async |_| drop(ours.read(&scope).await.expect("read")),
        &async |_| {
            let mut bare = bare.clone();
            drop(bare.get(place.as_str(), None).await.expect("read"));
        },
    )
    .await;
    compare(
        "compare and set",
        &async |call| {
            let key = format!("cas-{call}-{}", fastrand::u64(..));
            let create = ConfigWrite::compare_and_set(key, value.clone(), Version::ABSENT);
            ours.write(vec![create]).await.expect("written");
        },
        &async |call| {
            let key = format!("{prefix}config/cas-{call}-{}", fastrand::u64(..));
            let create = Txn::new()
                .when([Compare::mod_revision(key.as_str(), CompareOp::Equal, 0)])
                .and_then([TxnOp::put(key, value.to_vec(), None)]);
            let mut bare = bare.clone();
            assert!(bare.txn(create).await.expect("written").succeeded());
        },
    )
    .await;
    let mut granting = bare.clone();
    let lease = granting.lease_grant(60, None).await.expect("granted").id();
    compare(
        "lock and unlock",
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

/// Prints the best round of each; the rounds alternate, so that a busy machine slows both.
async fn compare(what: &str, ours: &impl AsyncFn(u32), bare: &impl AsyncFn(u32)) {
    let (mut best_ours, mut best_bare) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        best_bare = best_bare.min(round(bare).await);
        best_ours = best_ours.min(round(ours).await);
    }
    println!(
        "{what:<34} {best_ours:>9.1?}   bare etcd-client {best_bare:>9.1?}   ratio {:.2}",
        best_ours.as_secs_f64() / best_bare.as_secs_f64()
    );
}

/// The time of one call.
async fn round(call: &impl AsyncFn(u32)) -> Duration {
    let begun = Instant::now();
    for number in 0..CALLS {
        call(number).await;
    }
    begun.elapsed() / CALLS
}
