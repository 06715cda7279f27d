//! DB on a file of its own for each scenario.

use std::sync::Arc;
use std::time::Duration;

use infra_core::database::Database;
use infra_core::{Error, Result};
use infra_sql::{SqlConfig, SqlDatabase};
use infra_testkit::conformance::{self, Fixture, Setup};

async fn sqlite(setup: Setup) -> Result<Fixture<dyn Database>> {
    // One scenario waits for a connection in vain; the others must not fail on a busy machine.
    let patience = Duration::from_millis(if setup.scenario == "DB-023" { 500 } else { 10_000 });
    let folder =
        tempfile::tempdir().map_err(|error| Error::invalid_config("no folder").with_source(error))?;
    let url = format!("sqlite://{}", folder.path().join("app.db").display());
    let config = SqlConfig::development(url)
        .with_connections(8, 1)
        .with_acquire_timeout(patience);
    let connect = move || {
        let config = config.clone();
        async move {
            let database: Arc<dyn Database> = Arc::new(SqlDatabase::connect(config).await?);
            Ok(database)
        }
    };
    Ok(Fixture::server(connect).on_teardown(|| async move {
        drop(folder);
        Ok(())
    }))
}

conformance::databases!(sqlite, every_mode);
