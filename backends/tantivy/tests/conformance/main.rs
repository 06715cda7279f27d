//! The conformance suite on tantivy: directly, behind each interceptor, behind the standard stack, and with faults.

mod backends;
mod searches;
