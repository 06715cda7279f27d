//! Token buckets on Redis: one script for all takes of a call, on the server's clock.

use std::time::Duration;

use async_trait::async_trait;
use infra_core::capability::Capabilities;
use infra_core::config::Compat;
use infra_core::rate_limit::{Decision, Quota, RateLimitStore, Take};
use infra_core::{Backend, Error, ErrorKind, Result};
use redis::Value;

use crate::BACKEND;
use crate::client::{Client, Repeat, unexpected};
use crate::config::RedisConfig;
use crate::reply;
use crate::script::{Invocation, Script};

static TAKE: Script = Script::new(include_str!("rate_limit.lua"));

/// Units in one token: the script counts in millionths of millionths, as infra-core does.
const UNITS: u64 = 1_000_000_000_000;

/// How long a bucket is kept after it is full where GoChat's services take from it as well: they leave its expiry alone, so an expiry
/// while they use it gives them a full bucket. This is how often that can happen, if our services let nothing through for so long.
const KEPT_FOR_GOCHAT: Duration = Duration::from_secs(3600);

/// Token buckets that a fleet shares, on Redis.
///
/// A call is one round trip and one script, however many buckets it takes from, by the clock of the server. A bucket is a hash with
/// the fields `tokens` (in decimals, exact to a millionth of a millionth), `at` (microseconds), `capacity` and `rate` (millionths of a
/// token per second), and expires when it is full. A take that is denied writes nothing, unless the quota of a bucket has changed.
///
/// Under [`Compat::GoChat`] the time is in `last_refill_ts` (nanoseconds), the key has no prefix but its own, as GoChat's services
/// have it, and is kept for an hour after it is full, since those services do not extend its life. They keep the time by clocks of
/// their own, so what both take together is within the quota as far as those agree.
///
/// On a cluster the keys of one call must share a hash tag. After a fail-over a bucket may hold what the old master had given out
/// last, since Redis replicates later than it answers.
///
/// # Errors
/// A take whose reply was lost is not repeated: it fails with [`OutcomeUnknown`](ErrorKind::OutcomeUnknown). One that waited longer
/// than [`request_timeout`](RedisConfig::request_timeout) fails with [`Timeout`](ErrorKind::Timeout). [`DataCorrupted`](ErrorKind::DataCorrupted) and
/// [`Conflict`](ErrorKind::Conflict) say that a key holds something else than a bucket.
#[derive(Debug, Clone)]
pub struct RedisRateLimitStore {
    client: Client,
    capabilities: Capabilities,
}

impl RedisRateLimitStore {
    /// Connects; one host that answers is enough.
    ///
    /// # Errors
    /// As [`RedisCache::connect`](crate::RedisCache::connect).
    ///
    /// # Cancellation
    /// Dropping the future closes what was connected.
    pub async fn connect(config: RedisConfig) -> Result<Self> {
        let connected = Client::connect(config).await;
        Ok(Self::of(connected.map_err(at("connect"))?))
    }

    /// The store on a client that may serve others too.
    pub(crate) fn of(client: Client) -> Self {
        Self {
            capabilities: client.config().capabilities(),
            client,
        }
    }

    async fn take_all(&self, takes: &[Take]) -> Result<Vec<Decision>> {
        self.client.check_open()?;
        for take in takes {
            take.quota.check_cost(take.cost)?;
        }
        if takes.is_empty() {
            return Ok(Vec::new());
        }
        let replied = self.client.invoke(&self.invocation(takes), Repeat::Never).await?;
        let numbers = match reply::good(replied)? {
            Value::Array(numbers) => numbers,
            Value::Int(place) => return Err(no_bucket(takes, place)),
            _ => return Err(unexpected()),
        };
        if numbers.len() != 3 * takes.len() {
            return Err(unexpected());
        }
        let mut numbers = numbers.into_iter().map(reply::count);
        let mut next = || numbers.next().unwrap_or_else(|| Err(unexpected()));
        takes
            .iter()
            .map(|take| {
                let (held, whole, part) = (next()? == 1, next()?, next()?);
                Ok(decision(
                    take,
                    held,
                    whole.saturating_mul(UNITS).saturating_add(part),
                ))
            })
            .collect()
    }

