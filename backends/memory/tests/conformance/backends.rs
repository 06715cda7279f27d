//! META on everything that `memory://` opens.

use std::sync::Arc;

use infra_core::Result;
use infra_core::config::BackendUrl;
use infra_testkit::conformance::backends::{Component, Opening};
use infra_testkit::conformance::{Fixture, Setup};

fn memory(component: Component, number_option: &'static str) -> Fixture<Opening> {
    let opening = Opening::new(
        component,
        infra_memory::register,
        BackendUrl::memory(),
        number_option,
    );
    let opening = Arc::new(opening);
    Fixture::in_process(move || {
        let opening = Arc::clone(&opening);
        async { Ok(opening) }
    })
}

macro_rules! component {
    ($name:ident, $component:ident, $number_option:literal) => {
        mod $name {
            use super::*;

            async fn opening(_setup: Setup) -> Result<Fixture<Opening>> {
                Ok(memory(Component::$component, $number_option))
            }

            infra_testkit::conformance::backends!(opening);
        }
    };
}

component!(cache, Cache, "max_entries");
component!(coordinator, Coordination, "max_locks");
component!(once_store, Once, "max_entries");
component!(queue, Queue, "partitions");
component!(rate_limits, RateLimit, "max_buckets");
