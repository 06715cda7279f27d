//! LOAD over the cache of this process.

use std::sync::Arc;

use infra_core::Result;
use infra_testkit::conformance::loading::{CoreLoaders, MakesLoaders};
use infra_testkit::conformance::{Fixture, Setup};

use crate::servers;

async fn loaders(_setup: Setup) -> Result<Fixture<dyn MakesLoaders>> {
    Ok(servers::cache().map(|cache| Arc::new(CoreLoaders::new(cache)) as Arc<dyn MakesLoaders>))
}

infra_testkit::conformance::loading!(loaders, every_mode);
