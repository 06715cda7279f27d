//! Names that no other test uses.

use std::sync::atomic::{AtomicU64, Ordering};

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A name that begins with `prefix` and is unlike any other that this or another process gets: for keys, topics, tables
/// and indexes of tests that share a server.
///
/// Letters, digits and underscores only, so that it can name a table.
///
/// ```
/// let (one, other) = (infra_testkit::unique("orders"), infra_testkit::unique("orders"));
/// assert!(one.starts_with("orders_") && one != other);
/// ```
#[must_use]
pub fn unique(prefix: &str) -> String {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}_{:08x}_{number}", fastrand::u32(..))
}
