//! The cases of the registry, the configuration centre and instance ids, and of what follows or uses them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use infra_core::Result;
use infra_core::breaker::{BreakerConfig, Breakers};
use infra_core::config::{Following, HotReload, Problems, Validate};
use infra_core::coordination::{
    ConfigCenter, ConfigCenterExt, ConfigWrite, Coordinator, Instance, InstanceIds, InstanceState,
    Registration, RegistryExt, WatchScope,
};
use infra_core::rate_limit::{Limiter, LimiterDependencies, RateLimitConfig};
use infra_core::retry::{Policies, Policy, RetryConfig};
use infra_core::uid::{SnowflakeIds, UidConfig};

use super::ground::{Case, Ground, cases};
use super::route::Route;
use crate::check;
use crate::conformance::{Failure, Outcome, Subject};
use crate::time::eventually;
use crate::unique;

/// Longer than any run.
const TTL: Duration = Duration::from_secs(120);

/// A short while.
const MOMENT: Duration = Duration::from_millis(20);

/// Says how many watches are open on the server; `None` when it cannot be seen.
pub type OpenWatches = Box<dyn Fn() -> Option<usize>>;

/// A coordinator with a service, some configuration, and a count of its watches.
pub struct CoordinationGround {
    route: Route,
    bare: Arc<dyn Coordinator>,
    coordinator: Arc<dyn Coordinator>,
    namespace: String,
    watches: OpenWatches,
    /// An instance that is there all the time.
    _registered: Registration,
}

impl CoordinationGround {
    /// Fills a fresh place in `bare`, which will be called over `route`.
    ///
    /// # Errors
    /// The backend's.
    pub async fn new(
        bare: Arc<dyn Coordinator>,
        route: Route,
        watches: OpenWatches,
    ) -> Result<Self, Failure> {
        let namespace = unique("cancel");
        let instance = Instance::new(&namespace, "constant", "127.0.0.1", 1);
        let registered = bare.register(instance, TTL).await?;
        bare.write(vec![ConfigWrite::set(format!("{namespace}/a"), "1")])
            .await?;
        Ok(Self {
            coordinator: <dyn Coordinator as Subject>::behind(route.stack(), bare.clone()),
            route,
            bare,
            namespace,
            watches,
            _registered: registered,
        })
    }

    fn key(&self, name: &str) -> String {
        format!("{}/{name}", self.namespace)
    }

    fn scope(&self) -> WatchScope {
        WatchScope::Prefix(self.key(""))
    }

    fn center(&self) -> Arc<dyn ConfigCenter> {
        self.coordinator.clone()
    }

    async fn register(&self) -> Result<Registration> {
        let instance = Instance::new(&self.namespace, "new", "127.0.0.1", 2);
        self.coordinator.register(instance, TTL).await
    }

    /// Follows until the first value has come.
    async fn follow(&self) -> Outcome {
        let value = HotReload::new(Number(0))?;
        let following = value.follow(self.center(), self.key("a")).await?;
        connected(&following).await?;
        check!(value.current().0 == 1, "the value is {:?}", value.current());
        Ok(())
    }

    async fn follow_prefix(&self) -> Outcome {
        let values = HotReload::new(BTreeMap::<String, Number>::new())?;
        let following = values.follow_prefix(self.center(), self.key("")).await?;
        connected(&following).await?;
        check!(
            values.current().len() == 1,
            "the values are {:?}",
            values.current()
        );
        Ok(())
    }

    /// A limiter that takes its rules from the centre.
    async fn limiter_follows(&self) -> Outcome {
        let config = RateLimitConfig::development().with_rules_path(self.key("rules/"));
        let limiter = Limiter::new(config, LimiterDependencies::new())?;
        let (_rules, following) = limiter.follow(self.center()).await?;
        connected(&following).await?;
        Ok(())
    }

    /// Breakers that take their policies from the centre.
    async fn breakers_follow(&self) -> Outcome {
        let config = BreakerConfig::development().with_policies_path(self.key("policies/"));
        let (_policies, following) = Breakers::new(config)?.follow(self.center()).await?;
        connected(&following).await?;
        Ok(())
    }

    /// Retry policies that are taken from the centre.
    async fn retry_policies_follow(&self) -> Outcome {
        let config = RetryConfig::default().with_policies_path(self.key("retry/"));
        let policies = Policies::new(config, Policy::production())?;
        let (_policies, following) = policies.follow(self.center()).await?;
        connected(&following).await?;
        Ok(())
    }

    async fn ids(&self) -> Result<SnowflakeIds> {
        let leases: Arc<dyn InstanceIds> = self.coordinator.clone();
        SnowflakeIds::connect(leases, &self.namespace, UidConfig::development()).await
    }
}

/// Waits until the watch is open.
async fn connected(following: &Following) -> Outcome {
    let connected = eventually(TTL, || std::future::ready(following.is_connected())).await;
    check!(connected, "following never connected");
    Ok(())
}

