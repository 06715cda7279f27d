//! Several steps at once, or none: atomic batches for every backend, raw scripts where they are declared.
//!
//! What business code wants from a Lua script is almost always "if these conditions hold, do these steps, all or nothing,
//! in one round trip". That is a [`Batch`]: it can be a generated script on Redis, a transaction on etcd or SQL, a
//! critical section in memory. A raw [`Script`] is Redis's own and needs
//! [`RawScripts`](crate::capability::Capability::RawScripts).

use std::borrow::Cow;
use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

use super::{RankRange, Scored};
use crate::backend::Backend;
use crate::error::Result;
use crate::hidden::Hidden;
use crate::ttl::Ttl;

/// A condition of a batch.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Check {
    /// There is something under this key.
    Exists(String),
    /// There is nothing under this key.
    Absent(String),
    /// This key holds exactly this string.
    Equals(String, Bytes),
}

/// Shows the size of the value.
impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists(key) => f.debug_tuple("Exists").field(key).finish(),
            Self::Absent(key) => f.debug_tuple("Absent").field(key).finish(),
            Self::Equals(key, value) => f
                .debug_tuple("Equals")
                .field(key)
                .field(&Hidden::of(value))
                .finish(),
        }
    }
}

impl Check {
    /// The key that is looked at.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Exists(key) | Self::Absent(key) | Self::Equals(key, _) => key,
        }
    }
}

/// A step of a batch. Each does what the operation of the same name does.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum Operation {
    /// [`KeyValue::set`](super::KeyValue::set); gives [`OperationResult::Done`].
    Set(String, Bytes, Ttl),
    /// [`KeyValue::get`](super::KeyValue::get); gives [`OperationResult::Value`].
    Get(String),
    /// [`KeyValue::incr_by`](super::KeyValue::incr_by); gives [`OperationResult::Number`].
    IncrBy(String, i64),
    /// [`Keys::delete`](super::Keys::delete) of one key; gives [`OperationResult::Number`].
    Delete(String),
    /// [`Keys::expire`](super::Keys::expire); gives [`OperationResult::Number`], 1 if the key exists.
    Expire(String, Ttl),
    /// [`Hashes::hash_set`](super::Hashes::hash_set); gives [`OperationResult::Number`].
    HashSet(String, Vec<(String, Bytes)>),
    /// [`Sets::set_add`](super::Sets::set_add); gives [`OperationResult::Number`].
    SetAdd(String, Vec<Bytes>),
    /// [`Sets::set_remove`](super::Sets::set_remove); gives [`OperationResult::Number`].
    SetRemove(String, Vec<Bytes>),
    /// [`SortedSets::sorted_add`](super::SortedSets::sorted_add); gives [`OperationResult::Number`].
    SortedAdd(String, Vec<Scored>),
    /// [`SortedSets::sorted_remove_by_rank`](super::SortedSets::sorted_remove_by_rank); gives [`OperationResult::Number`].
    SortedRemoveByRank(String, RankRange),
}

/// Shows keys and names of fields, and the sizes of values.
impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, argument): (_, &dyn fmt::Debug) = match self {
            Self::Set(_, value, ttl) => ("Set", &(Hidden::of(value), ttl)),
            Self::Get(_) => ("Get", &()),
            Self::IncrBy(_, difference) => ("IncrBy", difference),
            Self::Delete(_) => ("Delete", &()),
            Self::Expire(_, ttl) => ("Expire", ttl),
            Self::HashSet(_, fields) => {
                let fields: Vec<_> = fields
                    .iter()
                    .map(|(field, value)| (field, Hidden::of(value)))
                    .collect();
                return f
                    .debug_tuple("HashSet")
                    .field(&self.key())
                    .field(&fields)
                    .finish();
            }
            Self::SetAdd(_, members) => ("SetAdd", &Hidden::each(members)),
            Self::SetRemove(_, members) => ("SetRemove", &Hidden::each(members)),
            Self::SortedAdd(_, members) => ("SortedAdd", members),
            Self::SortedRemoveByRank(_, range) => ("SortedRemoveByRank", range),
        };
        f.debug_tuple(name).field(&self.key()).field(argument).finish()
    }
}

impl Operation {
    /// The key that is worked on.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Set(key, ..)
            | Self::Get(key)
            | Self::IncrBy(key, _)
            | Self::Delete(key)
            | Self::Expire(key, _)
            | Self::HashSet(key, _)
            | Self::SetAdd(key, _)
            | Self::SetRemove(key, _)
            | Self::SortedAdd(key, _)
            | Self::SortedRemoveByRank(key, _) => key,
        }
    }
}

