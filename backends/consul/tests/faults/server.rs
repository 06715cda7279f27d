//! A Consul of a test's own.

use std::sync::Arc;
use std::time::Duration;

use infra_consul::{ConsulConfig, ConsulCoordinator};
use infra_core::assembly::BackendOptions;
use infra_core::config::BackendUrl;
use infra_testkit::servers::{Problem, Set, Up};

use crate::{REQUEST, TTL};

/// A server of this test's own, which ends with it.
pub(crate) struct Server {
    folder: tempfile::TempDir,
    pub(crate) url: BackendUrl,
}

impl Server {
    /// Starts it; where it cannot be had, lists the test as skipped.
    pub(crate) async fn start() -> Option<Arc<Self>> {
        let folder = tempfile::tempdir().unwrap();
        let set = Set::at(folder.path());
        let started = tokio::task::spawn_blocking(move || {
            set.up(&Up::new(["consul"]), &|_| {}).unwrap();
            set.variables().unwrap()
        });
        let variables = started.await.unwrap();
        let Some((_, url)) = variables.into_iter().find(|(name, _)| name == "INFRA_CONSUL_URL") else {
            let thread = std::thread::current();
            infra_testkit::skipped::record(
                thread.name().unwrap_or("faults"),
                "no consul server can be started",
            );
            return None;
        };
        let url = BackendUrl::parse(&url).unwrap();
        Some(Arc::new(Self { folder, url }))
    }

    pub(crate) fn config(&self) -> ConsulConfig {
        let mut config = ConsulConfig::development()
            .with_request_timeout(REQUEST)
            .with_watches(Duration::from_secs(5), 64)
            .with_instance_ids(TTL, TTL);
        config.take_url(&self.url).unwrap();
        config
    }

    pub(crate) async fn client(&self) -> ConsulCoordinator {
        ConsulCoordinator::connect(self.config()).await.unwrap()
    }

    pub(crate) async fn act(self: &Arc<Self>, act: fn(&Set, &str) -> Result<(), Problem>) {
        let server = Arc::clone(self);
        let acted = tokio::task::spawn_blocking(move || act(&Set::at(server.folder.path()), "consul"));
        acted.await.unwrap().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        Set::at(self.folder.path()).down(&|_| {}).unwrap();
    }
}
