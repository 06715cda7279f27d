//! One instance in the registry, in the name of one registration: under the lease that the client's registrations share.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::Retryable;
use etcd_client::{Compare, CompareOp, Txn, TxnOp, TxnOpResponse};
use infra_core::async_trait;
use infra_core::coordination::{Instance, Registrar, Standing};
use infra_core::error::{Error, ErrorKind, Result};
use infra_core::lease::{LeasePool, SharedLease};
use tokio::sync::Mutex as AsyncMutex;

use crate::client::{self, Client};
use crate::instances;
use crate::leases::{Grantor, LeaseId, attached};

/// Keeps one instance's key. Clones are one.
///
/// The lease lives on as long as anything stands on it: what is sent to make the key runs to its end even if nobody waits for
/// it, a removal comes after it, and is repeated until it is done.
#[derive(Debug, Clone)]
pub(crate) struct Registered {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    leases: LeasePool<Grantor>,
    key: String,
    ttl: Duration,
    /// What the instance is registered under.
    lease: Mutex<SharedLease<LeaseId>>,
    /// Held by the one request that is on its way.
    sending: AsyncMutex<()>,
}

impl Registered {
    pub(crate) async fn new(
        client: &Client,
        leases: &LeasePool<Grantor>,
        key: String,
        ttl: Duration,
    ) -> Result<Self> {
        let lease = leases.lease(ttl).await?;
        Ok(Self {
            shared: Arc::new(Shared {
                client: client.clone(),
                leases: leases.clone(),
                key,
                ttl,
                lease: Mutex::new(lease),
                sending: AsyncMutex::default(),
            }),
        })
    }

    /// Writes the instance as `write` says, in a task of its own.
    async fn send(&self, instance: &Instance, write: Write) -> Result<Standing> {
        let (shared, json) = (
            Arc::clone(&self.shared),
            instances::write(self.shared.client.keys().compat(), instance)?,
        );
        let sent = tokio::spawn(async move {
            let _sending = shared.sending.lock().await;
            shared.write(&json, write).await
        });
        sent.await.map_err(|source| {
            Error::new(ErrorKind::Internal, "a request of this client was stopped").with_source(source)
        })?
    }
}

/// When an instance is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Write {
    /// In the place of whatever is there.
    Always,
    /// If nothing is there, or our lease has changed.
    IfGone,
    /// If nothing or ours is there.
    UnlessReplaced,
}

impl Shared {
    fn lease(&self) -> SharedLease<LeaseId> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn write(&self, json: &[u8], write: Write) -> Result<Standing> {
        self.client.check_open()?;
        let known = self.lease();
        let lease = if known.is_lost() {
            self.leases.lease(self.ttl).await?
        } else {
            known.clone()
        };
        let put = || TxnOp::put(self.key.as_str(), json, attached(&lease));
        let ours = Compare::lease(self.key.as_str(), CompareOp::Equal, *known.id());
        let if_ours = if write == Write::UnlessReplaced || lease.id() != known.id() {
            vec![put()]
        } else {
            Vec::new()
        };
        let absent = Compare::create_revision(self.key.as_str(), CompareOp::Equal, 0);
        let transaction = match write {
            Write::Always => Txn::new().and_then([put()]),
            Write::IfGone | Write::UnlessReplaced => Txn::new()
                .when([ours])
                .and_then(if_ours)
                .or_else([TxnOp::txn(Txn::new().when([absent]).and_then([put()]))]),
        };
        let answer = self.client.txn(transaction).await.inspect_err(|error| {
            if error.kind() == ErrorKind::LeaseLost {
                lease.report_lost();
            }
        })?;
        let made_where_nothing_was = answer
            .op_responses()
            .into_iter()
            .any(|response| matches!(response, TxnOpResponse::Txn(inner) if inner.succeeded()));
        if !answer.succeeded() && !made_where_nothing_was {
            return Ok(Standing::Replaced);
        }
        *self.lease.lock().unwrap_or_else(PoisonError::into_inner) = lease;
        Ok(Standing::Ours)
    }

    async fn remove(&self) -> Result<()> {
        let _sending = self.sending.lock().await;
        let ours = Compare::lease(self.key.as_str(), CompareOp::Equal, *self.lease().id());
        let transaction = Txn::new()
            .when([ours])
            .and_then([TxnOp::delete(self.key.as_str(), None)]);
        self.client.txn(transaction).await.map(drop)
    }

    /// Removes the instance until that is done, or its lease is lost and the instance with it.
    async fn insist(&self) {
        let lease = self.lease();
        let removing = (|| self.remove())
            .retry(client::patience())
            .notify(|error, pause| {
                tracing::debug!(%error, ?pause, key = self.key, "an instance is not removed yet");
            });
        tokio::select! {
            () = lease.lost() => {}
            _ = removing => {}
        }
    }
}

#[async_trait]
impl Registrar for Registered {
    async fn register(&self, instance: &Instance) -> Result<()> {
        let registered = self.send(instance, Write::Always).await;
        match registered {
            // The server lost its leases, and nobody knew yet: once more, under a new one.
            Err(error) if error.kind() == ErrorKind::LeaseLost => self.send(instance, Write::Always).await,
            registered => registered,
        }
        .map(drop)
    }

    async fn confirm(&self, instance: &Instance) -> Result<Standing> {
        self.send(instance, Write::IfGone).await
    }

    async fn replace(&self, instance: &Instance) -> Result<Standing> {
        self.send(instance, Write::UnlessReplaced).await
    }

    async fn remove(&self, _: &Instance) -> Result<()> {
        let removed = self.shared.remove().await;
        if removed.is_err() {
            let shared = Arc::clone(&self.shared);
            tokio::spawn(async move { shared.insist().await });
        }
        removed
    }

    async fn gone(&self) {
        tokio::select! {
            () = self.shared.client.closed().cancelled() => {}
            () = async { self.shared.lease().lost().await } => {}
        }
    }
}
