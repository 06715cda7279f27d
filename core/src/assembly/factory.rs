//! How a backend crate plugs in: its options, and a function that opens it.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{OpenContext, Section};
use crate::config::{BackendUrl, Problems, Profile, Validate};
use crate::error::Result;

/// The configuration struct of a backend, as a section of a configuration file fills it.
pub trait BackendOptions: Serialize + DeserializeOwned + Validate + Send + Sync + 'static {
    /// The defaults of a profile.
    fn of(profile: Profile) -> Self;

    /// Takes over what the section's URL says: hosts, credentials, path, parameters.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) for a part that means nothing to this backend.
    fn take_url(&mut self, url: &BackendUrl) -> Result<()>;
}

/// Opens one kind of component for one scheme.
#[async_trait]
pub trait BackendFactory<T: ?Sized>: fmt::Debug + Send + Sync + 'static {
    /// Notes everything that is wrong with a section, without I/O.
    fn check(&self, section: &Section, profile: Profile, problems: &mut Problems);

    /// Connects, checks the server, and returns the component.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) for whatever [`check`](Self::check) finds, before any I/O; otherwise what
    /// keeps it from working, naming the address.
    async fn open(&self, section: &Section, context: &OpenContext) -> Result<Arc<T>>;
}

/// Makes a factory of a function that opens a component from its options.
///
/// ```
/// use std::sync::Arc;
/// use infra_core::Result;
/// use infra_core::assembly::{Backends, OpenContext, factory};
/// use infra_core::cache::Cache;
/// use infra_memory::{MemoryCache, MemoryCacheConfig};
///
/// let mut backends = Backends::new();
/// backends.with_cache("mine", factory(|config: MemoryCacheConfig, _: OpenContext| async move {
///     Ok(Arc::new(MemoryCache::with_config(config)?) as Arc<dyn Cache>)
/// }));
/// assert_eq!(backends.cache_schemes().collect::<Vec<_>>(), ["mine"]);
/// ```
pub fn factory<C, T, F, R>(open: F) -> impl BackendFactory<T>
where
    C: BackendOptions,
    T: ?Sized + Send + Sync + 'static,
    F: Fn(C, OpenContext) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Arc<T>>> + Send + 'static,
{
    Opening {
        open,
        options: PhantomData::<fn() -> C>,
    }
}

struct Opening<F, C> {
    open: F,
    options: PhantomData<fn() -> C>,
}

impl<F, C> fmt::Debug for Opening<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "factory({})", std::any::type_name::<C>())
    }
}

impl<F, C: BackendOptions> Opening<F, C> {
    fn options(section: &Section, profile: Profile) -> Result<C> {
        let mut options = section.options(&C::of(profile))?;
        take_url(&mut options, &section.url)?;
        options.check()?;
        Ok(options)
    }
}

#[async_trait]
impl<C, T, F, R> BackendFactory<T> for Opening<F, C>
where
    C: BackendOptions,
    T: ?Sized + Send + Sync + 'static,
    F: Fn(C, OpenContext) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Arc<T>>> + Send + 'static,
{
    fn check(&self, section: &Section, profile: Profile, problems: &mut Problems) {
        match section.options_at(&C::of(profile)) {
            Ok(mut options) => {
                problems.accept("url", take_url(&mut options, &section.url));
                options.validate(problems);
            }
            Err((path, problem)) => {
                problems.add(&path, problem);
                problems.accept("url", take_url(&mut C::of(profile), &section.url));
            }
        }
    }

    async fn open(&self, section: &Section, context: &OpenContext) -> Result<Arc<T>> {
        (self.open)(Self::options(section, context.profile)?, context.clone()).await
    }
}

/// What is the same for every backend in a file: no file knows users.
fn take_url(options: &mut impl BackendOptions, url: &BackendUrl) -> Result<()> {
    if url.names_file() {
        url.check_no_credentials()?;
    }
    options.take_url(url)
}
