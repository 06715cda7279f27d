//! The contracts that can be put under test, and how each of them is put behind a stack.

use std::sync::Arc;
use std::time::Duration;

use infra_core::async_trait;
use infra_core::cache::{Bloom, Cache, Hashes, KeyValue, Scripts, Sets, SortedSets};
use infra_core::capability::Capabilities;
use infra_core::coordination::{ConfigCenter, Coordinator, InstanceIds, Locks, Registry};
use infra_core::database::Database;
use infra_core::error::Result;
use infra_core::intercept::Stack;
use infra_core::once::OnceStore;
use infra_core::rate_limit::{RateLimitStore, RateLimiter};
use infra_core::search::Search;

/// A contract that a family of scenarios is written against: `dyn Locks`, `dyn KeyValue` …
#[async_trait]
pub trait Subject: Send + Sync + 'static {
    /// The same client, called through `stack`.
    fn behind(stack: &Stack, client: Arc<Self>) -> Arc<Self>;

    /// What the backend declares; `None` for what is no backend.
    fn declared(&self) -> Option<&Capabilities>;

    /// Ends the client in order.
    async fn close(&self, deadline: Duration) -> Result<()>;
}

macro_rules! subjects {
    ($($contract:ident),+ $(,)?) => {
        $(#[async_trait]
        impl Subject for dyn $contract {
            fn behind(stack: &Stack, client: Arc<Self>) -> Arc<Self> {
                stack.wrap(client)
            }

            fn declared(&self) -> Option<&Capabilities> {
                Some(self.capabilities())
            }

            async fn close(&self, deadline: Duration) -> Result<()> {
                self.shutdown(deadline).await
            }
        })+
    };
}

subjects!(
    Bloom,
    Cache,
    ConfigCenter,
    Coordinator,
    Database,
    Hashes,
    InstanceIds,
    KeyValue,
    Locks,
    OnceStore,
    RateLimitStore,
    RateLimiter,
    Registry,
    Scripts,
    Search,
    Sets,
    SortedSets,
);
