//! LOCK on the coordinator.

use std::sync::Arc;

use infra_core::Result;
use infra_core::coordination::Locks;
use infra_memory::MemoryCoordinator;
use infra_testkit::conformance::{self, Fixture, Setup};

async fn coordinator(_setup: Setup) -> Result<Fixture<dyn Locks>> {
    let server = MemoryCoordinator::new();
    Ok(Fixture::in_process(move || {
        let client: Arc<dyn Locks> = Arc::new(server.connect());
        async { Ok(client) }
    }))
}

conformance::locks!(coordinator, every_mode);
