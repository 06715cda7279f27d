//! The scheme `consul`.

use std::sync::Arc;

use infra_core::assembly::{BackendOptions, Backends, OpenContext, factory};
use infra_core::config::{BackendUrl, Profile};
use infra_core::coordination::Coordinator;
use infra_core::error::{Error, Result};

use crate::BACKEND;
use crate::config::ConsulConfig;
use crate::coordinator::ConsulCoordinator;

/// Adds the scheme `consul://` for coordination.
pub fn register(backends: &mut Backends) {
    backends.with_coordinator(
        BACKEND,
        factory(|config: ConsulConfig, _: OpenContext| async move {
            Ok(Arc::new(ConsulCoordinator::connect(config).await?) as Arc<dyn Coordinator>)
        }),
    );
}

impl BackendOptions for ConsulConfig {
    fn of(profile: Profile) -> Self {
        match profile {
            Profile::Production => Self::production(),
            _ => Self::development(),
        }
    }

    fn take_url(&mut self, url: &BackendUrl) -> Result<()> {
        url.check_params(&[])?;
        if url.path().is_some_and(|path| !path.is_empty()) {
            return Err(Error::invalid_config(
                "a consul:// URL has no path; the option `key_prefix` says where keys are kept",
            ));
        }
        if url.user().is_some_and(|user| !user.is_empty()) {
            return Err(Error::invalid_config(
                "the consul:// URL names a user; Consul knows tokens only: consul://:token@host:8500",
            ));
        }
        self.hosts = url.hosts().to_vec();
        self.token = url.password().cloned();
        Ok(())
    }
}
