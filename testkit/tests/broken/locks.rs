//! Locks that are broken on purpose.

use std::sync::Arc;
use std::time::Duration;

use infra_core::capability::Capabilities;
use infra_core::coordination::{LockGuard, LockOptions, Locks};
use infra_core::{Backend, Result, async_trait};
use infra_memory::MemoryCoordinator;
use infra_testkit::conformance::{self, Breakage, Fixture, prove};

pub(crate) const FAMILY: &str = "locks";

#[test]
fn every_scenario_notices_its_defect_and_no_other() {
    prove(
        conformance::locks::SCENARIOS,
        &[
            broken(
                "LOCK-001",
                Defect::RefusesFree,
                "refuses a free lock to its first client",
            ),
            broken("LOCK-002", Defect::LocksApart, "gives one lock to each client"),
        ],
    );
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Defect {
    RefusesFree,
    LocksApart,
}

fn broken(breaks: &str, defect: Defect, words: &'static str) -> Breakage<dyn Locks> {
    Breakage::new(breaks, words, move |_setup| {
        let server = MemoryCoordinator::new();
        let fixture = Fixture::in_process(move || {
            let client = if defect == Defect::LocksApart {
                MemoryCoordinator::new()
            } else {
                server.connect()
            };
            async move { Ok(Arc::new(client)) }
        });
        async move {
            Ok(fixture.map(move |inner: Arc<MemoryCoordinator>| {
                Arc::new(Broken { inner, defect }) as Arc<dyn Locks>
            }))
        }
    })
}

/// Memory's locks with one defect.
#[derive(Debug)]
struct Broken {
    inner: Arc<MemoryCoordinator>,
    defect: Defect,
}

#[async_trait]
impl Backend for Broken {
    fn backend(&self) -> &'static str {
        "broken"
    }

    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    async fn health(&self) -> Result<()> {
        self.inner.health().await
    }

    async fn shutdown(&self, deadline: Duration) -> Result<()> {
        self.inner.shutdown(deadline).await
    }
}

#[async_trait]
impl Locks for Broken {
    async fn acquire(&self, key: &str, options: LockOptions) -> Result<LockGuard> {
        self.inner.acquire(key, options).await
    }

    async fn try_acquire(&self, key: &str, ttl: Duration) -> Result<Option<LockGuard>> {
        if self.defect == Defect::RefusesFree {
            return Ok(None);
        }
        self.inner.try_acquire(key, ttl).await
    }
}
