//! Decides on which database a statement runs and which physical tables it names. Pure: no I/O.

use std::collections::BTreeMap;

use infra_core::database::{Parameters, ShardKey, ShardingConfig, Statement};
use infra_core::{Error, Result};

use crate::statement::{Parsed, Physical};

/// Where a statement goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    /// The position of the database among those of the configuration.
    pub(crate) database: usize,
    /// The shard, when the statement names a sharded table.
    pub(crate) shard: Option<u32>,
}

/// The sharding of a set of databases.
#[derive(Debug, Clone)]
pub(crate) struct Router {
    sharding: Option<ShardingConfig>,
    databases: usize,
}

impl Router {
    /// `databases` is at least 1, which the configuration's validation sees to.
    pub(crate) fn new(sharding: Option<ShardingConfig>, databases: usize) -> Self {
        Self {
            sharding,
            databases: databases.max(1),
        }
    }

    pub(crate) fn sharding(&self) -> Option<&ShardingConfig> {
        self.sharding.as_ref()
    }

    /// The database that holds this shard of any table. Tables that are not sharded are on the first database.
    pub(crate) fn database_of(&self, shard: u32) -> usize {
        // A shard number is a u32, so that it fits a usize on every platform that tokio supports.
        usize::try_from(shard).unwrap_or(0) % self.databases
    }

    /// Where a statement goes.
    ///
    /// # Errors
    /// [`InvalidArgument`](infra_core::ErrorKind::InvalidArgument) when a sharded table comes without its shard key, or
    /// several sharded tables do not meet on one shard.
    pub(crate) fn route(&self, parsed: &Parsed, statement: &Statement) -> Result<Route> {
        let mut found: Option<(&str, u32)> = None;
        for table in parsed.tables() {
            let shard = self.shard_of(table, statement)?;
            match found {
                Some((other, elsewhere)) if elsewhere != shard => {
                    return Err(Error::invalid_argument(format!(
                        "the statement names shard {elsewhere} of {other:?} and shard {shard} of {table:?}; a statement stays on one shard: split it"
                    )));
                }
                _ => found = Some((table, shard)),
            }
        }
        Ok(match found {
            Some((_, shard)) => Route {
                database: self.database_of(shard),
                shard: Some(shard),
            },
            None => Route {
                database: 0,
                shard: None,
            },
        })
    }

    /// The physical names of the statement's sharded tables on one shard, and the shard's suffix.
    pub(crate) fn physical(&self, parsed: &Parsed, shard: Option<u32>) -> Physical {
        let (Some(sharding), Some(shard)) = (&self.sharding, shard) else {
            return Physical {
                tables: parsed.tables().to_vec(),
                suffix: String::new(),
            };
        };
        let tables = parsed
            .tables()
            .iter()
            .map(|table| sharding.physical_table(table, shard))
            .collect();
        let suffix = parsed
            .tables()
            .first()
            .and_then(|table| sharding.shards_of(table))
            .map_or_else(String::new, |shards| ShardingConfig::suffix(shard, shards));
        Physical { tables, suffix }
    }

    /// The database of one shard of one table, for a transaction.
    ///
    /// # Errors
    /// [`InvalidArgument`](infra_core::ErrorKind::InvalidArgument) when there is sharding and the table is not among the
    /// sharded ones.
    pub(crate) fn database_for(&self, table: &str, key: &ShardKey) -> Result<usize> {
        let Some(sharding) = &self.sharding else {
            return Ok(0);
        };
        let shards = sharding.shards_of(table).ok_or_else(|| {
            Error::invalid_argument(format!(
                "the transaction is to run on a shard of {table:?}, which is not sharded; the sharded tables are {:?}",
                sharding.tables.keys().collect::<Vec<_>>()
            ))
        })?;
        Ok(self.database_of(key.shard(shards)))
    }

    /// The logical name, sharding column and number of shards of a table; `None` when it is not sharded.
    pub(crate) fn sharded(&self, table: &str) -> Option<(&str, &str, u32)> {
        let sharding = self.sharding.as_ref()?;
        let logical = sharding
            .tables
            .keys()
            .find(|name| name.eq_ignore_ascii_case(table))?;
        Some((logical, sharding.key_of(logical)?, sharding.shards_of(logical)?))
    }

    /// The number of shards of the tables of a statement, which must be the same for all.
    ///
    /// # Errors
    /// [`InvalidArgument`](infra_core::ErrorKind::InvalidArgument) when it is not.
    pub(crate) fn shards(&self, parsed: &Parsed) -> Result<Option<u32>> {
        let mut found: Option<(&str, u32)> = None;
        for table in parsed.tables() {
            let Some(shards) = self
                .sharding
                .as_ref()
                .and_then(|sharding| sharding.shards_of(table))
            else {
                continue;
            };
            match found {
                Some((other, count)) if count != shards => {
                    return Err(Error::invalid_argument(format!(
                        "{other:?} has {count} shards and {table:?} has {shards}; write one statement for each"
                    )));
                }
                _ => found = Some((table, shards)),
            }
        }
        Ok(found.map(|(_, shards)| shards))
    }

