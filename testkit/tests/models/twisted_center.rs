//! A configuration centre that does one thing wrong, on command.

use std::time::Duration;

use futures_util::StreamExt;
use infra_core::capability::Capabilities;
use infra_core::coordination::{ConfigCenter, ConfigEntry, ConfigWrite, Version, WatchScope};
use infra_core::watch::{self, Watch};
use infra_core::{Backend, ErrorKind, Result, async_trait};
use infra_memory::MemoryCoordinator;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Twist {
    WritesHalfATransaction,
    IgnoresConditions,
    LosesAnEvent,
    RepeatsAnEvent,
    MissesLaterKeys,
    MovesPastTheSnapshot,
    GivesOldVersions,
}

#[derive(Debug)]
pub(crate) struct Twisted {
    inner: MemoryCoordinator,
    twist: Twist,
}

impl Twisted {
    pub(crate) fn new(twist: Twist) -> Self {
        Self {
            inner: MemoryCoordinator::new(),
            twist,
        }
    }
}

#[async_trait]
impl Backend for Twisted {
    fn backend(&self) -> &'static str {
        "twisted"
    }

    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    async fn health(&self) -> Result<()> {
        self.inner.health().await
    }

    async fn shutdown(&self, deadline: Duration) -> Result<()> {
        self.inner.shutdown(deadline).await
    }
}

fn without_condition(write: ConfigWrite) -> ConfigWrite {
    match write.value() {
        Some(value) => ConfigWrite::set(write.key(), value.clone()),
        None => ConfigWrite::delete(write.key()),
    }
}

#[async_trait]
impl ConfigCenter for Twisted {
    async fn read(&self, scope: &WatchScope) -> Result<(Vec<ConfigEntry>, u64)> {
        self.inner.read(scope).await
    }

    async fn write(&self, writes: Vec<ConfigWrite>) -> Result<Version> {
        match self.twist {
            Twist::IgnoresConditions => {
                let writes = writes.into_iter().map(without_condition);
                self.inner.write(writes.collect()).await
            }
            Twist::WritesHalfATransaction => {
                let answer = self.inner.write(writes.clone()).await;
                if answer
                    .as_ref()
                    .is_err_and(|error| error.kind() == ErrorKind::Conflict)
                {
                    self.inner.write(writes.into_iter().take(1).collect()).await.ok();
                }
                answer
            }
            Twist::GivesOldVersions => self
                .inner
                .write(writes)
                .await
                .map(|version| Version(version.0 - 1)),
            _ => self.inner.write(writes).await,
        }
    }

    async fn watch(&self, scope: &WatchScope, revision: u64) -> Result<Watch<ConfigEntry>> {
        match self.twist {
            Twist::MovesPastTheSnapshot => {
                let (_, now) = self.inner.read(scope).await?;
                tokio::task::yield_now().await;
                self.inner.watch(scope, now.min(revision.saturating_sub(1))).await
            }
            Twist::MissesLaterKeys => {
                let (entries, _) = self.inner.read(scope).await?;
                let known = entries
                    .into_iter()
                    .next()
                    .map_or_else(String::new, |entry| entry.key);
                self.inner.watch(&WatchScope::Key(known), revision).await
            }
            Twist::LosesAnEvent | Twist::RepeatsAnEvent => {
                let (sink, changed) = watch::channel(1_000);
                let copies = if self.twist == Twist::LosesAnEvent { 0 } else { 2 };
                let mut events = self.inner.watch(scope, revision).await?;
                tokio::spawn(async move {
                    let mut number = 0;
                    while let Some(event) = events.next().await {
                        number += 1;
                        for _ in 0..if number == 2 { copies } else { 1 } {
                            sink.push(event.clone());
                        }
                    }
                });
                Ok(changed)
            }
            _ => self.inner.watch(scope, revision).await,
        }
    }
}