impl std::fmt::Debug for CoordinationGround {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CoordinationGround")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

/// A value that is followed.
#[derive(Debug, Clone, serde::Deserialize)]
struct Number(u32);

impl Validate for Number {
    fn validate(&self, _: &mut Problems) {}
}

impl Ground for CoordinationGround {
    fn observe(&self) -> LocalBoxFuture<'_, Result<String, Failure>> {
        Box::pin(async move {
            let (entries, _) = self.bare.read(&self.scope()).await?;
            let entries = entries
                .iter()
                .map(|entry| (entry.key.replace(&self.namespace, ""), entry.value.to_vec()));
            let entries: Vec<_> = entries.collect();
            let instances = self.bare.discover(&self.namespace).await?.instances;
            let instances: Vec<_> = instances
                .iter()
                .map(|instance| (&instance.id, instance.state))
                .collect();
            Ok(format!(
                "{entries:?} {instances:?} {:?} watches",
                (self.watches)()
            ))
        })
    }

    fn route(&self) -> &Route {
        &self.route
    }

    fn leave(self) -> LocalBoxFuture<'static, Result<()>> {
        Box::pin(async move { self.bare.shutdown(Duration::from_secs(5)).await })
    }
}

/// Every operation of the registry, the configuration centre and instance ids.
#[must_use]
pub fn cases() -> Vec<Case<CoordinationGround>> {
    let mut all = registry();
    all.extend(config_center());
    all.extend(followers());
    all.extend(instance_ids());
    all
}

fn registry() -> Vec<Case<CoordinationGround>> {
    cases![
        "Registry::register" => |g| g.register().await?,
        "Registry::discover" => |g| g.coordinator.discover(&g.namespace).await?,
        "Registry::watch_service" => |g| g.coordinator.watch_service(&g.namespace, 0).await?,
        "RegistryExt::discover_and_watch" => |g| g.coordinator.discover_and_watch(&g.namespace).await?,
        "Registration::set_state" => |g| {
            let mut registration = g.register().await?;
            registration.set_state(InstanceState::Draining).await?
        },
        "Registration::deregister" => |g| g.register().await?.deregister().await?,
        "Backend::health (of a coordinator)" => |g| g.coordinator.health().await?,
    ]
}

fn config_center() -> Vec<Case<CoordinationGround>> {
    cases![
        "ConfigCenter::read" => |g| g.coordinator.read(&g.scope()).await?,
        "ConfigCenter::write" => |g| {
            let writes = vec![ConfigWrite::set(g.key("a"), "2"), ConfigWrite::set(g.key("b"), "2")];
            g.coordinator.write(writes).await?
        },
        "ConfigCenter::watch" => |g| g.coordinator.watch(&g.scope(), 0).await?,
        "ConfigCenterExt::entry" => |g| g.coordinator.entry(&g.key("a")).await?,
        "ConfigCenterExt::get" => |g| g.coordinator.get::<u32>(&g.key("a")).await?,
        "ConfigCenterExt::get_versioned" => |g| g.coordinator.get_versioned::<u32>(&g.key("a")).await?,
        "ConfigCenterExt::set" => |g| g.coordinator.set(&g.key("a"), &2).await?,
        "ConfigCenterExt::compare_and_set" => |g| {
            let (_, version) = g.bare.get_versioned::<u32>(&g.key("a")).await?.unwrap_or((0, infra_core::coordination::Version::ABSENT));
            ConfigCenterExt::compare_and_set(&*g.coordinator, &g.key("a"), &3, version).await?
        },
        "ConfigCenterExt::delete" => |g| ConfigCenterExt::delete(&*g.coordinator, &g.key("a")).await?,
        "ConfigCenterExt::list" => |g| g.coordinator.list(&g.key("")).await?,
        "ConfigCenterExt::list_and_watch" => |g| g.coordinator.list_and_watch(&g.key("")).await?,
    ]
}

fn followers() -> Vec<Case<CoordinationGround>> {
    cases![
        "HotReload::follow" => |g| g.follow().await?,
        "HotReload::follow_prefix" => |g| g.follow_prefix().await?,
        "Limiter::follow" => |g| g.limiter_follows().await?,
        "Breakers::follow" => |g| g.breakers_follow().await?,
        "Policies::follow" => |g| g.retry_policies_follow().await?,
    ]
}

fn instance_ids() -> Vec<Case<CoordinationGround>> {
    cases![
        "InstanceIds::acquire_instance_id" => |g| {
            g.coordinator.acquire_instance_id(&g.namespace, 0..=1000).await?
        },
        "InstanceId::lost" => |g| {
            let id = g.coordinator.acquire_instance_id(&g.namespace, 0..=1000).await?;
            let lost = tokio::time::timeout(MOMENT, id.lost()).await;
            check!(lost.is_err(), "the number was lost");
        },
        "InstanceId::release" => |g| {
            g.coordinator.acquire_instance_id(&g.namespace, 0..=1000).await?.release().await?
        },
        "SnowflakeIds::connect" => |g| g.ids().await?,
        "SnowflakeIds::close" => |g| g.ids().await?.close().await?,
    ]
}
