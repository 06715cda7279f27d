//! Opening a watch and reading from it.

use std::fmt;
use std::time::Duration;

use futures_util::StreamExt;
use infra_core::coordination::{ConfigCenter, ConfigEntry, WatchScope};
use infra_core::watch::{Watch, WatchEvent};

use crate::conformance::config_centers::steps::shown;
use crate::conformance::{Failure, Harness, Outcome, Premise, SLACK, Subject, check};

/// How long nothing must come for the watch to be called silent.
const QUIET: Duration = Duration::from_millis(200);

/// A watch from the present state of one key.
pub(crate) async fn watch_key(center: &dyn ConfigCenter, key: &str) -> Result<Watch<ConfigEntry>, Failure> {
    let scope = WatchScope::Key(key.to_owned());
    let (_, revision) = center.read(&scope).await.premise("a key is read")?;
    center.watch(&scope, revision).await.premise("a key is watched")
}

/// The next event.
pub(crate) async fn next<T: Subject + ?Sized, E>(
    harness: &Harness<T>,
    watch: &mut Watch<E>,
) -> Result<WatchEvent<E>, Failure> {
    let event = harness
        .within(SLACK * 5, "the next event of a watch", watch.next())
        .await?;
    event.ok_or_else(|| Failure::broken("the watch ended without saying why"))
}

/// The next event in short: `key=value`, `key deleted`, `reset` …
pub(crate) async fn told(
    harness: &Harness<dyn ConfigCenter>,
    watch: &mut Watch<ConfigEntry>,
) -> Result<String, Failure> {
    Ok(match next(harness, watch).await? {
        WatchEvent::Put(entry) => format!("{}={}", entry.key, shown(&entry)),
        WatchEvent::Delete(key) => format!("{key} deleted"),
        WatchEvent::Reset => "reset".to_owned(),
        WatchEvent::Closed(error) => format!("closed as {:?}", error.kind()),
        other => format!("{other:?}"),
    })
}

/// Nothing comes.
pub(crate) async fn silent<T: Subject + ?Sized, E: fmt::Debug>(
    harness: &Harness<T>,
    watch: &mut Watch<E>,
) -> Outcome {
    harness.pass(QUIET).await;
    let event = futures_util::poll!(watch.next());
    check!(
        event.is_pending(),
        "the watch told {event:?} of which nothing was to be told"
    );
    Ok(())
}

/// Reads until this value of the key comes; what says that something was missed before may come first.
pub(crate) async fn told_at_last(
    harness: &Harness<dyn ConfigCenter>,
    watch: &mut Watch<ConfigEntry>,
    value: &str,
) -> Outcome {
    loop {
        match next(harness, watch).await? {
            WatchEvent::Put(entry) if shown(&entry) == value => return Ok(()),
            WatchEvent::Closed(error) => {
                return Err(Failure::broken(format!(
                    "the watch ended before {value} came: {error}"
                )));
            }
            _ => {}
        }
    }
}
