//! LOCK: mutual exclusion as a lease.

pub mod exclusion;

use infra_core::coordination::Locks;

use super::Scenario;

/// Every scenario of this family.
pub const SCENARIOS: &[Scenario<dyn Locks>] = crate::locks!(@list __conformance_table ());

/// One test per scenario of the family LOCK for a backend: `conformance::locks!(make_backend)`, or
/// `conformance::locks!(make_backend, every_mode)`.
#[macro_export]
macro_rules! locks {
    (@list $callback:ident $arguments:tt) => {
        $crate::$callback! { (locks) $arguments {
            exclusion {
                lock_001_a_free_lock_is_acquired,
                lock_002_a_held_lock_is_refused,
            }
        } }
    };
    ($($arguments:tt)+) => { $crate::locks!(@list __conformance_tests ($($arguments)+)); };
}
