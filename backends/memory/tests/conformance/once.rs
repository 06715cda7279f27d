//! IDEMP on the store of idempotent operations.

use std::sync::Arc;

use infra_core::Result;
use infra_core::once::OnceStore;
use infra_testkit::conformance::{Fixture, Setup};

use crate::servers;

async fn store(_setup: Setup) -> Result<Fixture<dyn OnceStore>> {
    Ok(servers::once_store().map(|client| client as Arc<dyn OnceStore>))
}

infra_testkit::conformance::once!(store, every_mode);
