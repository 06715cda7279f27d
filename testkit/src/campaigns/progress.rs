//! How far a campaign is, shared by those who work and those who disturb.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Fault, Verdict, Violation};

/// How often the end is looked for while nothing is disturbed.
const LOOK: Duration = Duration::from_millis(20);

/// Rounds done, the first violation, and whether all faults had their turn.
#[derive(Debug)]
pub(super) struct Progress {
    wanted: usize,
    done: AtomicUsize,
    disturbed: AtomicBool,
    violation: Mutex<Option<Violation>>,
}

impl Progress {
    pub(super) fn new(wanted: usize) -> Self {
        Self {
            wanted,
            done: AtomicUsize::new(0),
            disturbed: AtomicBool::new(false),
            violation: Mutex::new(None),
        }
    }

    pub(super) fn round(&self) {
        self.done.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn done(&self) -> usize {
        self.done.load(Ordering::Acquire)
    }

    /// Notes what must not be; the first one counts.
    pub(super) fn violate(&self, text: impl Into<String>) {
        let mut violation = self.violation.lock().unwrap_or_else(PoisonError::into_inner);
        violation.get_or_insert_with(|| Violation::new(text));
    }

    fn is_violated(&self) -> bool {
        self.violation
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    pub(super) fn verdict(&self) -> Verdict<()> {
        match self
            .violation
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
        {
            Some(violation) => Err(violation),
            None => Ok(()),
        }
    }

    /// Whether who works may stop: enough rounds and every fault had its turn, or something was violated.
    pub(super) fn is_over(&self) -> bool {
        self.is_violated() || (self.disturbed.load(Ordering::Acquire) && self.done() >= self.wanted)
    }

    /// Inflicts each fault once and goes on until there are enough rounds, with a pause after each fault; complains when no round
    /// is done for as long as `patience`. Returns how many faults there were. Whatever begins is ended.
    pub(super) async fn disturb(&self, faults: &[Fault], pause: Duration, patience: Duration) -> usize {
        let mut inflicted = 0;
        let mut last = (self.done(), Instant::now());
        loop {
            if inflicted >= faults.len() {
                self.disturbed.store(true, Ordering::Release);
            }
            if self.is_over() {
                return inflicted;
            }
            if let Some(fault) = faults.get(inflicted % faults.len().max(1)) {
                if let Err(violation) = fault.inflict().await {
                    self.violate(violation.to_string());
                }
                inflicted += 1;
                tokio::time::sleep(pause).await;
            } else {
                tokio::time::sleep(LOOK).await;
            }
            if self.done() > last.0 {
                last = (self.done(), Instant::now());
            } else if last.1.elapsed() > patience {
                self.violate(format!(
                    "no round was done for {patience:?}, in spite of the pauses between faults; {} of {} are done",
                    last.0, self.wanted
                ));
            }
        }
    }
}
