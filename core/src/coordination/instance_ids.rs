//! Small numbers that no two live instances of a service share.

use std::ops::RangeInclusive;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::backend::Backend;
use crate::error::Result;
use crate::lease::{Lease, LeaseStatus};

/// Leases small numbers to the instances of a service, for snowflake ids above all.
///
/// # Contract
/// - No two live instances of one service hold the same number.
/// - A number is free again on release, on shutdown, and after a crash when its lease has ended; it is not handed out again
///   before a quarantine (the clock-skew window) has passed.
/// - A holder whose lease is lost is told; release compares the owner.
/// - Hundreds of instances starting at once each need few round trips.
#[crate::intercept(component = "instance_ids")]
#[async_trait]
pub trait InstanceIds: Backend {
    /// Leases a free number of `range` to the caller.
    ///
    /// # Errors
    /// [`ResourceExhausted`](crate::ErrorKind::ResourceExhausted) when every number is taken or in quarantine;
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for an empty range or service name.
    ///
    /// # Cancellation
    /// A number that was just leased is released, or ends by its time to live.
    async fn acquire_instance_id(&self, service: &str, range: RangeInclusive<u16>) -> Result<InstanceId>;
}

crate::assert_object_safe!(InstanceIds);

/// A number that is leased to this process.
#[derive(Debug)]
pub struct InstanceId {
    id: u16,
    lease: Lease,
}

impl InstanceId {
    /// Puts a leased number together, for backends.
    #[must_use]
    pub fn new(id: u16, lease: Lease) -> Self {
        Self { id, lease }
    }

    /// The number.
    #[must_use]
    pub fn id(&self) -> u16 {
        self.id
    }

    /// Whether the loss of the lease is known.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lease.is_lost()
    }

    /// Completes when the lease is known to be lost. Cancel-safe.
    pub async fn lost(&self) {
        self.lease.lost().await;
    }

    /// A token that is cancelled on loss.
    #[must_use]
    pub fn lost_token(&self) -> CancellationToken {
        self.lease.lost_token()
    }

    /// A view of the lease for code that asks very often.
    #[must_use]
    pub fn status(&self) -> LeaseStatus {
        self.lease.status()
    }

    /// Gives the number back.
    ///
    /// # Errors
    /// [`LeaseLost`](crate::ErrorKind::LeaseLost) when it was not ours any more.
    ///
    /// # Cancellation
    /// Dropping the future, at whatever point, gives the number back in the background.
    pub async fn release(self) -> Result<()> {
        let id = self.id;
        self.lease
            .release()
            .await
            .map_err(|error| error.context(format_args!("releasing instance id {id}")))
    }
}
