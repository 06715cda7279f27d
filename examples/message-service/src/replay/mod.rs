//! Replay: a file of messages through the whole flow, and the proof that nothing was lost or doubled.

mod corpus;
mod drive;
mod report;

pub use corpus::{BrokenLine, Corpus, CorpusLine};
pub use drive::{Replay, ReplayOptions};
pub use report::{Latencies, Report};
