//! The scheme `etcd`.

use std::sync::Arc;

use infra_core::assembly::{BackendOptions, Backends, OpenContext, factory};
use infra_core::config::{BackendUrl, Profile};
use infra_core::coordination::Coordinator;
use infra_core::error::{Error, Result};

use crate::BACKEND;
use crate::config::EtcdConfig;
use crate::coordinator::EtcdCoordinator;

/// Adds the scheme `etcd://` for coordination.
pub fn register(backends: &mut Backends) {
    backends.with_coordinator(
        BACKEND,
        factory(|config: EtcdConfig, _: OpenContext| async move {
            Ok(Arc::new(EtcdCoordinator::connect(config).await?) as Arc<dyn Coordinator>)
        }),
    );
}

impl BackendOptions for EtcdConfig {
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
                "an etcd:// URL has no path; the option `key_prefix` says where keys are kept",
            ));
        }
        if url.user().is_some() != url.password().is_some() {
            return Err(Error::invalid_config(
                "the etcd:// URL names a user without a password, or the other way round; give both or neither",
            ));
        }
        self.endpoints = url.hosts().to_vec();
        self.user = url.user().map(str::to_owned);
        self.password = url.password().cloned();
        Ok(())
    }
}
