//! A scripted broker with partitions and positions, as a driver would present one.

use std::collections::HashMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use infra_core::queue::runtime::{
    DeliverySource, DeliveryTag, Received, Revocation, Settlement, SourceTraits, TopicPartition,
};
use infra_core::queue::{Delivery, Message};
use infra_core::{Error, ErrorKind, Result, async_trait};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

pub(crate) const TOPIC: &str = "t";

#[derive(Debug, Default)]
pub(crate) struct State {
    partitions: Vec<Vec<Message>>,
    next: Vec<usize>,
    pub(crate) committed: HashMap<u32, u64>,
    /// Every stored position, in order.
    pub(crate) commits: Vec<(u32, u64)>,
    pub(crate) letters: Vec<Message>,
    pub(crate) paused: Vec<u32>,
    pub(crate) resumed: Vec<u32>,
    pub(crate) window: u32,
    away: bool,
    closed: bool,
    pub(crate) left: bool,
    pub(crate) failures: usize,
}

#[derive(Debug)]
pub(crate) struct Log {
    state: Mutex<State>,
    wake: Notify,
    revoke: mpsc::Sender<Revocation>,
    revocations: tokio::sync::Mutex<mpsc::Receiver<Revocation>>,
}

impl Log {
    pub(crate) fn new(partitions: usize) -> Arc<Self> {
        let (revoke, revocations) = mpsc::channel(8);
        Arc::new(Self {
            state: Mutex::new(State {
                partitions: vec![Vec::new(); partitions],
                next: vec![0; partitions],
                ..State::default()
            }),
            wake: Notify::new(),
            revoke,
            revocations: tokio::sync::Mutex::new(revocations),
        })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn add(&self, partition: usize, key: &'static str, payload: impl Into<String>) {
        let message = Message::new(TOPIC, payload.into()).with_key(key);
        self.state().partitions[partition].push(message);
        self.wake.notify_one();
    }

    pub(crate) fn committed(&self, partition: u32) -> Option<u64> {
        self.state().committed.get(&partition).copied()
    }

    pub(crate) fn go_away(&self) {
        self.state().away = true;
    }

    pub(crate) fn come_back(&self) {
        self.state().away = false;
        self.wake.notify_one();
    }

    pub(crate) fn close_it(&self) {
        self.state().closed = true;
        self.wake.notify_one();
    }

    /// Takes a partition away; the receiver is told when the runtime has let go of it.
    pub(crate) async fn revoke(
        &self,
        partition: u32,
        within: Duration,
    ) -> tokio::sync::oneshot::Receiver<Instant> {
        let (done, when) = tokio::sync::oneshot::channel();
        let partitions = vec![TopicPartition::new(TOPIC, partition)];
        // Nothing of it is handed out from now on.
        self.state().paused.push(partition);
        let revocation = Revocation::new(partitions, Instant::now() + within, move || {
            done.send(Instant::now()).ok();
        });
        self.revoke.send(revocation).await.expect("the runtime listens");
        when
    }

    fn check(&self) -> Result<()> {
        let mut state = self.state();
        if state.closed {
            return Err(Error::closed("the log"));
        }
        if state.away {
            state.failures += 1;
            return Err(Error::new(ErrorKind::Unavailable, "away"));
        }
        Ok(())
    }

    fn next(&self, max: usize) -> Vec<Received> {
        let mut state = self.state();
        let State {
            partitions,
            next,
            paused,
            ..
        } = &mut *state;
        let mut received = Vec::new();
        for (partition, messages) in (0_u32..).zip(partitions.iter()) {
            let at = &mut next[partition as usize];
            while received.len() < max && *at < messages.len() && !paused.contains(&partition) {
                let delivery = Delivery::new(messages[*at].clone(), "g").with_position(partition, *at as u64);
                received.push(Received::new(delivery, DeliveryTag(0)));
                *at += 1;
            }
        }
        received
    }
}

#[async_trait]
impl DeliverySource for Log {
    fn traits(&self) -> SourceTraits {
        SourceTraits::log(Duration::from_secs(1))
    }

    async fn receive(&self, max: NonZeroUsize) -> Result<Vec<Received>> {
        loop {
            self.check()?;
            let received = self.next(max.get());
            if !received.is_empty() {
                return Ok(received);
            }
            self.wake.notified().await;
        }
    }

    async fn revocation(&self) -> Revocation {
        let revoked = self.revocations.lock().await.recv().await;
        match revoked {
            Some(revocation) => revocation,
            None => std::future::pending().await,
        }
    }

    async fn settle(&self, settlement: Settlement<'_>) -> Result<()> {
        self.check()?;
        let Settlement::Log(positions) = settlement else {
            panic!("a log is settled by positions");
        };
        let mut state = self.state();
        for position in positions {
            let partition = position.partition.partition;
            state.commits.push((partition, position.next_offset));
            state.committed.insert(partition, position.next_offset);
        }
        Ok(())
    }

    async fn dead_letter(&self, _: DeliveryTag, letter: Message) -> Result<()> {
        self.check()?;
        self.state().letters.push(letter);
        Ok(())
    }

    fn pause(&self, partitions: &[TopicPartition]) {
        let paused = partitions.iter().map(|partition| partition.partition);
        self.state().paused.extend(paused);
    }

    fn resume(&self, partitions: &[TopicPartition]) {
        let mut state = self.state();
        for partition in partitions {
            state.paused.retain(|paused| *paused != partition.partition);
            state.resumed.push(partition.partition);
        }
        drop(state);
        self.wake.notify_one();
    }

    fn set_window(&self, messages: NonZeroU32) {
        self.state().window = messages.get();
    }

    async fn close(&self) -> Result<()> {
        self.state().left = true;
        Ok(())
    }
}
