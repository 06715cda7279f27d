//! What is hot-reloaded in a process, in one list: for health pages, administration and tests.

use std::fmt;
use std::sync::Arc;

use super::{HotReload, Rejection};

/// Everything that a process hot-reloads, by name.
///
/// ```
/// use infra_core::config::{Format, HotReload, Reloads, Source};
/// use infra_core::log::{Level, Levels};
///
/// let levels = HotReload::new(Levels::new(Level::Info))?;
/// let mut reloads = Reloads::new();
/// reloads.add("log levels", &levels);
///
/// let key = Source::ConfigCenter("app/log-levels".to_owned());
/// levels.offer(&key, Format::Json, br#"{"level": "loud"}"#).unwrap_err();
/// let status = reloads.status();
/// assert_eq!((status[0].name.as_str(), status[0].generation), ("log levels", 0));
/// assert_eq!(status[0].rejections[0].source, key);
/// # Ok::<(), infra_core::Error>(())
/// ```
#[derive(Default, Clone)]
pub struct Reloads {
    entries: Vec<(String, Arc<dyn Observed>)>,
}

/// How one hot-reloaded value is doing.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReloadStatus {
    /// What it is.
    pub name: String,
    /// How often it was replaced; 0 means that it is still its default.
    pub generation: u64,
    /// What was rejected and not corrected since, by key, with the reason; the latest last.
    pub rejections: Vec<Rejection>,
}

trait Observed: Send + Sync {
    fn generation(&self) -> u64;
    fn rejections(&self) -> Vec<Rejection>;
}

impl<C: Send + Sync> Observed for HotReload<C> {
    fn generation(&self) -> u64 {
        Self::generation(self)
    }

    fn rejections(&self) -> Vec<Rejection> {
        Self::rejections(self)
    }
}

impl Reloads {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value, which is shared and not copied.
    pub fn add<C: Send + Sync + 'static>(&mut self, name: impl Into<String>, reload: &HotReload<C>) {
        self.entries.push((name.into(), Arc::new(reload.clone())));
    }

    /// How each is doing now, in the order in which they were added.
    #[must_use]
    pub fn status(&self) -> Vec<ReloadStatus> {
        self.entries
            .iter()
            .map(|(name, observed)| ReloadStatus {
                name: name.clone(),
                generation: observed.generation(),
                rejections: observed.rejections(),
            })
            .collect()
    }
}

impl fmt::Debug for Reloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.status()).finish()
    }
}
