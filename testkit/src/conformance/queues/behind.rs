//! A message queue behind a stack: what it gives out is wrapped, because the queue itself does no more than give out.

use std::sync::Arc;
use std::time::Duration;

use infra_core::capability::Capabilities;
use infra_core::intercept::Stack;
use infra_core::queue::{Consumer, MessageQueue, Producer, TopicAdmin};
use infra_core::{Backend, Result, async_trait};

use crate::conformance::Subject;

#[async_trait]
impl Subject for dyn MessageQueue {
    fn behind(stack: &Stack, client: Arc<Self>) -> Arc<Self> {
        Arc::new(BehindStack {
            queue: client,
            stack: stack.clone(),
        })
    }

    fn declared(&self) -> Option<&Capabilities> {
        Some(self.capabilities())
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
        self.shutdown(deadline).await
    }
}

#[derive(Debug)]
struct BehindStack {
    queue: Arc<dyn MessageQueue>,
    stack: Stack,
}

#[async_trait]
impl MessageQueue for BehindStack {
    async fn producer(&self) -> Result<Arc<dyn Producer>> {
        Ok(self.stack.wrap(self.queue.producer().await?))
    }

    async fn consumer(&self, group: &str) -> Result<Arc<dyn Consumer>> {
        Ok(self.stack.wrap(self.queue.consumer(group).await?))
    }

    async fn admin(&self) -> Result<Arc<dyn TopicAdmin>> {
        Ok(self.stack.wrap(self.queue.admin().await?))
    }
}

#[async_trait]
impl Backend for BehindStack {
    fn backend(&self) -> &'static str {
        self.queue.backend()
    }

    fn capabilities(&self) -> &Capabilities {
        self.queue.capabilities()
    }

    async fn health(&self) -> Result<()> {
        self.queue.health().await
    }

    async fn shutdown(&self, deadline: Duration) -> Result<()> {
        self.queue.shutdown(deadline).await
    }
}
