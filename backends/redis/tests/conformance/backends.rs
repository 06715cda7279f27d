//! META on everything that `redis://` opens.

use std::sync::Arc;

use infra_core::Result;
use infra_core::config::BackendUrl;
use infra_testkit::conformance::backends::{Component, Opening};
use infra_testkit::conformance::{Fixture, Setup};
use infra_testkit::servers;

fn redis(component: Component) -> Result<Fixture<Opening>> {
    let url = BackendUrl::parse(&servers::url("redis")?)?;
    let opening = Arc::new(Opening::new(
        component,
        infra_redis::register,
        url,
        "max_value_bytes",
    ));
    Ok(Fixture::server(move || {
        let opening = Arc::clone(&opening);
        async { Ok(opening) }
    }))
}

macro_rules! component {
    ($name:ident, $component:ident) => {
        mod $name {
            use super::*;

            async fn opening(_setup: Setup) -> Result<Fixture<Opening>> {
                redis(Component::$component)
            }

            infra_testkit::conformance::backends!(opening);
        }
    };
}

component!(cache, Cache);
component!(once_store, Once);
component!(rate_limits, RateLimit);
