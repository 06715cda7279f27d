//! Text analysis: from text of any language to the terms that are indexed and the words that are looked for.
//!
//! Three steps, all pure: [`units`] folds text into comparable characters and tells their writing system, [`words`]
//! cuts runs of them into words, [`tokens`] makes the index terms of them. The same steps run over queries and over
//! the text that is highlighted.

mod segment;
mod tokens;
mod units;
mod words;

pub(crate) use tokens::{InfraTokenizer, pair_term, single_term, word_term};
pub(crate) use units::{Class, Units};
pub(crate) use words::{Needle, needles};

/// The version of this analysis. It is stored with every index: terms of one version are not found by another.
pub(crate) const VERSION: u32 = 1;

/// The longest term of an alphabetic script, in bytes; longer words are cut into pieces of this length.
pub(crate) const MAX_WORD_BYTES: usize = 240;
