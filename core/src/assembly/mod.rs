//! Assembly: from a configuration to a running set of components, and back down again.
//!
//! `main` names the backend crates it was compiled with on a [`Backends`] value; a configuration picks among them by URL;
//! [`Infra::open`] opens them in dependency order and hands out traits.

mod backends;
mod factory;
mod infra;
mod section;
mod settings;

pub use backends::{Backends, OpenContext};
pub use factory::{BackendFactory, BackendOptions, factory};
pub use infra::Infra;
pub use section::Section;
pub use settings::InfraConfig;
