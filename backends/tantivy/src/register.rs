//! The scheme `tantivy` on the assembly's registry.

use std::sync::Arc;

use infra_core::assembly::{BackendOptions, Backends, OpenContext, factory};
use infra_core::config::{BackendUrl, Profile};
use infra_core::search::Search;
use infra_core::{Error, Result};

use crate::{BACKEND, Storage, TantivyConfig, TantivySearch};

/// Adds the scheme `tantivy://` for search: `tantivy://data/search` is a directory, `tantivy://:memory:` is memory; the
/// other options are the fields of [`TantivyConfig`].
///
/// ```
/// use infra_core::assembly::Backends;
///
/// let mut backends = Backends::new();
/// infra_tantivy::register(&mut backends);
/// assert_eq!(backends.search_schemes().collect::<Vec<_>>(), ["tantivy"]);
/// ```
pub fn register(backends: &mut Backends) {
    backends.with_search(
        BACKEND,
        factory(|config: TantivyConfig, _: OpenContext| async move {
            Ok(Arc::new(TantivySearch::open(config).await?) as Arc<dyn Search>)
        }),
    );
}

impl BackendOptions for TantivyConfig {
    fn of(profile: Profile) -> Self {
        match profile {
            Profile::Production => Self::production(),
            _ => Self::development(),
        }
    }

    fn take_url(&mut self, url: &BackendUrl) -> Result<()> {
        url.check_params(&[])?;
        self.storage = match url.path() {
            Some(":memory:") => Storage::Memory,
            Some(path) if !path.is_empty() => Storage::Directory(path.into()),
            _ => {
                return Err(Error::invalid_config(
                    "the URL names no directory; write tantivy://some/directory, or tantivy://:memory:",
                ));
            }
        };
        Ok(())
    }
}
