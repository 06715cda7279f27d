//! Bloom filters of im-infra: a layout in JSON, and a bitmap.

use infra_core::ErrorKind;
use infra_core::cache::{Bloom, BloomOptions};
use infra_redis::redis::AsyncCommands;

use crate::beside::beside_gochat;

/// The first half of murmur3-x64-128 with seed 0, and FNV-1a with 64 bits, as public implementations give them.
const HELLO: (u64, u64) = (0xcbd8_a7b3_41bd_9b02, 0xa430_d846_80aa_bd0b);
const OPTIONS: BloomOptions = BloomOptions::new(0.01, 1000);

/// What GoChat's code computes.
fn positions((first, second): (u64, u64), m: u64, k: u64) -> Vec<usize> {
    (0..k)
        .map(|i| first.wrapping_add(i.wrapping_mul(second)) % m)
        .map(|position| usize::try_from(position).unwrap())
        .collect()
}

#[tokio::test]
async fn a_filter_of_theirs_is_understood() {
    let Some((ours, mut theirs, prefix)) = beside_gochat("bloom").await else {
        return;
    };
    // Also a number of bits that makes every step of the arithmetic matter.
    for (key, m, k) in [("small", 9586_u64, 7), ("odd", 4_294_967_291 / 64, 13)] {
        let meta = format!(r#"{{"m": {m}, "k": {k}, "n": 1000}}"#);
        let () = theirs.set(format!("{prefix}:{key}:bf_meta"), meta).await.unwrap();
        assert!(!ours.bloom_contains(key, b"hello").await.unwrap());
        for position in positions(HELLO, m, k) {
            let _: bool = theirs
                .setbit(format!("{prefix}:{key}:bf_bitmap"), position, true)
                .await
                .unwrap();
        }
        assert!(ours.bloom_contains(key, b"hello").await.unwrap(), "{key}");
        assert!(!ours.bloom_add(key, b"hello").await.unwrap(), "{key}");
        assert!(!ours.bloom_contains(key, b"hullo").await.unwrap(), "{key}");
    }
    ours.bloom_reserve("small", OPTIONS).await.unwrap();
    let other = ours.bloom_reserve("odd", OPTIONS).await.unwrap_err();
    assert_eq!(other.kind(), ErrorKind::AlreadyExists, "{other:?}");
}

#[tokio::test]
async fn a_filter_of_ours_is_as_theirs() {
    let Some((ours, mut theirs, prefix)) = beside_gochat("bloom").await else {
        return;
    };
    ours.bloom_reserve("seen", OPTIONS).await.unwrap();
    let meta: String = theirs.get(format!("{prefix}:seen:bf_meta")).await.unwrap();
    assert_eq!(meta, r#"{"m":9586,"k":7,"n":1000}"#);
    assert!(ours.bloom_add("seen", b"hello").await.unwrap());
    let bitmap = format!("{prefix}:seen:bf_bitmap");
    let set: usize = infra_redis::redis::cmd("BITCOUNT")
        .arg(&bitmap)
        .query_async(&mut theirs)
        .await
        .unwrap();
    assert_eq!(set, 7);
    for position in positions(HELLO, 9586, 7) {
        assert!(
            theirs.getbit::<_, bool>(&bitmap, position).await.unwrap(),
            "bit {position}"
        );
    }
}

#[tokio::test]
async fn a_layout_that_nobody_understands_is_a_conflict() {
    let Some((ours, mut theirs, prefix)) = beside_gochat("bloom").await else {
        return;
    };
    for meta in [
        "",
        "{",
        "[]",
        "{}",
        r#"{"m":0,"k":7,"n":1}"#,
        r#"{"m":1e300,"k":7,"n":1}"#,
        r#"{"m":10,"k":1e9,"n":1}"#,
    ] {
        let () = theirs.set(format!("{prefix}:bad:bf_meta"), meta).await.unwrap();
        for answer in [
            ours.bloom_add("bad", b"a").await.map(drop),
            ours.bloom_contains("bad", b"a").await.map(drop),
            ours.bloom_reserve("bad", OPTIONS).await,
        ] {
            assert_eq!(answer.unwrap_err().kind(), ErrorKind::Conflict, "{meta}");
        }
    }
}
