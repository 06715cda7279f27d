//! MQ on the queue of this process, in each way in which a broker can be told what became of messages.

use std::sync::Arc;
use std::time::Duration;

use infra_core::queue::MessageQueue;
use infra_core::queue::runtime::{Redelivery, SourceTraits};
use infra_core::{Error, Result};
use infra_memory::{MemoryQueue, MemoryQueueConfig, Overflow};
use infra_testkit::conformance::{Disturbance, Fixture, Setup};

/// Small enough for a flood of 300 messages to fill it.
fn small() -> MemoryQueueConfig {
    MemoryQueueConfig::development().with_capacity_messages(256)
}

/// Messages are settled one by one, and the broker keeps those that wait for their next attempt; as RabbitMQ can.
async fn settled_one_by_one(_setup: Setup) -> Result<Fixture<dyn MessageQueue>> {
    fixture(small())
}

/// Messages are settled one by one, and the consumer keeps those that wait; topics must be created, and a full one refuses.
async fn waiting_at_the_consumer(_setup: Setup) -> Result<Fixture<dyn MessageQueue>> {
    let config = small().without_auto_create().with_overflow(Overflow::Refuse);
    fixture(config.with_settlement(SourceTraits::each(Redelivery::Consumer)))
}

/// Messages are settled by positions in a log, as with Kafka; nothing is replayed.
async fn settled_by_positions(_setup: Setup) -> Result<Fixture<dyn MessageQueue>> {
    let config = small().with_replay_messages(0);
    fixture(config.with_settlement(SourceTraits::log(Duration::from_millis(50))))
}

fn fixture(config: MemoryQueueConfig) -> Result<Fixture<dyn MessageQueue>> {
    let queue = MemoryQueue::with_config(config)?;
    let server = queue.clone();
    let fixture = Fixture::in_process(move || {
        let client: Arc<dyn MessageQueue> = Arc::new(server.clone());
        async { Ok(client) }
    });
    Ok(fixture.on_disturbance(move |disturbance| disturb(queue.clone(), disturbance)))
}

async fn disturb(queue: MemoryQueue, disturbance: Disturbance) -> Result<bool, Error> {
    match disturbance {
        // Every client of this process shares the one connection.
        Disturbance::GoAway | Disturbance::Disconnect { .. } => queue.faults().disconnect(),
        Disturbance::ComeBack | Disturbance::Reconnect { .. } => queue.faults().reconnect(),
        Disturbance::LoseSessions => return Ok(queue.faults().lose_sessions() > 0),
        Disturbance::Restart => {
            queue.faults().disconnect();
            queue.faults().lose_sessions();
            tokio::time::sleep(Duration::from_millis(200)).await;
            queue.faults().reconnect();
        }
        Disturbance::RepeatDeliveries { count } => queue.faults().duplicate_next(count),
        _ => return Ok(false),
    }
    Ok(true)
}

mod one_by_one {
    infra_testkit::conformance::queues!(crate::queues::settled_one_by_one, every_mode);
}

mod at_the_consumer {
    infra_testkit::conformance::queues!(crate::queues::waiting_at_the_consumer, bare_and_standard_stack);
}

mod by_positions {
    infra_testkit::conformance::queues!(crate::queues::settled_by_positions, bare_and_standard_stack);
}
