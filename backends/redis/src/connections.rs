//! The connections of a process: components that are configured with the same server share one.

use std::sync::{Arc, Weak};

use infra_core::Result;
use infra_core::config::Validate;
use tokio::sync::Mutex;

use crate::client::{Client, Link};
use crate::config::RedisConfig;
use crate::dial::Dialer;

/// The connections that are in use, each with what makes further ones like it.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    open: Mutex<Vec<(Weak<Link>, Arc<Dialer>)>>,
}

impl Connections {
    /// A client on the connection to this server that is open, or on a new one.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub(crate) async fn client(&self, config: RedisConfig) -> Result<Client> {
        config.check()?;
        // Held while connecting, so that two that ask at the same time share.
        let mut open = self.open.lock().await;
        open.retain(|(link, _)| link.strong_count() > 0);
        let shared = open
            .iter()
            .filter(|(_, dialer)| dialer.config().shares_connection_with(&config))
            .find_map(|(link, dialer)| Some((link.upgrade()?, Arc::clone(dialer))));
        let (link, dialer) = match shared {
            Some(shared) => shared,
            None => {
                let dialer = Arc::new(Dialer::new(config.clone())?);
                let link = Arc::new(Link::connect(Arc::clone(&dialer)).await?);
                open.push((Arc::downgrade(&link), Arc::clone(&dialer)));
                (link, dialer)
            }
        };
        Ok(Client::on(link, dialer, config))
    }
}
