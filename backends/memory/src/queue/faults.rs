//! What tests do to an in-process queue: a broker that cannot be reached, messages that come twice.

use std::sync::atomic::Ordering;

use super::MemoryQueue;

/// Breaks an in-process queue on command, as networks and brokers break real ones.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use infra_core::Backend;
/// use infra_memory::MemoryQueue;
///
/// let queue = MemoryQueue::new();
/// queue.faults().disconnect();
/// assert!(queue.health().await.is_err());
/// queue.faults().reconnect();
/// assert!(queue.health().await.is_ok());
/// # });
/// ```
#[derive(Debug, Clone, Copy)]
pub struct QueueFaults<'a> {
    queue: &'a MemoryQueue,
}

impl MemoryQueue {
    /// What tests can break.
    #[must_use]
    pub fn faults(&self) -> QueueFaults<'_> {
        QueueFaults { queue: self }
    }
}

impl QueueFaults<'_> {
    /// Makes the broker unreachable: sends, fetches and settlements fail with
    /// [`Unavailable`](infra_core::ErrorKind::Unavailable). Handlers that run go on; what they answered is settled after
    /// [`QueueFaults::reconnect`].
    pub fn disconnect(&self) {
        self.queue
            .broker
            .status
            .send_modify(|status| status.connected = false);
    }

    /// Makes the broker reachable again.
    pub fn reconnect(&self) {
        self.queue
            .broker
            .status
            .send_modify(|status| status.connected = true);
    }

    /// Delivers each of the next `deliveries` once more after it was settled, as a broker does that lost the settlement.
    pub fn duplicate_next(&self, deliveries: usize) {
        self.queue.broker.duplicates.store(deliveries, Ordering::Relaxed);
    }

    /// Delivers the two messages of each of the next `pairs` pairs the other way round, as a broker does that lost its order; a
    /// pair is two messages that one member takes at once.
    pub fn reorder_next(&self, pairs: usize) {
        self.queue.broker.reorders.store(pairs, Ordering::Relaxed);
    }

    /// Puts every member out of its group, as a broker does that has not heard of it in time: what it holds goes back and is
    /// delivered again, while its handlers may still run; what they answer counts no more. A member joins again as soon as
    /// its handlers have ended. Returns how many were put out.
    pub fn lose_sessions(&self) -> usize {
        self.queue.broker.lose_sessions()
    }
}
