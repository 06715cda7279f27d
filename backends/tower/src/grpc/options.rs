//! How channels behave: plain configuration.

use std::time::Duration;

use infra_core::config::{Problems, Validate, humane};
use serde::{Deserialize, Serialize};

/// How the channels of a [`Channels`](super::Channels) connect, wait, and choose among instances.
///
/// ```
/// use infra_core::config::Validate;
/// use infra_tower::grpc::ChannelOptions;
///
/// let options = ChannelOptions::production().with_zone("eu-1a");
/// assert!(options.check().is_ok());
///
/// let from_file: ChannelOptions = serde_json::from_str(r#"{ "zone": "eu-1a", "connect_timeout": "500ms" }"#)?;
/// assert_eq!(from_file.zone, options.zone);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ChannelOptions {
    /// Where this process runs: instances of the same zone get its requests, those of other zones only while none of its own
    /// can be reached. Default: none, every zone alike.
    pub zone: Option<String>,
    /// How long [`Channels::channel`](super::Channels::channel) waits for the first instance of a service; zero fails at
    /// once when there is none. Default: 5 s.
    #[serde(with = "humane")]
    pub first_instance_timeout: Duration,
    /// How long a request waits for an instance that can take it, attempts on other instances included; zero fails at once
    /// when no connection is open, the very first one included. A request's own timeout bounds the wait too. Default: 3 s.
    #[serde(with = "humane")]
    pub request_wait: Duration,
    /// How long opening a connection may take. Default: 1 s.
    #[serde(with = "humane")]
    pub connect_timeout: Duration,
    /// The longest pause before an instance that could not be reached is tried again; the first is 100 ms, and each twice
    /// as long as the one before, with jitter. Default: 5 s.
    #[serde(with = "humane")]
    pub max_reconnect_delay: Duration,
    /// How often a connection with unanswered requests on which nothing arrives is asked whether its peer is alive; none
    /// leaves that to TCP. A grpc-go server in its default configuration wants at least 5 minutes. Default: 30 s.
    #[serde(with = "humane::option")]
    pub keep_alive_interval: Option<Duration>,
    /// How long the answer to that may take before the connection is given up. Default: 10 s.
    #[serde(with = "humane")]
    pub keep_alive_timeout: Duration,
    /// How long an instance is still used that is missing when the registry is read again after its history was lost (a
    /// server that restarted without its data, say): the time to live with which instances register is right, since by then
    /// those that live have registered again. Default: 15 s.
    #[serde(with = "humane")]
    pub forget_after: Duration,
    /// The most bytes of a request that are kept until its answer begins, so that it can be sent to another instance if the
    /// first one refused it unprocessed. A larger one then fails. Default: 64 KiB.
    pub max_replay_bytes: usize,
}

impl Default for ChannelOptions {
    fn default() -> Self {
        Self::production()
    }
}

impl ChannelOptions {
    /// The defaults above, but half a second instead of five for the longest pause between connection attempts.
    #[must_use]
    pub fn development() -> Self {
        Self {
            max_reconnect_delay: Duration::from_millis(500),
            ..Self::production()
        }
    }

    /// The defaults above.
    #[must_use]
    pub fn production() -> Self {
        Self {
            zone: None,
            first_instance_timeout: Duration::from_secs(5),
            request_wait: Duration::from_secs(3),
            connect_timeout: Duration::from_secs(1),
            max_reconnect_delay: Duration::from_secs(5),
            keep_alive_interval: Some(Duration::from_secs(30)),
            keep_alive_timeout: Duration::from_secs(10),
            forget_after: Duration::from_secs(15),
            max_replay_bytes: 64 * 1024,
        }
    }

    /// Sets the zone whose instances are preferred.
    #[must_use]
    pub fn with_zone(mut self, zone: impl Into<String>) -> Self {
        self.zone = Some(zone.into());
        self
    }

    /// Sets how long the first instance of a service is waited for; zero fails at once.
    #[must_use]
    pub const fn with_first_instance_timeout(mut self, timeout: Duration) -> Self {
        self.first_instance_timeout = timeout;
        self
    }

    /// Sets how long a request waits for an instance that can take it.
    #[must_use]
    pub const fn with_request_wait(mut self, wait: Duration) -> Self {
        self.request_wait = wait;
        self
    }

    /// Sets how long opening a connection may take.
    #[must_use]
    pub const fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets the longest pause between attempts to reach an instance.
    #[must_use]
    pub const fn with_max_reconnect_delay(mut self, delay: Duration) -> Self {
        self.max_reconnect_delay = delay;
        self
    }

    /// Sets how often a silent connection with unanswered requests is asked, and how long the answer may take.
    #[must_use]
    pub const fn with_keep_alive(mut self, interval: Option<Duration>, timeout: Duration) -> Self {
        self.keep_alive_interval = interval;
        self.keep_alive_timeout = timeout;
        self
    }

    /// Sets how long an instance is still used that is missing after the registry's history was lost.
    #[must_use]
    pub const fn with_forget_after(mut self, grace: Duration) -> Self {
        self.forget_after = grace;
        self
    }

    /// Sets how many bytes of a request are kept for another attempt.
    #[must_use]
    pub const fn with_max_replay_bytes(mut self, bytes: usize) -> Self {
        self.max_replay_bytes = bytes;
        self
    }
}

impl Validate for ChannelOptions {
    /// Finds: an empty zone, and times of zero where nothing could ever succeed.
    fn validate(&self, problems: &mut Problems) {
        problems.ensure(
            self.zone.as_deref() != Some(""),
            "zone",
            "must not be empty; leave it out to use every zone alike",
        );
        for (path, time) in [
            ("connect_timeout", self.connect_timeout),
            ("max_reconnect_delay", self.max_reconnect_delay),
            ("keep_alive_timeout", self.keep_alive_timeout),
        ] {
            problems.ensure(!time.is_zero(), path, "must be longer than zero");
        }
        problems.ensure(
            self.keep_alive_interval != Some(Duration::ZERO),
            "keep_alive_interval",
            "must be longer than zero; leave it out to ask nothing",
        );
    }
}
