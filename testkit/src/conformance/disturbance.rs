//! What scenarios do to a server, and what they ask to see of it: one vocabulary for all families.

use infra_core::Error;

/// Something that happens to a server or to one of its clients; see [`Fixture::on_disturbance`](super::Fixture::on_disturbance).
///
/// Clients are counted from 0 in the order in which the scenario connected them.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Disturbance {
    /// The server cannot be reached by anybody until [`ComeBack`](Self::ComeBack); what it holds stays.
    GoAway,
    /// The server can be reached again.
    ComeBack,
    /// The connection of one client breaks until [`Reconnect`](Self::Reconnect).
    Disconnect {
        /// Whose.
        client: usize,
    },
    /// The client may connect again, and does so by itself.
    Reconnect {
        /// Who.
        client: usize,
    },
    /// One client's process is killed: it renews nothing, releases nothing and says nothing any more.
    Crash {
        /// Whose.
        client: usize,
    },
    /// The server forgets every session: leases, locks, registrations, instance ids. Clients are connected and learn it.
    LoseSessions,
    /// The server forgets the history of changes, as after a compaction: a watch cannot go on from where it was.
    LoseHistory,
    /// Open watches end with this error, which is not retryable.
    CloseWatches {
        /// Why.
        error: Error,
    },
    /// Somebody else holds the lock from now on, as after a lease that ran out unnoticed.
    StealLock {
        /// Which.
        key: String,
    },
    /// The lease of this lock is over; nobody holds it.
    ExpireLock {
        /// Which.
        key: String,
    },
    /// The instance's registration is over.
    ExpireInstance {
        /// The service.
        service: String,
        /// The instance.
        id: String,
    },
    /// The number belongs to nobody any more, as after a lease that ran out unnoticed.
    RevokeInstanceId {
        /// The service.
        service: String,
        /// The number.
        number: u16,
    },
    /// The server is restarted with its data; clients connect again by themselves.
    Restart,
    /// The broker delivers each of the next messages once more after it was settled, as one does that lost the settlement.
    RepeatDeliveries {
        /// How many deliveries.
        count: usize,
    },
    /// Some other program stores a short text under this key of the cache: a string, in place of whatever is there.
    StoreText {
        /// Which key, as a client without a scope names it.
        key: String,
    },
    /// The backend's clock is moved by so many milliseconds, backwards when negative.
    StepClock {
        /// By how much.
        milliseconds: i64,
    },
}

/// Something that a server counts; see [`Fixture::on_probe`](super::Fixture::on_probe).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Probe {
    /// Watches that are open on the server.
    Watches,
    /// Who holds or waits for a lock: the length of its queue, the holder included.
    LockQueue {
        /// Which lock.
        key: String,
    },
    /// Members of a consumer group.
    GroupMembers {
        /// Which group.
        group: String,
    },
    /// Connections taken out of a pool.
    ConnectionsInUse,
}
