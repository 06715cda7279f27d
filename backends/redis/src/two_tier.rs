//! Values kept in this process in front of Redis, which says when one of them changed (client-side caching of RESP3).
//!
//! A connection of its own reads what is kept here, and the server tells it of every change of a key that it read; on a cluster each
//! master tells of every key with our prefix. Since replies and these notices come in one order, the reply to a `PING` proves that
//! whatever changed before it was sent has been told: what is kept is served for so long after the last such proof, and no longer.

mod tracking;

use std::cell::RefCell;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use infra_core::Result;
use infra_core::config::{Problems, Validate, humane};
use moka::sync::Cache;
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, PushInfo, PushKind, Value};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::DropGuard;

use crate::client::{Client, Repeat, unexpected};
use crate::reply;

/// How many groups keys are told apart by when a change is told while one of them is being read.
const STRIPES: usize = 256;
/// What an entry takes beside its key and value, about.
const ENTRY_BYTES: usize = 128;

/// Values kept in this process in front of Redis: `two_tier = { max_bytes = 67108864, max_staleness = "2s" }`.
///
/// A change by anybody is seen at once in general, since Redis tells of it, and after [`max_staleness`](Self::max_staleness) at the
/// latest, whatever happens to the connection: then Redis is asked again. A change by this client is seen by this client at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TwoTierConfig {
    /// How many bytes the keys and values that are kept may take, book-keeping included (an estimate). Default: 64 MiB.
    pub max_bytes: u64,
    /// How long a value may be served after somebody changed it, at the very most. Default: 2 s.
    #[serde(with = "humane")]
    pub max_staleness: Duration,
}

impl Default for TwoTierConfig {
    fn default() -> Self {
        Self {
            max_bytes: 64 << 20,
            max_staleness: Duration::from_secs(2),
        }
    }
}

impl TwoTierConfig {
    /// The default.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with another bound for the memory.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// The same with another bound for the staleness.
    #[must_use]
    pub fn with_max_staleness(mut self, staleness: Duration) -> Self {
        self.max_staleness = staleness;
        self
    }
}

impl Validate for TwoTierConfig {
    fn validate(&self, problems: &mut Problems) {
        problems.ensure(self.max_bytes > 0, "max_bytes", "must be at least 1");
        problems.ensure(
            self.max_staleness >= Duration::from_millis(20),
            "max_staleness",
            "must be at least 20ms: Redis is asked four times within it whether all changes were told",
        );
    }
}

/// A key as the server knows it.
type Key = Box<str>;

/// What Redis held, and how long it will.
#[derive(Debug, Clone)]
struct Kept {
    value: Option<Bytes>,
    until: Option<Instant>,
}

fn weight(key: &str, kept: &Kept) -> u32 {
    let value = kept.value.as_ref().map_or(0, Bytes::len);
    u32::try_from(key.len() + value + ENTRY_BYTES).unwrap_or(u32::MAX)
}

/// The near tier. Clones of a client share it; it ends with the last of them.
#[derive(Debug)]
pub(crate) struct TwoTier {
    shared: Arc<Shared>,
    /// Ends the task that keeps the connection.
    _keeper: DropGuard,
}

struct Shared {
    kept: Cache<Key, Kept>,
    /// Grows whenever a change of a key of the group is told.
    changes: [AtomicU64; STRIPES],
    hasher: RandomState,
    began: Instant,
    /// Until when what is kept may be served, in nanoseconds after `began`.
    proven_until: AtomicU64,
    /// The connection that reads what is kept.
    reader: ArcSwapOption<MultiplexedConnection>,
    /// The reader's connection ended.
    ended: Notify,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("kept", &self.kept.entry_count())
            .field("connected", &self.reader.load().is_some())
            .finish_non_exhaustive()
    }
}

impl TwoTier {
    /// An empty tier. Until its connection is up, everything is read from Redis. Must be called on a tokio runtime.
    /// It ends with the client, too.
    pub(crate) fn start(config: &TwoTierConfig, client: &Client) -> Self {
        let shared = Arc::new(Shared {
            kept: Cache::builder()
                .weigher(|key: &Key, kept| weight(key, kept))
                .max_capacity(config.max_bytes)
                .build(),
            changes: std::array::from_fn(|_| AtomicU64::new(0)),
            hasher: RandomState::new(),
            began: Instant::now(),
            proven_until: AtomicU64::new(0),
            reader: ArcSwapOption::empty(),
            ended: Notify::new(),
        });
        let stop = client.closed().child_token();
        let keeping = tracking::keep(Arc::downgrade(&shared), client.clone(), config.max_staleness);
        let stopped = stop.clone();
        tokio::spawn(async move { stopped.run_until_cancelled(keeping).await });
        Self {
            shared,
            _keeper: stop.drop_guard(),
        }
    }

