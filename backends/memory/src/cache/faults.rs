//! What tests do to the connections of clients of a cache.

use crate::link::Link;

/// Makes an in-process cache unreachable on command, as networks and servers do with real ones.
///
/// Faults of the *server* concern every client; faults of the *connection* only the client that they were asked of. What is to happen
/// to a single lock is asked of its [`LockTable`](crate::LockTable).
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::time::Duration;
/// use infra_core::cache::KeyValue;
/// use infra_core::coordination::Locks;
///
/// let cache = infra_memory::MemoryCache::new();
/// let other = cache.connect();
/// let ttl = Duration::from_secs(30);
/// cache.faults().disconnect();
/// assert!(cache.get("greeting").await.is_err());
/// assert!(cache.try_acquire("report", ttl).await.is_err());
/// assert!(other.try_acquire("report", ttl).await.is_ok());
/// # });
/// ```
#[derive(Debug, Clone, Copy)]
pub struct CacheFaults<'a> {
    link: &'a Link,
}

impl<'a> CacheFaults<'a> {
    pub(super) fn of(link: &'a Link) -> Self {
        Self { link }
    }

    /// Makes the cache unreachable for every client: calls and renewals fail with
    /// [`Unavailable`](infra_core::ErrorKind::Unavailable), and locks end by their time to live.
    pub fn go_away(&self) {
        self.link.server().turn_off();
    }

    /// Makes it reachable again; what was stored is still there.
    pub fn come_back(&self) {
        self.link.server().turn_on();
    }

    /// Cuts this client off: its locks end by their time to live, as after a crash of its process.
    pub fn disconnect(&self) {
        self.link.cut();
    }

    /// Connects this client again.
    pub fn reconnect(&self) {
        self.link.mend();
    }
}
