//! The scheme `consul`.

use infra_core::assembly::BackendOptions;
use infra_core::config::{BackendUrl, Profile};
use infra_core::error::{Error, Result};

use crate::config::ConsulConfig;

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
