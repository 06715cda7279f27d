//! How values are loaded and for how long they are remembered; plain data.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::capability::Limits;
use crate::config::{Problems, Validate, humane};
use crate::error::Result;

/// How a [`CacheLoader`](super::CacheLoader) remembers what it loaded.
///
/// ```
/// use std::time::Duration;
/// use infra_core::cache::LoadOptions;
///
/// let options = LoadOptions::new(Duration::from_secs(600))
///     .with_refresh_ahead(0.2)
///     .with_stale_for(Duration::from_secs(3600));
/// assert_eq!(options.negative_ttl, Duration::from_secs(30));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LoadOptions {
    /// How long a loaded value is fresh.
    #[serde(with = "humane")]
    pub ttl: Duration,
    /// How long it is remembered that there is no value; zero does not remember it. Default: 30 s, or `ttl` if shorter.
    #[serde(with = "humane", default = "default_negative_ttl")]
    pub negative_ttl: Duration,
    /// The share of a time to live by which it is shortened at random, so that values that were loaded together do not
    /// expire together; from 0 up to, but excluding 1. Default: 0.1.
    #[serde(default = "default_jitter")]
    pub jitter: f64,
    /// The last share of the time to live in which a hit also loads the value anew, in the background; from 0 (never)
    /// up to, but excluding 1. Default: 0.
    #[serde(default)]
    pub refresh_ahead: f64,
    /// How long after its time to live a value may still be served when loading it anew fails. Default: not at all.
    #[serde(with = "humane", default)]
    pub stale_for: Duration,
    /// How long a loader may take. Default: 10 s.
    #[serde(with = "humane", default = "default_load_timeout")]
    pub load_timeout: Duration,
}

const NEGATIVE_TTL: Duration = Duration::from_secs(30);

fn default_negative_ttl() -> Duration {
    NEGATIVE_TTL
}

fn default_jitter() -> f64 {
    0.1
}

fn default_load_timeout() -> Duration {
    Duration::from_secs(10)
}

impl LoadOptions {
    /// Values are fresh for `ttl`; the rest as by default.
    #[must_use]
    pub fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            negative_ttl: NEGATIVE_TTL.min(ttl),
            jitter: default_jitter(),
            refresh_ahead: 0.0,
            stale_for: Duration::ZERO,
            load_timeout: default_load_timeout(),
        }
    }

    /// Remembers for this long that there is no value; zero does not remember it.
    #[must_use]
    pub fn with_negative_ttl(mut self, ttl: Duration) -> Self {
        self.negative_ttl = ttl;
        self
    }

    /// Shortens each time to live at random by up to this share.
    #[must_use]
    pub fn with_jitter(mut self, share: f64) -> Self {
        self.jitter = share;
        self
    }

    /// Loads anew, in the background, what is hit in this last share of its time to live.
    #[must_use]
    pub fn with_refresh_ahead(mut self, share: f64) -> Self {
        self.refresh_ahead = share;
        self
    }

    /// Serves a value for this long after its time to live when loading it anew fails.
    #[must_use]
    pub fn with_stale_for(mut self, duration: Duration) -> Self {
        self.stale_for = duration;
        self
    }

    /// Allows a loader this long.
    #[must_use]
    pub fn with_load_timeout(mut self, timeout: Duration) -> Self {
        self.load_timeout = timeout;
        self
    }

    /// Refuses what cannot work by itself or with a cache of these limits.
    pub(super) fn check_with(&self, limits: &Limits) -> Result<()> {
        let mut problems = Problems::new();
        self.validate(&mut problems);
        for (path, ttl) in [
            ("ttl", self.ttl),
            ("ttl + stale_for", self.ttl.saturating_add(self.stale_for)),
            ("negative_ttl", self.negative_ttl),
        ] {
            if !ttl.is_zero()
                && let Err(error) = limits.check_ttl(ttl)
            {
                problems.add(path, error.message());
            }
        }
        problems.finish()
    }

    /// A time to live, shortened at random, but never below what the cache accepts.
    pub(super) fn jittered(&self, ttl: Duration, limits: &Limits) -> Duration {
        ttl.mul_f64(1.0 - self.jitter * fastrand::f64())
            .max(limits.min_ttl)
    }
}

impl Validate for LoadOptions {
    fn validate(&self, problems: &mut Problems) {
        problems.ensure(!self.ttl.is_zero(), "ttl", "must be longer than zero");
        problems.ensure(
            !self.load_timeout.is_zero(),
            "load_timeout",
            "must be longer than zero",
        );
        for (path, share) in [("jitter", self.jitter), ("refresh_ahead", self.refresh_ahead)] {
            problems.ensure(
                (0.0..1.0).contains(&share),
                path,
                "must lie between 0 (included) and 1 (excluded)",
            );
        }
    }
}
