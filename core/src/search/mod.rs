//! The search contract: documents in, ranked and filtered hits out, with a result for every document.

mod contract;
mod document;
mod extension;
mod query;
mod sink;

pub use contract::{Search, WriteOutcome};
pub use document::{Document, FieldKind, IndexSchema, Indexable};
pub use extension::{Hit, Page, SearchExt};
pub use query::{Filter, Highlighting, Paging, Query, RawHit, RawPage, Sort, SortBy};
pub use sink::{BulkSink, BulkSinkConfig, BulkSinkStats, Receipt};
