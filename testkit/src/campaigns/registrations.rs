//! Registered instances that are to be found again after each fault.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use infra_core::coordination::{Instance, Registry};
use tokio::time::{Instant, sleep};

use super::{Fault, Verdict, Violation};

/// How long anything may take beyond what it must.
const SLACK: Duration = Duration::from_secs(20);

/// How often the list is looked at.
const PAUSE: Duration = Duration::from_millis(50);

/// Registers one instance by each client, and after each fault waits until an observer finds them all. Returns the longest time that took.
///
/// # Errors
/// The [`Violation`]: an instance is not found within `ttl` and some slack after a fault, or one is found that nobody registered.
pub async fn come_back(
    clients: &[Arc<dyn Registry>],
    observer: &dyn Registry,
    service: &str,
    faults: &[Fault],
    ttl: Duration,
) -> Verdict<Duration> {
    let (mut registrations, mut expected) = (Vec::new(), BTreeSet::new());
    for (number, client) in clients.iter().enumerate() {
        let id = format!("instance-{number}");
        let instance = Instance::new(service, &id, "127.0.0.1", 4000);
        let registration = client.register(instance, ttl).await;
        registrations.push(
            registration.map_err(|error| Violation::new(format!("{id} cannot be registered: {error}")))?,
        );
        expected.insert(id);
    }
    all_found(observer, service, &expected, ttl, "before any fault").await?;
    let mut longest = Duration::ZERO;
    for fault in faults {
        fault.inflict().await?;
        let found_after = all_found(observer, service, &expected, ttl, fault.name()).await?;
        longest = longest.max(found_after);
    }
    for registration in registrations {
        let id = registration.instance().id.clone();
        let done = registration.deregister().await;
        done.map_err(|error| Violation::new(format!("{id} cannot be deregistered: {error}")))?;
    }
    all_found(observer, service, &BTreeSet::new(), ttl, "the end").await?;
    Ok(longest)
}

/// Waits until exactly these are found, and stay so for a moment.
async fn all_found(
    observer: &dyn Registry,
    service: &str,
    expected: &BTreeSet<String>,
    ttl: Duration,
    after: &str,
) -> Verdict<Duration> {
    let began = Instant::now();
    let bound = ttl * 2 + SLACK;
    loop {
        // While the centre is away the list is the last that was known, and proves nothing.
        let listed = match observer.health().await {
            Ok(()) => observer.discover(service).await,
            Err(error) => Err(error),
        };
        let seen = match listed {
            Ok(snapshot) => {
                let found: BTreeSet<String> = snapshot
                    .instances
                    .into_iter()
                    .map(|instance| instance.id)
                    .collect();
                if found == *expected {
                    return Ok(began.elapsed());
                }
                format!("{} are listed", found.len())
            }
            Err(error) => format!("nothing can be discovered: {error}"),
        };
        if began.elapsed() > bound {
            return Err(Violation::new(format!(
                "{bound:?} after {after:?} not exactly the {} registered instances are found: {seen}",
                expected.len()
            )));
        }
        sleep(PAUSE).await;
    }
}
