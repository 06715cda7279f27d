//! SHARD over two files of its own for each scenario.

use std::sync::Arc;

use infra_core::database::Database;
use infra_core::{Error, Result};
use infra_sql::{SqlConfig, SqlDatabase};
use infra_testkit::conformance::{self, Fixture, Setup};

async fn sqlite(setup: Setup) -> Result<Fixture<dyn Database>> {
    let folder =
        tempfile::tempdir().map_err(|error| Error::invalid_config("no folder").with_source(error))?;
    let url = |name: &str| format!("sqlite://{}", folder.path().join(name).display());
    let config = SqlConfig::development(url("0.db"))
        .with_additional_url(url("1.db"))
        .with_connections(8, 1)
        .with_sharding(conformance::shards::sharding(&setup));
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

conformance::shards!(sqlite, every_mode);
