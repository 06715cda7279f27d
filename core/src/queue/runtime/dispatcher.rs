//! The task that runs a subscription: its loop, what it starts, and when it ends.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::ConsumerRuntime;
use super::control::{Ended, Wish};
use super::intake::Intake;
use super::lanes::{Held, Lanes, Place};
use super::metrics::TopicMetrics;
use super::rebalance::Revoking;
use super::settler::Settler;
use super::source::{DeliverySource, Received, Redelivery, TopicPartition};
use super::work::{Outcome, Work, perform};
use crate::ErrorKind;
use crate::error::Result;
use crate::queue::{Delivery, Subscription};
use crate::telemetry::Meter;

/// Longer than any subscription lives; keeps a time that a caller made up from overflowing the clock.
const LONGEST_WAIT: Duration = Duration::from_secs(366 * 24 * 3600);

/// How long stopped handlers, last settlements and the farewell to the broker may take beyond a deadline.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// Messages that wait here for their next attempt, as a multiple of the window; fetching pauses at this bound.
const WAITING_FACTOR: usize = 16;

/// What a task came back with.
#[derive(Debug)]
pub(super) enum Finished {
    Handled(Vec<Outcome>),
    /// Whether the dead letter is stored.
    Stored(bool),
}

/// What a task works on; kept here because a task that panics or is stopped gives nothing back.
#[derive(Debug)]
pub(super) enum Job {
    Handling {
        deliveries: Arc<Vec<Delivery>>,
        held: Vec<Ticket>,
        started: Instant,
    },
    Storing(Box<Held>),
}

/// What is needed of a message besides its delivery.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    pub(super) tag: super::DeliveryTag,
    pub(super) topic: usize,
}

#[derive(Debug)]
pub(super) struct Running {
    pub(super) job: Job,
    pub(super) abort: AbortHandle,
}

#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: Arc<str>,
    pub(super) metrics: TopicMetrics,
}

/// The state of a subscription; owned by its task alone.
#[derive(Debug)]
pub(super) struct Dispatcher {
    group: Arc<str>,
    pub(super) subscription: Subscription,
    meter: Arc<dyn Meter>,
    pub(super) source: Arc<dyn DeliverySource>,
    pub(super) redelivery: Redelivery,
    work: Work,
    wishes: watch::Receiver<Wish>,
    /// Nobody holds the subscription any more.
    deserted: bool,
    shown_in_flight: Arc<AtomicUsize>,

    pub(super) topics: Vec<Topic>,
    max_in_flight: usize,
    pub(super) lanes: Lanes,
    /// Messages that wait here for their next attempt, by when it is due; the number tells equal times apart.
    pub(super) waiting: BTreeMap<(Instant, u64), Held>,
    pub(super) waited: u64,
    pub(super) tasks: JoinSet<Finished>,
    pub(super) running: HashMap<Id, Running>,
    /// Messages in handlers, and in tasks of any kind.
    pub(super) handling: usize,
    pub(super) in_tasks: usize,
    /// When a batch that is not full is handled all the same.
    batch_due: Option<Instant>,
    pub(super) settler: Settler,
    pub(super) revoking: Vec<Revoking>,
    pub(super) paused: HashSet<Place>,

    /// When handlers that still run are stopped; `Some` once the subscription is to end.
    pub(super) stop_by: Option<Instant>,
    /// How many handlers were stopped; `Some` once they were.
    stopped: Option<usize>,
}

impl Dispatcher {
    pub(super) fn new(
        runtime: ConsumerRuntime,
        source: Arc<dyn DeliverySource>,
        work: Work,
        wishes: watch::Receiver<Wish>,
        shown_in_flight: Arc<AtomicUsize>,
    ) -> Self {
        let max_in_flight = runtime.subscription.max_in_flight;
        source.set_window(max_in_flight);
        Self {
            group: runtime.group,
            subscription: runtime.subscription,
            meter: runtime.meter,
            redelivery: source.traits().redelivery,
            settler: Settler::new(source.clone()),
            source,
            work,
            wishes,
            deserted: false,
            shown_in_flight,
            topics: Vec::new(),
            max_in_flight: as_count(max_in_flight),
            lanes: Lanes::default(),
            waiting: BTreeMap::new(),
            waited: 0,
            tasks: JoinSet::new(),
            running: HashMap::new(),
            handling: 0,
            in_tasks: 0,
            batch_due: None,
            revoking: Vec::new(),
            paused: HashSet::new(),
            stop_by: None,
            stopped: None,
        }
    }

