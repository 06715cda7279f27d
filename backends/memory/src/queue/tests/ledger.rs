//! Every acknowledged send is handled or in the dead-letter topic, whatever happens to handlers and members.

use std::collections::BTreeSet;

use infra_core::queue::handler_fn;
use infra_core::{Error, ErrorKind};
use tokio::time::sleep;

use super::*;

const MESSAGES: u64 = 10_000;
const KEYS: u64 = 8;

/// What came of every message.
#[derive(Debug, Default)]
struct Ledger {
    /// Numbers by key, in the order of their first handling.
    begun: Mutex<HashMap<u64, Vec<u64>>>,
    begun_set: Mutex<BTreeSet<u64>>,
    /// How often each was acknowledged.
    done: Mutex<HashMap<u64, u32>>,
    /// Keys whose message is being handled now.
    busy: Mutex<BTreeSet<u64>>,
}

/// Frees the key also when the handler is stopped or panics.
struct Busy<'a>(&'a Ledger, u64);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0
            .busy
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.1);
    }
}

impl Ledger {
    fn begin(&self, number: u64) -> Busy<'_> {
        let key = number % KEYS;
        let free = self
            .busy
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key);
        assert!(free, "two messages of key {key} at the same time");
        if self.begun_set.lock().unwrap().insert(number) {
            self.begun.lock().unwrap().entry(key).or_default().push(number);
        }
        Busy(self, key)
    }

    fn done(&self, number: u64) {
        *self.done.lock().unwrap().entry(number).or_default() += 1;
    }
}

/// Answers at random: mostly `Ack`, sometimes an error, a panic, a retry; numbers that end in 999 always fail.
fn moody(ledger: &Arc<Ledger>, random: &Arc<Mutex<fastrand::Rng>>) -> Arc<dyn Handler> {
    let (ledger, random) = (ledger.clone(), random.clone());
    handler_fn(move |delivery| {
        let (ledger, random) = (ledger.clone(), random.clone());
        async move {
            let number = number_of(&delivery);
            let _busy = ledger.begin(number);
            let (mood, pause) = {
                let mut random = random.lock().unwrap_or_else(PoisonError::into_inner);
                (random.u32(0..100), random.u64(0..3))
            };
            sleep(Duration::from_millis(pause)).await;
            if number % 1000 == 999 {
                return Err(Error::new(ErrorKind::Internal, "poison"));
            }
            match mood {
                0..10 => Err(Error::new(ErrorKind::Unavailable, "moody")),
                10 => panic!("very moody"),
                11..13 => Ok(Disposition::Retry {
                    after: Duration::from_millis(5),
                }),
                _ => {
                    ledger.done(number);
                    Ok(Disposition::Ack)
                }
            }
        }
    })
}

async fn run_ledger(seed: u64) {
    println!("seed {seed}");
    let queue = queue_with(|config| config.with_capacity_messages(2000));
    let ledger = Arc::new(Ledger::default());
    let random = Arc::new(Mutex::new(fastrand::Rng::with_seed(seed)));
    let subscription = || {
        Subscription::to(["t"])
            .with_backoff(Duration::from_millis(1), Duration::from_millis(50))
            .with_max_attempts(count(20))
    };
    let first = subscribe(&queue, "g", subscription(), moody(&ledger, &random)).await;
    let sending = tokio::spawn({
        let producer = producer(&queue).await;
        async move {
            for number in 0..MESSAGES {
                let message = numbered("t", &format!("k{}", number % KEYS), number);
                producer.send(message).await.expect("acknowledged");
            }
        }
    });

    // Members come and go, in good order or not, while there is work.
    let mut members = vec![first];
    let mut quick = fastrand::Rng::with_seed(seed ^ 1);
    while !sending.is_finished() {
        sleep(Duration::from_millis(quick.u64(5..60))).await;
        match quick.u32(0..4) {
            0 | 1 if members.len() < 4 => {
                members.push(subscribe(&queue, "g", subscription(), moody(&ledger, &random)).await);
            }
            2 if members.len() > 1 => {
                let leaving = members.swap_remove(quick.usize(0..members.len()));
                leaving.drain(Duration::from_secs(5)).await.expect("in time");
            }
            _ if members.len() > 1 => drop(members.swap_remove(quick.usize(0..members.len()))),
            _ => {}
        }
    }
    sending.await.expect("no panic");
    let letters = Recorder::new();
    let _letters = subscribe(&queue, "letters", Subscription::to(["t.dlq"]), letters.clone()).await;
    let admin = queue.admin().await.expect("open");
    let settled = async {
        loop {
            let lag = admin.consumer_lag("g", "t").await.expect("known");
            if lag.iter().all(|partition| partition.messages == 0) {
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(BOUND, settled).await.is_ok(), "messages are left over");
    letters.reaches(10).await;
    check(&ledger, &letters);
}

fn check(ledger: &Ledger, letters: &Recorder) {
    let mut given_up = letters.numbers();
    given_up.sort_unstable();
    let unique: BTreeSet<u64> = given_up.iter().copied().collect();
    assert_eq!(unique.len(), given_up.len(), "a dead letter came twice");
    let poison: BTreeSet<u64> = (0..10).map(|thousand| thousand * 1000 + 999).collect();
    assert_eq!(unique, poison);
    let done = ledger.done.lock().unwrap().clone();
    for number in 0..MESSAGES {
        assert!(
            done.contains_key(&number) != unique.contains(&number),
            "{number} is lost or counted twice"
        );
    }
    let begun = ledger.begun.lock().unwrap().clone();
    assert_eq!(begun.len() as u64, KEYS);
    for (key, numbers) in begun {
        assert!(
            numbers.is_sorted(),
            "key {key} is out of order among first deliveries"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_while_members_come_and_go() {
    for seed in [1, 2, fastrand::u64(..)] {
        run_ledger(seed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_on_several_threads() {
    run_ledger(fastrand::u64(..)).await;
}

/// Order per key holds among first deliveries although every tenth handling fails.
#[tokio::test(start_paused = true)]
async fn order_holds_under_failing_handlers() {
    let queue = MemoryQueue::new();
    let random = Mutex::new(fastrand::Rng::with_seed(7));
    let recorder = Recorder::answering(move |_| match random.lock().unwrap().u32(0..10) {
        0 => Err(Error::new(ErrorKind::Unavailable, "moody")),
        _ => Ok(Disposition::Ack),
    });
    let subscription = Subscription::to(["t"]).with_max_attempts(count(100));
    let _subscription = subscribe(&queue, "g", subscription, recorder.clone()).await;
    let senders = (0..8_u64).map(|key| {
        let queue = queue.clone();
        tokio::spawn(async move {
            let producer = producer(&queue).await;
            for number in 0..250 {
                let accepted = producer.enqueue(numbered("t", &format!("k{key}"), number)).await;
                accepted.expect("room").await.expect("stored");
            }
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        sender.await.expect("no panic");
    }
    recorder.reaches(2000).await;
    while lag(&queue, "g", "t").await > 0 {
        sleep(Duration::from_millis(10)).await;
    }
    let mut firsts: HashMap<Vec<u8>, Vec<u64>> = HashMap::new();
    for delivery in recorder.all() {
        if delivery.attempt.get() == 1 {
            let key = delivery.message.key.clone().unwrap_or_default().to_vec();
            firsts.entry(key).or_default().push(number_of(&delivery));
        }
    }
    assert_eq!(firsts.len(), 8);
    for (key, numbers) in firsts {
        assert_eq!(numbers, (0..250).collect::<Vec<_>>(), "{key:?}");
    }
    assert!(recorder.all().len() > 2100, "some failed");
}
