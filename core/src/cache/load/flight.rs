//! Loads in progress, one per key: whoever comes later waits for the one that is under way.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use crate::error::{Error, ErrorKind, Result};

/// What a load gave: the value as JSON, or that there is none.
pub(super) type Outcome = Result<Option<Bytes>>;

/// One load.
#[derive(Debug)]
pub(super) struct Flight {
    outcome: watch::Sender<Option<Outcome>>,
    /// Whether the key was invalidated since the load began; then the value is old and must not be stored.
    overtaken: AtomicBool,
}

impl Flight {
    fn new() -> Self {
        Self {
            outcome: watch::Sender::new(None),
            overtaken: AtomicBool::new(false),
        }
    }

    pub(super) fn is_overtaken(&self) -> bool {
        self.overtaken.load(Ordering::Acquire)
    }

    fn has_landed(&self) -> bool {
        self.outcome.borrow().is_some()
    }

    /// Tells everybody who waits; the first outcome counts.
    pub(super) fn land(&self, outcome: Outcome) {
        self.outcome.send_if_modified(|slot| {
            let first = slot.is_none();
            if first {
                *slot = Some(outcome);
            }
            first
        });
    }

    /// Waits for the outcome. Cancel-safe.
    pub(super) async fn outcome(&self) -> Outcome {
        let mut receiver = self.outcome.subscribe();
        match receiver.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or_else(|| Err(abandoned())),
            Err(_) => Err(abandoned()),
        }
    }
}

fn abandoned() -> Error {
    Error::new(
        ErrorKind::Cancelled,
        "the load was abandoned because the runtime that it ran on was shut down",
    )
}

/// Whether a load is waited for, or only keeps a value fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Miss,
    Refresh,
}

/// All loads in progress.
#[derive(Debug, Default)]
pub(super) struct Flights {
    by_key: Mutex<HashMap<String, Arc<Flight>>>,
}

impl Flights {
    /// The load of `key` that is under way, or a new one, which the caller must carry out and end by dropping the guard.
    pub(super) fn join(self: &Arc<Self>, key: &str, purpose: Purpose) -> (Arc<Flight>, Option<FlightGuard>) {
        let mut flights = self.lock();
        let flight = Arc::new(Flight::new());
        match flights.entry(key.to_owned()) {
            // A refresh that failed lingers for a while, to hold off the next one, but not those who need the value.
            Entry::Occupied(current) if purpose == Purpose::Refresh || !current.get().has_landed() => {
                return (Arc::clone(current.get()), None);
            }
            Entry::Occupied(mut landed) => {
                landed.insert(Arc::clone(&flight));
            }
            Entry::Vacant(vacant) => {
                vacant.insert(Arc::clone(&flight));
            }
        }
        let guard = FlightGuard {
            flights: Arc::clone(self),
            key: key.to_owned(),
            flight: Arc::clone(&flight),
        };
        (flight, Some(guard))
    }

    /// Keeps the load of `key` that is under way, if any, from being stored or joined.
    pub(super) fn overtake(&self, key: &str) {
        if let Some(flight) = self.lock().remove(key) {
            flight.overtaken.store(true, Ordering::Release);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Flight>>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a load when dropped, whatever became of it.
#[derive(Debug)]
pub(super) struct FlightGuard {
    flights: Arc<Flights>,
    key: String,
    pub(super) flight: Arc<Flight>,
}

impl Drop for FlightGuard {
    fn drop(&mut self) {
        self.flight.land(Err(abandoned()));
        let mut flights = self.flights.lock();
        let ours = |current: &Arc<Flight>| Arc::ptr_eq(current, &self.flight);
        if flights.get(&self.key).is_some_and(ours) {
            flights.remove(&self.key);
        }
    }
}
