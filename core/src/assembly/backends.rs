//! The registry value: which schemes this program was compiled with.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{BackendFactory, Section};
use crate::backend::Backend;
use crate::cache::Cache;
use crate::config::{Problems, Profile};
use crate::coordination::Coordinator;
use crate::database::Database;
use crate::error::{Error, Result};
use crate::once::OnceStore;
use crate::queue::MessageQueue;
use crate::rate_limit::RateLimitStore;
use crate::search::Search;
use crate::telemetry::Meter;

/// What a backend is given when it is opened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct OpenContext {
    /// Whose defaults apply.
    pub profile: Profile,
    /// Where to record metrics.
    pub meter: Arc<dyn Meter>,
}

impl OpenContext {
    /// A context.
    #[must_use]
    pub fn new(profile: Profile, meter: Arc<dyn Meter>) -> Self {
        Self { profile, meter }
    }
}

type Factories<T> = BTreeMap<&'static str, Arc<dyn BackendFactory<T>>>;

/// Which backends a program can open, by component and URL scheme. An explicit value: nothing registers itself.
///
/// ```
/// use infra_core::assembly::Backends;
///
/// let mut backends = Backends::new();
/// infra_memory::register(&mut backends);
/// assert_eq!(backends.cache_schemes().collect::<Vec<_>>(), ["memory"]);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Backends {
    coordinators: Factories<dyn Coordinator>,
    caches: Factories<dyn Cache>,
    databases: Factories<dyn Database>,
    queues: Factories<dyn MessageQueue>,
    searches: Factories<dyn Search>,
    once_stores: Factories<dyn OnceStore>,
    rate_limit_stores: Factories<dyn RateLimitStore>,
}

macro_rules! component {
    ($field:ident, $contract:ty, $label:literal, $with:ident, $schemes:ident, $check:ident, $open:ident) => {
        #[doc = concat!("Adds a scheme for the component `", $label, "`; the same scheme again replaces it.")]
        pub fn $with(&mut self, scheme: &'static str, factory: impl BackendFactory<$contract>) {
            self.$field.insert(scheme, Arc::new(factory));
        }

        #[doc = concat!("The schemes compiled in for the component `", $label, "`.")]
        pub fn $schemes(&self) -> impl Iterator<Item = &'static str> {
            self.$field.keys().copied()
        }

        #[doc = concat!("Notes what is wrong with the section of the component `", $label, "`, an unknown scheme included.")]
        pub fn $check(&self, section: &Section, profile: Profile, problems: &mut Problems) {
            match find(&self.$field, section) {
                Ok(factory) => factory.check(section, profile, problems),
                Err(error) => problems.add("url", error.message().to_owned()),
            }
        }

        #[doc = concat!("Opens the component `", $label, "`.")]
        ///
        /// # Errors
        /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) for a scheme that is not compiled in (the message lists those
        /// that are) or options the backend refuses; otherwise what kept it from connecting.
        pub async fn $open(&self, section: &Section, context: &OpenContext) -> Result<Arc<$contract>> {
            let place = |error: Error| error.at($label, section.url.scheme().to_owned(), "open");
            let factory = find(&self.$field, section).map_err(place)?;
            factory.open(section, context).await.map_err(place)
        }
    };
}

impl Backends {
    /// No backend yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    component!(
        coordinators,
        dyn Coordinator,
        "coordination",
        with_coordinator,
        coordinator_schemes,
        check_coordinator,
        open_coordinator
    );
    component!(
        caches,
        dyn Cache,
        "cache",
        with_cache,
        cache_schemes,
        check_cache,
        open_cache
    );
    component!(
        databases,
        dyn Database,
        "database",
        with_database,
        database_schemes,
        check_database,
        open_database
    );
    component!(
        queues,
        dyn MessageQueue,
        "queue",
        with_queue,
        queue_schemes,
        check_queue,
        open_queue
    );
    component!(
        searches,
        dyn Search,
        "search",
        with_search,
        search_schemes,
        check_search,
        open_search
    );
    component!(
        once_stores,
        dyn OnceStore,
        "once",
        with_once_store,
        once_store_schemes,
        check_once_store,
        open_once_store
    );
    component!(
        rate_limit_stores,
        dyn RateLimitStore,
        "rate_limit",
        with_rate_limit_store,
        rate_limit_store_schemes,
        check_rate_limit_store,
        open_rate_limit_store
    );
}

fn find<T: Backend + ?Sized>(
    factories: &Factories<T>,
    section: &Section,
) -> Result<Arc<dyn BackendFactory<T>>> {
    let scheme = section.url.scheme();
    factories.get(scheme).cloned().ok_or_else(|| {
        let known: Vec<_> = factories.keys().map(|known| format!("{known}://")).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Error::invalid_config(format!(
            "the scheme {scheme:?} is not one of those compiled in for this component ({known}); correct the URL, or register the \
             backend's crate in `main`"
        ))
    })
}
