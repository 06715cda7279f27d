//! What the columns of a result are called and declared as: worked out once per statement text.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::sqlite::{SqliteColumn, SqliteConnection};
use sqlx::{
    AssertSqlSafe, Column as _, ColumnOrigin, Executor as _, Row as _, Statement as _, TypeInfo as _,
};

/// The declared type of a column, as far as it changes how a stored value is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Declared {
    /// The storage class says all.
    Plain,
    Boolean,
    Uuid,
    Json,
    Decimal,
    Date,
    Timestamp,
}

impl Declared {
    /// Reads a declared type such as `varchar(20)`, `UUID` or `timestamp with time zone`.
    fn of(declared: &str) -> Self {
        let declared = declared.to_ascii_lowercase();
        let word = declared
            .split(|c: char| !c.is_ascii_alphanumeric())
            .next()
            .unwrap_or_default();
        match word {
            "boolean" | "bool" => Self::Boolean,
            "uuid" => Self::Uuid,
            "json" | "jsonb" => Self::Json,
            "decimal" | "numeric" => Self::Decimal,
            "date" => Self::Date,
            "timestamp" | "timestamptz" | "datetime" => Self::Timestamp,
            _ => Self::Plain,
        }
    }
}

/// The columns of a result.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    names: Arc<[String]>,
    declared: Arc<[Declared]>,
}

impl Shape {
    pub(crate) fn names(&self) -> &Arc<[String]> {
        &self.names
    }

    pub(crate) fn declared(&self, column: usize) -> Declared {
        self.declared.get(column).copied().unwrap_or(Declared::Plain)
    }

    /// Whether a result with these columns has this shape; it no longer has after the table was altered.
    pub(crate) fn fits(&self, columns: &[SqliteColumn]) -> bool {
        self.names.len() == columns.len()
            && self
                .names
                .iter()
                .zip(columns)
                .all(|(name, column)| name == column.name())
    }

    /// The shape that the columns alone tell, without the declared types that the driver does not know.
    pub(crate) fn of_columns(columns: &[SqliteColumn]) -> Self {
        Self {
            names: columns.iter().map(|column| column.name().to_owned()).collect(),
            declared: columns
                .iter()
                .map(|column| Declared::of(column.type_info().name()))
                .collect(),
        }
    }

    /// Asks the engine: prepares the statement, which the driver keeps for its execution, and reads the declared types of
    /// the tables that its columns come from.
    pub(crate) async fn describe(connection: &mut SqliteConnection, text: &str) -> Result<Self, sqlx::Error> {
        let statement = connection
            .prepare(sqlx::SqlSafeStr::into_sql_str(AssertSqlSafe(text)))
            .await?;
        let columns = statement.columns().to_vec();
        let mut shape = Self::of_columns(&columns);
        let mut tables: HashMap<Arc<str>, HashMap<String, Declared>> = HashMap::new();
        let mut declared = shape.declared.to_vec();
        for (position, column) in columns.iter().enumerate() {
            let ColumnOrigin::Table(origin) = column.origin() else {
                continue;
            };
            if !tables.contains_key(&origin.table) {
                let types = declared_types(connection, &origin.table).await?;
                tables.insert(Arc::clone(&origin.table), types);
            }
            let known = tables
                .get(&origin.table)
                .and_then(|types| types.get(&*origin.name));
            if let (Some(known), Some(slot)) = (known, declared.get_mut(position)) {
                *slot = *known;
            }
        }
        shape.declared = declared.into();
        Ok(shape)
    }
}

async fn declared_types(
    connection: &mut SqliteConnection,
    table: &str,
) -> Result<HashMap<String, Declared>, sqlx::Error> {
    let rows = sqlx::query("select name, type from pragma_table_xinfo(?)")
        .bind(table.to_owned())
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, Declared::of(row.try_get(1)?))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_declared_types() {
        for (text, expected) in [
            ("UUID", Declared::Uuid),
            ("uuid text", Declared::Uuid),
            ("JSONB", Declared::Json),
            ("numeric(20, 4)", Declared::Decimal),
            ("DECIMAL TEXT", Declared::Decimal),
            ("timestamp with time zone", Declared::Timestamp),
            ("DATETIME", Declared::Timestamp),
            ("date", Declared::Date),
            ("boolean", Declared::Boolean),
            ("bigint", Declared::Plain),
            ("varchar(20)", Declared::Plain),
            ("", Declared::Plain),
        ] {
            assert_eq!(Declared::of(text), expected, "{text}");
        }
    }
}
