//! Times for scenarios about leases: as short as the backend allows where time really passes, and how late is too late.

use std::time::Duration;

use super::fixture::TimeControl;
use super::harness::{Harness, limits};
use super::subject::Subject;

/// How late an answer may be on top of what the backend declares: a busy machine, a slow connection.
pub const SLACK: Duration = Duration::from_secs(2);

/// A lease that a scenario can let end.
#[must_use]
pub fn short_lease<T: Subject + ?Sized>(harness: &Harness<T>, client: &T) -> Duration {
    let wanted = match harness.time() {
        TimeControl::Virtual => Duration::from_secs(30),
        // Shorter ones are lost on a busy machine.
        TimeControl::Real => Duration::from_secs(2),
    };
    within_limits(client, wanted)
}

/// A lease that does not end while a scenario runs, not even where it is not renewed.
#[must_use]
pub fn long_lease<T: Subject + ?Sized>(client: &T) -> Duration {
    within_limits(client, Duration::from_secs(300))
}

/// How long after its last renewal a lease is over at the latest.
#[must_use]
pub fn over_within<T: Subject + ?Sized>(client: &T, lease: Duration) -> Duration {
    lease + limits(client).ttl_granularity + SLACK
}

fn within_limits<T: Subject + ?Sized>(client: &T, wanted: Duration) -> Duration {
    let limits = limits(client);
    wanted.clamp(limits.min_ttl, limits.max_ttl)
}
