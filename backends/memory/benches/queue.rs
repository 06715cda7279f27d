//! Messages per second from a producer to a handler, beside a bare channel of tokio.
//!
//! Run with `cargo bench -p infra-memory --bench queue`.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use infra_core::queue::{
    BatchHandler, Delivery, Disposition, Handler, Message, MessageQueue, Subscription, SubscriptionHandle,
};
use infra_core::{Result, async_trait};
use infra_memory::MemoryQueue;
use tokio::sync::{Notify, mpsc};

const MESSAGES: u64 = 300_000;
const ROUNDS: usize = 5;

/// Counts, and tells when all are there.
#[derive(Default)]
struct Count {
    seen: AtomicU64,
    all: Notify,
}

impl Count {
    fn add(&self, messages: u64) {
        if self.seen.fetch_add(messages, Ordering::Relaxed) + messages == MESSAGES {
            self.all.notify_one();
        }
    }
}

#[async_trait]
impl Handler for Count {
    async fn handle(&self, _: &Delivery) -> Result<Disposition> {
        self.add(1);
        Ok(Disposition::Ack)
    }
}

#[async_trait]
impl BatchHandler for Count {
    async fn handle_batch(&self, deliveries: &[Delivery]) -> Result<Vec<Disposition>> {
        self.add(deliveries.len() as u64);
        Ok(vec![Disposition::Ack; deliveries.len()])
    }
}

/// What is measured: how the messages are keyed and handled.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    keys: u64,
    window: u32,
    batch: Option<u32>,
}

const fn case(name: &'static str, keys: u64, window: u32, batch: Option<u32>) -> Case {
    Case {
        name,
        keys,
        window,
        batch,
    }
}

fn message(number: u64, keys: u64, payload: &Bytes) -> Message {
    let message = Message::new("bench", payload.clone());
    match number.checked_rem(keys) {
        Some(key) => message.with_key(Bytes::copy_from_slice(&key.to_be_bytes())),
        None => message,
    }
}

async fn subscribe(queue: &MemoryQueue, count: &Arc<Count>, case: Case) -> Result<SubscriptionHandle> {
    let window = NonZeroU32::MIN.saturating_add(case.window - 1);
    let subscription = Subscription::to(["bench"]).with_max_in_flight(window);
    let consumer = queue.consumer("bench").await?;
    match case.batch {
        None => consumer.subscribe(subscription, count.clone()).await,
        Some(batch) => {
            let batch = NonZeroU32::MIN.saturating_add(batch - 1);
            let wait = Duration::from_millis(5);
            consumer
                .subscribe_batch(subscription, batch, wait, count.clone())
                .await
        }
    }
}

async fn through_the_queue(case: Case) -> Result<Duration> {
    let queue = MemoryQueue::new();
    let count = Arc::new(Count::default());
    let _subscription = subscribe(&queue, &count, case).await?;
    let producer = queue.producer().await?;
    let payload = Bytes::from(vec![0_u8; 100]);
    let begun = Instant::now();
    let sending = tokio::spawn(async move {
        for number in 0..MESSAGES {
            producer.send(message(number, case.keys, &payload)).await?;
        }
        Ok::<(), infra_core::Error>(())
    });
    count.all.notified().await;
    let took = begun.elapsed();
    if let Ok(sent) = sending.await {
        sent?;
    }
    Ok(took)
}

async fn through_a_channel() -> Duration {
    let (sender, mut receiver) = mpsc::channel(1024);
    let payload = Bytes::from(vec![0_u8; 100]);
    let begun = Instant::now();
    tokio::spawn(async move {
        for number in 0..MESSAGES {
            if sender.send(message(number, 64, &payload)).await.is_err() {
                return;
            }
        }
    });
    let mut seen = 0;
    while receiver.recv().await.is_some() {
        seen += 1;
    }
    assert_eq!(seen, MESSAGES);
    begun.elapsed()
}

fn report(name: &str, mut took: Vec<Duration>, channel: f64) -> f64 {
    took.sort_unstable();
    let median = took[took.len() / 2].as_secs_f64();
    let rate = MESSAGES as f64 / median;
    let ratio = if channel > 0.0 { channel / rate } else { 1.0 };
    let nanos = median * 1e9 / MESSAGES as f64;
    #[allow(clippy::print_stdout)]
    {
        println!("{name:<44} {rate:>12.0} messages/s {nanos:>8.0} ns each {ratio:>6.2}x");
    }
    rate
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let channel = (0..ROUNDS)
        .map(|_| runtime.block_on(through_a_channel()))
        .collect();
    let channel = report("tokio::sync::mpsc(1024)", channel, 0.0);
    let cases = [
        case("queue, no key, window 64", 0, 64, None),
        case("queue, no key, window 1024", 0, 1024, None),
        case("queue, 64 keys, window 64", 64, 64, None),
        case("queue, 64 keys, window 1024", 64, 1024, None),
        case("queue, 64 keys, window 1024, batches of 100", 64, 1024, Some(100)),
    ];
    for case in cases {
        let mut took = Vec::new();
        for _ in 0..ROUNDS {
            took.push(runtime.block_on(through_the_queue(case))?);
        }
        report(case.name, took, channel);
    }
    Ok(())
}
