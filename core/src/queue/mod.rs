//! The message queue contracts: producers that lose nothing they accepted, consumers that acknowledge explicitly.
//!
//! The rule that everything here serves: **a message is done with only after its handler has acknowledged it, or after it
//! is safely in the dead-letter topic.**

mod admin;
mod consumer;
mod headers;
mod message;
mod partition;
mod prepare;
mod producer;
pub mod runtime;

pub use admin::{ConsumerLag, PartitionInfo, TopicAdmin, TopicInfo, TopicSpec};
pub use consumer::{
    BatchHandler, Concurrency, Consumer, Delivery, Disposition, Handler, Start, Subscription,
    SubscriptionHandle, SubscriptionKeeper, handler_fn,
};
pub use headers::{Headers, names};
pub use message::Message;
pub use partition::{murmur2, partition_of};
pub use prepare::{MAX_HEADER_NAME_BYTES, add_timestamp_header, prepare, trace_context_of};
pub use producer::{DeliveryFuture, Producer, ProducerExt, Receipt};

use std::sync::Arc;

use async_trait::async_trait;

use crate::backend::Backend;
use crate::error::Result;

/// A broker: where producers, consumers and administration come from.
///
/// Shutting it down shuts down all that it gave out.
#[async_trait]
pub trait MessageQueue: Backend {
    /// A producer; they are cheap and may share one connection.
    async fn producer(&self) -> Result<Arc<dyn Producer>>;

    /// A member of the consumer group `group`.
    async fn consumer(&self, group: &str) -> Result<Arc<dyn Consumer>>;

    /// Administration of topics.
    async fn admin(&self) -> Result<Arc<dyn TopicAdmin>>;
}

crate::assert_object_safe!(MessageQueue);
