//! The last list of each service that was seen, for when the server is away.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::ServiceSnapshot;
use crate::error::{ErrorKind, Result};

/// For how many services the last list is kept.
const SERVICES: usize = 1_024;

/// The last list of each service that a client saw; up to 1,024 services.
#[derive(Debug, Default)]
pub struct LastKnown {
    services: Mutex<HashMap<String, ServiceSnapshot>>,
}

impl LastKnown {
    /// What the server says, which is noted; while the server is away, what it said last, with a warning in the log.
    ///
    /// # Errors
    /// The server's, when it is not [`Unavailable`](ErrorKind::Unavailable) or a [`Timeout`](ErrorKind::Timeout), or nothing was
    /// noted of this service.
    pub async fn or_last(
        &self,
        service: &str,
        ask: impl Future<Output = Result<ServiceSnapshot>>,
    ) -> Result<ServiceSnapshot> {
        match ask.await {
            Ok(snapshot) => {
                let mut services = self.locked();
                if services.len() < SERVICES || services.contains_key(service) {
                    services.insert(service.to_owned(), snapshot.clone());
                }
                Ok(snapshot)
            }
            Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout) => {
                let last = self.locked().get(service).cloned().ok_or(error.clone())?;
                tracing::warn!(%error, service, "serving the last list of instances that was seen");
                Ok(last)
            }
            Err(error) => Err(error),
        }
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<String, ServiceSnapshot>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
