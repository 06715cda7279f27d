//! META: what every backend has in common, whatever it serves: its configuration, its declarations, its end.

pub mod configuration;
pub mod identity;
mod opening;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use infra_core::Result;
use infra_core::assembly::{Backends, Section};
use infra_core::capability::Capabilities;
use infra_core::config::BackendUrl;
use infra_core::intercept::Stack;

use super::{Scenario, Subject};

pub use opening::Component;

/// A backend's registration and a section that opens it: what is under test.
#[derive(Clone)]
pub struct Opening {
    register: Arc<dyn Fn(&mut Backends) + Send + Sync>,
    component: Component,
    section: Section,
    number_option: &'static str,
}

impl Opening {
    /// What `register` registered opens this component by a section with this URL and nothing else. `number_option` is the name of one of its
    /// options that takes a number.
    #[must_use]
    pub fn new(
        component: Component,
        register: impl Fn(&mut Backends) + Send + Sync + 'static,
        url: BackendUrl,
        number_option: &'static str,
    ) -> Self {
        Self {
            register: Arc::new(register),
            component,
            section: Section::new(url),
            number_option,
        }
    }
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening")
            .field("component", &self.component)
            .field("section", &self.section)
            .finish_non_exhaustive()
    }
}

#[infra_core::async_trait]
impl Subject for Opening {
    fn behind(_: &Stack, opening: Arc<Self>) -> Arc<Self> {
        opening
    }

    fn declared(&self) -> Option<&Capabilities> {
        None
    }

    async fn close(&self, _: Duration) -> Result<()> {
        Ok(())
    }
}

/// Every scenario of this family.
pub const SCENARIOS: &[Scenario<Opening>] = crate::backends!(@list __conformance_table ());

/// One test per scenario of META for a backend's registration: `conformance::backends!(make_opening)`.
#[macro_export]
macro_rules! backends {
    (@list $callback:ident $arguments:tt) => {
        $crate::$callback! { (backends) $arguments {
            configuration {
                meta_001_a_url_is_enough_in_every_profile,
                meta_002_an_unknown_option_is_refused_by_name,
                meta_003_an_option_of_the_wrong_type_is_refused_without_its_value,
                meta_004_an_unknown_parameter_is_refused_by_name,
                meta_005_an_unknown_scheme_is_refused_with_the_known_ones,
                meta_006_no_password_is_shown,
            }
            identity {
                meta_007_what_was_opened_is_well,
                meta_008_its_limits_can_be_kept,
                meta_009_after_shutdown_it_is_closed,
            }
        } }
    };
    ($($arguments:tt)+) => { $crate::backends!(@list __conformance_tests ($($arguments)+)); };
}
