//! A server that has used its memory and may not evict.

use std::time::Duration;

use bytes::Bytes;
use infra_core::ErrorKind;
use infra_core::coordination::Locks;
use infra_core::once::{Claim, ClaimRequest, OnceStore};
use infra_redis::{RedisCache, RedisOnceStore};
use tokio::time::sleep;

use crate::ground::Own;

const TTL: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_server_without_memory_refuses_new_owners_and_keeps_the_present_ones() {
    let Some(server) = Own::start("redis").await else {
        return;
    };
    let locks = RedisCache::connect(server.config.clone()).await.unwrap();
    let once = RedisOnceStore::connect(server.config.clone()).await.unwrap();
    let guard = locks.try_acquire("held", TTL).await.unwrap().unwrap();
    let claimed = once
        .claim(ClaimRequest::new("claimed", "owner", TTL))
        .await
        .unwrap();
    assert!(matches!(claimed, Claim::Acquired { .. }), "{claimed:?}");
    server.limit_memory(1).await;
    let refused = locks.try_acquire("other", TTL).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ResourceExhausted);
    let refused = once
        .claim(ClaimRequest::new("other", "owner", TTL))
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ResourceExhausted);
    for _ in 0..4 {
        sleep(TTL / 2).await;
        once.renew("claimed", "owner", TTL).await.unwrap();
    }
    guard.check().unwrap();
    let result = Bytes::from_static(b"done");
    once.complete("claimed", "owner", result.clone(), TTL * 30)
        .await
        .unwrap();
    let done = once
        .claim(ClaimRequest::new("claimed", "another", TTL))
        .await
        .unwrap();
    assert_eq!(done, Claim::Done { result });
    guard.release().await.unwrap();
    server.limit_memory(0).await;
    locks.try_acquire("held", TTL).await.unwrap().unwrap();
}
