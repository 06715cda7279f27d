//! Idempotent operations over any store: claim, work under a renewed lease, store the result.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::config::OnceConfig;
use super::contract::{
    Claim, ClaimRequest, Once, OnceOptions, OnceOutcome, OnceStatus, OnceStore, Waiting, Work,
};
use crate::config::Validate;
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::lease::{Lease, LeaseKeeper, LeaseOptions};

/// How often a result is offered to a store that does not answer, before it is given up.
const STORE_ATTEMPTS: u32 = 5;
/// The first pause between those offers; each is twice the one before.
const STORE_PAUSE: Duration = Duration::from_millis(50);
/// The least time between two looks at a key that somebody else works on.
const LEAST_PAUSE: Duration = Duration::from_millis(5);

/// [`Once`] over any [`OnceStore`].
///
/// One round trip when the work was done before, two when it is done now (and one more for each third of the lease that it
/// takes). An example stands at [`OnceExt`](super::OnceExt).
#[derive(Debug, Clone)]
pub struct StoreOnce {
    store: Arc<dyn OnceStore>,
    config: OnceConfig,
}

impl StoreOnce {
    /// Keeps claims and results in `store`.
    ///
    /// # Errors
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) for a configuration that cannot work with this store.
    pub fn new(store: Arc<dyn OnceStore>, config: OnceConfig) -> Result<Self> {
        config
            .check()
            .and_then(|()| {
                store
                    .capabilities()
                    .limits()
                    .check_ttl(config.lease)
                    .map_err(|error| Error::invalid_config(format!("lease: {}", error.message())))
            })
            .map_err(|error| error.at("once", store.backend(), "new"))?;
        Ok(Self { store, config })
    }

    fn key(&self, key: &str) -> Result<String> {
        let limits = self.store.capabilities().limits();
        limits.check_key("idempotency key", key)?;
        let full = format!("{}{key}", self.config.prefix);
        limits.check_key("idempotency key with its prefix", &full)?;
        Ok(full)
    }

    /// Claims the key, waiting for whoever has it; the claim, or the result of theirs.
    async fn claim(&self, key: &str, request: &ClaimRequest, waiting: Waiting) -> Result<Step> {
        let begun = Instant::now();
        loop {
            let asked_at = Instant::now();
            match self.store.claim(request.clone()).await? {
                Claim::Acquired { fence } => {
                    tracing::trace!(key, fence, "a key was claimed");
                    return Ok(Step::Work { granted_at: asked_at });
                }
                Claim::Done { result } => return Ok(Step::Done(result)),
                Claim::FingerprintMismatch => return Err(other_request(key)),
                Claim::InProgress { remaining } => {
                    let Waiting::UpTo(bound) = waiting else {
                        return Err(in_progress(key, remaining));
                    };
                    let left = bound.saturating_sub(begun.elapsed());
                    if left.is_zero() {
                        return Err(still_in_progress(key, bound));
                    }
                    self.wait(&request.key, left.min(remaining.max(LEAST_PAUSE)))
                        .await?;
                }
            }
        }
    }

    async fn wait(&self, full_key: &str, at_most: Duration) -> Result<()> {
        let begun = Instant::now();
        self.store.wait_for_change(full_key, at_most).await?;
        // A store may return early; without a pause that would be a busy loop.
        if begun.elapsed() < LEAST_PAUSE {
            sleep(LEAST_PAUSE.min(at_most)).await;
        }
        Ok(())
    }

    /// Does the work under the claim and stores its result.
    async fn perform(&self, key: &str, claimed: Claimed<'_>, work: Work<'_>, ttl: Duration) -> Result<Bytes> {
        // Dropping the lease, by cancellation or by a panic of the work, releases the key in the background.
        let lease = claimed.keep();
        let result = tokio::select! {
            biased;
            () = lease.lost() => return Err(stopped(key)),
            result = work => result,
        };
        let stored = match result.and_then(|result| self.fitting(key, result)) {
            Ok(result) => self.complete(key, &lease, claimed, result, ttl).await,
            Err(error) => {
                if let Err(release) = lease.release().await {
                    tracing::warn!(error = %release, key, "a key was not released after its work failed; its lease ends by itself");
                }
                return Err(error);
            }
        };
        if stored.is_ok() {
            lease.forget();
        }
        stored
    }

    fn fitting(&self, key: &str, result: Bytes) -> Result<Bytes> {
        let limit = self
            .config
            .max_result_bytes
            .min(self.store.capabilities().limits().max_value_bytes);
        if result.len() > limit {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "the result for key {key:?} has {} bytes, more than the {limit} that are stored; the work was done, its key is released: store a reference instead",
                    result.len()
                ),
            ));
        }
        Ok(result)
    }

    /// Stores the result, again and again while the store does not answer and the claim stands.
    async fn complete(
        &self,
        key: &str,
        lease: &Lease,
        claimed: Claimed<'_>,
        result: Bytes,
        ttl: Duration,
    ) -> Result<Bytes> {
        let ClaimRequest { key: full, owner, .. } = claimed.request;
        let mut pause = STORE_PAUSE;
        for attempt in 1.. {
            let error = match self.store.complete(full, owner, result.clone(), ttl).await {
                Ok(()) => return Ok(result),
                Err(error) => error,
            };
            if error.kind() == ErrorKind::LeaseLost {
                return Err(error.context(format_args!(
                    "the work of key {key:?} was done, but perhaps not alone"
                )));
            }
            let may_pass = error.may_pass() || error.kind() == ErrorKind::OutcomeUnknown;
            if !may_pass || attempt == STORE_ATTEMPTS || lease.is_lost() {
                return Err(not_stored(key, error));
            }
            tracing::warn!(%error, key, attempt, "a result was not stored; trying again");
            sleep(pause).await;
            pause *= 2;
        }
        Ok(result)
    }
}