    fn shard_of(&self, table: &str, statement: &Statement) -> Result<u32> {
        let (key_column, shards) = self
            .sharding
            .as_ref()
            .and_then(|sharding| Some((sharding.key_of(table)?, sharding.shards_of(table)?)))
            .unwrap_or(("", 1));
        if let Some(key) = statement.explicit_shard_key() {
            return Ok(key.shard(shards));
        }
        let bound = match statement.parameters() {
            Parameters::Named(values) => value_of(values, key_column),
            _ => None,
        };
        match bound {
            Some([only]) => Ok(ShardKey::of_value(only)
                .map_err(|error| error.context(format!("the shard key :{key_column} of {table:?}")))?
                .shard(shards)),
            Some(several) => Err(Error::invalid_argument(format!(
                "the shard key :{key_column} of {table:?} is a list of {} values; run one statement for each, or Database::scatter",
                several.len()
            ))),
            None => Err(Error::invalid_argument(format!(
                "{table:?} is sharded by {key_column:?} and the statement has no such parameter; bind :{key_column}, give the key with Statement::shard_key, or read all shards with Database::scatter"
            ))),
        }
    }
}

type Named = BTreeMap<std::borrow::Cow<'static, str>, Vec<infra_core::database::Value>>;

fn value_of<'a>(values: &'a Named, name: &str) -> Option<&'a [infra_core::database::Value]> {
    values.get(name).map(Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use infra_core::database::TableSharding;

    use super::*;
    use crate::dialect::Dialect;
    use crate::statement::Mode;

    fn router(databases: usize) -> Router {
        Router::new(
            Some(
                ShardingConfig::new("session_id", 16)
                    .with_table("messages", TableSharding::default())
                    .with_table("members", TableSharding::default())
                    .with_table(
                        "archive",
                        TableSharding::default().with_shards(128).with_key("owner"),
                    ),
            ),
            databases,
        )
    }

    fn route(router: &Router, statement: &Statement) -> Result<Route> {
        let parsed = Parsed::new(
            statement.text(),
            &Dialect::SQLITE,
            router.sharding(),
            Mode::Statement,
        )?;
        router.route(&parsed, statement)
    }

    #[test]
    fn routes_by_parameter_or_explicit_key() {
        let router = router(3);
        for (statement, shard) in [
            (
                Statement::new("select * from messages where session_id = :session_id")
                    .bind("session_id", 17),
                1,
            ),
            (
                Statement::new("select * from messages where session_id = :session_id")
                    .bind("session_id", i64::MIN),
                0,
            ),
            (
                Statement::new("select * from messages where session_id = :session_id")
                    .bind("session_id", "你好"),
                13,
            ),
            (
                Statement::new("select * from messages where session_id = ?")
                    .bind_next("x")
                    .shard_key(21),
                5,
            ),
            (
                Statement::new("select * from archive where owner = :owner").bind("owner", 127),
                127,
            ),
        ] {
            let expected = Route {
                database: (shard % 3) as usize,
                shard: Some(shard),
            };
            assert_eq!(
                route(&router, &statement).expect("routed"),
                expected,
                "{statement:?}"
            );
        }
        let plain = route(&router, &Statement::new("select * from users").shard_key(5)).expect("not sharded");
        assert_eq!(
            plain,
            Route {
                database: 0,
                shard: None
            }
        );
    }

    #[test]
    fn refuses_to_guess() {
        let router = router(1);
        for (statement, part) in [
            (Statement::new("select * from messages"), "bind :session_id"),
            (
                Statement::new("select * from messages where session_id = ?").bind_next(1),
                "Statement::shard_key",
            ),
            (
                Statement::new("select * from messages where session_id in (:session_id)")
                    .bind_list("session_id", [1, 2]),
                "list of 2",
            ),
            (
                Statement::new("select * from messages where session_id = :session_id")
                    .bind("session_id", 1.5),
                "integer or text",
            ),
            (
                Statement::new(
                    "select * from messages, archive where session_id = :session_id and owner = :owner",
                )
                .bind("session_id", 1)
                .bind("owner", 2),
                "split it",
            ),
        ] {
            let error = route(&router, &statement).expect_err(part);
            assert!(error.message().contains(part), "{error}");
        }
        let joined = Statement::new("select * from messages join members on members.session_id = messages.session_id where messages.session_id = :session_id")
            .bind("session_id", 9);
        assert_eq!(route(&router, &joined).expect("one shard").shard, Some(9));
        assert!(router.database_for("users", &ShardKey::from(1)).is_err());
    }
}
