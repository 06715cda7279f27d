//! The queue against a ledger: a schedule of sending, answering, coming, going and crashing, after which nothing may be missing.

mod ledger;
mod steps;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use infra_core::capability::Capability;
use infra_core::queue::{
    Consumer, Message, MessageQueue, Producer, Subscription, SubscriptionHandle, TopicAdmin, TopicSpec,
};
use infra_core::{ErrorKind, Result};
use proptest::collection::vec;

use self::ledger::{Ledger, Letters};
use self::steps::{MOST_ATTEMPTS, Step, step};
use super::explore::{ModelOptions, explore};
use crate::check;
use crate::conformance::{Failure, Outcome, TimeControl};
use crate::time::{advance, eventually};

/// No more members than this at the same time.
const MOST_MEMBERS: usize = 3;

/// The queue: order per key, at least once, attempts, dead letters, and offsets that are committed only after an acknowledgement, while
/// members of the group join, leave and crash.
///
/// Where nobody joins, leaves or crashes while there is work, every message must end exactly as its handler's answers say, once.
///
/// # Errors
/// A [`Failure`] with the shortest schedule on which a promise is broken.
pub async fn queue(
    queue: Arc<dyn MessageQueue>,
    namespace: &str,
    time: TimeControl,
    options: ModelOptions,
) -> Outcome {
    let schedules = vec(step(), 1..=options.steps.max(1));
    let clock = Clock::of(time);
    explore("queue", options, schedules, |number, steps| {
        let (queue, topic) = (queue.clone(), format!("{namespace}.{number}"));
        async move {
            let mut play = Play::begin(&*queue, topic, clock).await?;
            let outcome = play.run(&*queue, steps).await;
            play.clean_up().await?;
            outcome
        }
    })
    .await
}

#[derive(Debug, Clone, Copy)]
struct Clock {
    time: TimeControl,
    unit: Duration,
    /// How long everything may take until it is settled.
    bound: Duration,
}

impl Clock {
    fn of(time: TimeControl) -> Self {
        let (unit, bound) = match time {
            TimeControl::Virtual => (Duration::from_millis(10), Duration::from_secs(3600)),
            TimeControl::Real => (Duration::from_millis(20), Duration::from_secs(60)),
        };
        Self { time, unit, bound }
    }

    async fn pass(self, duration: Duration) {
        match self.time {
            TimeControl::Virtual => advance(duration).await,
            TimeControl::Real => tokio::time::sleep(duration).await,
        }
    }
}

struct Play {
    topic: String,
    clock: Clock,
    producer: Arc<dyn Producer>,
    admin: Arc<dyn TopicAdmin>,
    ledger: Arc<Ledger>,
    members: Vec<SubscriptionHandle>,
    /// Whether anything happened after which a message may be delivered again although it was acknowledged.
    disturbed: bool,
}

impl Play {
    async fn begin(queue: &dyn MessageQueue, topic: String, clock: Clock) -> Result<Self> {
        let admin = queue.admin().await?;
        let partitions = NonZeroU32::MIN.saturating_add(2);
        let spec = TopicSpec::new(&topic).with_partitions(partitions);
        match admin.create_topic(spec).await {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let producer = queue.producer().await?;
        let ordered = producer.capabilities().has(Capability::PerKeyOrder);
        Ok(Self {
            topic,
            clock,
            producer,
            admin,
            ledger: Arc::new(Ledger::new(clock.unit, ordered)),
            members: Vec::new(),
            disturbed: false,
        })
    }

    async fn run(&mut self, queue: &dyn MessageQueue, steps: Vec<Step>) -> Outcome {
        let consumer = queue.consumer("workers").await?;
        self.join(&*consumer).await?;
        for step in steps {
            match step {
                Step::Send(key, answers) => {
                    let number = self.ledger.expect(key, answers);
                    let payload = number.to_string();
                    let message = Message::new(&self.topic, payload).with_key(key.to_owned());
                    self.producer.send(message).await?;
                    self.ledger.accepted(number);
                }
                Step::Wait(units) => self.clock.pass(self.clock.unit * u32::from(units)).await,
                Step::Join if self.members.len() < MOST_MEMBERS => self.join(&*consumer).await?,
                Step::Leave if self.members.len() > 1 => {
                    self.disturb();
                    let leaving = self.members.remove(0);
                    leaving.drain(self.clock.unit * 100).await?;
                }
                Step::Crash if self.members.len() > 1 => {
                    self.disturb();
                    drop(self.members.remove(0));
                }
                Step::Join | Step::Leave | Step::Crash => {}
            }
            self.look().await?;
        }
        self.finish(queue).await
    }

    async fn join(&mut self, consumer: &dyn Consumer) -> Outcome {
        if !self.members.is_empty() {
            self.disturb();
        }
        let subscription = Subscription::to([self.topic.as_str()])
            .with_backoff(self.clock.unit, self.clock.unit * 4)
            .with_max_attempts(MOST_ATTEMPTS);
        let handler = self.ledger.clone();
        let member = consumer.subscribe(subscription, handler).await?;
        self.members.push(member);
        Ok(())
    }

    fn disturb(&mut self) {
        self.disturbed |= self.ledger.unsettled() > 0;
    }

    /// What must hold at any moment.
    async fn look(&self) -> Outcome {
        self.ledger.check()?;
        // Counted before, since more may be settled meanwhile.
        let lag = self.lag().await?;
        let unsettled = self.ledger.unsettled() as u64;
        check!(
            lag >= unsettled,
            "the group has committed too much: {unsettled} messages are not settled, and its lag is {lag}"
        );
        Ok(())
    }

    async fn lag(&self) -> Result<u64> {
        let lag = self.admin.consumer_lag("workers", &self.topic).await?;
        Ok(lag.iter().map(|partition| partition.messages).sum())
    }

    async fn finish(&mut self, queue: &dyn MessageQueue) -> Outcome {
        let settled = eventually(self.clock.bound, async || matches!(self.lag().await, Ok(0))).await;
        check!(
            settled,
            "not settled within {:?}: the lag is {:?}; {}",
            self.clock.bound,
            self.lag().await,
            self.ledger.unfinished()
        );
        self.ledger.check()?;
        let letters = Arc::new(Letters::default());
        let wanted = self.ledger.not_acknowledged();
        if !wanted.is_empty() {
            let topic = format!("{}.dlq", self.topic);
            let consumer = queue.consumer("letters").await?;
            let reading = consumer
                .subscribe(Subscription::to([topic.as_str()]), letters.clone())
                .await?;
            let all = eventually(self.clock.unit * 500, async || letters.hold(&wanted)).await;
            reading.drain(self.clock.bound).await?;
            check!(
                all,
                "{wanted:?} were neither acknowledged nor dead-lettered; the letters are {:?}",
                letters.numbers()
            );
        }
        self.ledger.check_end(&letters.numbers(), self.disturbed)
    }

    async fn clean_up(self) -> Result<(), Failure> {
        for member in self.members {
            member.drain(self.clock.bound).await?;
        }
        self.admin.delete_topic(&self.topic).await?;
        self.admin.delete_topic(&format!("{}.dlq", self.topic)).await?;
        Ok(())
    }
}
