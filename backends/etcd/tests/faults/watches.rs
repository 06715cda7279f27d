//! Watches: readers that keep a copy while the server restarts, forgets, compacts and is cut off.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, CompactionOptions};
use infra_core::coordination::ConfigCenter;
use infra_testkit::campaigns::watches::follow;
use infra_testkit::campaigns::{Fault, rounds};

use crate::ground::{Own, Ways};

/// A reader is cut off, others write, and the server forgets what the reader has not seen.
fn compact(server: &Own, reader: &Ways) -> Fault {
    let (stalled, healed, address) = (
        reader.clone(),
        reader.clone(),
        server.config.endpoints[0].or_port(2379),
    );
    Fault::new(
        "history is compacted while a reader is cut off",
        Duration::from_secs(1),
        move || {
            stalled.stall();
            async { Ok::<(), String>(()) }
        },
        move || {
            let (healed, address) = (healed.clone(), address.clone());
            async move {
                let mut native = Client::connect([address], None).await?;
                let now = native.get("x", None).await?;
                let revision = now.header().map_or(0, |header| header.revision());
                let physical = CompactionOptions::new().with_physical();
                native.compact(revision, Some(physical)).await?;
                // A watch that only slept would go on where it was; one that broke must begin again after the compaction.
                healed.reset_now();
                healed.heal();
                Ok::<(), etcd_client::Error>(())
            }
        },
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_end_with_the_state_of_the_server_whatever_happens_to_it() {
    let Some(server) = Own::start("etcd").await else {
        return;
    };
    let (one, other, writing) = (server.ways(), server.ways(), server.ways());
    let writer: Arc<dyn ConfigCenter> = Arc::new(writing.connect().await);
    let readers: Vec<Arc<dyn ConfigCenter>> =
        vec![Arc::new(one.connect().await), Arc::new(other.connect().await)];
    let faults = [
        server.kill(1),
        one.reset("a reader's connections are reset"),
        compact(&server, &one),
        one.partition("a reader is cut off", Duration::from_secs(2)),
        server.freeze(1),
        server.forget(),
        other.reset("the other reader's connections are reset"),
    ];
    let pause = Duration::from_millis(700);
    let report = follow(&writer, &readers, "limits/", &faults, (rounds(300), pause))
        .await
        .unwrap();
    println!("{report:?}");
    assert!(report.faults >= faults.len() && report.resets >= 2, "{report:?}");
}
