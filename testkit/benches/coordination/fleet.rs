//! What a fleet does at once: contended locks, many watched keys, many instances.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use infra_core::coordination::{
    ConfigCenter, ConfigWrite, Instance, LockOptions, Locks, Registration, Registry, WatchScope,
};
use infra_core::watch::WatchEvent;
use tokio::sync::Mutex;

use super::print_percentiles;

const TTL: Duration = Duration::from_secs(60);
const CONTENDERS: usize = 64;
const HANDOVERS: usize = 256;
pub(crate) const WATCHED: usize = 1_000;
pub(crate) const REGISTERED: usize = 1_000;
pub(crate) const DISCOVERED: usize = 10_000;
/// How many requests are on their way at once where there are very many.
const WINDOW: usize = 64;

/// How long the lock is nobody's between one holder and the next of 64.
pub(crate) async fn handovers(ours: &impl Locks) {
    let released = Mutex::new(None::<Instant>);
    let gaps = Mutex::new(Vec::new());
    let contend = async || {
        for _ in 0..HANDOVERS / CONTENDERS {
            let options = LockOptions::new(TTL).with_wait(TTL);
            let guard = ours.acquire("contended", options).await.expect("granted");
            if let Some(released) = released.lock().await.take() {
                gaps.lock().await.push(released.elapsed());
            }
            let begun = Instant::now();
            guard.release().await.expect("released");
            // From the moment at which the server was told.
            released.lock().await.get_or_insert(begun);
        }
    };
    join_all((0..CONTENDERS).map(|_| contend())).await;
    print_percentiles("hand-over among 64 contenders", gaps.lock().await.as_mut_slice());
}

/// From a write to its event, with a thousand watches open: how much later than the answer of the write.
pub(crate) async fn fan_out(ours: &impl ConfigCenter) {
    let mut watches = Vec::new();
    for number in 0..WATCHED {
        let scope = WatchScope::Key(format!("watched/{number}"));
        let (_, revision) = ours.read(&scope).await.expect("read");
        watches.push(ours.watch(&scope, revision).await.expect("watched"));
    }
    let mut lag = Vec::new();
    for (number, watch) in watches.iter_mut().enumerate() {
        let write = ConfigWrite::set(format!("watched/{number}"), Bytes::from_static(b"1"));
        ours.write(vec![write]).await.expect("written");
        let answered = Instant::now();
        let event = watch.next().await;
        assert!(matches!(event, Some(WatchEvent::Put(_))), "the write is told");
        lag.push(answered.elapsed());
    }
    print_percentiles("event after its write, 1,000 watches", &mut lag);
}

/// The service that is registered.
pub(crate) const SERVICE: &str = "fleet";

/// Registers so many instances.
pub(crate) async fn register(ours: &impl Registry, instances: usize) -> Vec<Registration> {
    let instance = |number: usize| {
        Instance::new(SERVICE, format!("instance-{number:05}"), "10.0.0.1", 9000).with_zone("a")
    };
    let begun = Instant::now();
    futures_util::stream::iter(0..instances)
        .map(|number| ours.register(instance(number), TTL))
        .buffer_unordered(WINDOW)
        .enumerate()
        .map(|(number, registration)| {
            if number + 1 == REGISTERED {
                println!("{:<38} {:>9.1?}", "1,000 instances registered", begun.elapsed());
            }
            registration.expect("registered")
        })
        .collect()
        .await
}

/// Discovers the 10,000 instances of a service.
pub(crate) async fn discover(other: &impl Registry, service: &str) {
    let mut discoveries = Vec::new();
    for _ in 0..10 {
        let begun = Instant::now();
        let found = other.discover(service).await.expect("found").instances.len();
        assert_eq!(found, DISCOVERED, "all are found");
        discoveries.push(begun.elapsed());
    }
    print_percentiles("10,000 instances discovered", &mut discoveries);
}
