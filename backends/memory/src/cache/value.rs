//! What can stand under a key: a string, or one of the structures behind a lock of its own. Plain data, no clock.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use fastbloom::BloomFilter;
use infra_core::cache::BloomOptions;

use super::sorted_set::SortedSet;

/// A structure that readers and writers share.
#[derive(Debug, Default)]
pub(super) struct Shared<T>(Arc<Mutex<T>>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Shared<T> {
    pub(super) fn new(value: T) -> Self {
        Self(Arc::new(Mutex::new(value)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What stands under a key.
#[derive(Debug, Clone)]
pub(super) enum Value {
    String(Bytes),
    Hash(Shared<Hash>),
    Set(Shared<Set>),
    Sorted(Shared<SortedSet>),
    Bloom(Shared<Bloom>),
}

/// The type of a value, as error messages name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    String,
    Hash,
    Set,
    Sorted,
    Bloom,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::String => "string",
            Self::Hash => "hash",
            Self::Set => "set",
            Self::Sorted => "sorted set",
            Self::Bloom => "bloom filter",
        })
    }
}

impl Value {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::String(_) => Kind::String,
            Self::Hash(_) => Kind::Hash,
            Self::Set(_) => Kind::Set,
            Self::Sorted(_) => Kind::Sorted,
            Self::Bloom(_) => Kind::Bloom,
        }
    }
}

/// What the store needs to know of a structure to keep it under a key.
pub(super) trait Structure: Sized {
    const KIND: Kind;

    /// The structure inside a value of this kind.
    fn of(value: &Value) -> Option<&Shared<Self>>;

    /// The value that holds a structure.
    fn into_value(shared: Shared<Self>) -> Value;

    /// About how many bytes it takes.
    fn bytes(&self) -> usize;

    /// A structure without members does not exist.
    fn is_empty(&self) -> bool;
}

macro_rules! structure {
    ($type:ty, $variant:ident) => {
        impl Structure for $type {
            const KIND: Kind = Kind::$variant;

            fn of(value: &Value) -> Option<&Shared<Self>> {
                match value {
                    Value::$variant(shared) => Some(shared),
                    _ => None,
                }
            }

            fn into_value(shared: Shared<Self>) -> Value {
                Value::$variant(shared)
            }

            fn bytes(&self) -> usize {
                self.bytes
            }

            fn is_empty(&self) -> bool {
                self.len() == 0
            }
        }
    };
}

structure!(Hash, Hash);
structure!(Set, Set);
structure!(SortedSet, Sorted);
structure!(Bloom, Bloom);

/// Named fields.
#[derive(Debug, Default)]
pub(super) struct Hash {
    fields: BTreeMap<String, Bytes>,
    bytes: usize,
}

impl Hash {
    /// What one field costs beside its name and value: two handles and its share of a tree node.
    pub(super) const FIELD_BYTES: usize = 72;

    pub(super) fn fields(&self) -> &BTreeMap<String, Bytes> {
        &self.fields
    }

    pub(super) fn len(&self) -> usize {
        self.fields.len()
    }

    /// Sets a field, and returns what it held.
    pub(super) fn insert(&mut self, field: &str, value: Bytes) -> Option<Bytes> {
        self.bytes += value.len();
        if let Some(current) = self.fields.get_mut(field) {
            self.bytes -= current.len();
            return Some(std::mem::replace(current, value));
        }
        self.bytes += field.len() + Self::FIELD_BYTES;
        self.fields.insert(field.to_owned(), value)
    }

    /// Deletes a field, and returns what it held.
    pub(super) fn remove(&mut self, field: &str) -> Option<Bytes> {
        let value = self.fields.remove(field)?;
        self.bytes -= field.len() + value.len() + Self::FIELD_BYTES;
        Some(value)
    }
}

/// Distinct members.
#[derive(Debug, Default)]
pub(super) struct Set {
    members: HashSet<Bytes>,
    bytes: usize,
}

impl Set {
    /// What one member costs beside its bytes: its handle and its share of the table.
    pub(super) const MEMBER_BYTES: usize = 48;

    pub(super) fn members(&self) -> &HashSet<Bytes> {
        &self.members
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// Adds a member; whether it is new.
    pub(super) fn insert(&mut self, member: Bytes) -> bool {
        let cost = member.len() + Self::MEMBER_BYTES;
        let new = self.members.insert(member);
        if new {
            self.bytes += cost;
        }
        new
    }

    /// Removes a member; whether it was there.
    pub(super) fn remove(&mut self, member: &Bytes) -> bool {
        let found = self.members.remove(member);
        if found {
            self.bytes -= member.len() + Self::MEMBER_BYTES;
        }
        found
    }
}

/// A bloom filter with the options it was reserved with.
#[derive(Debug)]
pub(super) struct Bloom {
    pub(super) options: BloomOptions,
    filter: BloomFilter,
    bytes: usize,
}

impl Bloom {
    /// How many bytes a filter takes; nothing is allocated yet.
    pub(super) fn bytes_for(options: &BloomOptions) -> u64 {
        options.bits().div_ceil(8)
    }

    /// A filter of the size and with the number of hash functions that the contract's formulas give.
    ///
    /// The caller has made sure that it fits into memory.
    pub(super) fn new(options: BloomOptions) -> Self {
        let bits = usize::try_from(options.bits()).unwrap_or(usize::MAX);
        Self {
            options,
            filter: BloomFilter::with_num_bits(bits).hashes(options.hashes()),
            bytes: bits.div_ceil(8),
        }
    }

    /// A reserved filter exists even when nothing was added, so it never counts as empty.
    #[expect(
        clippy::unused_self,
        reason = "the structures share one shape, which a macro relies on"
    )]
    fn len(&self) -> usize {
        1
    }

    /// Adds an item; whether it was certainly new.
    pub(super) fn add(&mut self, item: &[u8]) -> bool {
        !self.filter.insert(item)
    }

    /// Whether an item was probably added.
    pub(super) fn contains(&self, item: &[u8]) -> bool {
        self.filter.contains(item)
    }
}
