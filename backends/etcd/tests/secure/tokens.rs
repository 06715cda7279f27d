//! The server's tokens, which live three seconds here: the client logs in anew by itself, once.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use infra_core::Backend;
use infra_core::coordination::{ConfigCenterExt, LockOptions, Locks};
use infra_core::watch::WatchEvent;
use infra_etcd::EtcdCoordinator;
use tokio::time::{sleep, timeout};

use crate::ground;

/// Longer than a token lives that nobody uses.
const EXPIRY: Duration = Duration::from_secs(5);

#[tokio::test]
async fn an_expired_token_is_renewed_under_way() {
    let Some(config) = ground::secure("expiry") else {
        return;
    };
    let client = Arc::new(EtcdCoordinator::connect(config).await.unwrap());
    let (_, mut watch) = client.list_and_watch("k").await.unwrap();
    sleep(EXPIRY).await;
    // Many at once find it expired.
    let writes = (0..20).map(|number| {
        let client = Arc::clone(&client);
        async move { client.set(&format!("k{number}"), &number).await }
    });
    for written in join_all(writes).await {
        written.expect("written with a new token");
    }
    for _ in 0..20 {
        let event = timeout(Duration::from_secs(10), watch.next())
            .await
            .expect("an event in time");
        assert!(matches!(event, Some(WatchEvent::Put(_))), "{event:?}");
    }
}

#[tokio::test]
async fn a_lease_outlives_the_token_it_was_granted_with() {
    let Some(config) = ground::secure("lease") else {
        return;
    };
    let client = EtcdCoordinator::connect(config).await.unwrap();
    let guard = client
        .acquire("long", LockOptions::new(Duration::from_secs(15)))
        .await
        .unwrap();
    sleep(EXPIRY * 2).await;
    guard.check().expect("renewed");
    client.health().await.unwrap();
    guard.release().await.expect("released");
}
