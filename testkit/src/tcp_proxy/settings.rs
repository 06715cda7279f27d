//! What the controls, the thread and the connections share: what is asked for, and what was counted. No I/O.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// How a connection is ended, on both its sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cut {
    /// With a reset (RST): reads fail at once, as after a crash of the host or of a firewall's memory.
    Reset,
    /// With an orderly end (FIN): reads see the end, as after a server that was stopped.
    Close,
}

/// What a [`TcpProxy`](super::TcpProxy) counted since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TcpProxyStats {
    /// Connections that clients made.
    pub accepted: u64,
    /// Those of them that are open now.
    pub open: u64,
    /// Those that were ended by a cut.
    pub cut: u64,
    /// Those that were reset because the server could not be reached.
    pub unreachable: u64,
    /// Bytes that were handed on to the server.
    pub bytes_to_server: u64,
    /// Bytes that were handed on to clients.
    pub bytes_to_client: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    ToServer,
    ToClient,
}

impl Direction {
    const fn index(self) -> usize {
        match self {
            Self::ToServer => 0,
            Self::ToClient => 1,
        }
    }
}

/// What is asked of one direction.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FlowSettings {
    pub(super) delay: Duration,
    pub(super) jitter: Duration,
    pub(super) bytes_per_second: Option<NonZeroU64>,
    pub(super) stalled: bool,
    /// How often it was asked to end; a connection compares it with what it was at its beginning.
    pub(super) half_closes: u64,
}

/// What is asked of the proxy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    flows: [FlowSettings; 2],
    /// How often all connections were cut, and how the last time.
    pub(super) cuts: u64,
    pub(super) how: Cut,
}

impl Settings {
    pub(super) fn flow(&self, direction: Direction) -> &FlowSettings {
        &self.flows[direction.index()]
    }

    pub(super) fn flow_mut(&mut self, direction: Direction) -> &mut FlowSettings {
        &mut self.flows[direction.index()]
    }
}

/// How many bytes may pass until the connection that carries the last of them is cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct CutAfter {
    pub(super) left: u64,
    pub(super) how: Cut,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) accepted: AtomicU64,
    pub(super) open: AtomicU64,
    pub(super) cut: AtomicU64,
    pub(super) unreachable: AtomicU64,
    bytes: [AtomicU64; 2],
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) upstream: String,
    pub(super) seed: u64,
    pub(super) settings: watch::Sender<Settings>,
    pub(super) counters: Counters,
    cut_after: [Mutex<Option<CutAfter>>; 2],
    random: Mutex<fastrand::Rng>,
}

impl Shared {
    pub(super) fn new(upstream: String, seed: u64) -> Self {
        Self {
            upstream,
            seed,
            settings: watch::Sender::new(Settings {
                flows: <[FlowSettings; 2]>::default(),
                cuts: 0,
                how: Cut::Reset,
            }),
            counters: Counters::default(),
            cut_after: <[Mutex<Option<CutAfter>>; 2]>::default(),
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
        }
    }

    pub(super) fn stats(&self) -> TcpProxyStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        let counters = &self.counters;
        TcpProxyStats {
            accepted: read(&counters.accepted),
            open: read(&counters.open),
            cut: read(&counters.cut),
            unreachable: read(&counters.unreachable),
            bytes_to_server: read(&counters.bytes[Direction::ToServer.index()]),
            bytes_to_client: read(&counters.bytes[Direction::ToClient.index()]),
        }
    }

    /// A part of the jitter, 0 to 1.
    pub(super) fn draw(&self) -> f64 {
        locked(&self.random).f64()
    }

    pub(super) fn set_cut_after(&self, direction: Direction, cut: Option<CutAfter>) {
        *locked(&self.cut_after[direction.index()]) = cut;
        // Who waits for something to send looks again.
        self.settings.send_modify(|_| {});
    }

    /// How many of `bytes` may be sent now; zero when the connection has to be cut first.
    pub(super) fn allowance(&self, direction: Direction, bytes: usize) -> usize {
        locked(&self.cut_after[direction.index()]).map_or(bytes, |cut| {
            usize::try_from(cut.left).map_or(bytes, |left| bytes.min(left))
        })
    }

    /// Counts bytes that were sent; how the connection is to be cut, if these were the last that may pass.
    pub(super) fn sent(&self, direction: Direction, bytes: usize) -> Option<Cut> {
        let bytes = bytes as u64;
        self.counters.bytes[direction.index()].fetch_add(bytes, Ordering::SeqCst);
        let mut pending = locked(&self.cut_after[direction.index()]);
        let cut = pending.as_mut()?;
        cut.left = cut.left.saturating_sub(bytes);
        if cut.left > 0 {
            return None;
        }
        pending.take().map(|cut| cut.how)
    }
}

/// Locks a mutex whose data are whole after every statement.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
