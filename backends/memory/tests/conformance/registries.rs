//! REGISTRY on the coordinator of this process.

use std::sync::Arc;

use infra_core::Result;
use infra_core::coordination::Registry;
use infra_testkit::conformance::{self, Fixture, Setup};

use crate::servers;

pub(crate) async fn coordinator(_setup: Setup) -> Result<Fixture<dyn Registry>> {
    Ok(servers::coordinator().map(|client| client as Arc<dyn Registry>))
}

conformance::registries!(coordinator, every_mode);
