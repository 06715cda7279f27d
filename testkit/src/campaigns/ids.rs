//! Instance ids when a whole fleet starts at once, and when a holder dies.

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use infra_core::coordination::{InstanceId, InstanceIds};
use tokio::time::{Instant, sleep, timeout};

use super::{Verdict, Violation};

/// How long anything may take beyond what it must.
const SLACK: Duration = Duration::from_secs(20);

/// How often a number is asked for that is not free yet.
const PAUSE: Duration = Duration::from_millis(50);

/// Lets every client acquire a number of the service at the same time, and returns what they hold.
///
/// # Errors
/// The [`Violation`]: two have one number, one is outside the range, somebody gets none, or all together take longer than `bound`.
pub async fn start_at_once(
    clients: &[Arc<dyn InstanceIds>],
    service: &str,
    range: RangeInclusive<u16>,
    bound: Duration,
) -> Verdict<Vec<InstanceId>> {
    let acquiring = clients.iter().map(|client| {
        let (client, service, range) = (Arc::clone(client), service.to_owned(), range.clone());
        tokio::spawn(async move { client.acquire_instance_id(&service, range).await })
    });
    let all = timeout(bound, join_all(acquiring)).await;
    let all = all.map_err(|_| {
        Violation::new(format!(
            "{} instances have not all got a number within {bound:?}",
            clients.len()
        ))
    })?;
    let (mut ids, mut owners) = (Vec::new(), BTreeMap::new());
    for (number, acquired) in all.into_iter().enumerate() {
        let acquired =
            acquired.map_err(|error| Violation::new(format!("instance {number} panicked: {error}")))?;
        let id =
            acquired.map_err(|error| Violation::new(format!("instance {number} got no number: {error}")))?;
        if !range.contains(&id.id()) {
            return Err(Violation::new(format!("{} is outside of the range", id.id())));
        }
        if let Some(other) = owners.insert(id.id(), number) {
            return Err(Violation::new(format!(
                "the instances {other} and {number} both have the number {}",
                id.id()
            )));
        }
        ids.push(id);
    }
    if let Some(lost) = ids.iter().find(|id| id.is_lost()) {
        return Err(Violation::new(format!("{} was lost at once", lost.id())));
    }
    Ok(ids)
}

/// Kills the holder of the only number of a service, and lets another client ask for it until it gets it. Returns how long that took.
///
/// `kill` makes sure that nothing of the holder reaches the server any more.
///
/// # Errors
/// The [`Violation`]: the number comes back before the holder knows that it has lost it, or before the quarantine has passed since then,
/// or not within the time to live and the quarantine and some slack.
pub async fn comes_back<R>(
    holder: &dyn InstanceIds,
    taker: &dyn InstanceIds,
    service: &str,
    (ttl, quarantine): (Duration, Duration),
    kill: impl FnOnce() -> R,
) -> Verdict<Duration>
where
    R: Future<Output = ()>,
{
    let held = holder.acquire_instance_id(service, 1..=1).await;
    let held = held.map_err(|error| Violation::new(format!("the first instance got no number: {error}")))?;
    kill().await;
    let (killed, mut lost_at) = (Instant::now(), None);
    let bound = (ttl + quarantine) * 2 + SLACK;
    loop {
        let asked = Instant::now();
        if lost_at.is_none() && held.is_lost() {
            lost_at = Some(asked);
        }
        if let Ok(taken) = taker.acquire_instance_id(service, 1..=1).await {
            let Some(lost_at) = lost_at.or_else(|| held.is_lost().then(Instant::now)) else {
                return Err(Violation::new(
                    "the number has a new holder, and the old one believes that it holds it",
                ));
            };
            let free_for = Instant::now() - lost_at;
            // When the loss is noticed is known as closely as it is looked for, and the server may be that much earlier.
            if free_for + PAUSE * 4 < quarantine {
                return Err(Violation::new(format!(
                    "the number came back {free_for:?} after its loss, in its quarantine of {quarantine:?}"
                )));
            }
            drop(taken);
            return Ok(killed.elapsed());
        }
        if killed.elapsed() > bound {
            return Err(Violation::new(format!(
                "the number of a dead instance has not come back {bound:?} later"
            )));
        }
        sleep(PAUSE).await;
    }
}
