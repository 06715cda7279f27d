//! Configuration: plain `serde` structs, read from layered sources, validated as a whole, hot-reloaded.
//!
//! Each component has one struct with `development()` and `production()` defaults, `with_*` for code,
//! `#[serde(deny_unknown_fields)]` and an implementation of [`Validate`]. [`Loader`] merges defaults, files, environment
//! variables and code; every problem is reported at once, with its path and its source, and without the value.
//!
//! ```
//! use std::time::Duration;
//!
//! use infra_core::config::{BackendUrl, Loader, Problems, Profile, Secret, Validate, humane};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Debug, Serialize, Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct CacheConfig {
//!     url: BackendUrl,
//!     #[serde(with = "humane")]
//!     dial_timeout: Duration,
//!     token: Option<Secret<String>>,
//! }
//!
//! impl CacheConfig {
//!     fn of(profile: Profile) -> Self {
//!         let dial_timeout = match profile {
//!             Profile::Production => Duration::from_secs(10),
//!             _ => Duration::from_secs(5),
//!         };
//!         Self { url: BackendUrl::memory(), dial_timeout, token: None }
//!     }
//! }
//!
//! impl Validate for CacheConfig {
//!     fn validate(&self, problems: &mut Problems) {
//!         problems.ensure(!self.dial_timeout.is_zero(), "dial_timeout", "must not be zero");
//!     }
//! }
//!
//! let profile = Profile::from_env("APP_PROFILE")?.unwrap_or(Profile::Development);
//! let config: CacheConfig = Loader::new(profile)
//!     .with_defaults(&CacheConfig::of(profile))
//!     .with_optional_file("config/app.toml")
//!     .with_env("APP") // APP__DIAL_TIMEOUT=1m30s
//!     .with_override("url", "memory://")
//!     .load()?;
//! assert_eq!(config.url, BackendUrl::memory());
//! # Ok::<(), infra_core::Error>(())
//! ```

mod collect;
mod compat;
mod decode;
mod depth;
mod document;
pub mod humane;
mod loader;
mod problems;
mod profile;
mod reload;
mod secret;
#[cfg(test)]
mod tests;
mod tls;
mod tree;
mod url;
mod url_parse;

pub use compat::Compat;
pub use document::Format;
pub use loader::{Loader, Origins};
pub use problems::{Problem, Problems, Validate};
pub use profile::Profile;
pub use reload::{Follow, Following, HotReload, Rejection, ReloadStatus, Reloads};
pub use secret::Secret;
pub use tls::{TlsConfig, TlsMaterial};
pub use tree::Source;
pub use url::{BackendUrl, Host};
