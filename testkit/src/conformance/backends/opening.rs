//! Checking and opening a section, whichever component it is of.

use std::sync::Arc;

use infra_core::assembly::{Backends, OpenContext, Section};
use infra_core::config::{Problems, Profile};
use infra_core::{Backend, Result};
use infra_memory::MemoryMeter;

use super::Opening;
use crate::conformance::{Failure, Harness};

/// A component that is opened by a section of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Component {
    /// `dyn Cache`.
    Cache,
    /// `dyn Coordinator`.
    Coordination,
    /// `dyn Database`.
    Database,
    /// `dyn MessageQueue`.
    Queue,
    /// `dyn Search`.
    Search,
    /// `dyn OnceStore`.
    Once,
    /// `dyn RateLimitStore`.
    RateLimit,
}

/// What stands under test in one run.
pub(super) struct Ground {
    backends: Backends,
    component: Component,
    pub(super) section: Section,
    pub(super) number_option: &'static str,
}

impl Ground {
    pub(super) async fn new(harness: &Harness<Opening>) -> Result<Self, Failure> {
        let opening = harness.client().await?;
        let mut backends = Backends::new();
        (opening.register)(&mut backends);
        Ok(Self {
            backends,
            component: opening.component,
            section: opening.section.clone(),
            number_option: opening.number_option,
        })
    }

    /// What the check without I/O finds wrong with the section.
    pub(super) fn check(&self, section: &Section, profile: Profile) -> Result<()> {
        let mut problems = Problems::new();
        let (backends, found) = (&self.backends, &mut problems);
        match self.component {
            Component::Cache => backends.check_cache(section, profile, found),
            Component::Coordination => backends.check_coordinator(section, profile, found),
            Component::Database => backends.check_database(section, profile, found),
            Component::Queue => backends.check_queue(section, profile, found),
            Component::Search => backends.check_search(section, profile, found),
            Component::Once => backends.check_once_store(section, profile, found),
            Component::RateLimit => backends.check_rate_limit_store(section, profile, found),
        }
        problems.finish()
    }

    /// Opens the section, under the defaults of a developer's machine.
    pub(super) async fn open(&self, section: &Section) -> Result<Arc<dyn Backend>> {
        let context = &OpenContext::new(Profile::Development, Arc::new(MemoryMeter::new()));
        let backends = &self.backends;
        Ok(match self.component {
            Component::Cache => backends.open_cache(section, context).await?,
            Component::Coordination => backends.open_coordinator(section, context).await?,
            Component::Database => backends.open_database(section, context).await?,
            Component::Queue => backends.open_queue(section, context).await?,
            Component::Search => backends.open_search(section, context).await?,
            Component::Once => backends.open_once_store(section, context).await?,
            Component::RateLimit => backends.open_rate_limit_store(section, context).await?,
        })
    }

    /// What the check and the opening say of a section that both must refuse.
    pub(super) async fn refusals(&self, section: &Section) -> [(&'static str, Result<()>); 2] {
        [
            ("the check", self.check(section, Profile::Development)),
            ("the opening", self.open(section).await.map(drop)),
        ]
    }
}
