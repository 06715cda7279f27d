//! The scheme `sqlite` on the assembly's registry.

use std::sync::Arc;

use infra_core::Result;
use infra_core::assembly::{BackendOptions, Backends, OpenContext, factory};
use infra_core::config::{BackendUrl, Profile};
use infra_core::database::Database;

use crate::{SqlConfig, SqlDatabase};

/// Adds the scheme `sqlite://` for the database; the options are the fields of [`SqlConfig`].
///
/// ```
/// use infra_core::assembly::Backends;
///
/// let mut backends = Backends::new();
/// infra_sql::register(&mut backends);
/// assert_eq!(backends.database_schemes().collect::<Vec<_>>(), ["sqlite"]);
/// ```
pub fn register(backends: &mut Backends) {
    backends.with_database(
        "sqlite",
        factory(|config: SqlConfig, _: OpenContext| async move {
            Ok(Arc::new(SqlDatabase::connect(config).await?) as Arc<dyn Database>)
        }),
    );
}

impl BackendOptions for SqlConfig {
    fn of(profile: Profile) -> Self {
        match profile {
            Profile::Production => Self::production(""),
            _ => Self::development(""),
        }
    }

    fn take_url(&mut self, url: &BackendUrl) -> Result<()> {
        self.url = url.expose();
        Ok(())
    }
}
