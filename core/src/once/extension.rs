//! The typed form that business code calls.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::contract::{Once, OnceOptions, OnceOutcome};
use crate::error::{Error, ErrorKind, Result};

/// Convenience over any [`Once`]; do not implement it.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use std::time::Duration;
/// use infra_core::once::{OnceConfig, OnceExt, OnceOptions, OnceOutcome, StoreOnce};
///
/// let store = Arc::new(infra_memory::MemoryOnceStore::new());
/// let once = StoreOnce::new(store, OnceConfig::production())?;
///
/// let options = OnceOptions::new(Duration::from_secs(24 * 3600)).with_fingerprint("amount=100&to=alice");
/// let charge = || async { Ok("receipt-1".to_owned()) };
/// let first = once.execute("payment-7", options.clone(), charge()).await?;
/// assert_eq!(first, OnceOutcome::Executed("receipt-1".to_owned()));
/// let again = once.execute("payment-7", options, charge()).await?;
/// assert_eq!(again, OnceOutcome::Replayed("receipt-1".to_owned()));
/// # Ok::<(), infra_core::Error>(())
/// # }).unwrap();
/// ```
#[async_trait]
pub trait OnceExt: Once {
    /// Does the work unless it was done, and gives its result, which is stored as JSON.
    ///
    /// # Errors
    /// As [`Once::execute_bytes`]; [`InvalidArgument`](ErrorKind::InvalidArgument) when the result cannot be written as
    /// JSON (the work was done, the key is released); [`DataCorrupted`](ErrorKind::DataCorrupted) names a key whose stored
    /// result is not a `T`.
    ///
    /// # Cancellation
    /// Dropping the future stops the work and releases the key in the background.
    async fn execute<T, W>(&self, key: &str, options: OnceOptions, work: W) -> Result<OnceOutcome<T>>
    where
        T: Serialize + DeserializeOwned + Send,
        W: Future<Output = Result<T>> + Send,
    {
        // The caller of the work gets the value itself, not a copy that went through JSON.
        let made = Mutex::new(None);
        let slot = &made;
        let encoded = async move {
            let value = work.await?;
            let bytes = serde_json::to_vec(&value).map_err(|source| {
                Error::invalid_argument(format!("the result for key {key:?} cannot be written as JSON"))
                    .with_source(source)
            })?;
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
            Ok(Bytes::from(bytes))
        };
        let outcome = self.execute_bytes(key, options, Box::pin(encoded)).await?;
        let made = made.into_inner().unwrap_or_else(PoisonError::into_inner);
        match (outcome, made) {
            (OnceOutcome::Executed(_), Some(value)) => Ok(OnceOutcome::Executed(value)),
            (OnceOutcome::Executed(bytes), None) => decode(key, &bytes).map(OnceOutcome::Executed),
            (OnceOutcome::Replayed(bytes), _) => decode(key, &bytes).map(OnceOutcome::Replayed),
        }
    }

    /// Does work without a result unless it was done.
    ///
    /// # Errors
    /// As [`OnceExt::execute`].
    ///
    /// # Cancellation
    /// As [`OnceExt::execute`].
    async fn run<W>(&self, key: &str, ttl: Duration, work: W) -> Result<OnceOutcome<()>>
    where
        W: Future<Output = Result<()>> + Send,
    {
        self.execute(key, OnceOptions::new(ttl), work).await
    }
}

impl<O: Once + ?Sized> OnceExt for O {}

fn decode<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T> {
    crate::json::decode(bytes).map_err(|misfit| {
        Error::new(
            ErrorKind::DataCorrupted,
            format!("the stored result for key {key:?} is not of the requested type: {misfit}; clear the key to do the work again"),
        )
        .at("once", "", "execute")
    })
}
