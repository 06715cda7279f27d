//! tantivy
