//! The configuration of this service: infra's sections, and a few settings of its own.

use std::net::SocketAddr;
use std::path::Path;

use infra_core::assembly::InfraConfig;
use infra_core::config::{Format, Loader, Problems, Profile, Validate};
use infra_core::error::Result;
use serde::{Deserialize, Serialize};

use crate::assembly::backends;

/// The configuration file that is compiled in; `--config` names another.
pub const DEFAULT_FILE: &str = include_str!("../message-service.toml");
/// The prefix of environment variables.
const ENVIRONMENT: &str = "MESSAGE_SERVICE";

/// The configuration of this service.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceConfig {
    /// Whose defaults apply; the command line decides.
    pub profile: Profile,
    /// The service's name: the root of its log namespaces, and the owner of its instance ids.
    pub service: String,
    /// The HTTP server.
    pub http: HttpConfig,
    /// The downstream reviewer.
    #[serde(default)]
    pub moderation: ModerationConfig,
    /// The components.
    pub infra: InfraConfig,
}

/// The HTTP server.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// Where it listens.
    pub address: SocketAddr,
}

/// The downstream reviewer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModerationConfig {
    /// Words that nobody may send.
    pub forbidden: Vec<String>,
}

impl Validate for ServiceConfig {
    fn validate(&self, problems: &mut Problems) {
        problems.ensure(!self.service.is_empty(), "service", "must not be empty");
        problems.within("infra", |problems| {
            self.infra.validate_with(&backends(), self.profile, problems)
        });
    }
}

impl ServiceConfig {
    /// Reads the configuration: the file (the one compiled in, if none is named), environment variables, and the data
    /// folder of the command line.
    ///
    /// # Errors
    /// [`InvalidConfig`](infra_core::ErrorKind::InvalidConfig) with every problem, its path and its source.
    pub fn load(profile: Profile, file: Option<&Path>, data: Option<&Path>) -> Result<Self> {
        let loader = Loader::new(profile).with_defaults(&Defaults {
            infra: InfraConfig::of(profile),
        });
        let mut loader = match file {
            Some(path) => loader.with_file(path),
            None => loader.with_document("message-service.toml", Format::Toml, DEFAULT_FILE),
        };
        loader = loader.with_env(ENVIRONMENT).with_override("profile", profile);
        if let Some(data) = data {
            loader = loader
                .with_override(
                    "infra.database.url",
                    format!("sqlite://{}", data.join("messages.db").display()),
                )
                .with_override(
                    "infra.search.url",
                    format!("tantivy://{}", data.join("search").display()),
                );
        }
        loader.load()
    }
}

/// What holds when the file says nothing.
#[derive(Serialize)]
struct Defaults {
    infra: InfraConfig,
}