    fn invocation(&self, takes: &[Take]) -> Invocation<'static> {
        let compat = self.client.config().compat;
        let key = |take: &Take| match compat {
            // Its services run their script past the prefix of their cache.
            Compat::GoChat => take.key.clone(),
            _ => self.client.keys().key(&take.key),
        };
        let keys: Vec<String> = takes.iter().map(key).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let mut invocation = Invocation::of(&TAKE, &keys);
        match compat {
            Compat::GoChat => invocation.arg("last_refill_ts").arg("000"),
            _ => invocation.arg("at").arg(""),
        };
        invocation.arg(match compat {
            Compat::GoChat => KEPT_FOR_GOCHAT.as_millis() as u64,
            _ => 0,
        });
        for Take { quota, cost, .. } in takes {
            invocation
                .arg(quota.capacity())
                .arg(quota.micro_rate())
                .arg(*cost);
        }
        invocation
    }
}

/// What a bucket with so many units says to a take for which it held enough, or did not.
fn decision(take: &Take, held: bool, units: u64) -> Decision {
    let Take { quota, cost, .. } = take;
    let most = u64::from(quota.capacity()) * UNITS;
    let (limit, remaining) = (u64::from(quota.capacity()), units / UNITS);
    let reset_after = time_to_gain(quota, most.saturating_sub(units));
    if held {
        return Decision::allow(limit, remaining, reset_after);
    }
    let missing = (u64::from(*cost) * UNITS).saturating_sub(units);
    Decision::deny(limit, remaining, time_to_gain(quota, missing), reset_after)
}

fn time_to_gain(quota: &Quota, units: u64) -> Duration {
    Duration::from_micros(units.div_ceil(quota.micro_rate()))
}

fn no_bucket(takes: &[Take], place: i64) -> Error {
    let place = usize::try_from(place).unwrap_or_default();
    let key = place.checked_sub(1).and_then(|index| takes.get(index));
    Error::new(
        ErrorKind::DataCorrupted,
        format!(
            "the hash at the key {:?} is no bucket, so nothing was taken; find out who wrote it, and delete it",
            key.map(|take| take.key.as_str()).unwrap_or_default()
        ),
    )
    .without_effect()
}

/// Says where an error happened.
fn at(operation: &'static str) -> impl Fn(Error) -> Error {
    move |error| error.at("rate_limit", BACKEND, operation)
}

#[async_trait]
impl Backend for RedisRateLimitStore {
    fn backend(&self) -> &'static str {
        BACKEND
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn health(&self) -> Result<()> {
        self.client.ping().await.map_err(at("health"))
    }

    async fn shutdown(&self, _deadline: Duration) -> Result<()> {
        self.client.close();
        Ok(())
    }
}

#[async_trait]
impl RateLimitStore for RedisRateLimitStore {
    async fn take(&self, takes: &[Take]) -> Result<Vec<Decision>> {
        self.take_all(takes).await.map_err(at("take"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_exact_and_rounded_up() {
        let quota = Quota::new(3.0, 5).expect("a quota");
        let denied = decision(&Take::new("a", quota, 2), false, UNITS + 1);
        assert!(!denied.allowed);
        assert_eq!((denied.limit, denied.remaining), (5, 1));
        assert_eq!(denied.retry_after, Duration::from_micros(333_334));
        assert_eq!(denied.reset_after, Duration::from_micros(1_333_334));
        let allowed = decision(&Take::new("a", quota, 2), true, 5 * UNITS);
        assert_eq!((allowed.remaining, allowed.reset_after), (5, Duration::ZERO));
    }

    #[test]
    fn a_hash_that_is_no_bucket_is_named() {
        let quota = Quota::new(1.0, 1).expect("a quota");
        let takes = [Take::new("first", quota, 1), Take::new("second", quota, 1)];
        assert!(no_bucket(&takes, 2).message().contains("\"second\""));
        for place in [-1, 0, 3, i64::MAX] {
            assert!(no_bucket(&takes, place).message().contains("is no bucket"));
        }
    }
}
