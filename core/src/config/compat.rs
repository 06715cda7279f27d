//! Which formats a component shares with other implementations.

use serde::{Deserialize, Serialize};

/// Which key and value formats a component uses on shared servers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Compat {
    /// Our own.
    #[default]
    Native,
    /// Those of GoChat's im-infra, written in Go, so that services can move over one at a time.
    #[serde(rename = "gochat")]
    GoChat,
}