    /// Works until the subscription is to end and nothing is left, then leaves the group.
    pub(super) async fn run(mut self) -> Ended {
        let mut intake = Intake::new(self.source.clone());
        let announcer = self.source.clone();
        let mut revocation = announcer.revocation();
        loop {
            let now = Instant::now();
            self.step(now);
            if self.is_over(now) {
                break;
            }
            intake.want(self.room().min(self.share()));
            let alarm = self.next_alarm();
            tokio::select! {
                biased;
                changed = self.wishes.changed(), if !self.deserted => self.wish(changed.is_ok()),
                notice = &mut revocation => {
                    self.revoke(notice);
                    revocation = announcer.revocation();
                }
                Some(joined) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => {
                    self.joined(joined);
                    while let Some(joined) = self.tasks.try_join_next_with_id() {
                        self.joined(joined);
                    }
                }
                () = self.settler.told(), if self.settler.is_busy() => {}
                () = sleep_until(alarm.unwrap_or(now)), if alarm.is_some() => {}
                received = intake.next(), if intake.is_open() => self.received(received),
            }
        }
        drop(intake);
        drop(revocation);
        self.leave().await
    }

    /// Everything that follows from the state and the time alone.
    fn step(&mut self, now: Instant) {
        while let Some(entry) = self.waiting.first_entry()
            && entry.key().0 <= now
        {
            self.lanes.push_front(entry.remove());
        }
        if self.stop_by.is_some_and(|deadline| deadline <= now) && self.stopped.is_none() {
            self.stopped = Some(self.handling);
            self.tasks.abort_all();
        }
        self.dispatch(now);
        self.advance_revocations(now);
        self.resume_partitions();
        if self.stop_by.is_some() {
            self.settler.hurry(now);
        }
        self.settler.begin(now);
        let in_flight = self.held() + self.waiting.len();
        self.shown_in_flight.store(in_flight, Ordering::Relaxed);
    }

    /// Messages that count against the window.
    fn held(&self) -> usize {
        self.lanes.len() + self.in_tasks
    }

    /// How many messages there is room for.
    fn room(&self) -> usize {
        let waiting_bound = self.max_in_flight.saturating_mul(WAITING_FACTOR);
        if self.stop_by.is_some() || self.waiting.len() >= waiting_bound {
            return 0;
        }
        self.max_in_flight.saturating_sub(self.held())
    }

    fn is_over(&self, now: Instant) -> bool {
        let Some(deadline) = self.stop_by else {
            return false;
        };
        (self.tasks.is_empty() && self.settler.is_idle()) || deadline + GRACE <= now
    }

