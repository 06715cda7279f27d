//! A toy backend, whole: the token buckets of rate limits, kept by a server that lives in this process.
//!
//! What a real backend does with a driver happens in [`Server`]; everything around it is what every backend needs.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use infra_core::assembly::{BackendOptions, Backends, OpenContext, factory};
use infra_core::capability::{Capabilities, Capability, Limits};
use infra_core::config::{BackendUrl, Problems, Profile, Validate};
use infra_core::rate_limit::{Decision, Quota, RateLimitStore, Take};
use infra_core::{Backend, Error, Result, async_trait};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// The name in errors and metric labels, and the scheme of its URLs.
pub const BACKEND: &str = "toy";

/// One client of a toy server.
#[derive(Debug)]
pub struct ToyBuckets {
    server: Server,
    closed: AtomicBool,
    capabilities: Capabilities,
}

impl ToyBuckets {
    /// Connects to the server.
    #[must_use]
    pub fn connect(server: Server, options: &ToyOptions) -> Self {
        let limits = Limits::DEFAULT.with_max_key_bytes(options.max_key_bytes);
        Self {
            server,
            closed: AtomicBool::new(false),
            // Declare what the server really does, and nothing else: the suite holds a backend to it.
            capabilities: Capabilities::new(limits).with(Capability::AtomicAcrossKeys),
        }
    }

    /// What every operation begins with. Its errors say where they come from, and that nothing was done.
    fn admit(&self, operation: &'static str) -> Result<()> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(Error::closed("the toy's client").at("rate_limit_store", BACKEND, operation));
        }
        Ok(())
    }
}

#[async_trait]
impl Backend for ToyBuckets {
    fn backend(&self) -> &'static str {
        BACKEND
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn health(&self) -> Result<()> {
        self.admit("health")
    }

    async fn shutdown(&self, _deadline: Duration) -> Result<()> {
        self.closed.store(true, Ordering::Relaxed);
        Ok(())
    }
}

#[async_trait]
impl RateLimitStore for ToyBuckets {
    async fn take(&self, takes: &[Take]) -> Result<Vec<Decision>> {
        self.admit("take")?;
        // Bad arguments are refused before the server hears of them.
        for take in takes {
            let limits = self.capabilities.limits();
            limits
                .check_key("key of a bucket", &take.key)
                .and_then(|()| take.quota.check_cost(take.cost))
                .map_err(|error| error.at("rate_limit_store", BACKEND, "take"))?;
        }
        Ok(self.server.take(takes))
    }
}

/// The toy's server. Its clones are one server.
#[derive(Debug, Clone)]
pub struct Server {
    buckets: Arc<Mutex<HashMap<String, Bucket>>>,
    started: Instant,
}

/// Tokens are counted in millionths of millionths, times in microseconds, so that nothing is rounded.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    quota: Quota,
    units: u64,
    at: u64,
}

const UNITS: u64 = 1_000_000_000_000;

impl Server {
    /// An empty server.
    #[must_use]
    pub fn start() -> Self {
        Self {
            buckets: Arc::default(),
            started: Instant::now(),
        }
    }

    fn take(&self, takes: &[Take]) -> Vec<Decision> {
        let now = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let mut kept = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        // All or none: the takes are tried on a copy, which replaces the buckets only if all of them passed.
        let mut tried = kept.clone();
        let mut decisions = Vec::with_capacity(takes.len());
        for take in takes {
            let bucket = tried.entry(take.key.clone()).or_insert(Bucket {
                quota: take.quota,
                units: capacity(take.quota),
                at: now,
            });
            bucket.advance(take.quota, now);
            decisions.push(bucket.take(take.cost));
        }
        if decisions.iter().all(|decision| decision.allowed) {
            *kept = tried;
        }
        decisions
    }
}

impl Bucket {
    /// Gains what is due at the rate that it had until now, and keeps no more than the new capacity.
    fn advance(&mut self, quota: Quota, now: u64) {
        let gained = u128::from(now - self.at) * u128::from(self.quota.micro_rate());
        let missing = capacity(self.quota) - self.units;
        self.units += u64::try_from(gained).unwrap_or(u64::MAX).min(missing);
        self.units = self.units.min(capacity(quota));
        (self.quota, self.at) = (quota, now);
    }

    fn take(&mut self, cost: u32) -> Decision {
        let cost = u64::from(cost) * UNITS;
        let wait = |units: u64| Duration::from_micros(units.div_ceil(self.quota.micro_rate()));
        let limit = self.quota.capacity().into();
        if let Some(missing) = cost.checked_sub(self.units).filter(|missing| *missing > 0) {
            let full = wait(capacity(self.quota) - self.units);
            return Decision::deny(limit, self.units / UNITS, wait(missing), full);
        }
        self.units -= cost;
        let full = wait(capacity(self.quota) - self.units);
        Decision::allow(limit, self.units / UNITS, full)
    }
}

fn capacity(quota: Quota) -> u64 {
    u64::from(quota.capacity()) * UNITS
}

/// What stands beside the URL in a configuration file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ToyOptions {
    /// The longest key of a bucket, in bytes. Default: 1024.
    pub max_key_bytes: usize,
}

impl Default for ToyOptions {
    fn default() -> Self {
        Self { max_key_bytes: 1024 }
    }
}

impl Validate for ToyOptions {
    fn validate(&self, problems: &mut Problems) {
        problems.ensure(
            self.max_key_bytes > 0,
            "max_key_bytes",
            "is 0; allow at least one byte",
        );
    }
}

impl BackendOptions for ToyOptions {
    fn of(_profile: Profile) -> Self {
        Self::default()
    }

    fn take_url(&mut self, url: &BackendUrl) -> Result<()> {
        url.check_params(&[])?;
        url.check_no_credentials()?;
        if url.hosts().is_empty() && url.path().is_none() {
            return Ok(());
        }
        Err(Error::invalid_config(
            "toy:// takes neither a host nor a path; options stand beside the URL",
        ))
    }
}

/// Adds the scheme `toy://` for rate limits.
pub fn register(backends: &mut Backends) {
    backends.with_rate_limit_store(
        BACKEND,
        factory(|options: ToyOptions, _: OpenContext| async move {
            Ok(Arc::new(ToyBuckets::connect(Server::start(), &options)) as Arc<dyn RateLimitStore>)
        }),
    );
}
