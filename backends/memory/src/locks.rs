//! Locks in one process: the client side, on a [`LockTable`] that plays the server.
//!
//! Used by every provider of this crate that offers [`Locks`](infra_core::coordination::Locks). It may touch tokio's
//! clock and tasks, nothing else.

mod table;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use infra_core::capability::Limits;
use infra_core::coordination::{FencingToken, LockGuard, LockOptions};
use infra_core::lease::{Lease, LeaseKeeper, LeaseOptions};
use infra_core::{Error, ErrorKind, Result, async_trait};
use tokio::time::{Instant, sleep_until};

use crate::link::Link;
use table::{Grant, later};

pub use table::LockTable;

/// One client of a [`LockTable`]: acquires with its own limits, and gives everything back when it is shut down.
#[derive(Debug, Clone)]
pub(crate) struct LockClient {
    table: LockTable,
    link: Arc<Link>,
    id: u64,
    limits: Limits,
    /// Put before every name in the table; the caller does not see it.
    prefix: Arc<str>,
}

impl LockTable {
    /// A client on the connection of the provider that it is part of.
    pub(crate) fn client(&self, link: Arc<Link>, limits: Limits) -> LockClient {
        LockClient {
            id: self.new_client_id(),
            table: self.clone(),
            link,
            limits,
            prefix: Arc::from(""),
        }
    }
}

impl LockClient {
    /// The same client, naming its locks with this prefix.
    pub(crate) fn with_prefix(&self, prefix: Arc<str>) -> Self {
        Self {
            prefix,
            ..self.clone()
        }
    }

    /// Another client of the same table, with a connection of its own.
    pub(crate) fn connect(&self) -> Self {
        Self {
            id: self.table.new_client_id(),
            link: Arc::new(self.link.connect()),
            ..self.clone()
        }
    }

    fn prefixed<'k>(&self, key: &'k str) -> Cow<'k, str> {
        if self.prefix.is_empty() {
            return Cow::Borrowed(key);
        }
        Cow::Owned([&self.prefix, key].concat())
    }

    pub(crate) fn table(&self) -> &LockTable {
        &self.table
    }

    /// The connection to the server of the locks.
    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    fn id(&self) -> u64 {
        self.id
    }

    /// [`Locks::acquire`](infra_core::coordination::Locks::acquire).
    pub(crate) async fn acquire(&self, key: &str, options: LockOptions) -> Result<LockGuard> {
        self.acquire_granted(key, options)
            .await
            .map(|grant| self.guard(key, options.ttl, grant))
            .map_err(|error| error.at("locks", crate::BACKEND, "acquire"))
    }

    /// [`Locks::try_acquire`](infra_core::coordination::Locks::try_acquire).
    pub(crate) fn try_acquire(&self, key: &str, ttl: Duration) -> Result<Option<LockGuard>> {
        let take = || {
            self.check(key, ttl)?;
            let grant = self.table.take(&self.prefixed(key), self, ttl)?;
            if self.link.closed().is_cancelled() {
                // The shutdown overtook us and may have looked before the lock was ours.
                self.table.remove_client(self.id);
                return Err(Error::closed("this lock provider"));
            }
            Ok(grant.map(|grant| self.guard(key, ttl, grant)))
        };
        take().map_err(|error| error.at("locks", crate::BACKEND, "try_acquire"))
    }

    /// Releases what this client holds and tells its waiters [`Closed`](ErrorKind::Closed). Again: does nothing.
    pub(crate) fn shutdown(&self) {
        self.link.close();
        self.table.remove_client(self.id);
    }

    fn check(&self, key: &str, ttl: Duration) -> Result<()> {
        self.limits.check_key("lock name", key)?;
        self.limits.check_ttl(ttl)?;
        self.link.check("this lock provider")
    }

    async fn acquire_granted(&self, key: &str, options: LockOptions) -> Result<Grant> {
        self.check(key, options.ttl)?;
        let begun = Instant::now();
        let deadline = later(begun, options.wait);
        let name = self.prefixed(key);
        let mut ticket = self.table.take_or_queue(&name, self, options.ttl)?;
        loop {
            // A holder that renews moves this moment; then we look again at the new one.
            let lease_ends = self.table.ends_at(&name).unwrap_or(deadline);
            tokio::select! {
                biased;
                () = self.link.closed().cancelled() => {
                    return Err(Error::closed("this lock provider").context(format_args!("waiting for lock {key:?}")));
                }
                grant = ticket.granted() => return Ok(grant),
                () = sleep_until(deadline) => return Err(timed_out(key, begun.elapsed())),
                () = sleep_until(lease_ends) => self.table.tidy(&name),
            }
        }
    }

    fn guard(&self, key: &str, ttl: Duration, grant: Grant) -> LockGuard {
        let keeper = Arc::new(Keeper {
            table: self.table.clone(),
            link: Arc::clone(&self.link),
            key: Arc::from(self.prefixed(key)),
            token: grant.token,
        });
        let lease = Lease::keep(keeper, LeaseOptions::new(ttl), grant.at);
        LockGuard::new(key, FencingToken(grant.token), lease)
    }
}

fn timed_out(key: &str, waited: Duration) -> Error {
    Error::new(
        ErrorKind::Timeout,
        format!(
            "lock {key:?} was still held by another after waiting {waited:?}; wait longer, or try again later"
        ),
    )
    .without_effect()
}

/// Renews and releases one granted lock.
#[derive(Debug)]
struct Keeper {
    table: LockTable,
    link: Arc<Link>,
    key: Arc<str>,
    token: u64,
}

impl Keeper {
    fn lost(&self, operation: &'static str) -> Error {
        Error::new(
            ErrorKind::LeaseLost,
            format!(
                "lock {:?} is not held under token {} any more; stop the work that it protected and acquire it again",
                self.key, self.token
            ),
        )
        .at("locks", crate::BACKEND, operation)
    }
}

#[async_trait]
impl LeaseKeeper for Keeper {
    async fn renew(&self) -> Result<()> {
        self.link.reach()?;
        if self.table.renew(&self.key, self.token) {
            Ok(())
        } else {
            Err(self.lost("renew"))
        }
    }

    async fn release(&self) -> Result<()> {
        self.link.reach()?;
        if self.table.release(&self.key, self.token) {
            Ok(())
        } else {
            Err(self.lost("release"))
        }
    }
}
