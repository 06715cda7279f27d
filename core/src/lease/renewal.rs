//! The tasks that keep a lease: one renews it, the other one looks whether what stands on a shared lease is still ours.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{LeaseKeeper, LeaseOptions, LeaseStatus};
use crate::error::ErrorKind;

/// Renews a lease until it is given up or lost.
pub(super) async fn renew_until_stopped(
    keeper: Arc<dyn LeaseKeeper>,
    options: LeaseOptions,
    granted_at: Instant,
    status: LeaseStatus,
    stop: CancellationToken,
) {
    let mut valid_until = granted_at + options.ttl;
    let mut wait = jittered(options.renew_every);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep_until(valid_until.min(Instant::now() + wait)) => {}
        }
        let asked_at = Instant::now();
        let renewed = tokio::select! {
            () = stop.cancelled() => return,
            answer = tokio::time::timeout_at(valid_until, keeper.renew()) => answer,
        };
        match renewed {
            Ok(Ok(())) => {
                valid_until = asked_at + options.ttl;
                status.extend(valid_until);
                wait = jittered(options.renew_every);
            }
            Ok(Err(error)) if error.kind() == ErrorKind::LeaseLost => {
                tracing::warn!(%error, "a lease was lost");
                return status.end();
            }
            Ok(Err(error)) if Instant::now() < valid_until => {
                tracing::warn!(%error, "a lease could not be renewed; trying again while it is still valid");
                wait = options.renew_every / 4;
            }
            Ok(Err(_)) | Err(_) => {
                tracing::warn!(ttl = ?options.ttl, "a lease was lost: it could not be renewed within its time to live");
                return status.end();
            }
        }
    }
}

/// Looks again and again whether what stands on a shared lease is still ours, until it is given up or lost.
///
/// Only the server's word ends it here: how long it may be believed without an answer is the shared lease's matter.
pub(super) async fn check_until_stopped(
    keeper: Arc<dyn LeaseKeeper>,
    options: LeaseOptions,
    status: LeaseStatus,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = status.lost_token().cancelled() => return,
            () = tokio::time::sleep(jittered(options.renew_every)) => {}
        }
        let checked = tokio::select! {
            () = stop.cancelled() => return,
            () = status.lost_token().cancelled() => return,
            answer = keeper.renew() => answer,
        };
        match checked {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::LeaseLost => {
                tracing::warn!(%error, "a lease was lost");
                return status.end();
            }
            Err(error) => {
                tracing::debug!(%error, "whether a lease is still ours could not be seen; looking again")
            }
        }
    }
}

/// Spreads renewals over 80 to 100 % of the interval, so that leases granted together do not renew together.
pub(crate) fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(0.8 + 0.2 * fastrand::f64())
}
