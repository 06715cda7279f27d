//! Where the rows of a sharded table live.
//!
//! The routing is the one the Go services use, so that both can read one database.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Value;
use crate::config::{Problems, Validate};
use crate::error::{Error, Result};

/// The value that decides on which shard a row lives.
///
/// Routing: an integer counts as itself; text counts as the integer it spells in decimal, else as the hash
/// `h = h·31 + character` over its Unicode scalar values in wrapping 64-bit arithmetic. The absolute value (that of
/// `i64::MIN` included) modulo the number of shards is the shard.
///
/// ```
/// use infra_core::database::ShardKey;
///
/// assert_eq!(ShardKey::from(17_i64).shard(16), 1);
/// assert_eq!(ShardKey::from("17").shard(16), 1);
/// assert_eq!(ShardKey::from(i64::MIN).shard(10), 8);
/// assert_eq!(ShardKey::from("ab").shard(1000), 105); // 97·31 + 98 = 3105
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum ShardKey {
    /// An integer key.
    Integer(i64),
    /// A text key.
    Text(String),
}

/// Shows only the kind: a shard key is a parameter, and those never reach a log.
impl fmt::Debug for ShardKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Integer(_) => "<integer>",
            Self::Text(_) => "<text>",
        })
    }
}

impl ShardKey {
    /// The shard, from 0, among `shards` of them; 0 when `shards` is 0, which a validated configuration excludes.
    #[must_use]
    pub fn shard(&self, shards: u32) -> u32 {
        let number = match self {
            Self::Integer(number) => *number,
            Self::Text(text) => text.parse().unwrap_or_else(|_| {
                text.chars().fold(0_i64, |hash, c| {
                    hash.wrapping_mul(31).wrapping_add(i64::from(u32::from(c)))
                })
            }),
        };
        let remainder = number.unsigned_abs().checked_rem(u64::from(shards)).unwrap_or(0);
        // The remainder is below `shards`, which is a u32.
        u32::try_from(remainder).unwrap_or(0)
    }

    /// The key that a bound parameter stands for.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for anything but an integer or text.
    pub fn of_value(value: &Value) -> Result<Self> {
        match value {
            Value::Integer(number) => Ok(Self::Integer(*number)),
            Value::Text(text) => Ok(Self::Text(text.clone())),
            other => Err(Error::invalid_argument(format!(
                "a shard key must be an integer or text, not {}; bind one of these or give the key explicitly",
                other.kind()
            ))),
        }
    }
}

impl From<i64> for ShardKey {
    fn from(key: i64) -> Self {
        Self::Integer(key)
    }
}

impl From<&str> for ShardKey {
    fn from(key: &str) -> Self {
        Self::Text(key.to_owned())
    }
}

impl From<String> for ShardKey {
    fn from(key: String) -> Self {
        Self::Text(key)
    }
}

/// How tables are sharded.
///
/// ```
/// use infra_core::database::{ShardingConfig, TableSharding};
///
/// let sharding = ShardingConfig::new("session_id", 16)
///     .with_table("messages", TableSharding::default())
///     .with_table("archive", TableSharding::default().with_shards(128));
/// assert_eq!(sharding.physical_table("messages", 7), "messages_07");
/// assert_eq!(sharding.physical_table("archive", 7), "archive_007");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ShardingConfig {
    /// The column by which tables are sharded, unless a table says otherwise.
    pub key: String,
    /// The number of shards, unless a table says otherwise.
    pub shards: u32,
    /// The sharded tables by logical name. A table that is not listed is not sharded.
    #[serde(default)]
    pub tables: BTreeMap<String, TableSharding>,
}

/// What one table does differently.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TableSharding {
    /// Its sharding column.
    pub key: Option<String>,
    /// Its number of shards.
    pub shards: Option<u32>,
}

impl TableSharding {
    /// The same settings with a sharding column of the table's own.
    #[must_use]
    pub fn with_key(mut self, column: impl Into<String>) -> Self {
        self.key = Some(column.into());
        self
    }

    /// The same settings with a number of shards of the table's own.
    #[must_use]
    pub fn with_shards(mut self, shards: u32) -> Self {
        self.shards = Some(shards);
        self
    }
}

impl ShardingConfig {
    /// Sharding by this column over so many shards; no table yet.
    #[must_use]
    pub fn new(key: impl Into<String>, shards: u32) -> Self {
        Self {
            key: key.into(),
            shards,
            tables: BTreeMap::new(),
        }
    }

    /// The same configuration with one more sharded table.
    #[must_use]
    pub fn with_table(mut self, name: impl Into<String>, settings: TableSharding) -> Self {
        self.tables.insert(name.into(), settings);
        self
    }