/// Conditions and steps that are carried out as one.
///
/// On a cluster all keys must share a hash tag (`session:{42}:messages`), unless
/// [`AtomicAcrossKeys`](crate::capability::Capability::AtomicAcrossKeys) is declared.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use infra_core::Ttl;
/// use infra_core::cache::{Batch, BatchOutcome, Check, Operation, RankRange, Scored, Scripts};
///
/// // Keep the 50 newest messages of a session, in one round trip.
/// let key = "session:{42}:messages".to_owned();
/// let push = Batch::new()
///     .then(Operation::SortedAdd(key.clone(), vec![Scored::new("message-1", 1.0)]))
///     .then(Operation::SortedRemoveByRank(key.clone(), RankRange::new(0, -51)))
///     .then(Operation::Expire(key, Ttl::secs(7200)));
/// let cache = infra_memory::MemoryCache::new();
/// assert!(matches!(cache.atomically(push).await?, BatchOutcome::Applied(results) if results.len() == 3));
///
/// let first_only = Batch::new()
///     .when(Check::Absent("flag".into()))
///     .then(Operation::Set("flag".into(), "1".into(), Ttl::Never));
/// cache.atomically(first_only.clone()).await?;
/// assert_eq!(cache.atomically(first_only).await?, BatchOutcome::Refused { check: 0 });
/// # Ok::<(), infra_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Batch {
    /// All of these must hold.
    pub checks: Vec<Check>,
    /// Then all of these are done, in order.
    pub operations: Vec<Operation>,
}

impl Batch {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition.
    #[must_use]
    pub fn when(mut self, check: Check) -> Self {
        self.checks.push(check);
        self
    }

    /// Adds a step.
    #[must_use]
    pub fn then(mut self, operation: Operation) -> Self {
        self.operations.push(operation);
        self
    }

    /// Every key that is looked at or worked on, with repetitions.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.checks
            .iter()
            .map(Check::key)
            .chain(self.operations.iter().map(Operation::key))
    }
}

/// What a step gave.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum OperationResult {
    /// It was done.
    Done,
    /// A number.
    Number(i64),
    /// A value, or none.
    Value(Option<Bytes>),
}

/// Shows the size of the value.
impl fmt::Debug for OperationResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("Done"),
            Self::Number(number) => f.debug_tuple("Number").field(number).finish(),
            Self::Value(value) => f
                .debug_tuple("Value")
                .field(&value.as_ref().map(Hidden::of))
                .finish(),
        }
    }
}

/// What a batch did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BatchOutcome {
    /// All steps were done; their results in order.
    Applied(Vec<OperationResult>),
    /// Nothing was changed, since a condition did not hold.
    Refused {
        /// The first condition that did not hold, from 0.
        check: usize,
    },
}

/// A script in the backend's own language; it runs by its hash and is sent whole only when the server does not know it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Script {
    /// The source.
    pub source: Cow<'static, str>,
}

impl Script {
    /// A script.
    #[must_use]
    pub fn new(source: impl Into<Cow<'static, str>>) -> Self {
        Self {
            source: source.into(),
        }
    }
}

/// What a script returned.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum ScriptValue {
    /// Nothing.
    Null,
    /// A number.
    Integer(i64),
    /// Bytes.
    Bytes(Bytes),
    /// A list.
    List(Vec<ScriptValue>),
}

/// Shows the sizes of byte strings.
impl fmt::Debug for ScriptValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("Null"),
            Self::Integer(number) => f.debug_tuple("Integer").field(number).finish(),
            Self::Bytes(bytes) => f.debug_tuple("Bytes").field(&Hidden::of(bytes)).finish(),
            Self::List(values) => f.debug_tuple("List").field(values).finish(),
        }
    }
}

/// Atomic batches and raw scripts.
#[crate::intercept(component = "cache")]
#[async_trait]
pub trait Scripts: Backend {
    /// Carries out a batch: all of it or nothing, with nothing of others in between.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for keys that cannot be in one batch; the error of the step
    /// that failed ([`Conflict`](crate::ErrorKind::Conflict) for a wrong type), in which case nothing was changed.
    async fn atomically(&self, batch: Batch) -> Result<BatchOutcome>;

    /// Runs a raw script. The key prefix is applied to `keys` as everywhere else.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) without [`RawScripts`](crate::capability::Capability::RawScripts).
    async fn run_script(&self, script: &Script, keys: &[&str], arguments: &[Bytes]) -> Result<ScriptValue>;
}

crate::assert_object_safe!(Scripts);
