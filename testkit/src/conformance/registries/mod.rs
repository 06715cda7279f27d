//! REGISTRY: who serves what, where, right now.

pub mod registering;

use infra_core::coordination::Registry;

use super::Scenario;

/// Every scenario of this family.
pub const SCENARIOS: &[Scenario<dyn Registry>] = crate::registries!(@list __conformance_table ());

/// One test per scenario of the family REGISTRY for a backend: `conformance::registries!(make_backend)`, or
/// `conformance::registries!(make_backend, every_mode)`.
#[macro_export]
macro_rules! registries {
    (@list $callback:ident $arguments:tt) => {
        $crate::$callback! { (registries) $arguments {
            registering {
                registry_001_a_registered_instance_is_discovered,
                registry_003_a_dead_instance_is_gone_after_its_lease,
                registry_005_the_same_id_replaces_the_instance,
                registry_006_all_of_an_instance_comes_back,
                registry_008_an_unknown_service_is_empty,
                registry_009_a_draining_instance_stays_listed,
            }
        } }
    };
    ($($arguments:tt)+) => { $crate::registries!(@list __conformance_tests ($($arguments)+)); };
}
