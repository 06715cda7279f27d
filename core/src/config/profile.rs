//! Which set of defaults a service starts from.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The set of defaults that a configuration starts from.
///
/// ```
/// use infra_core::config::Profile;
///
/// assert_eq!("production".parse::<Profile>()?, Profile::Production);
/// assert!("prodution".parse::<Profile>().is_err());
/// # Ok::<(), infra_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Profile {
    /// A developer's machine: embedded backends, talkative logs.
    Development,
    /// The fleet.
    Production,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 2] = [Self::Development, Self::Production];

    /// The name, which is also the name of the profile's section in a configuration file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Production => "production",
        }
    }

    /// The profile that the environment variable `variable` names; `None` when it is not set or empty.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) when it names no profile: a typing error must not start a
    /// production service on development defaults.
    pub fn from_env(variable: &str) -> Result<Option<Self>> {
        match std::env::var(variable) {
            Ok(text) if text.is_empty() => Ok(None),
            Ok(text) => text
                .parse()
                .map(Some)
                .map_err(|error: Error| error.context(format!("environment variable {variable}"))),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => {
                Err(unknown().context(format!("environment variable {variable}")))
            }
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Profile {
    type Err = Error;

    /// Reads a name in any case, or one of the usual short forms `dev` and `prod`.
    fn from_str(text: &str) -> Result<Self> {
        match text.trim().to_ascii_lowercase().as_str() {
            "development" | "dev" => Ok(Self::Development),
            "production" | "prod" => Ok(Self::Production),
            _ => Err(unknown()),
        }
    }
}

fn unknown() -> Error {
    Error::invalid_config("not a profile; write development or production").at("config", "", "parse")
}
