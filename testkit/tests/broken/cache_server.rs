//! A cache that keeps the contract: what the broken ones wrap, one defect each.

use std::sync::Arc;

use infra_memory::MemoryCache;
use infra_testkit::conformance::{Disturbance, Fixture};

/// One server, and what can be done to it.
pub(crate) fn fixture(server: MemoryCache) -> Fixture<MemoryCache> {
    let connecting = server.clone();
    Fixture::in_process(move || {
        let client = connecting.connect();
        async { Ok(Arc::new(client)) }
    })
    .on_disturbance(move |disturbance| {
        let done = match disturbance {
            Disturbance::GoAway => {
                server.faults().go_away();
                true
            }
            Disturbance::ComeBack => {
                server.faults().come_back();
                true
            }
            _ => false,
        };
        async move { Ok(done) }
    })
}
