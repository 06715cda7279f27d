//! When a breaker opens and when it closes again: plain configuration, in the JSON form that the fleet stores.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::contract::Force;
use super::machine::MAX_PROBES;
use crate::config::{Problems, Validate, humane};

/// When a breaker opens and when it closes again.
///
/// The JSON names are in camel case and durations are written as people do; what is left out has its default.
///
/// ```
/// use std::time::Duration;
/// use infra_core::breaker::Policy;
/// use infra_core::config::Validate;
///
/// let policy: Policy = serde_json::from_str(
///     r#"{ "failureThreshold": 5, "successThreshold": 2, "openStateTimeout": "1m" }"#,
/// )?;
/// policy.check()?;
/// assert_eq!(policy, Policy::default());
/// assert_eq!(policy.open_state_timeout, Duration::from_secs(60));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Policy {
    /// Failures in a row that open the breaker. Default 5.
    pub failure_threshold: u32,
    /// Successful probes that close it again. Default 2.
    pub success_threshold: u32,
    /// How long it refuses calls before it lets a probe pass. Default 1 min.
    #[serde(with = "humane")]
    pub open_state_timeout: Duration,
    /// The length of the sliding window over which shares are taken. Default 1 min.
    #[serde(with = "humane")]
    pub window_length: Duration,
    /// Calls that the window must hold before a share means anything. Default 20.
    pub minimum_calls: u32,
    /// The share of failed calls in the window that opens the breaker, above 0 and up to 1. Default 0.5.
    pub failure_rate_threshold: f64,
    /// A call that takes this long is slow; absent: none is. Default absent. A slow probe counts as failed.
    #[serde(with = "humane::option")]
    pub slow_call_duration: Option<Duration>,
    /// The share of slow calls in the window that opens the breaker, above 0 and up to 1. Default 0.8.
    pub slow_call_rate_threshold: f64,
    /// How many probes may be out at once while half-open, from 1 to 32. Default 1.
    pub half_open_max_probes: u32,
    /// The time after which a probe that has not ended counts as failed. Default 30 s.
    #[serde(with = "humane")]
    pub probe_timeout: Duration,
    /// Whether the breaker is held open or closed. Default: it decides itself.
    pub force: Force,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            failure_threshold: 5,
            success_threshold: 2,
            open_state_timeout: Duration::from_secs(60),
            window_length: Duration::from_secs(60),
            minimum_calls: 20,
            failure_rate_threshold: 0.5,
            slow_call_duration: None,
            slow_call_rate_threshold: 0.8,
            half_open_max_probes: 1,
            probe_timeout: Duration::from_secs(30),
            force: Force::Auto,
        }
    }
}

impl Policy {
    /// The default policy with other numbers of failures and successes, and another time open.
    #[must_use]
    pub fn new(failure_threshold: u32, success_threshold: u32, open_state_timeout: Duration) -> Self {
        Self {
            failure_threshold,
            success_threshold,
            open_state_timeout,
            ..Self::default()
        }
    }

    /// The same policy with another window: its length, the calls it must hold, and the share of failures that opens.
    #[must_use]
    pub fn with_window(mut self, length: Duration, minimum_calls: u32, failure_rate: f64) -> Self {
        self.window_length = length;
        self.minimum_calls = minimum_calls;
        self.failure_rate_threshold = failure_rate;
        self
    }

    /// The same policy, opening also when this share of the calls in the window take this long.
    #[must_use]
    pub fn with_slow_calls(mut self, duration: Duration, rate: f64) -> Self {
        self.slow_call_duration = Some(duration);
        self.slow_call_rate_threshold = rate;
        self
    }

    /// The same policy with another number of probes at once, and another time for each.
    #[must_use]
    pub fn with_probes(mut self, at_once: u32, timeout: Duration) -> Self {
        self.half_open_max_probes = at_once;
        self.probe_timeout = timeout;
        self
    }

    /// The same policy, held open or closed.
    #[must_use]
    pub fn with_force(mut self, force: Force) -> Self {
        self.force = force;
        self
    }
}

impl Validate for Policy {
    /// Finds: a threshold or count of zero, a share outside its range, more probes than 32, a time of zero, and a window outside
    /// 1 s to 1 h.
    fn validate(&self, problems: &mut Problems) {
        for (path, count) in [
            ("failureThreshold", self.failure_threshold),
            ("successThreshold", self.success_threshold),
            ("minimumCalls", self.minimum_calls),
        ] {
            problems.ensure(count > 0, path, "must be at least 1");
        }
        for (path, share) in [
            ("failureRateThreshold", self.failure_rate_threshold),
            ("slowCallRateThreshold", self.slow_call_rate_threshold),
        ] {
            problems.ensure(share > 0.0 && share <= 1.0, path, "must be above 0 and at most 1");
        }
        problems.ensure(
            (1..=MAX_PROBES).contains(&(self.half_open_max_probes as usize)),
            "halfOpenMaxProbes",
            "must be between 1 and 32",
        );
        for (path, time) in [
            ("openStateTimeout", Some(self.open_state_timeout)),
            ("probeTimeout", Some(self.probe_timeout)),
            ("slowCallDuration", self.slow_call_duration),
        ] {
            problems.ensure(time != Some(Duration::ZERO), path, "must not be zero");
        }
        problems.ensure(
            (Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&self.window_length),
            "windowLength",
            "must be between 1s and 1h",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_reported_at_once() {
        let policy: Policy = serde_json::from_str(
            r#"{"failureThreshold":0,"successThreshold":0,"openStateTimeout":"0s","windowLength":"1ms","minimumCalls":0,
                "failureRateThreshold":1.5,"slowCallRateThreshold":-1,"halfOpenMaxProbes":33,"probeTimeout":"0s",
                "slowCallDuration":"0s"}"#,
        )
        .expect("the form is right");
        let error = policy.check().expect_err("ten problems").to_string();
        assert!(error.contains("10 problems"), "{error}");
    }

    #[test]
    fn unknown_fields_and_numbers_for_durations_are_refused() {
        for text in [
            r#"{"failureTreshold":5}"#,
            r#"{"openStateTimeout":60}"#,
            r#"{"force":"ajar"}"#,
        ] {
            assert!(serde_json::from_str::<Policy>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn serialises_to_what_it_reads() {
        let policy = Policy::new(3, 1, Duration::from_secs(5))
            .with_slow_calls(Duration::from_millis(250), 0.9)
            .with_force(Force::Open);
        let text = serde_json::to_string(&policy).expect("serialises");
        assert!(
            text.contains(r#""slowCallDuration":"250ms""#) && text.contains(r#""force":"open""#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Policy>(&text).expect("reads back"), policy);
    }
}
