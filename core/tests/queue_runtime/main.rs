//! The consumer runtime over a scripted log: what a driver for a broker with partitions can rely on.

// Helpers of integration tests do not count as tests for clippy.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod batches;
mod commits;
mod log;
mod metrics;
mod trouble;

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use infra_core::queue::runtime::{ConsumerRuntime, RunningSubscription, Work};
use infra_core::queue::{Delivery, Disposition, Handler, Subscription, handler_fn};
use tokio::time::sleep;

use log::Log;

const SECOND: Duration = Duration::from_secs(1);

fn count(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("not zero")
}

fn start(log: &Arc<Log>, subscription: Subscription, handler: Arc<dyn Handler>) -> Arc<RunningSubscription> {
    ConsumerRuntime::new("g", subscription).start(log.clone(), Work::Each(handler))
}

fn payload(delivery: &Delivery) -> String {
    String::from_utf8(delivery.message.payload.to_vec()).expect("text")
}

/// Payloads in the order in which they were handled.
#[derive(Debug, Clone, Default)]
struct Seen(Arc<Mutex<Vec<(String, u32)>>>);

impl Seen {
    fn note(&self, delivery: &Delivery) {
        self.0
            .lock()
            .unwrap()
            .push((payload(delivery), delivery.attempt.get()));
    }

    fn all(&self) -> Vec<(String, u32)> {
        self.0.lock().unwrap().clone()
    }

    fn payloads(&self) -> Vec<String> {
        self.all().into_iter().map(|(payload, _)| payload).collect()
    }
}

/// Notes every message; one that is called `slow:<seconds>` takes so long, one that is called `bad…` fails.
fn obedient(seen: &Seen) -> Arc<dyn Handler> {
    let seen = seen.clone();
    handler_fn(move |delivery| {
        let seen = seen.clone();
        async move {
            let payload = payload(&delivery);
            if let Some(seconds) = payload.strip_prefix("slow:") {
                sleep(Duration::from_secs(seconds.parse().expect("a number"))).await;
            }
            seen.note(&delivery);
            if payload.starts_with("bad") {
                return Err(infra_core::Error::new(infra_core::ErrorKind::Internal, "as told"));
            }
            Ok(Disposition::Ack)
        }
    })
}
