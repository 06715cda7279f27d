//! The cache contracts: strings, hashes, sets, sorted sets, bloom filters, atomic batches and scripts.
//!
//! [`Cache`] is their sum with [`Locks`]; business code takes only the part that it uses.
//! Values are bytes; [`KeyValueExt`] reads and writes JSON, [`CacheLoader`] reads through to where values come from.

mod atomic;
mod bloom;
mod hashes;
mod key_value;
mod keys;
mod load;
mod sets;
mod sorted_sets;

pub use atomic::{Batch, BatchOutcome, Check, Operation, OperationResult, Script, ScriptValue, Scripts};
pub use bloom::{Bloom, BloomOptions};
pub use hashes::Hashes;
pub use key_value::{CompareAndSet, Expected, KeyValue, KeyValueExt};
pub use keys::{Keys, ScanPage};
pub use load::{CacheLoader, LoadOptions};
pub use sets::Sets;
pub use sorted_sets::{Order, RankRange, ScoreBound, ScoreRange, Scored, SortedSets};

use crate::coordination::Locks;

/// Everything that Redis or memory offers as a cache; implemented for whatever offers all parts.
///
/// `Arc<dyn Cache>` upcasts to `Arc<dyn SortedSets>` and so on.
pub trait Cache: KeyValue + Hashes + Sets + SortedSets + Bloom + Scripts + Locks {}

impl<T: KeyValue + Hashes + Sets + SortedSets + Bloom + Scripts + Locks + ?Sized> Cache for T {}

crate::assert_object_safe!(Cache);
