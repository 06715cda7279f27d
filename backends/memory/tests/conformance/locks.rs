//! LOCK on the coordinator and on the cache.

use std::sync::Arc;

use infra_core::Result;
use infra_core::coordination::Locks;
use infra_testkit::conformance::{Fixture, Setup};

use crate::servers;

pub(crate) async fn coordinator(_setup: Setup) -> Result<Fixture<dyn Locks>> {
    Ok(servers::coordinator().map(|client| client as Arc<dyn Locks>))
}

pub(crate) async fn cache(_setup: Setup) -> Result<Fixture<dyn Locks>> {
    Ok(servers::cache().map(|client| client as Arc<dyn Locks>))
}

mod on_the_coordinator {
    use super::coordinator;
    infra_testkit::conformance::locks!(coordinator, every_mode);
}

mod on_the_cache {
    use super::cache;
    infra_testkit::conformance::locks!(cache, every_mode);
}
