//! The configuration centre on keys with revisions: conditions are comparisons of a transaction, versions are modification revisions.

use bytes::Bytes;
use etcd_client::{Compare, CompareOp, GetOptions, KeyValue, Txn, TxnOp, TxnOpResponse};
use infra_core::coordination::{ConfigCenter, ConfigEntry, ConfigWrite, Version, WatchScope};
use infra_core::watch::Watch;
use infra_core::{Error, Result, async_trait};

use crate::BACKEND;
use crate::coordinator::EtcdCoordinator;
use crate::watching::{self, Range};

fn at(operation: &'static str) -> impl Fn(Error) -> Error {
    move |error| error.at("config_center", BACKEND, operation)
}

/// The keys of a scope, as etcd knows them.
fn range(folder: &str, scope: &WatchScope) -> Range {
    match scope {
        WatchScope::Key(key) => Range::key(format!("{folder}{key}")),
        WatchScope::Prefix(prefix) => Range::prefix(format!("{folder}{prefix}")),
        // What the contract may get later is narrowed down by whoever reads it.
        _ => Range::prefix(folder.to_owned()),
    }
}

/// The entry that a key of etcd holds; `None` for a key that is no text, which nobody wrote through here.
fn entry(folder: &str, kv: &KeyValue) -> Option<ConfigEntry> {
    let key = std::str::from_utf8(kv.key()).ok()?.strip_prefix(folder)?;
    let version = Version(u64::try_from(kv.mod_revision()).ok()?);
    Some(ConfigEntry::new(key, Bytes::copy_from_slice(kv.value()), version))
}

#[async_trait]
impl ConfigCenter for EtcdCoordinator {
    async fn read(&self, scope: &WatchScope) -> Result<(Vec<ConfigEntry>, u64)> {
        let read = async {
            self.client.check_open()?;
            scope.check(self.limits())?;
            self.client.keys().check_scope(scope)?;
            let folder = self.client.keys().configuration();
            let (entries, revision) = watching::read(&self.client, &range(&folder, scope)).await?;
            let entries = entries.iter().filter_map(|kv| entry(&folder, kv));
            Ok((
                entries.filter(|entry| scope.contains(&entry.key)).collect(),
                revision,
            ))
        };
        read.await.map_err(at("read"))
    }

    async fn write(&self, writes: Vec<ConfigWrite>) -> Result<Version> {
        let write = async {
            self.client.check_open()?;
            ConfigWrite::check(&writes, self.limits())?;
            self.client.keys().check_writes(&writes)?;
            self.transact(&writes).await
        };
        write.await.map_err(at("write"))
    }

    async fn watch(&self, scope: &WatchScope, revision: u64) -> Result<Watch<ConfigEntry>> {
        let watch = async {
            self.client.check_open()?;
            scope.check(self.limits())?;
            self.client.keys().check_scope(scope)?;
            let folder = self.client.keys().configuration();
            let range = range(&folder, scope);
            let put = {
                let (folder, scope) = (folder.clone(), scope.clone());
                move |kv: &KeyValue| entry(&folder, kv).filter(|entry| scope.contains(&entry.key))
            };
            let gone = {
                let scope = scope.clone();
                move |kv: &KeyValue| {
                    entry(&folder, kv)
                        .map(|entry| entry.key)
                        .filter(|key| scope.contains(key))
                }
            };
            watching::open(&self.client, range, revision, put, gone).await
        };
        watch.await.map_err(at("watch"))
    }
}

impl EtcdCoordinator {
    /// One transaction: all conditions, then all writes; what the keys hold instead, where a condition fails.
    async fn transact(&self, writes: &[ConfigWrite]) -> Result<Version> {
        let folder = self.client.keys().configuration();
        let key = |write: &ConfigWrite| format!("{folder}{}", write.key());
        let conditional: Vec<(&ConfigWrite, Version)> = writes
            .iter()
            .filter_map(|write| Some((write, write.expected()?)))
            .collect();
        let when: Vec<Compare> = conditional
            .iter()
            .map(|(write, expected)| {
                let revision = i64::try_from(expected.0).unwrap_or(i64::MAX);
                Compare::mod_revision(key(write), CompareOp::Equal, revision)
            })
            .collect();
        let then: Vec<TxnOp> = writes
            .iter()
            .map(|write| match write.value() {
                Some(value) => TxnOp::put(key(write), value.to_vec(), None),
                None => TxnOp::delete(key(write), None),
            })
            .collect();
        let otherwise: Vec<TxnOp> = conditional
            .iter()
            .map(|(write, _)| TxnOp::get(key(write), Some(GetOptions::new().with_keys_only())))
            .collect();
        let transaction = Txn::new().when(when).and_then(then).or_else(otherwise);
        let answer = self.client.txn(transaction).await?;
        if answer.succeeded() {
            return Ok(Version(watching::revision(answer.header())));
        }
        let current = answer.op_responses().into_iter().map(|response| match response {
            TxnOpResponse::Get(found) => found.kvs().first().map_or(Version::ABSENT, |kv| {
                Version(u64::try_from(kv.mod_revision()).unwrap_or(0))
            }),
            _ => Version::ABSENT,
        });
        let first = conditional
            .iter()
            .zip(current)
            .find(|((_, expected), current)| expected != current);
        Err(match first {
            Some(((write, expected), current)) => write.conflict(*expected, current),
            // The transaction saw one state; this cannot be.
            None => Error::new(
                infra_core::ErrorKind::Internal,
                "etcd refused a transaction whose conditions hold",
            ),
        })
    }
}
