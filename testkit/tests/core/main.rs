//! The families whose subjects are components of infra-core: breakers, ids, retries, stacks.

use std::sync::Arc;

use infra_core::Result;
use infra_testkit::conformance::breakers::{CoreBreakers, MakesBreakers};
use infra_testkit::conformance::ids::{CoreIds, MakesIds};
use infra_testkit::conformance::retries::{CoreRetry, Repeats};
use infra_testkit::conformance::stacks::{CoreStacks, MakesStacks};
use infra_testkit::conformance::{self, Fixture, Setup};

async fn core_breakers(_: Setup) -> Result<Fixture<dyn MakesBreakers>> {
    Ok(Fixture::in_process(|| async {
        Ok(Arc::new(CoreBreakers) as Arc<dyn MakesBreakers>)
    }))
}

async fn core_ids(_: Setup) -> Result<Fixture<dyn MakesIds>> {
    Ok(Fixture::in_process(|| async {
        Ok(Arc::new(CoreIds) as Arc<dyn MakesIds>)
    }))
}

async fn core_retry(_: Setup) -> Result<Fixture<dyn Repeats>> {
    Ok(Fixture::in_process(|| async {
        Ok(Arc::new(CoreRetry) as Arc<dyn Repeats>)
    }))
}

async fn core_stacks(_: Setup) -> Result<Fixture<dyn MakesStacks>> {
    Ok(Fixture::in_process(|| async {
        Ok(Arc::new(CoreStacks) as Arc<dyn MakesStacks>)
    }))
}

conformance::breakers!(core_breakers);
conformance::ids!(core_ids);
conformance::retries!(core_retry);
conformance::stacks!(core_stacks);
