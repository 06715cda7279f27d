//! More watches than questions may wait at an agent: those of single keys are followed together, folder by folder.

use std::time::Duration;

use futures_util::StreamExt;
use infra_consul::ConsulCoordinator;
use infra_core::coordination::{ConfigCenter, ConfigCenterExt, ConfigEntry, ConfigWrite, WatchScope};
use infra_core::watch::{Watch, WatchEvent};
use infra_testkit::servers::Set;
use tokio::time::{Instant, timeout};

use crate::server::Server;
use crate::{SLACK, put, told, watched};

const WATCHES: usize = 200;

/// So few of them have a question of their own.
const ALONE: usize = 8;

fn key(number: usize) -> String {
    // Names that differ in what is escaped are in one folder, and so are those in folders of it.
    match number % 4 {
        0 => format!("rules/{number}"),
        1 => format!("rules//{number}"),
        2 => format!("rules/../{number}"),
        _ => format!("{number}"),
    }
}

async fn watches(client: &ConsulCoordinator) -> Vec<Watch<ConfigEntry>> {
    let mut watches = Vec::new();
    for number in 0..WATCHES {
        watches.push(watched(client, &key(number)).await);
    }
    watches
}

/// Writes each key, and reads each watch until it is told; what was told before, and how long that took on average.
async fn write_all(
    client: &ConsulCoordinator,
    watches: &mut [Watch<ConfigEntry>],
    value: &str,
) -> (Vec<String>, Duration) {
    let (mut before, mut lag) = (Vec::new(), Duration::ZERO);
    for (number, watch) in watches.iter_mut().enumerate() {
        put(client, &key(number), value).await;
        let written = Instant::now();
        before.append(&mut told(watch, value).await);
        lag += written.elapsed();
    }
    (before, lag / u32::try_from(WATCHES).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn many_watches_of_single_keys_are_told_soon_and_of_every_fault() {
    let Some(server) = Server::start().await else {
        return;
    };
    let config = server.config().with_watch_connections(ALONE);
    let client = ConsulCoordinator::connect(config).await.unwrap();
    let mut watches = watches(&client).await;
    let (before, lag) = write_all(&client, &mut watches, "1").await;
    assert_eq!(before, Vec::<String>::new());
    // Who asks again and again is told 150 ms after the write, or later.
    assert!(
        lag < Duration::from_millis(100),
        "events came {lag:?} after their writes"
    );

    server.act(Set::kill).await;
    server.act(Set::start).await;
    let (before, _) = write_all(&client, &mut watches, "2").await;
    assert_eq!(before, Vec::<String>::new(), "the server kept its data");

    server.act(Set::reset).await;
    for watch in &mut watches {
        let told = timeout(SLACK, watch.next()).await.unwrap();
        assert!(matches!(told, Some(WatchEvent::Reset)), "{told:?}");
    }
    let (before, _) = write_all(&client, &mut watches, "3").await;
    assert_eq!(before, Vec::<String>::new());

    for (number, watch) in watches.iter_mut().enumerate() {
        client.delete(&key(number)).await.unwrap();
        let gone = timeout(SLACK, watch.next()).await.unwrap();
        assert!(
            matches!(&gone, Some(WatchEvent::Delete(gone)) if *gone == key(number)),
            "{gone:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watches_in_a_large_folder_are_followed_one_by_one() {
    let Some(server) = Server::start().await else {
        return;
    };
    let config = server.config().with_watch_connections(ALONE);
    let client = ConsulCoordinator::connect(config).await.unwrap();
    for number in 0..8 {
        let large = ConfigWrite::set(format!("rules/large-{number}"), vec![b'x'; 300 * 1024]);
        client.write(vec![large]).await.unwrap();
    }
    let mut watches = Vec::new();
    for number in 0..ALONE * 4 {
        watches.push(watched(&client, &format!("rules/{number}")).await);
    }
    for (number, watch) in watches.iter_mut().enumerate() {
        put(&client, &format!("rules/{number}"), "1").await;
        let before = told(watch, "1").await;
        assert_eq!(before, Vec::<String>::new());
    }
    let scope = WatchScope::Prefix("rules/".to_owned());
    assert_eq!(client.read(&scope).await.unwrap().0.len(), ALONE * 4 + 8);
}
