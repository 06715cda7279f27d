//! Leases of the server: what is attached to one goes when it is not renewed in time.

use std::time::Duration;

use etcd_client::PutOptions;
use infra_core::async_trait;
use infra_core::error::Result;
use infra_core::lease::{LeaseGrantor, SharedLease};

use crate::client::Client;

/// The number of a lease, as the server counts.
pub(crate) type LeaseId = i64;

/// Grants the leases that a client's holders share.
#[derive(Debug)]
pub(crate) struct Grantor(pub(crate) Client);

#[async_trait]
impl LeaseGrantor for Grantor {
    type Id = LeaseId;

    async fn grant(&self, ttl: Duration) -> Result<LeaseId> {
        grant(&self.0, ttl).await
    }

    async fn renew(&self, id: &LeaseId) -> Result<()> {
        renew(&self.0, *id).await
    }

    async fn revoke(&self, id: &LeaseId) -> Result<()> {
        revoke(&self.0, *id).await
    }
}

/// A lease of at least `ttl`, in whole seconds: the server may keep it a little longer than its holder believes in it, and never
/// shorter.
pub(crate) async fn grant(client: &Client, ttl: Duration) -> Result<LeaseId> {
    let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    let granted = client
        .call(|mut etcd| async move { etcd.lease_grant(seconds, None).await })
        .await?;
    Ok(granted.id())
}

/// Extends a lease to its full time from now.
pub(crate) async fn renew(client: &Client, id: LeaseId) -> Result<()> {
    client
        .call(|mut etcd| async move { etcd.lease_keep_alive(id).await })
        .await
        .map(drop)
}

/// Ends a lease, with everything that is attached to it.
pub(crate) async fn revoke(client: &Client, id: LeaseId) -> Result<()> {
    client
        .call(|mut etcd| async move { etcd.lease_revoke(id).await })
        .await
        .map(drop)
}

/// What attaches a key to a lease.
pub(crate) fn attached_to(id: LeaseId) -> Option<PutOptions> {
    Some(PutOptions::new().with_lease(id))
}

/// What attaches a key to a shared lease.
pub(crate) fn attached(lease: &SharedLease<LeaseId>) -> Option<PutOptions> {
    attached_to(*lease.id())
}
