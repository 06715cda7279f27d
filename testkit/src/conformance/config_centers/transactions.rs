//! Several writes at once: all or none. Where transactions are not declared, each of these asserts that they are refused.

use std::sync::Arc;
use std::time::Duration;

use infra_core::capability::Capability;
use infra_core::coordination::{ConfigCenter, ConfigCenterExt, ConfigWrite, Version};
use infra_core::error::ErrorKind;

use super::steps::{put, shown, text};
use crate::conformance::{Failure, Harness, Outcome, Premise, check, check_eq, check_error, declares};

/// So many rounds of a transaction against a reader.
const ROUNDS: usize = 50;

/// Between two transactions, and between two looks; on a paused clock whoever only yields would stop it.
const PAUSE: Duration = Duration::from_millis(1);

/// So many writes fit every server.
const MANY: usize = 64;

/// Whether transactions are declared; where they are not, one is refused as unsupported and writes nothing.
async fn transacts(harness: &Harness<dyn ConfigCenter>, center: &dyn ConfigCenter) -> Result<bool, Failure> {
    if declares(center, Capability::ConfigTransactions) {
        return Ok(true);
    }
    let keys = [harness.name("one"), harness.name("other")];
    let writes = keys
        .iter()
        .map(|key| ConfigWrite::set(key.as_str(), "1"))
        .collect();
    check_error!(
        center.write(writes).await,
        ErrorKind::Unsupported,
        "two writes where transactions are not declared"
    );
    check_eq!(
        text(center, &keys[0]).await?,
        None,
        "the first of two refused writes"
    );
    Ok(false)
}

/// A transaction of which one write conflicts writes nothing, whichever it is.
pub async fn config_016_one_conflict_refuses_all_writes(harness: &Harness<dyn ConfigCenter>) -> Outcome {
    let center = harness.client().await?;
    if !transacts(harness, &*center).await? {
        return Ok(());
    }
    let (good, bad) = (harness.name("good"), harness.name("bad"));
    let stale = put(&*center, &bad, "1").await?;
    put(&*center, &bad, "2").await?;
    for bad_first in [true, false] {
        let mut writes = vec![
            ConfigWrite::compare_and_set(bad.as_str(), "3", stale),
            ConfigWrite::set(good.as_str(), "3"),
        ];
        if !bad_first {
            writes.reverse();
        }
        let refused = center.write(writes).await;
        refused.is_err().premise("a stale version is a conflict")?;
        check_eq!(
            text(&*center, &good).await?,
            None,
            "the write beside one that conflicts"
        );
    }
    Ok(())
}

/// All writes of a transaction have the version that it gives; deletions are part of it.
pub async fn config_017_a_transaction_has_one_version(harness: &Harness<dyn ConfigCenter>) -> Outcome {
    let center = harness.client().await?;
    if !transacts(harness, &*center).await? {
        return Ok(());
    }
    let (one, two, gone) = (
        harness.name("t/one"),
        harness.name("t/two"),
        harness.name("t/gone"),
    );
    put(&*center, &gone, "1").await?;
    let version = center
        .write(vec![
            ConfigWrite::compare_and_set(one.as_str(), "1", Version::ABSENT),
            ConfigWrite::set(two.as_str(), "1"),
            ConfigWrite::delete(gone.as_str()),
        ])
        .await?;
    let entries = center.list(&harness.name("t/")).await?;
    let versions: Vec<_> = entries.iter().map(|entry| entry.version).collect();
    check_eq!(
        versions,
        [version, version],
        "the versions of what a transaction wrote"
    );
    Ok(())
}

/// Whoever reads while a transaction is made sees all of it or nothing.
pub async fn config_018_readers_see_whole_transactions(harness: &Harness<dyn ConfigCenter>) -> Outcome {
    let (reader, writer) = (harness.client().await?, harness.client().await?);
    if !transacts(harness, &*reader).await? {
        return Ok(());
    }
    let root = harness.name("pair/");
    let writing = tokio::spawn(write_pairs(writer, root.clone()));
    while !writing.is_finished() {
        let entries = reader.list(&root).await?;
        let values: Vec<_> = entries.iter().map(shown).collect();
        check!(
            values.windows(2).all(|pair| pair[0] == pair[1]) && values.len() != 1,
            "half of a transaction was read: {values:?}"
        );
        tokio::time::sleep(PAUSE).await;
    }
    writing.await?
}

async fn write_pairs(center: Arc<dyn ConfigCenter>, root: String) -> Outcome {
    for round in 0..ROUNDS {
        let write = |side| ConfigWrite::set(format!("{root}{side}"), round.to_string());
        let written = center.write(vec![write("left"), write("right")]).await;
        written.premise("two keys are written at once")?;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// As many writes as fit every server are taken at once.
pub async fn config_019_64_writes_fit(harness: &Harness<dyn ConfigCenter>) -> Outcome {
    let center = harness.client().await?;
    if !transacts(harness, &*center).await? {
        return Ok(());
    }
    let root = harness.name("many/");
    let writes = (0..MANY).map(|number| ConfigWrite::set(format!("{root}{number}"), "1"));
    center.write(writes.collect()).await?;
    check_eq!(
        center.list(&root).await?.len(),
        MANY,
        "how many of {MANY} writes were made"
    );
    Ok(())
}
