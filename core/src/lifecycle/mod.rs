//! Lifecycle: what was opened is checked together and closed in exact reverse order, with a deadline per step.
//!
//! It knows [`Backend`](crate::Backend) and closures, nothing of any component.

mod signals;
mod steps;

pub use signals::{Ended, Signals, run_until_signal};
pub use steps::{HealthReport, Lifecycle, ShutdownReport};
