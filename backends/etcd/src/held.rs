//! A place in the line for a lock: a key with a name of its own, made once under a shared lease and taken away again, whatever
//! becomes of whoever asked for it.

use std::sync::Arc;

use backon::Retryable;
use etcd_client::{Compare, CompareOp, Txn, TxnOp, TxnResponse};
use infra_core::async_trait;
use infra_core::error::{Error, ErrorKind, Result};
use infra_core::lease::{LeaseKeeper, SharedLease};
use tokio::sync::watch;

use crate::client::{self, Client};
use crate::leases::{LeaseId, attached};
use crate::watching;

/// What is known of the key on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    /// Nobody asked for it, or the server said that it was not made.
    Not,
    /// The request that makes it has no answer yet.
    Pending,
    /// Made in this revision.
    In(i64),
    /// There was no answer: it may be there.
    Perhaps,
}

/// A place in a line, taken or about to be.
///
/// The lease lives on as long as anything stands on it, so nothing here may be left to its time to live: a request that makes
/// the key runs to its end even if nobody waits for it any more, and a removal that fails is repeated until it is done or the
/// lease is lost.
#[derive(Debug)]
pub(crate) struct Held {
    client: Client,
    lease: SharedLease<LeaseId>,
    key: String,
    made: watch::Sender<Made>,
}

impl Held {
    /// A place that nobody has asked the server for; `key` must be the name of this attempt alone.
    pub(crate) fn new(client: &Client, lease: SharedLease<LeaseId>, key: String) -> Arc<Self> {
        Arc::new(Self {
            client: client.clone(),
            lease,
            key,
            made: watch::Sender::new(Made::Not),
        })
    }

    /// What makes the key.
    pub(crate) fn put(&self) -> TxnOp {
        TxnOp::put(self.key.as_str(), crate::BACKEND, attached(&self.lease))
    }

    /// Sends the transaction that makes the key; `made` says of its answer whether it did.
    ///
    /// # Cancellation
    /// The transaction runs to its end all the same, so that the removal that follows comes after it.
    pub(crate) async fn make(
        self: &Arc<Self>,
        transaction: Txn,
        made: fn(&TxnResponse) -> bool,
    ) -> Result<TxnResponse> {
        self.made.send_replace(Made::Pending);
        let held = Arc::clone(self);
        let sent = tokio::spawn(async move {
            let answer = held.client.txn(transaction).await;
            held.made.send_replace(match &answer {
                Ok(answer) if made(answer) => {
                    Made::In(i64::try_from(watching::revision(answer.header())).unwrap_or(i64::MAX))
                }
                Ok(_) => Made::Not,
                Err(error) if error.kind() == ErrorKind::LeaseLost => {
                    held.lease.report_lost();
                    Made::Not
                }
                Err(_) => Made::Perhaps,
            });
            answer
        });
        sent.await.map_err(|source| {
            Error::new(ErrorKind::Internal, "a request of this client was stopped").with_source(source)
        })?
    }

    /// That the key is as it was made.
    pub(crate) fn ours(&self) -> Compare {
        match *self.made.borrow() {
            Made::In(revision) => Compare::create_revision(self.key.as_str(), CompareOp::Equal, revision),
            // Its name is of this attempt alone.
            Made::Pending | Made::Not | Made::Perhaps => {
                Compare::create_revision(self.key.as_str(), CompareOp::Greater, 0)
            }
        }
    }

    /// Does this to the key if it is still ours.
    async fn if_ours(&self, then: Vec<TxnOp>) -> Result<()> {
        let transaction = Txn::new().when([self.ours()]).and_then(then);
        let answer = self.client.txn(transaction).await?;
        if answer.succeeded() {
            return Ok(());
        }
        Err(self.not_ours())
    }

    pub(crate) fn not_ours(&self) -> Error {
        Error::new(
            ErrorKind::LeaseLost,
            format!(
                "{:?} is not ours any more: it expired, or somebody removed it",
                self.key
            ),
        )
    }

    /// Takes the key away, after whatever was sent to make it.
    async fn remove(&self) -> Result<()> {
        let mut made = self.made.subscribe();
        // The sender is ours: this cannot fail, and ends when the request has ended.
        let known = match made.wait_for(|made| *made != Made::Pending).await {
            Ok(known) => *known,
            Err(_) => Made::Perhaps,
        };
        if known == Made::Not {
            return Ok(());
        }
        let removed = self.if_ours(vec![TxnOp::delete(self.key.as_str(), None)]).await;
        match removed {
            Err(error) if error.kind() == ErrorKind::LeaseLost && known == Made::Perhaps => Ok(()),
            removed => removed,
        }
    }

    /// Takes the key away until that is done, or the lease is lost and the key with it.
    async fn insist(self: Arc<Self>) {
        let lost = self.lease.lost_token();
        let removing = (|| self.remove())
            .retry(client::patience())
            .when(|error| error.kind() != ErrorKind::LeaseLost)
            .notify(|error, pause| tracing::debug!(%error, ?pause, key = self.key, "a lock is not given back yet"));
        tokio::select! {
            () = lost.cancelled() => {}
            _ = removing => {}
        }
    }
}

/// Keeps a place for the lock that it became.
#[derive(Debug)]
pub(crate) struct Keeper(pub(crate) Arc<Held>);

#[async_trait]
impl LeaseKeeper for Keeper {
    async fn renew(&self) -> Result<()> {
        // The lease lives, and the key may have been taken from it all the same.
        self.0.if_ours(Vec::new()).await
    }

    async fn release(&self) -> Result<()> {
        let removed = self.0.remove().await;
        if removed
            .as_ref()
            .is_err_and(|error| error.kind() != ErrorKind::LeaseLost)
        {
            tokio::spawn(Arc::clone(&self.0).insist());
        }
        removed
    }
}
