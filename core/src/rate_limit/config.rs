//! How a limiter is set up.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::lease::LeaseConfig;
use super::rule::{Mode, Rule};
use crate::config::{Compat, Problems, Validate, humane};

/// What a check under a rule that does not exist gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownRule {
    /// Denied.
    #[default]
    Deny,
    /// Allowed.
    Allow,
}

/// What a check gives when the shared buckets cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Allowed: the service stays up, without limits.
    Allow,
    /// Denied: the limits hold, and the service is down with its store.
    Deny,
    /// Decided by buckets of this process: each instance gives out the whole quota meanwhile.
    LocalFallback,
}

/// How a [`Limiter`](super::Limiter) is set up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RateLimitConfig {
    /// The service's name, part of every key.
    pub service: String,
    /// Where the buckets of rules are that do not say it themselves.
    pub mode: Mode,
    /// Where in the configuration centre the rules are, with a slash at the end. Default `ratelimit/`.
    pub rules_path: String,
    /// A file that keeps the rules, so that a service can start while the configuration centre is away.
    pub rules_snapshot: Option<PathBuf>,
    /// Rules that hold where the configuration centre has none of that name.
    pub rules: BTreeMap<String, Rule>,
    /// What a rule that does not exist gives. Default: denied.
    pub unknown_rule: UnknownRule,
    /// What is decided when the shared store fails or takes too long. Default: local buckets.
    pub on_failure: OnFailure,
    /// How long the shared store may take for one decision.
    #[serde(with = "humane")]
    pub store_timeout: Duration,
    /// Takes tokens from the shared store in lots, as [`TokenLeases`](super::TokenLeases) does, at the cost that it states. Default: no.
    pub lease: Option<LeaseConfig>,
    /// How many local buckets that are not full there may be. Default 100,000.
    pub max_buckets: usize,
    /// Whose key format is used: our own, in which no two names share a bucket, or that of GoChat,
    /// `ratelimit:{service}:{rule}:{resource}`, so that services of both kinds share buckets; names that contain `:` can collide
    /// there.
    pub compat: Compat,
}

impl Default for RateLimitConfig {
    /// The same as [`RateLimitConfig::production`].
    fn default() -> Self {
        Self::production()
    }
}

impl RateLimitConfig {
    /// For a developer's machine: local buckets.
    #[must_use]
    pub fn development() -> Self {
        Self {
            service: "default".to_owned(),
            mode: Mode::Local,
            rules_path: "ratelimit/".to_owned(),
            rules_snapshot: None,
            rules: BTreeMap::new(),
            unknown_rule: UnknownRule::Deny,
            on_failure: OnFailure::LocalFallback,
            store_timeout: Duration::from_millis(500),
            lease: None,
            max_buckets: 100_000,
            compat: Compat::Native,
        }
    }

    /// For a fleet: distributed buckets, half a second for the store, local buckets when it fails.
    #[must_use]
    pub fn production() -> Self {
        Self {
            mode: Mode::Distributed,
            ..Self::development()
        }
    }

    /// The same for another service.
    #[must_use]
    pub fn with_service(mut self, service: impl Into<String>) -> Self {
        self.service = service.into();
        self
    }

    /// The same with buckets elsewhere.
    #[must_use]
    pub fn with_mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// The same with rules at another place; it ends with a slash.
    #[must_use]
    pub fn with_rules_path(mut self, path: impl Into<String>) -> Self {
        self.rules_path = path.into();
        self
    }

    /// The same, keeping the rules in a file.
    #[must_use]
    pub fn with_rules_snapshot(mut self, path: impl Into<PathBuf>) -> Self {
        self.rules_snapshot = Some(path.into());
        self
    }

    /// The same with one more rule.
    #[must_use]
    pub fn with_rule(mut self, name: impl Into<String>, rule: Rule) -> Self {
        self.rules.insert(name.into(), rule);
        self
    }

    /// The same with another answer for rules that do not exist.
    #[must_use]
    pub fn with_unknown_rule(mut self, answer: UnknownRule) -> Self {
        self.unknown_rule = answer;
        self
    }

    /// The same with another answer when the shared store fails.
    #[must_use]
    pub fn with_on_failure(mut self, answer: OnFailure) -> Self {
        self.on_failure = answer;
        self
    }

    /// The same with another time for the shared store.
    #[must_use]
    pub fn with_store_timeout(mut self, limit: Duration) -> Self {
        self.store_timeout = limit;
        self
    }

    /// The same, taking tokens from the shared store in lots.
    #[must_use]
    pub fn with_lease(mut self, lease: LeaseConfig) -> Self {
        self.lease = Some(lease);
        self
    }

    /// The same with another number of local buckets.
    #[must_use]
    pub fn with_max_buckets(mut self, buckets: usize) -> Self {
        self.max_buckets = buckets;
        self
    }

    /// The same with another key format.
    #[must_use]
    pub fn with_compat(mut self, compat: Compat) -> Self {
        self.compat = compat;
        self
    }
}

impl Validate for RateLimitConfig {
    /// Finds: no service name, a path that does not end with a slash, a timeout of zero, no bucket at all, invalid rules.
    fn validate(&self, problems: &mut Problems) {
        problems.ensure(!self.service.is_empty(), "service", "must not be empty");
        problems.ensure(
            self.rules_path.ends_with('/'),
            "rules_path",
            "must end with a slash",
        );
        problems.ensure(!self.store_timeout.is_zero(), "store_timeout", "must not be zero");
        problems.within("lease", |problems| self.lease.validate(problems));
        problems.ensure(self.max_buckets > 0, "max_buckets", "must be at least 1");
        problems.within("rules", |problems| self.rules.validate(problems));
    }
}
