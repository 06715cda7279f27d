//! The cases of the cache.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use infra_core::cache::{
    Batch, BloomOptions, Cache, Check, Expected, KeyValueExt, Operation, RankRange, ScoreRange, Scored,
    Script,
};
use infra_core::{ErrorKind, Result, Ttl};

use super::ground::{Case, Ground, cases};
use super::route::Route;
use crate::conformance::{Failure, Subject};
use crate::unique;

/// Longer than any run.
const LONG: Ttl = Ttl::secs(3600);

/// A cache with a key of each type.
#[derive(Debug)]
pub struct CacheGround {
    route: Route,
    bare: Arc<dyn Cache>,
    cache: Arc<dyn Cache>,
    namespace: String,
}

impl CacheGround {
    /// Fills a fresh place in `bare`, which will be called over `route`.
    ///
    /// # Errors
    /// The backend's.
    pub async fn new(bare: Arc<dyn Cache>, route: Route) -> Result<Self, Failure> {
        let cache = <dyn Cache as Subject>::behind(route.stack(), bare.clone());
        let ground = Self {
            route,
            bare,
            cache,
            namespace: unique("cancel"),
        };
        let (bare, key) = (&ground.bare, |name: &str| ground.key(name));
        bare.set(&key("text"), "one".into(), Ttl::Never).await?;
        bare.set(&key("number"), "5".into(), LONG).await?;
        bare.set(&key("doomed/1"), "x".into(), Ttl::Never).await?;
        bare.set(&key("doomed/2"), "x".into(), Ttl::Never).await?;
        bare.hash_set(&key("hash"), &[("a", "1".into()), ("n", "2".into())])
            .await?;
        bare.set_add(&key("set"), &["a".into(), "b".into()]).await?;
        let members = [Scored::new("a", 1.0), Scored::new("b", 2.0)];
        bare.sorted_add(&key("sorted"), &members).await?;
        bare.bloom_reserve(&key("bloom"), BloomOptions::new(0.01, 100))
            .await?;
        Ok(ground)
    }

    fn key(&self, name: &str) -> String {
        format!("{}/{name}", self.namespace)
    }

    /// What is stored under a key, whatever its type.
    async fn show(&self, key: &str) -> Result<String> {
        let cache = &self.bare;
        let shown = match cache.get(key).await {
            Ok(value) => format!("{:?}", value.map(|bytes| bytes.to_vec())),
            Err(error) if error.kind() != ErrorKind::Conflict => return Err(error),
            Err(_) => match (
                cache.hash_get_all(key).await,
                cache.set_members(key).await,
                cache.sorted_range(key, RankRange::ALL).await,
            ) {
                (Ok(fields), ..) => format!("{fields:?}"),
                (_, Ok(mut members), _) => {
                    members.sort();
                    format!("{members:?}")
                }
                (.., Ok(members)) => {
                    let plain = members.iter().map(|scored| (&scored.member, scored.score));
                    format!("{:?}", plain.collect::<Vec<_>>())
                }
                // A filter can only be asked.
                _ => format!("filter with x: {}", cache.bloom_contains(key, b"x").await?),
            },
        };
        let ttl = cache.ttl(key).await?.map(|ttl| ttl == Ttl::Never);
        Ok(format!("{shown} (for ever: {ttl:?})"))
    }
}

impl Ground for CacheGround {
    fn observe(&self) -> LocalBoxFuture<'_, Result<String, Failure>> {
        Box::pin(async move {
            let mut keys = self.bare.scan(&self.namespace, None, 1_000).await?.keys;
            keys.sort();
            let mut seen = Vec::new();
            for key in keys {
                let name = key.strip_prefix(&self.namespace).unwrap_or(&key);
                seen.push(format!("{name} = {}", self.show(&key).await?));
            }
            Ok(seen.join("; "))
        })
    }

    fn route(&self) -> &Route {
        &self.route
    }

    fn leave(self) -> LocalBoxFuture<'static, Result<()>> {
        Box::pin(async move {
            self.bare.delete_prefix(&self.namespace).await?;
            self.bare.shutdown(Duration::from_secs(5)).await
        })
    }
}

/// Every operation of the cache's contracts but the locks, which have [cases of their own](super::locks).
#[must_use]
pub fn cases() -> Vec<Case<CacheGround>> {
    let mut all = keys();
    all.extend(strings());
    all.extend(structures());
    all.extend(sorted_sets());
    all.extend(atomic());
    all
}

fn keys() -> Vec<Case<CacheGround>> {
    cases![
        "Keys::delete" => |g| g.cache.delete(&[&g.key("text"), &g.key("hash")]).await?,
        "Keys::exists" => |g| g.cache.exists(&g.key("text")).await?,
        "Keys::expire" => |g| g.cache.expire(&g.key("text"), LONG).await?,
        "Keys::ttl" => |g| g.cache.ttl(&g.key("number")).await?,
        "Keys::scan" => |g| g.cache.scan(&g.key(""), None, 3).await?,
        "Keys::delete_prefix" => |g| g.cache.delete_prefix(&g.key("doomed/")).await?,
        "Backend::health (of a cache)" => |g| g.cache.health().await?,
    ]
}