    /// The sharding column of a table, or `None` when it is not sharded.
    #[must_use]
    pub fn key_of(&self, table: &str) -> Option<&str> {
        self.tables
            .get(table)
            .map(|settings| settings.key.as_deref().unwrap_or(&self.key))
    }

    /// The number of shards of a table, or `None` when it is not sharded.
    #[must_use]
    pub fn shards_of(&self, table: &str) -> Option<u32> {
        self.tables
            .get(table)
            .map(|settings| settings.shards.unwrap_or(self.shards))
    }

    /// The name of one shard of a table: two digits, more from 101 shards on. A table that is not sharded keeps its name.
    #[must_use]
    pub fn physical_table(&self, table: &str, shard: u32) -> String {
        match self.shards_of(table) {
            Some(shards) => format!("{table}{}", Self::suffix(shard, shards)),
            None => table.to_owned(),
        }
    }

    /// The suffix of one shard among `shards`: `_07`, or `_007` when there are more than a hundred.
    #[must_use]
    pub fn suffix(shard: u32, shards: u32) -> String {
        let digits = shards.saturating_sub(1).to_string().len().max(2);
        format!("_{shard:0digits$}")
    }
}

/// Names must be letters, digits and underscores, because they become part of statements; no shard of one table may have
/// the name of another table.
impl Validate for ShardingConfig {
    fn validate(&self, problems: &mut Problems) {
        validate_column(&self.key, problems);
        validate_shards(self.shards, problems);
        problems.ensure(
            !self.tables.is_empty(),
            "tables",
            "is empty; name the tables that are sharded",
        );
        for (table, settings) in &self.tables {
            problems.within(&format!("tables.{table}"), |problems| {
                problems.ensure(
                    is_plain_name(table),
                    "",
                    "is not a table name of letters, digits and underscores",
                );
                if let Some(key) = &settings.key {
                    validate_column(key, problems);
                }
                if let Some(shards) = settings.shards {
                    validate_shards(shards, problems);
                }
                for other in self.tables.keys().filter(|other| *other != table) {
                    problems.ensure(
                        !other.eq_ignore_ascii_case(table),
                        "",
                        format!("differs from {other:?} only by case"),
                    );
                    problems.ensure(
                        !is_shard_name(table, other),
                        "",
                        format!("looks like a shard of {other:?}; rename it"),
                    );
                }
            });
        }
    }
}

fn validate_column(key: &str, problems: &mut Problems) {
    problems.ensure(
        is_plain_name(key),
        "key",
        "is not a column name of letters, digits and underscores",
    );
}

fn validate_shards(shards: u32, problems: &mut Problems) {
    problems.ensure(
        SHARDS.contains(&shards),
        "shards",
        format!("is not between {} and {}", SHARDS.start(), SHARDS.end()),
    );
}

fn is_shard_name(name: &str, table: &str) -> bool {
    name.strip_prefix(table)
        .and_then(|rest| rest.strip_prefix('_'))
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

/// How many shards a table may have.
const SHARDS: std::ops::RangeInclusive<u32> = 1..=10_000;

/// Whether a name can stand in a statement without quotes and without changing its meaning.
pub(super) fn is_plain_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_everything_that_is_wrong() {
        let good = ShardingConfig::new("id", 16).with_table("messages", TableSharding::default());
        good.check().expect("nothing is wrong");
        let bad = ShardingConfig::new("a b", 0)
            .with_table("t", TableSharding::default().with_key("").with_shards(10_001))
            .with_table("t_07", TableSharding::default())
            .with_table("T", TableSharding::default())
            .with_table("x; drop", TableSharding::default());
        let error = bad.check().expect_err("much is wrong");
        let problems = error.message();
        for path in [
            "key:",
            "shards:",
            "tables.t.key:",
            "tables.t.shards:",
            "tables.t_07:",
            "tables.T:",
            "tables.x; drop:",
        ] {
            assert!(problems.contains(path), "{path} in {problems}");
        }
    }

    #[test]
    fn routes_as_the_vectors_say() {
        for (key, shards, expected) in [
            (ShardKey::from(0), 16, 0),
            (ShardKey::from(-17), 16, 1),
            (ShardKey::from(i64::MAX), 16, 15),
            (ShardKey::from(i64::MIN), 16, 0),
            (ShardKey::from("-17"), 16, 1),
            (ShardKey::from(""), 16, 0),
            (ShardKey::from("你好"), 1000, 829), // 20320·31 + 22909 = 652829
        ] {
            assert_eq!(key.shard(shards), expected, "{key:?}");
        }
    }

    #[test]
    fn suffixes_grow_with_the_number_of_shards() {
        assert_eq!(ShardingConfig::suffix(3, 1), "_03");
        assert_eq!(ShardingConfig::suffix(99, 100), "_99");
        assert_eq!(ShardingConfig::suffix(3, 101), "_003");
    }
}
