//! Producers.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;

use super::Message;
use crate::backend::Backend;
use crate::error::Result;

/// The broker's word that it has a message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The topic.
    pub topic: String,
    /// The partition, where the broker has partitions.
    pub partition: Option<u32>,
    /// The position in the partition, where the broker has one.
    pub offset: Option<u64>,
}

impl Receipt {
    /// Puts a receipt together.
    #[must_use]
    pub fn new(topic: impl Into<String>, partition: Option<u32>, offset: Option<u64>) -> Self {
        Self {
            topic: topic.into(),
            partition,
            offset,
        }
    }
}

/// The fate of a message that was accepted: resolves when the broker has it, or cannot have it.
///
/// Dropping it does not take the message back.
pub struct DeliveryFuture(BoxFuture<'static, Result<Receipt>>);

impl DeliveryFuture {
    /// Wraps the backend's own future.
    #[must_use]
    pub fn new(delivery: impl Future<Output = Result<Receipt>> + Send + 'static) -> Self {
        Self(Box::pin(delivery))
    }
}

impl fmt::Debug for DeliveryFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeliveryFuture")
    }
}

impl Future for DeliveryFuture {
    type Output = Result<Receipt>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

/// Sends messages.
///
/// # Contract
/// - What was accepted is delivered or reported: `flush` and `shutdown` lose nothing.
/// - The buffer is bounded; when it is full, a send waits or returns
///   [`ResourceExhausted`](crate::ErrorKind::ResourceExhausted), as configured.
/// - The trace context of the caller travels in the headers, unless the message carries its own.
/// - Messages of one key that are sent one after the other keep their order.
#[crate::intercept(component = "producer")]
#[async_trait]
pub trait Producer: Backend {
    /// Sends a message; resolves when the broker has it.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for an empty or oversized topic or payload;
    /// [`NotFound`](crate::ErrorKind::NotFound) for a topic that does not exist and is not created on use;
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for a delay without
    /// [`DelayedDelivery`](crate::capability::Capability::DelayedDelivery).
    ///
    /// # Cancellation
    /// A message that was accepted may still be delivered after the future was dropped.
    async fn send(&self, message: Message) -> Result<Receipt>;

    /// Accepts a message for pipelined sending; the returned future tells its fate. Messages accepted one after the other
    /// leave in that order.
    async fn enqueue(&self, message: Message) -> Result<DeliveryFuture>;

    /// Sends messages together; a result for each, in their order.
    ///
    /// # Errors
    /// Only when nothing at all was accepted.
    async fn send_batch(&self, messages: Vec<Message>) -> Result<Vec<Result<Receipt>>>;

    /// Waits until everything accepted so far is delivered or reported.
    ///
    /// # Errors
    /// [`Timeout`](crate::ErrorKind::Timeout) says how many messages were still on their way; they stay accepted.
    #[call(idempotent, waits)]
    async fn flush(&self, deadline: Duration) -> Result<()>;
}

crate::assert_object_safe!(Producer);

/// Convenience over any [`Producer`]; do not implement it.
#[async_trait]
pub trait ProducerExt: Producer {
    /// Accepts a message and calls back with its fate, for callers that do not wait.
    ///
    /// # Errors
    /// The acceptance's: an accepted message's fate comes to the callback only. Must be called on a tokio runtime.
    async fn send_detached<F>(&self, message: Message, callback: F) -> Result<()>
    where
        F: FnOnce(Result<Receipt>) + Send + 'static,
    {
        let delivery = self.enqueue(message).await?;
        crate::telemetry::spawn_traced(async move { callback(delivery.await) });
        Ok(())
    }
}

impl<P: Producer + ?Sized> ProducerExt for P {}
