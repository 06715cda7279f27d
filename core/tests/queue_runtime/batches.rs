//! Batch handlers.

use infra_core::queue::BatchHandler;
use infra_core::{Result, async_trait};

use super::*;

/// Remembers the batches; answers for each message by its payload, or not at all.
#[derive(Debug, Default)]
struct Batches(Mutex<Vec<Vec<String>>>);

impl Batches {
    fn all(&self) -> Vec<Vec<String>> {
        self.0.lock().unwrap().clone()
    }
}

#[async_trait]
impl BatchHandler for Batches {
    async fn handle_batch(&self, deliveries: &[Delivery]) -> Result<Vec<Disposition>> {
        let payloads: Vec<String> = deliveries.iter().map(payload).collect();
        self.0.lock().unwrap().push(payloads.clone());
        if payloads.iter().any(|payload| payload == "silent") && deliveries[0].attempt.get() == 1 {
            return Ok(Vec::new());
        }
        let answer = |payload: &String| match payload.as_str() {
            "condemned" => Disposition::DeadLetter {
                reason: "as told".to_owned(),
            },
            _ => Disposition::Ack,
        };
        Ok(payloads.iter().map(answer).collect())
    }
}

fn start_batches(
    log: &Arc<Log>,
    batches: &Arc<Batches>,
    max: u32,
    max_wait: Duration,
) -> Arc<RunningSubscription> {
    let work = Work::Batch {
        handler: batches.clone(),
        max_batch: count(max),
        max_wait,
    };
    let subscription = Subscription::to([log::TOPIC]).with_backoff(SECOND / 10, SECOND);
    ConsumerRuntime::new("g", subscription).start(log.clone(), work)
}

#[tokio::test(start_paused = true)]
async fn a_batch_fills_or_waits_no_longer_than_it_may() {
    let log = Log::new(1);
    let batches = Arc::new(Batches::default());
    let _running = start_batches(&log, &batches, 4, SECOND * 2);
    for number in 0..6 {
        log.add(0, "a", number.to_string());
    }
    sleep(SECOND).await;
    assert_eq!(batches.all(), [["0", "1", "2", "3"]]);
    sleep(SECOND * 2).await;
    assert_eq!(batches.all()[1..], [["4", "5"]], "in the order of the key");
    sleep(SECOND * 2).await;
    assert_eq!(log.committed(0), Some(6));
}

#[tokio::test(start_paused = true)]
async fn each_message_has_its_own_answer() {
    let log = Log::new(1);
    let batches = Arc::new(Batches::default());
    let _running = start_batches(&log, &batches, 3, SECOND);
    for payload in ["good", "condemned", "fine"] {
        log.add(0, "a", payload);
    }
    sleep(SECOND * 5).await;
    assert_eq!(batches.all().len(), 1);
    assert_eq!(log.state().letters.len(), 1);
    assert_eq!(log.committed(0), Some(3));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_number_of_answers_repeats_the_batch() {
    let log = Log::new(1);
    let batches = Arc::new(Batches::default());
    let _running = start_batches(&log, &batches, 2, SECOND);
    log.add(0, "a", "silent");
    log.add(0, "b", "other");
    sleep(SECOND * 10).await;
    let mut again: Vec<String> = batches.all()[1..].concat();
    again.sort_unstable();
    assert_eq!(again, ["other", "silent"]);
    assert_eq!(log.committed(0), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_window_smaller_than_a_batch_does_not_wait_for_more_than_it_can_hold() {
    let log = Log::new(1);
    let batches = Arc::new(Batches::default());
    let running = start_batches(&log, &batches, 100, SECOND * 3600);
    infra_core::queue::SubscriptionKeeper::set_max_in_flight(&*running, count(5));
    for number in 0..10 {
        log.add(0, "a", number.to_string());
    }
    sleep(SECOND * 5).await;
    assert_eq!(batches.all().concat().len(), 10);
}