fn strings() -> Vec<Case<CacheGround>> {
    cases![
        "KeyValue::get" => |g| g.cache.get(&g.key("text")).await?,
        "KeyValue::get_many" => |g| g.cache.get_many(&[&g.key("text"), &g.key("none")]).await?,
        "KeyValue::set" => |g| g.cache.set(&g.key("text"), "two".into(), LONG).await?,
        "KeyValue::set_many" => |g| {
            g.cache.set_many(&[(&g.key("text"), "two".into()), (&g.key("new"), "two".into())], LONG).await?
        },
        "KeyValue::set_if_absent" => |g| g.cache.set_if_absent(&g.key("new"), "two".into(), LONG).await?,
        "KeyValue::get_set" => |g| g.cache.get_set(&g.key("text"), "two".into(), LONG).await?,
        "KeyValue::compare_and_set" => |g| {
            g.cache.compare_and_set(&g.key("text"), Expected::Value("one".into()), "two".into(), LONG).await?
        },
        "KeyValue::compare_and_delete" => |g| g.cache.compare_and_delete(&g.key("text"), "one".into()).await?,
        "KeyValue::incr_by" => |g| g.cache.incr_by(&g.key("number"), 2).await?,
        "KeyValueExt::get_json" => |g| g.cache.get_json::<u64>(&g.key("number")).await?,
        "KeyValueExt::set_json" => |g| g.cache.set_json(&g.key("text"), &[1, 2], LONG).await?,
        "KeyValueExt::decr_by" => |g| g.cache.decr_by(&g.key("number"), 2).await?,
    ]
}

fn structures() -> Vec<Case<CacheGround>> {
    cases![
        "Hashes::hash_get" => |g| g.cache.hash_get(&g.key("hash"), "a").await?,
        "Hashes::hash_get_all" => |g| g.cache.hash_get_all(&g.key("hash")).await?,
        "Hashes::hash_set" => |g| g.cache.hash_set(&g.key("hash"), &[("a", "9".into()), ("b", "9".into())]).await?,
        "Hashes::hash_delete" => |g| g.cache.hash_delete(&g.key("hash"), &["a", "n"]).await?,
        "Hashes::hash_exists" => |g| g.cache.hash_exists(&g.key("hash"), "a").await?,
        "Hashes::hash_len" => |g| g.cache.hash_len(&g.key("hash")).await?,
        "Hashes::hash_incr_by" => |g| g.cache.hash_incr_by(&g.key("hash"), "n", 3).await?,
        "Sets::set_add" => |g| g.cache.set_add(&g.key("set"), &["b".into(), "c".into()]).await?,
        "Sets::set_remove" => |g| g.cache.set_remove(&g.key("set"), &["a".into(), "b".into()]).await?,
        "Sets::set_members" => |g| g.cache.set_members(&g.key("set")).await?,
        "Sets::set_contains" => |g| g.cache.set_contains(&g.key("set"), "a".into()).await?,
        "Sets::set_len" => |g| g.cache.set_len(&g.key("set")).await?,
        "Bloom::bloom_reserve" => |g| g.cache.bloom_reserve(&g.key("filter"), BloomOptions::new(0.1, 10)).await?,
        "Bloom::bloom_add" => |g| g.cache.bloom_add(&g.key("bloom"), b"x").await?,
        "Bloom::bloom_contains" => |g| g.cache.bloom_contains(&g.key("bloom"), b"x").await?,
    ]
}

fn sorted_sets() -> Vec<Case<CacheGround>> {
    cases![
        "SortedSets::sorted_add" => |g| {
            g.cache.sorted_add(&g.key("sorted"), &[Scored::new("a", 9.0), Scored::new("c", 3.0)]).await?
        },
        "SortedSets::sorted_range" => |g| g.cache.sorted_range(&g.key("sorted"), RankRange::ALL).await?,
        "SortedSets::sorted_range_by_score" => |g| {
            g.cache.sorted_range_by_score(&g.key("sorted"), ScoreRange::ALL).await?
        },
        "SortedSets::sorted_remove" => |g| g.cache.sorted_remove(&g.key("sorted"), &["a".into()]).await?,
        "SortedSets::sorted_remove_by_rank" => |g| {
            g.cache.sorted_remove_by_rank(&g.key("sorted"), RankRange::new(0, 0)).await?
        },
        "SortedSets::sorted_len" => |g| g.cache.sorted_len(&g.key("sorted")).await?,
        "SortedSets::sorted_count" => |g| g.cache.sorted_count(&g.key("sorted"), ScoreRange::ALL).await?,
        "SortedSets::sorted_score" => |g| g.cache.sorted_score(&g.key("sorted"), "a".into()).await?,
    ]
}

fn atomic() -> Vec<Case<CacheGround>> {
    cases![
        "Scripts::atomically" => |g| {
            let batch = Batch::new()
                .when(Check::Exists(g.key("text")))
                .then(Operation::Set(g.key("text"), "two".into(), LONG))
                .then(Operation::IncrBy(g.key("number"), 1))
                .then(Operation::Delete(g.key("doomed/1")));
            g.cache.atomically(batch).await?
        },
        "Scripts::run_script" => |g| {
            let script = Script::new("return 1");
            match g.cache.run_script(&script, &[], &[]).await {
                Err(error) if error.kind() != ErrorKind::Unsupported => return Err(error.into()),
                _ => {}
            }
        },
    ]
}
