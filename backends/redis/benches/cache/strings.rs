//! Strings: reads and writes by one task and by many, short values and long ones.

use bytes::Bytes;
use fred::interfaces::KeysInterface;
use infra_core::Ttl;
use infra_core::cache::KeyValue;
use infra_redis::RedisCache;
use infra_redis::redis::AsyncCommands;

use crate::Clients;
use crate::load::{Comparison, asking};

/// How many keys are read and written.
const KEYS: u64 = 1000;
const SIZES: [(&str, usize); 2] = [("100 B", 100), ("10 KB", 10_000)];

fn name(prefix: &str, number: u64) -> String {
    format!("{prefix}b{}", number % KEYS)
}

async fn fill(clients: &Clients, size: usize) -> Bytes {
    let value = Bytes::from(vec![b'x'; size]);
    for number in 0..KEYS {
        clients
            .ours
            .set(&name("", number), value.clone(), Ttl::Never)
            .await
            .expect("set");
    }
    value
}

pub(crate) async fn run(clients: &Clients) {
    for (label, size) in SIZES {
        let value = fill(clients, size).await;
        for tasks in [1, 64, 512] {
            read(clients, format!("get {label}"), tasks).await;
            write(clients, format!("set {label}"), tasks, &value).await;
        }
    }
}

async fn read(clients: &Clients, title: String, tasks: usize) {
    let prefix = clients.place("");
    let (for_bare, for_fred) = (prefix.clone(), prefix);
    let callers = vec![
        (
            "redis",
            asking(clients.bare.clone(), move |mut bare, number| {
                let key = name(&for_bare, number);
                async move {
                    let value: Option<Vec<u8>> = bare.get(key).await.expect("answered");
                    drop(Bytes::from(value.expect("there")));
                }
            }),
        ),
        (
            "infra-redis",
            asking(clients.shared(), |ours, number| async move {
                drop(
                    ours.get(&name("", number))
                        .await
                        .expect("answered")
                        .expect("there"),
                );
            }),
        ),
        (
            "fred",
            asking(clients.fred.clone(), move |fred, number| {
                let key = name(&for_fred, number);
                async move {
                    let value: Option<Bytes> = fred.get(key).await.expect("answered");
                    drop(value.expect("there"));
                }
            }),
        ),
    ];
    Comparison::run(title, tasks, callers).await.print();
}

async fn write(clients: &Clients, title: String, tasks: usize, value: &Bytes) {
    let prefix = clients.place("");
    let (for_bare, for_fred) = (prefix.clone(), prefix);
    let (bare_value, our_value, fred_value) = (value.clone(), value.clone(), value.clone());
    let callers = vec![
        (
            "redis",
            asking(clients.bare.clone(), move |mut bare, number| {
                let (key, value) = (name(&for_bare, number), bare_value.clone());
                async move {
                    let () = bare.set(key, &value[..]).await.expect("answered");
                }
            }),
        ),
        (
            "infra-redis",
            asking(clients.shared(), move |ours, number| {
                let value = our_value.clone();
                async move {
                    ours.set(&name("", number), value, Ttl::Never)
                        .await
                        .expect("answered")
                }
            }),
        ),
        (
            "fred",
            asking(clients.fred.clone(), move |fred, number| {
                let (key, value) = (name(&for_fred, number), fred_value.clone());
                async move {
                    let () = fred.set(key, value, None, None, false).await.expect("answered");
                }
            }),
        ),
    ];
    Comparison::run(title, tasks, callers).await.print();
}

pub(crate) async fn run_coalesced(clients: &Clients) {
    let config = clients.config.clone().with_coalesced_reads(true);
    let coalesced = RedisCache::connect(config).await.expect("connected");
    fill(clients, 100).await;
    for tasks in [1, 16, 64, 256, 512] {
        let prefix = clients.place("");
        let callers = vec![
            (
                "redis",
                asking(clients.bare.clone(), move |mut bare, number| {
                    let key = name(&prefix, number);
                    async move {
                        let value: Option<Vec<u8>> = bare.get(key).await.expect("answered");
                        drop(Bytes::from(value.expect("there")));
                    }
                }),
            ),
            (
                "coalesced",
                asking(coalesced.clone(), |ours, number| async move {
                    drop(
                        ours.get(&name("", number))
                            .await
                            .expect("answered")
                            .expect("there"),
                    );
                }),
            ),
        ];
        Comparison::run("get 100 B", tasks, callers).await.print();
    }
}
