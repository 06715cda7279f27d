//! Locks by the recipe of etcd's own clients: who made the oldest key of a lock's folder holds it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use etcd_client::{
    Compare, CompareOp, EventType, GetOptions, SortOrder, SortTarget, Txn, TxnOp, TxnOpResponse, TxnResponse,
    WatchOptions,
};
use infra_core::coordination::{FencingToken, LockGuard, LockOptions, Locks};
use infra_core::lease::Lease;
use infra_core::{Error, ErrorKind, Result, async_trait};
use tokio::time::Instant;

use crate::BACKEND;
use crate::coordinator::EtcdCoordinator;
use crate::held::{Held, Keeper};
use crate::watching;

/// The pause after an interruption of the wait for a lock.
const PAUSE: Duration = Duration::from_millis(200);

/// How long a waiter relies on being told that its turn has come.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

fn at(operation: &'static str) -> impl Fn(Error) -> Error {
    move |error| error.at("locks", BACKEND, operation)
}

/// A place in the line for a lock.
struct Place {
    held: Arc<Held>,
    /// Gives the place back when it is dropped.
    lease: Lease,
}

#[async_trait]
impl Locks for EtcdCoordinator {
    async fn acquire(&self, key: &str, options: LockOptions) -> Result<LockGuard> {
        let acquire = async {
            self.check_lock(key, options.ttl)?;
            let began = Instant::now();
            let waiting = self.acquire_in_turn(key, options.ttl);
            tokio::select! {
                biased;
                () = self.client.closed().cancelled() => Err(Error::closed("the client of etcd")),
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
            let (place, made) = self.stand(key, ttl, Line::OnlyIfEmpty).await?;
            Ok(made.succeeded().then(|| place.granted(key, &made)))
        };
        acquire.await.map_err(at("try_acquire"))
    }
}

/// Where to stand.
#[derive(Debug, Clone, Copy)]
enum Line {
    /// Nowhere if somebody stands there already.
    OnlyIfEmpty,
    /// Behind whoever stands there.
    AtItsEnd,
}

impl Place {
    /// The lock is ours; the revision in which its key was made is its fencing token.
    fn granted(self, key: &str, made: &TxnResponse) -> LockGuard {
        LockGuard::new(key, FencingToken(watching::revision(made.header())), self.lease)
    }
}

impl EtcdCoordinator {
    fn check_lock(&self, key: &str, ttl: Duration) -> Result<()> {
        self.client.check_open()?;
        self.limits().check_key("lock key", key)?;
        self.client.keys().check_path("lock key", key)?;
        self.limits().check_ttl(ttl)
    }

    /// The name of a new place, with no key yet. No round trip where a lease of this time to live is shared already.
    async fn place(&self, key: &str, ttl: Duration) -> Result<Place> {
        let shared = self.leases.lease(ttl).await?;
        let attempt = self.attempts.fetch_add(1, Ordering::Relaxed);
        let own = format!("{}{:x}-{attempt:x}", self.client.keys().lock(key), shared.id());
        let held = Held::new(&self.client, shared.clone(), own);
        let lease = Lease::share(&shared, Arc::new(Keeper(Arc::clone(&held))));
        Ok(Place { held, lease })
    }

    /// Makes the key of a place. One round trip; three where the server has lost our lease, and nobody knew yet.
    async fn stand(&self, key: &str, ttl: Duration, line: Line) -> Result<(Place, TxnResponse)> {
        let (place, made) = self.try_to_stand(key, ttl, line).await?;
        match made {
            Err(error) if error.kind() == ErrorKind::LeaseLost => {
                let (place, made) = self.try_to_stand(key, ttl, line).await?;
                Ok((place, made?))
            }
            made => Ok((place, made?)),
        }
    }

    async fn try_to_stand(
        &self,
        key: &str,
        ttl: Duration,
        line: Line,
    ) -> Result<(Place, Result<TxnResponse>)> {
        let place = self.place(key, ttl).await?;
        let nobody =
            Compare::create_revision(self.client.keys().lock(key), CompareOp::Equal, 0).with_prefix();
        let first = Txn::new().when([nobody]).and_then([place.held.put()]);
        let made = match line {
            Line::OnlyIfEmpty => place.held.make(first, TxnResponse::succeeded).await,
            Line::AtItsEnd => {
                let last = first.or_else([place.held.put()]);
                place.held.make(last, |_| true).await
            }
        };
        Ok((place, made))
    }

    async fn acquire_in_turn(&self, key: &str, ttl: Duration) -> Result<LockGuard> {
        let (place, made) = self.stand(key, ttl, Line::AtItsEnd).await?;
        if made.succeeded() {
            return Ok(place.granted(key, &made));
        }
        let lost = place.lease.lost_token();
        tokio::select! {
            biased;
            () = lost.cancelled() => Err(Error::new(
                ErrorKind::Unavailable,
                format!("the place in the line for lock {key:?} was lost: etcd could not be reached to keep it, or somebody removed it"),
            )),
            turn = self.turn(&place.held, key, watching::revision(made.header())) => {
                turn?;
                Ok(place.granted(key, &made))
            }
        }
    }

    /// Waits until nobody stands before the key that was made in `revision`, and it stands itself.
    async fn turn(&self, held: &Held, key: &str, revision: u64) -> Result<()> {
        let folder = self.client.keys().lock(key);
        let before = i64::try_from(revision).unwrap_or(i64::MAX) - 1;
        loop {
            let nearest = GetOptions::new()
                .with_prefix()
                .with_max_create_revision(before)
                .with_sort(SortTarget::Create, SortOrder::Descend)
                .with_limit(1)
                .with_keys_only();
            let look = Txn::new()
                .when([held.ours()])
                .and_then([TxnOp::get(folder.as_str(), Some(nearest))]);
            let answer = match self.client.txn(look).await {
                Ok(answer) => answer,
                Err(error) if error.is_retryable() => {
                    self.interrupted(key, &error).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if !answer.succeeded() {
                return Err(held.not_ours());
            }
            let next = answer
                .op_responses()
                .into_iter()
                .find_map(|response| match response {
                    TxnOpResponse::Get(found) => found.kvs().first().map(|kv| kv.key().to_vec()),
                    _ => None,
                });
            let Some(next) = next else { return Ok(()) };
            let seen = watching::revision(answer.header());
            // Looked at again after a while even if nothing is told: a watch must not be trusted with the last word.
            if let Ok(Err(error)) = tokio::time::timeout(LOOK_AGAIN, self.gone(next, seen)).await {
                self.interrupted(key, &error).await;
            }
        }
    }

    async fn interrupted(&self, key: &str, error: &Error) {
        tracing::debug!(%error, lock = key, "waiting for a lock was interrupted; looking again");
        tokio::time::sleep(PAUSE.mul_f64(0.5 + 0.5 * fastrand::f64())).await;
    }

    /// Waits until a key is deleted, from just after a revision in which it was there.
    async fn gone(&self, key: Vec<u8>, seen: u64) -> Result<()> {
        let from = i64::try_from(seen.saturating_add(1)).unwrap_or(i64::MAX);
        let options = WatchOptions::new().with_start_revision(from);
        let mut stream = self.client.watch(key, options).await?;
        while let Some(message) = stream.message().await.map_err(crate::error::of)? {
            if message.canceled()
                || message
                    .events()
                    .iter()
                    .any(|event| event.event_type() == EventType::Delete)
            {
                break;
            }
        }
        Ok(())
    }
}