    fn next_alarm(&self) -> Option<Instant> {
        let waiting = self.waiting.first_key_value().map(|((due, _), _)| *due);
        let stop = self.stop_by.map(|deadline| match self.stopped {
            None => deadline,
            Some(_) => deadline + GRACE,
        });
        let revoking = self.revoking.iter().map(Revoking::alarm).min();
        [waiting, stop, revoking, self.batch_due, self.settler.due()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Starts handlers for as many messages as may be handled now.
    fn dispatch(&mut self, now: Instant) {
        loop {
            let free = self.max_in_flight.saturating_sub(self.handling);
            let Some(size) = self.portion(free, now) else {
                return;
            };
            let taken = self.lanes.take(size);
            if taken.is_empty() {
                return;
            }
            self.handle(taken, now);
        }
    }

    /// How many messages the next handler gets; `None` when it has to wait.
    fn portion(&mut self, free: usize, now: Instant) -> Option<usize> {
        if free == 0 {
            return None;
        }
        let Work::Batch {
            max_batch, max_wait, ..
        } = self.work
        else {
            return Some(1);
        };
        if !self.lanes.can_take(1) {
            self.batch_due = None;
            return None;
        }
        let full = as_count(max_batch).min(self.max_in_flight);
        let due = *self.batch_due.get_or_insert(now + max_wait.min(LONGEST_WAIT));
        if self.lanes.can_take(full) || self.room() == 0 || due <= now {
            self.batch_due = None;
            return Some(full.min(free));
        }
        None
    }

    fn handle(&mut self, taken: Vec<Held>, now: Instant) {
        let count = taken.len();
        let mut deliveries = Vec::with_capacity(count);
        let mut held = Vec::with_capacity(count);
        for message in taken {
            held.push(Ticket {
                tag: message.tag,
                topic: message.topic,
            });
            deliveries.push(message.delivery);
        }
        let deliveries = Arc::new(deliveries);
        let work = perform(
            self.work.clone(),
            deliveries.clone(),
            self.subscription.handler_timeout,
        );
        self.handling += count;
        self.in_tasks += count;
        let job = Job::Handling {
            deliveries,
            held,
            started: now,
        };
        self.spawn(job, async move { Finished::Handled(work.await) });
    }

    pub(super) fn spawn(&mut self, job: Job, work: impl Future<Output = Finished> + Send + 'static) {
        let abort = self.tasks.spawn(work);
        self.running.insert(abort.id(), Running { job, abort });
    }

    fn received(&mut self, received: Result<Vec<Received>>) {
        match received {
            Ok(messages) => messages.into_iter().for_each(|message| self.take_in(message)),
            Err(error) if error.kind() == ErrorKind::Closed => {
                tracing::debug!(group = %self.group, "the queue was closed; the subscription ends");
                self.begin_drain(Instant::now() + self.subscription.handler_timeout.min(LONGEST_WAIT));
            }
            Err(error) => {
                tracing::warn!(%error, group = %self.group, "cannot receive messages; trying again");
            }
        }
    }

    fn take_in(&mut self, received: Received) {
        let topic = self.topic(&received.delivery.message.topic);
        let held = Held {
            delivery: received.delivery,
            tag: received.tag,
            topic,
        };
        self.settler.delivered(&held);
        self.topics[topic].metrics.held(1);
        let attempt = held.delivery.attempt;
        if self.stop_by.is_some() {
            self.give_back(&held);
        } else if attempt > self.subscription.max_attempts {
            // Whoever had it never answered: it may be what kills its consumers.
            let reason = format!("delivered {attempt} times and never settled");
            self.dead_letter(held, &reason);
        } else {
            let place = held.place();
            self.lanes.push(held);
            self.pause_partition(place);
        }
    }

    /// The number of a topic in the table.
    pub(super) fn topic(&mut self, name: &str) -> usize {
        if let Some(known) = self.topics.iter().position(|topic| &*topic.name == name) {
            return known;
        }
        self.topics.push(Topic {
            name: name.into(),
            metrics: TopicMetrics::new(self.meter.as_ref(), name, &self.group),
        });
        self.topics.len() - 1
    }

    /// Messages of one busy key must not fill the window: when a share of it waits, their partition pauses.
    fn pause_partition(&mut self, place: Option<Place>) {
        let Some(place) = place else { return };
        if self.lanes.queued_at(place) >= self.share() && self.paused.insert(place) {
            self.source.pause(&[self.name(place)]);
        }
    }

    fn resume_partitions(&mut self) {
        if self.paused.is_empty() {
            return;
        }
        let (share, lanes) = (self.share(), &self.lanes);
        let resumed: Vec<_> = self
            .paused
            .iter()
            .copied()
            .filter(|place| lanes.queued_at(*place) <= share / 2)
            .collect();
        for place in resumed {
            self.paused.remove(&place);
            self.source.resume(&[self.name(place)]);
        }
    }

    /// A quarter of the window, or a batch: the most that is fetched at a time, and what may wait of one partition. Both
    /// together keep one partition to half of the window.
    fn share(&self) -> usize {
        let batch = match self.work {
            Work::Each(_) => 1,
            Work::Batch { max_batch, .. } => as_count(max_batch),
        };
        (self.max_in_flight / 4).max(batch)
    }

    fn name(&self, place: Place) -> TopicPartition {
        TopicPartition::new(self.topics[place.topic].name.clone(), place.partition)
    }

    fn wish(&mut self, held: bool) {
        if !held {
            self.deserted = true;
            // A drain that was asked for goes on; otherwise nobody cares any more.
            if self.stop_by.is_none() {
                self.begin_drain(Instant::now());
            }
            return;
        }
        let wish = *self.wishes.borrow_and_update();
        let max_in_flight = as_count(wish.max_in_flight);
        if max_in_flight != self.max_in_flight {
            self.max_in_flight = max_in_flight;
            self.source.set_window(wish.max_in_flight);
        }
        if let Some(deadline) = wish.stop_by {
            self.begin_drain(deadline);
        }
    }

    /// Ends the subscription: what no handler has yet goes back, handlers may go on until the deadline.
    fn begin_drain(&mut self, deadline: Instant) {
        self.stop_by = Some(self.stop_by.map_or(deadline, |earlier| earlier.min(deadline)));
        let mut back = self.lanes.remove(|_| true);
        back.extend(std::mem::take(&mut self.waiting).into_values());
        back.iter().for_each(|held| self.give_back(held));
    }

    async fn leave(mut self) -> Ended {
        self.tasks.abort_all();
        match timeout(GRACE, self.source.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(%error, group = %self.group, "leaving the consumer group failed")
            }
            Err(_) => {
                tracing::warn!(group = %self.group, "leaving the consumer group took longer than {GRACE:?}")
            }
        }
        self.shown_in_flight.store(0, Ordering::Relaxed);
        Ended {
            stopped: self.stopped.unwrap_or(0),
        }
    }
}

fn as_count(number: NonZeroU32) -> usize {
    usize::try_from(number.get()).unwrap_or(usize::MAX)
}
