//! Many rows for one table, sent with as few statements as the engine allows.

use std::borrow::Cow;

use super::Value;
use super::sharding::is_plain_name;
use crate::error::{Error, Result};

/// What happens to a row that violates a unique constraint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Existing {
    /// The whole batch is refused with [`AlreadyExists`](crate::ErrorKind::AlreadyExists).
    #[default]
    Refuse,
    /// The row is left out and not counted.
    Skip,
}

/// Rows to be inserted into one table.
///
/// The engine splits them at its limit of parameters and, when the table is sharded, by the value of the sharding column.
///
/// ```
/// use infra_core::database::{BatchInsert, Value};
///
/// let batch = BatchInsert::new("messages", ["id", "session_id"])
///     .with_row([1.into(), "s-1".into()])
///     .with_row([2.into(), Value::Null])
///     .skip_existing();
/// batch.check()?;
/// assert!(batch.with_row([3.into()]).check().is_err(), "a value is missing");
/// # Ok::<(), infra_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct BatchInsert {
    /// The table, by its logical name.
    pub table: Cow<'static, str>,
    /// The columns that are given; the others take their defaults.
    pub columns: Vec<Cow<'static, str>>,
    /// The rows; each has a value for each column.
    pub rows: Vec<Vec<Value>>,
    /// What happens to rows that exist. Default: the batch is refused.
    pub existing: Existing,
}

impl BatchInsert {
    /// A batch without rows.
    #[must_use]
    pub fn new<C: Into<Cow<'static, str>>>(
        table: impl Into<Cow<'static, str>>,
        columns: impl IntoIterator<Item = C>,
    ) -> Self {
        Self {
            table: table.into(),
            columns: columns.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
            existing: Existing::Refuse,
        }
    }

    /// The same batch with one more row.
    #[must_use]
    pub fn with_row(mut self, values: impl IntoIterator<Item = Value>) -> Self {
        self.rows.push(values.into_iter().collect());
        self
    }

    /// The same batch with more rows.
    #[must_use]
    pub fn with_rows(mut self, rows: impl IntoIterator<Item = Vec<Value>>) -> Self {
        self.rows.extend(rows);
        self
    }

    /// Leaves out rows that violate a unique constraint.
    #[must_use]
    pub fn skip_existing(mut self) -> Self {
        self.existing = Existing::Skip;
        self
    }

    /// Refuses what cannot become statements: an engine calls it before any I/O.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for names that are not letters, digits and underscores, for a
    /// batch without columns, and for a row with more or fewer values than columns.
    pub fn check(&self) -> Result<()> {
        for name in std::iter::once(&self.table).chain(&self.columns) {
            if !is_plain_name(name) {
                return Err(Error::invalid_argument(format!(
                    "{name:?} is not a name of letters, digits and underscores; a batch insert takes no other"
                )));
            }
        }
        if self.columns.is_empty() {
            return Err(Error::invalid_argument(format!(
                "the batch insert into {:?} names no column",
                self.table
            )));
        }
        match self.rows.iter().position(|row| row.len() != self.columns.len()) {
            Some(row) => Err(Error::invalid_argument(format!(
                "row {row} of the batch insert into {:?} has {} values for {} columns",
                self.table,
                self.rows[row].len(),
                self.columns.len()
            ))),
            None => Ok(()),
        }
    }
}