    /// What is kept of the key of the server that begins with `prefix`, if it may be served.
    pub(crate) fn get(&self, prefix: &str, key: &str) -> Option<Option<Bytes>> {
        thread_local! {
            /// Where keys are put together, so that a hit allocates nothing for it.
            static WHOLE: RefCell<String> = const { RefCell::new(String::new()) };
        }
        let kept = WHOLE.with_borrow_mut(|whole| {
            whole.clear();
            whole.push_str(prefix);
            whole.push_str(key);
            self.shared.kept.get(whole.as_str())
        })?;
        let now = Instant::now();
        let is_proven = self.shared.nanoseconds(now) < self.shared.proven_until.load(Ordering::Acquire);
        let is_live = kept.until.is_none_or(|until| now < until);
        (is_proven && is_live).then_some(kept.value)
    }

    /// Reads a key of the server and keeps what it holds; nothing where changes are not told, or the reader's connection broke.
    pub(crate) async fn read(&self, key: &str, client: &Client) -> Option<Result<Option<Bytes>>> {
        let group = self.shared.group(key);
        let before = group.load(Ordering::Acquire);
        let asked = Instant::now();
        let mut both = redis::pipe();
        both.cmd("GET").arg(key).cmd("PTTL").arg(key);
        let mut replies = self.ask(&both, client).await?.into_iter();
        let (Some(value), Some(left)) = (replies.next(), replies.next()) else {
            return Some(Err(unexpected()));
        };
        let value = match reply::value(value) {
            Ok(value) => value,
            Err(error) => return Some(Err(error)),
        };
        let until = match left {
            Value::Int(left) if left >= 0 => Some(asked + Duration::from_millis(left.unsigned_abs())),
            _ => None,
        };
        let kept = Kept {
            value: value.clone(),
            until,
        };
        self.shared.kept.insert(key.into(), kept);
        // Whoever tells of a change counts it first and forgets the key then: it finds this entry, or is found out here.
        if group.load(Ordering::Acquire) != before {
            self.shared.kept.invalidate(key);
        }
        Some(Ok(value))
    }

    /// Nothing where the usual way will tell what is wrong.
    async fn ask(&self, both: &Pipeline, client: &Client) -> Option<Vec<Value>> {
        if client.config().is_cluster() {
            if self.shared.proven_until.load(Ordering::Acquire) == 0 {
                return None;
            }
            return client.run_all(both, Repeat::Harmless).await.ok();
        }
        let mut reader = MultiplexedConnection::clone(&*self.shared.reader.load_full()?);
        let reading = reader.send_packed_commands(both, 0, both.len());
        let replies = tokio::time::timeout(client.config().request_timeout, reading).await;
        replies.ok()?.ok()
    }

    /// Forgets a key of the server that this client is about to change, when that is over, whatever became of it.
    pub(crate) fn changing<'k>(&'k self, key: &'k str) -> Changing<'k> {
        Changing { tier: self, key }
    }
}

/// A key that is being changed, until it is dropped.
pub(crate) struct Changing<'k> {
    tier: &'k TwoTier,
    key: &'k str,
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.tier.shared.forget(self.key);
    }
}

impl Shared {
    fn nanoseconds(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.began).as_nanos()).unwrap_or(u64::MAX)
    }

    fn group(&self, key: &str) -> &AtomicU64 {
        let hash = self.hasher.hash_one(key);
        &self.changes[usize::try_from(hash % STRIPES as u64).unwrap_or_default()]
    }

    fn forget(&self, key: &str) {
        self.group(key).fetch_add(1, Ordering::AcqRel);
        self.kept.invalidate(key);
    }

    fn forget_all(&self) {
        for group in &self.changes {
            group.fetch_add(1, Ordering::AcqRel);
        }
        self.kept.invalidate_all();
    }

    /// Notes that every change before `asked` was told.
    fn prove(&self, asked: Instant, staleness: Duration) {
        let until = self.nanoseconds(asked + staleness);
        self.proven_until.store(until, Ordering::Release);
    }

    /// The connection is gone, and with it what would have been told.
    fn lose(&self) {
        self.proven_until.store(0, Ordering::Release);
        self.reader.store(None);
        self.forget_all();
    }

    fn hear(&self, push: &PushInfo) {
        match push.kind {
            PushKind::Invalidate => match push.data.first() {
                Some(Value::Array(keys)) => keys.iter().for_each(|key| self.hear_of(key)),
                // Everything was flushed.
                _ => self.forget_all(),
            },
            PushKind::Disconnection => {
                self.lose();
                self.ended.notify_one();
            }
            _ => {}
        }
    }

    fn hear_of(&self, key: &Value) {
        if let Value::BulkString(key) = key
            && let Ok(key) = std::str::from_utf8(key)
        {
            self.forget(key);
        }
    }
}
