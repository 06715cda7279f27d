//! Hot reload: one mechanism for everything that may change while a service runs.

mod follow;
mod follower;
mod snapshot;
mod status;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
pub use follow::{Follow, Following};
use serde::de::DeserializeOwned;
pub use status::{ReloadStatus, Reloads};
use tokio::sync::watch;

use super::problems::Validate;
use super::tree::Source;
use super::{Format, collect, document};
use crate::error::{Error, Result};

type ApplyHook<C> = Box<dyn Fn(&C) -> Result<()> + Send + Sync>;

/// Holds the current value of a configuration and replaces it while the service runs. Clones share the value.
///
/// # Contract
/// - A new value is decoded and validated, then offered to the apply hook, then swapped in as a whole; readers never wait
///   and never see half of it.
/// - A bad value is rejected and reported ([`last_error`](Self::last_error), a warning in the log) and the last good one
///   stays.
/// - Deletion of what is followed goes back to the default.
/// - Every swap adds one to the [`generation`](Self::generation).
///
/// ```
/// use infra_core::config::{Format, HotReload, Problems, Source, Validate};
/// use serde::Deserialize;
///
/// #[derive(Debug, Deserialize)]
/// struct Limit { rate: u32 }
///
/// impl Validate for Limit {
///     fn validate(&self, problems: &mut Problems) {
///         problems.ensure(self.rate > 0, "rate", "must be positive");
///     }
/// }
///
/// let limit = HotReload::new(Limit { rate: 10 })?;
/// let key = Source::ConfigCenter("app/limit".to_owned());
///
/// limit.offer(&key, Format::Json, br#"{"rate": 20}"#)?;
/// assert_eq!((limit.current().rate, limit.generation()), (20, 1));
///
/// assert!(limit.offer(&key, Format::Json, br#"{"rate": 0}"#).is_err());
/// assert_eq!((limit.current().rate, limit.generation()), (20, 1));
/// let rejection = limit.last_error().expect("a rejection");
/// assert_eq!(rejection.source, key);
/// assert!(rejection.error.message().contains("rate: must be positive"));
/// # Ok::<(), infra_core::Error>(())
/// ```
pub struct HotReload<C> {
    shared: Arc<Shared<C>>,
}

struct Shared<C> {
    default: Arc<C>,
    current: ArcSwap<C>,
    generation: AtomicU64,
    apply: Option<ApplyHook<C>>,
    /// What was rejected and not replaced since; the latest is last. Also taken while a value is swapped in, so that hook,
    /// value and generation change together.
    rejections: Mutex<Vec<Rejection>>,
    changes: watch::Sender<Arc<C>>,
}

/// A value that was not accepted.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Rejection {
    /// Where it came from.
    pub source: Source,
    /// Why it was not accepted; never shows the value.
    pub error: Error,
}

impl<C> Clone for HotReload<C> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<C> fmt::Debug for HotReload<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HotReload")
            .field("generation", &self.generation())
            .field("rejections", &self.rejections())
            .finish_non_exhaustive()
    }
}

impl<C> HotReload<C> {
    /// The value now. On a hot path prefer [`read`](Self::read), which does not touch the reference count.
    #[must_use]
    pub fn current(&self) -> Arc<C> {
        self.shared.current.load_full()
    }

    /// Looks at the value now, without waiting and without allocating.
    pub fn read<R>(&self, look: impl FnOnce(&C) -> R) -> R {
        look(&self.shared.current.load())
    }

    /// How often the value was replaced; 0 means that it is still the default it was made with.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }

    /// The latest value that was rejected and not corrected since.
    #[must_use]
    pub fn last_error(&self) -> Option<Rejection> {
        self.lock().last().cloned()
    }

    /// Everything that was rejected and not corrected since, one per source, the latest last.
    #[must_use]
    pub fn rejections(&self) -> Vec<Rejection> {
        self.lock().clone()
    }

    /// Tells of every swap; the receiver's value is the current one.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<C>> {
        self.shared.changes.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Rejection>> {
        self.shared
            .rejections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Records and logs that a value from `source` was not accepted.
    fn reject(&self, source: &Source, error: &Error) {
        tracing::warn!(%source, %error, "a configuration value was rejected; the last good one stays");
        let mut rejections = self.lock();
        rejections.retain(|known| known.source != *source);
        rejections.push(Rejection {
            source: source.clone(),
            error: error.clone(),
        });
    }

    /// Forgets what was rejected from `source`: it is corrected, or gone.
    fn absolve(&self, source: &Source) {
        self.lock().retain(|known| known.source != *source);
    }

    /// Lets the hook apply a value that is known to be valid, and swaps it in.
    fn install(&self, value: Arc<C>) -> Result<u64> {
        let _one_at_a_time = self.lock();
        if let Some(apply) = &self.shared.apply {
            apply(&value)?;
        }
        self.shared.current.store(Arc::clone(&value));
        let generation = self.shared.generation.fetch_add(1, Ordering::AcqRel) + 1;
        self.shared.changes.send_replace(value);
        Ok(generation)
    }
}

impl<C: Validate> HotReload<C> {
    /// Starts with a default, to which deletion goes back.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) when the default is not valid.
    pub fn new(default: C) -> Result<Self> {
        Self::start(default, None)
    }

    /// Starts with a default and a hook that applies every new value before it is swapped in, and may refuse it.
    ///
    /// The hook is called for one value at a time, not for the default, and must not call back into this `HotReload`.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) when the default is not valid.
    pub fn applying(default: C, apply: impl Fn(&C) -> Result<()> + Send + Sync + 'static) -> Result<Self> {
        Self::start(default, Some(Box::new(apply)))
    }

    fn start(default: C, apply: Option<ApplyHook<C>>) -> Result<Self> {
        default.check()?;
        let default = Arc::new(default);
        Ok(Self {
            shared: Arc::new(Shared {
                current: ArcSwap::new(Arc::clone(&default)),
                generation: AtomicU64::new(0),
                apply,
                rejections: Mutex::new(Vec::new()),
                changes: watch::Sender::new(Arc::clone(&default)),
                default,
            }),
        })
    }

    /// Validates a value made in code and swaps it in; returns the new generation.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig), or what the hook says; the current value stays, and the refusal
    /// is recorded.
    pub fn replace(&self, value: C) -> Result<u64> {
        self.settle(&Source::Override, value.check().map(|()| Arc::new(value)))
    }

    /// Goes back to the default; returns the new generation.
    ///
    /// # Errors
    /// What the hook says.
    pub fn reset(&self) -> Result<u64> {
        self.settle(&Source::Defaults, Ok(Arc::clone(&self.shared.default)))
    }

    /// Installs what came from `source`, and records how that went.
    fn settle(&self, source: &Source, value: Result<Arc<C>>) -> Result<u64> {
        let installed = value.and_then(|value| self.install(value));
        match &installed {
            Ok(_) => self.absolve(source),
            Err(error) => self.reject(source, error),
        }
        installed
    }
}

impl<C: Validate + DeserializeOwned> HotReload<C> {
    /// Decodes a document, validates it and swaps it in; returns the new generation.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) that lists every problem, or what the hook says; the current value
    /// stays, and the refusal is recorded.
    pub fn offer(&self, source: &Source, format: Format, document: &[u8]) -> Result<u64> {
        self.settle(source, decode(source, format, document).map(Arc::new))
    }
}

/// Decodes and validates a document.
fn decode<C: Validate + DeserializeOwned>(source: &Source, format: Format, document: &[u8]) -> Result<C> {
    let tree = document::parse_value(document, format, source)?;
    collect::decode(tree, &|_| None)
}
