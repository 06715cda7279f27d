//! SHARD: tables that are spread over shards and databases.

pub mod reading;
pub mod routing;

use infra_core::database::{Database, Migration, Migrations, ShardingConfig, Statement, TableSharding};

use super::{Failure, Harness, Premise, Scenario, Setup};

/// How the fixture must shard its databases, of which it gives at least two: the table `…_messages` by `session_id` over 8 shards, and
/// `…_archive` by `owner` over 3.
#[must_use]
pub fn sharding(setup: &Setup) -> ShardingConfig {
    ShardingConfig::new("session_id", 8)
        .with_table(format!("{}_messages", setup.namespace), TableSharding::default())
        .with_table(
            format!("{}_archive", setup.namespace),
            TableSharding::default().with_key("owner").with_shards(3),
        )
}

/// Every scenario of this family.
pub const SCENARIOS: &[Scenario<dyn Database>] = crate::shards!(@list __conformance_table ());

/// One test per scenario of SHARD: `conformance::shards!(make_database)`, or `conformance::shards!(make_database, every_mode)`.
///
/// The fixture gives two empty databases or more, sharded as [`sharding`] says.
#[macro_export]
macro_rules! shards {
    (@list $callback:ident $arguments:tt) => {
        $crate::$callback! { (shards) $arguments {
            routing {
                shard_001_rows_come_back_by_their_key,
                shard_002_a_row_is_on_one_shard_and_no_other,
                shard_003_a_statement_without_its_key_is_refused,
                shard_004_the_settings_of_a_table_are_honoured,
                shard_005_a_transaction_sees_its_database_and_refuses_others,
                shard_006_tables_that_are_not_sharded_work_beside,
                shard_007_a_batch_is_spread_over_the_shards,
                shard_008_a_batch_without_the_key_is_refused,
            }
            reading {
                shard_009_a_scattered_read_sees_every_shard_in_order,
                shard_010_a_scattered_read_ends_at_its_limit,
                shard_011_a_scattered_write_is_refused,
                shard_012_a_scattered_read_of_a_table_that_is_not_sharded_reads_it,
            }
        } }
    };
    ($($arguments:tt)+) => { $crate::shards!(@list __conformance_tests ($($arguments)+)); };
}

/// The names of the tables of a run.
pub(super) struct Tables {
    pub(super) messages: String,
    pub(super) archive: String,
    pub(super) users: String,
}

/// Creates the tables: two sharded ones, one that is not.
pub(super) async fn tables(
    harness: &Harness<dyn Database>,
    database: &dyn Database,
) -> Result<Tables, Failure> {
    let tables = Tables {
        messages: harness.name("messages"),
        archive: harness.name("archive"),
        users: harness.name("users"),
    };
    let create = |version, table: &str, key: &str| {
        Migration::new(
            version,
            "create",
            format!("create table {table} (id bigint primary key, {key} varchar(200), number bigint)"),
        )
    };
    let history = Migrations::new([
        create(1, &tables.messages, "session_id"),
        create(2, &tables.archive, "owner"),
        create(3, &tables.users, "name"),
    ]);
    database
        .migrate(history.premise("a valid history")?)
        .await
        .premise("tables are created")?;
    Ok(tables)
}

pub(super) fn insert(table: &str, id: i64, session: &str, number: i64) -> Statement {
    Statement::new(format!(
        "insert into {table} (id, session_id, number) values (:id, :session_id, :number)"
    ))
    .bind("id", id)
    .bind("session_id", session)
    .bind("number", number)
}

/// Sessions that are easily taken for one another, and some that are none of the ordinary.
pub(super) const SESSIONS: [&str; 12] = [
    "1",
    "2",
    "3",
    "17",
    "-9223372036854775808",
    "9223372036854775807",
    "会话",
    "s-1",
    "s-2",
    "S-1",
    "ß",
    "",
];
