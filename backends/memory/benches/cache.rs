//! What a cache get and set cost through `Arc<dyn KeyValue>`, beside bare `moka::sync` with the same keys and values.
//!
//! 4,096 keys, taken in an order that jumps about; values of 128 bytes. Ratios are to moka as its own documentation sets
//! it up. The other bare rows have one thing each that our side has: the hasher, or times to live of single entries.

#![allow(clippy::expect_used, reason = "a bench stops where it cannot go on")]

#[path = "../../../core/benches/support/mod.rs"]
mod support;

use std::cell::Cell;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::RandomState;
use futures_util::FutureExt;
use infra_core::Ttl;
use infra_core::cache::{KeyValue, RankRange, Scored, SortedSets};
use infra_memory::MemoryCache;
use moka::Expiry;
use moka::sync::Cache;
use support::{Case, compare};

const KEYS: usize = 4096;
const HOUR: Ttl = Ttl::secs(3600);

struct Hour;

impl Expiry<String, Bytes> for Hour {
    fn expire_after_create(&self, _: &String, _: &Bytes, _: std::time::Instant) -> Option<Duration> {
        HOUR.duration()
    }
}

/// Goes through the keys in jumps, each case on its own.
struct Keys {
    keys: Vec<String>,
    at: Cell<usize>,
}

impl Keys {
    fn new() -> Self {
        Self {
            keys: (0..KEYS)
                .map(|number| format!("session:{number:08}:profile"))
                .collect(),
            at: Cell::new(0),
        }
    }

    fn next(&self) -> &String {
        let at = (self.at.get() + 1_597) % KEYS;
        self.at.set(at);
        &self.keys[at]
    }
}

fn bare() -> Cache<String, Bytes> {
    Cache::new(1_000_000)
}

fn bare_with_our_hasher() -> Cache<String, Bytes, RandomState> {
    Cache::builder()
        .max_capacity(1_000_000)
        .build_with_hasher(RandomState::default())
}

fn bare_with_expiry() -> Cache<String, Bytes> {
    Cache::builder()
        .max_capacity(1_000_000)
        .expire_after(Hour)
        .build()
}

fn dynamic() -> Arc<dyn KeyValue> {
    Arc::new(MemoryCache::new())
}

fn main() {
    let value = Bytes::from(vec![7; 128]);
    gets(&value);
    sets(&value);
    recent();
}

fn gets(value: &Bytes) {
    let keys = Keys::new();
    let (plain, hashed, expiring) = (bare(), bare_with_our_hasher(), bare_with_expiry());
    let (ours, ours_expiring) = (dynamic(), dynamic());
    for key in &keys.keys {
        plain.insert(key.clone(), value.clone());
        hashed.insert(key.clone(), value.clone());
        expiring.insert(key.clone(), value.clone());
        for (cache, ttl) in [(&ours, Ttl::Never), (&ours_expiring, HOUR)] {
            let set = cache.set(key, value.clone(), ttl);
            set.now_or_never().expect("never waits").expect("stored");
        }
    }
    compare(
        "get, always a hit",
        vec![
            Case::new("moka::sync, bare", || plain.get(black_box(keys.next()))),
            Case::new("moka::sync, bare, our hasher", || {
                hashed.get(black_box(keys.next()))
            }),
            Case::new("moka::sync, bare, expiry per entry", || {
                expiring.get(black_box(keys.next()))
            }),
            Case::new("Arc<dyn KeyValue>, never expires", || {
                ours.get(black_box(keys.next())).now_or_never()
            }),
            Case::new("Arc<dyn KeyValue>, expires", || {
                ours_expiring.get(black_box(keys.next())).now_or_never()
            }),
        ],
    );
}

fn sets(value: &Bytes) {
    let keys = Keys::new();
    let (plain, hashed, expiring) = (bare(), bare_with_our_hasher(), bare_with_expiry());
    let (ours, ours_expiring) = (dynamic(), dynamic());
    compare(
        "set, almost always replacing",
        vec![
            Case::new("moka::sync, bare", || {
                plain.insert(black_box(keys.next()).clone(), value.clone());
            }),
            Case::new("moka::sync, bare, our hasher", || {
                hashed.insert(black_box(keys.next()).clone(), value.clone());
            }),
            Case::new("moka::sync, bare, expiry per entry", || {
                expiring.insert(black_box(keys.next()).clone(), value.clone());
            }),
            Case::new("Arc<dyn KeyValue>, never expires", || {
                let key = black_box(keys.next());
                ours.set(key, value.clone(), Ttl::Never).now_or_never()
            }),
            Case::new("Arc<dyn KeyValue>, expires", || {
                let key = black_box(keys.next());
                ours_expiring.set(key, value.clone(), HOUR).now_or_never()
            }),
        ],
    );
}

/// The usage guide's recent-50: add a message and trim, then read the newest.
fn recent() {
    let cache = MemoryCache::new();
    let number = Cell::new(0_u32);
    let push = || {
        number.set(number.get().wrapping_add(1));
        let member = Scored::new(number.get().to_be_bytes().to_vec(), f64::from(number.get()));
        let added = cache.sorted_add("recent", &[member]).now_or_never();
        let trimmed = cache
            .sorted_remove_by_rank("recent", RankRange::new(0, -51))
            .now_or_never();
        (added, trimmed)
    };
    for _ in 0..100 {
        push();
    }
    compare(
        "a session's newest 50 in a sorted set",
        vec![
            Case::new("add one and trim", push),
            Case::new("read all 50", || {
                cache
                    .sorted_range("recent", RankRange::greatest(50))
                    .now_or_never()
            }),
        ],
    );
}
