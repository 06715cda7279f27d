//! Locks by a line of keys: each attempt makes a key of its own in the lock's folder, and who made the oldest one holds it.

use std::time::Duration;

use infra_core::coordination::{FencingToken, LockGuard, LockOptions, Locks};
use infra_core::{Error, ErrorKind, Result, async_trait};
use tokio::time::Instant;

use crate::BACKEND;
use crate::coordinator::ConsulCoordinator;
use crate::held::{Held, Kept, Made, unique};
use crate::kv::{self, Pair, Range};

/// The pause before an attempt is repeated that was disturbed.
const PAUSE: Duration = Duration::from_millis(100);

fn at(operation: &'static str) -> impl Fn(Error) -> Error {
    move |error| error.at("locks", BACKEND, operation)
}

#[async_trait]
impl Locks for ConsulCoordinator {
    async fn acquire(&self, key: &str, options: LockOptions) -> Result<LockGuard> {
        let acquire = async {
            self.check_lock(key, options.ttl)?;
            let began = Instant::now();
            let waiting = self.acquire_in_turn(key, options.ttl);
            tokio::select! {
                biased;
                () = self.client.closed().cancelled() => Err(Error::closed("the client of Consul")),
                granted = tokio::time::timeout(options.wait, waiting) => granted.unwrap_or_else(|_| {
                    Err(Error::new(
                        ErrorKind::Timeout,
                        format!(
                            "lock {key:?} was still held by somebody else after {:?}; wait longer, or find out who holds it",
                            began.elapsed()
                        ),
                    )
                    .without_effect())
                }),
            }
        };
        acquire.await.map_err(at("acquire"))
    }

    async fn try_acquire(&self, key: &str, ttl: Duration) -> Result<Option<LockGuard>> {
        let acquire = async {
            self.check_lock(key, ttl)?;
            let place = self.stand(key, ttl).await?;
            if before(&place.read, place.made).is_none() {
                return Ok(Some(granted(key, place)));
            }
            // Whether it is known to be gone makes no difference to the answer; otherwise it goes in the background.
            if let Err(error) = place.lease.release().await {
                tracing::debug!(%error, lock = key, "a place in a line is given up");
            }
            Ok(None)
        };
        acquire.await.map_err(at("try_acquire"))
    }
}

/// The lock is ours; the change that made its key is its fencing token.
fn granted(key: &str, place: Kept) -> LockGuard {
    LockGuard::new(key, FencingToken(place.made), place.lease)
}

/// Who stands right before the key that was made by this change.
fn before(line: &[Pair], made: u64) -> Option<&Pair> {
    let earlier = line.iter().filter(|pair| pair.create_index < made);
    earlier.max_by_key(|pair| pair.create_index)
}

impl ConsulCoordinator {
    fn check_lock(&self, key: &str, ttl: Duration) -> Result<()> {
        self.client.check_open()?;
        self.limits().check_key("lock key", key)?;
        self.limits().check_ttl(ttl)
    }

    /// A place at the end of the line, with what stands in it.
    async fn stand(&self, key: &str, ttl: Duration) -> Result<Kept> {
        let folder = self.client.keys().lock(key);
        let place = format!("{folder}{}", unique());
        match Held::stand(&self.client, &self.sessions, ttl, &place, None, Some(&folder)).await? {
            Made::Kept(place) => Ok(place),
            Made::Taken => Err(Error::new(
                ErrorKind::Internal,
                "two attempts chose the same name by chance; acquire again",
            )
            .without_effect()),
        }
    }

    async fn acquire_in_turn(&self, key: &str, ttl: Duration) -> Result<LockGuard> {
        loop {
            let place = self.stand(key, ttl).await?;
            let lost = place.lease.lost_token();
            tokio::select! {
                biased;
                () = lost.cancelled() => {
                    tracing::debug!(lock = key, "the place in the line was lost; standing in line again");
                }
                turn = self.turn(key, &place) => {
                    if turn? {
                        return Ok(granted(key, place));
                    }
                }
            }
        }
    }

    /// Waits until nobody stands before this place; `false` when the place itself is gone.
    async fn turn(&self, key: &str, place: &Kept) -> Result<bool> {
        let folder = Range::Prefix(self.client.keys().lock(key));
        let mut next = before(&place.read, place.made).cloned();
        while let Some(pair) = next {
            self.gone(key, &pair.key).await;
            let (line, _) = loop {
                match kv::read(&self.client, &folder.request()).await {
                    Ok(line) => break line,
                    Err(error) if error.may_pass() => self.disturbed(key, &error).await,
                    Err(error) => return Err(error),
                }
            };
            if line.iter().all(|pair| pair.create_index != place.made) {
                return Ok(false);
            }
            next = before(&line, place.made).cloned();
        }
        Ok(true)
    }

    /// Waits until a key is gone, or something disturbs the waiting.
    async fn gone(&self, lock: &str, key: &str) {
        let (range, mut index) = (Range::Key(key.to_owned()), 0);
        loop {
            let request = range.request().blocking(index, self.client.config().watch_wait);
            match kv::read(&self.client, &request).await {
                Ok((pairs, _)) if pairs.is_empty() => return,
                // An index that goes back is of another life of the server.
                Ok((_, now)) => index = if now < index { 0 } else { now },
                Err(error) => return self.disturbed(lock, &error).await,
            }
        }
    }

    async fn disturbed(&self, lock: &str, error: &Error) {
        tracing::debug!(%error, lock, "waiting for a lock was disturbed; looking again");
        tokio::time::sleep(PAUSE.mul_f64(1.0 + fastrand::f64())).await;
    }
}
