//! Leasing the only number of a range, and waiting until it can be had again.

use std::time::Duration;

use infra_core::coordination::{InstanceId, InstanceIds};

use crate::conformance::{Failure, Harness, Premise, TimeControl};

/// The number of scenarios that are about one.
pub(crate) const NUMBER: u16 = 7;

/// How often a number is asked for again.
const PAUSE: Duration = Duration::from_millis(200);

/// Leases [`NUMBER`]: a premise.
pub(crate) async fn lease(ids: &dyn InstanceIds, service: &str) -> Result<InstanceId, Failure> {
    let leased = ids.acquire_instance_id(service, NUMBER..=NUMBER).await;
    leased.premise("a free number is leased")
}

/// How long a lease and the rest after it may take; the contract does not say, the backend's configuration does.
pub(crate) fn comes_back_within(harness: &Harness<dyn InstanceIds>) -> Duration {
    match harness.time() {
        TimeControl::Virtual => Duration::from_secs(3600),
        TimeControl::Real => Duration::from_secs(45),
    }
}

/// Waits until [`NUMBER`] can be leased. Give a bare client: a stack has its own opinion of so many refusals.
pub(crate) async fn lease_at_last(
    harness: &Harness<dyn InstanceIds>,
    ids: &dyn InstanceIds,
    service: &str,
    what: &str,
) -> Result<InstanceId, Failure> {
    let attempts = async {
        loop {
            if let Ok(id) = ids.acquire_instance_id(service, NUMBER..=NUMBER).await {
                return id;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    harness.within(comes_back_within(harness), what, attempts).await
}