/// What a claim came to.
enum Step {
    Work { granted_at: Instant },
    Done(Bytes),
}

/// A claim that we hold.
#[derive(Clone, Copy)]
struct Claimed<'a> {
    store: &'a Arc<dyn OnceStore>,
    request: &'a ClaimRequest,
    granted_at: Instant,
}

impl Claimed<'_> {
    fn keep(self) -> Lease {
        let keeper = Arc::new(Keeper {
            store: Arc::clone(self.store),
            request: self.request.clone(),
        });
        Lease::keep(keeper, LeaseOptions::new(self.request.lease), self.granted_at)
    }
}

/// Renews and releases one claim.
#[derive(Debug)]
struct Keeper {
    store: Arc<dyn OnceStore>,
    request: ClaimRequest,
}

#[async_trait]
impl LeaseKeeper for Keeper {
    async fn renew(&self) -> Result<()> {
        let request = &self.request;
        self.store
            .renew(&request.key, &request.owner, request.lease)
            .await
    }

    async fn release(&self) -> Result<()> {
        self.store.release(&self.request.key, &self.request.owner).await
    }
}

/// Releases a claim whose answer nobody waited for: it may have been granted.
struct Asking<'a> {
    store: &'a Arc<dyn OnceStore>,
    request: &'a ClaimRequest,
    answered: bool,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let keeper = Keeper {
            store: Arc::clone(self.store),
            request: self.request.clone(),
        };
        runtime.spawn(async move {
            if let Err(error) = keeper.release().await {
                tracing::debug!(%error, "an abandoned claim was not released; it ends by its lease");
            }
        });
    }
}

#[async_trait]
impl Once for StoreOnce {
    async fn execute_bytes<'w>(
        &self,
        key: &str,
        options: OnceOptions,
        work: Work<'w>,
    ) -> Result<OnceOutcome<Bytes>> {
        let run = async {
            let full = self.key(key)?;
            self.store.capabilities().limits().check_ttl(options.ttl)?;
            let digest = options.fingerprint.as_deref().map(digest);
            let owner = Uuid::new_v4().simple().to_string();
            let request = ClaimRequest::new(full, owner, self.config.lease).with_fingerprint(digest);
            let mut asking = Asking {
                store: &self.store,
                request: &request,
                answered: false,
            };
            let step = self.claim(key, &request, options.waiting).await;
            // After an error of the store we do not know whether the claim was granted.
            asking.answered = match &step {
                Ok(_) => true,
                Err(error) => error.had_no_effect(),
            };
            drop(asking);
            match step? {
                Step::Done(result) => Ok(OnceOutcome::Replayed(result)),
                Step::Work { granted_at } => {
                    let claimed = Claimed {
                        store: &self.store,
                        request: &request,
                        granted_at,
                    };
                    self.perform(key, claimed, work, options.ttl)
                        .await
                        .map(OnceOutcome::Executed)
                }
            }
        };
        run.await
            .map_err(|error| error.at("once", self.store.backend(), "execute"))
    }

    async fn clear(&self, key: &str) -> Result<bool> {
        let clear = async { self.store.clear(&self.key(key)?).await };
        clear
            .await
            .map_err(|error| error.at("once", self.store.backend(), "clear"))
    }

    async fn status(&self, key: &str) -> Result<OnceStatus> {
        let status = async { self.store.status(&self.key(key)?).await };
        status
            .await
            .map_err(|error| error.at("once", self.store.backend(), "status"))
    }
}

/// SHA-256 in hexadecimal digits: requests may be large or secret, and stores compare texts.
fn digest(fingerprint: &[u8]) -> String {
    use std::fmt::Write as _;

    Sha256::digest(fingerprint)
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

fn other_request(key: &str) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!("key {key:?} was used for another request; use a new key for a new request"),
    )
    .without_effect()
}

fn in_progress(key: &str, remaining: Duration) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!(
            "the work of key {key:?} is in progress elsewhere; ask again, after {remaining:?} at the latest"
        ),
    )
    .with_retry(Retry::After(remaining))
    .without_effect()
}

fn still_in_progress(key: &str, waited: Duration) -> Error {
    Error::new(
        ErrorKind::Timeout,
        format!("the work of key {key:?} was still in progress elsewhere after waiting {waited:?}; ask again later"),
    )
    .without_effect()
}

fn stopped(key: &str) -> Error {
    Error::new(
        ErrorKind::LeaseLost,
        format!("the claim to key {key:?} was lost while its work was running; the work was stopped"),
    )
}

fn not_stored(key: &str, cause: Error) -> Error {
    Error::new(
        ErrorKind::OutcomeUnknown,
        format!("the work of key {key:?} was done, but its result could not be stored; the next call may do it again"),
    )
    .with_source(cause)
}
