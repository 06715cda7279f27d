//! What tests do to the connections of clients of a lock table.

use crate::link::Link;

/// Breaks the locks of an in-process provider on command, as networks and servers break real ones.
///
/// Faults of the *server* concern every client; faults of the *connection* only the client that they were asked of. What is to happen
/// to a single lock is asked of its [`LockTable`](super::LockTable).
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::time::Duration;
/// use infra_core::coordination::Locks;
///
/// let cache = infra_memory::MemoryCache::new();
/// let other = cache.connect();
/// let ttl = Duration::from_secs(30);
/// cache.lock_faults().disconnect();
/// assert!(cache.try_acquire("report", ttl).await.is_err());
/// assert!(other.try_acquire("report", ttl).await.is_ok());
/// # });
/// ```
#[derive(Debug, Clone, Copy)]
pub struct LockFaults<'a> {
    link: &'a Link,
}

impl<'a> LockFaults<'a> {
    pub(super) fn of(link: &'a Link) -> Self {
        Self { link }
    }

    /// Makes the locks unreachable for every client: calls and renewals fail with
    /// [`Unavailable`](infra_core::ErrorKind::Unavailable), and leases end by their time to live.
    pub fn go_away(&self) {
        self.link.server().turn_off();
    }

    /// Makes them reachable again.
    pub fn come_back(&self) {
        self.link.server().turn_on();
    }

    /// Cuts this client off: what it holds ends by its time to live, as after a crash of its process.
    pub fn disconnect(&self) {
        self.link.cut();
    }

    /// Connects this client again.
    pub fn reconnect(&self) {
        self.link.mend();
    }
}
