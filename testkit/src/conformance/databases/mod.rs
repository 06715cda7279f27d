//! DB: statements, values, transactions, migrations.

pub mod migrations;
pub mod operations;
pub mod statements;
pub mod transactions;
pub mod values;

use infra_core::database::{Database, DatabaseExt, Statement};

use super::{Failure, Harness, Premise, Scenario};

/// Every scenario of this family.
pub const SCENARIOS: &[Scenario<dyn Database>] = crate::databases!(@list __conformance_table ());

/// One test per scenario of DB: `conformance::databases!(make_database)`, or `conformance::databases!(make_database, every_mode)`.
///
/// The fixture gives an empty database, not sharded, with few connections (8). For the scenario `DB-023`, which waits for one in vain, the
/// time to wait should be short (500 ms).
#[macro_export]
macro_rules! databases {
    (@list $callback:ident $arguments:tt) => {
        $crate::$callback! { (databases) $arguments {
            statements {
                db_001_what_was_written_is_read_by_another_client,
                db_002_absent_rows_are_none_and_not_an_error,
                db_003_the_number_of_affected_rows_is_exact,
                db_004_values_never_become_part_of_the_text,
                db_005_placeholders_in_literals_and_comments_are_left_alone,
                db_006_lists_fill_in_and_an_empty_list_matches_nothing,
                db_007_parameters_that_do_not_fit_are_refused_before_any_io,
                db_008_a_violated_unique_constraint_already_exists,
                db_009_a_statement_that_makes_no_sense_is_an_invalid_argument,
                db_010_changed_rows_can_be_returned,
            }
            values {
                db_011_every_kind_of_value_round_trips_or_is_refused,
                db_012_a_column_that_does_not_fit_is_named,
                db_013_errors_show_no_values,
            }
            transactions {
                db_014_a_commit_is_seen_by_others_and_only_then,
                db_015_an_error_rolls_back,
                db_016_a_drop_rolls_back,
                db_017_savepoints_nest,
                db_018_a_read_only_transaction_writes_nothing,
                db_019_operations_apply_in_their_order,
                // Strict: a repetition inside a transaction is not the stack's to make.
                db_020_racing_transactions_lose_no_update strict,
                db_021_a_stale_revision_is_refused,
            }
            operations {
                db_022_a_stream_gives_rows_as_they_come_and_its_connection_back,
                // Strict: repeated until the total deadline cuts an attempt short, the call ends with an error that cannot know.
                db_023_an_exhausted_pool_is_a_timeout strict,
                db_024_dropped_calls_give_their_connections_back,
                db_025_many_rows_are_inserted_beyond_the_limits_of_one_statement,
                db_026_a_batch_is_inserted_whole_or_not_at_all,
                db_027_a_batch_may_skip_what_exists,
                db_028_a_malformed_batch_is_refused_before_any_io,
                db_029_a_database_that_was_shut_down_is_closed,
            }
            migrations {
                db_030_migrations_are_applied_once_and_in_order,
                db_031_starters_at_the_same_time_apply_each_step_once,
                db_032_a_changed_step_is_a_conflict,
                db_033_a_failing_step_is_named_and_those_before_it_stay,
            }
        } }
    };
    ($($arguments:tt)+) => { $crate::databases!(@list __conformance_tests ($($arguments)+)); };
}

/// A table of this run: `id bigint primary key, name varchar(200) unique, number bigint`.
pub(super) async fn table(
    harness: &Harness<dyn Database>,
    database: &dyn Database,
) -> Result<String, Failure> {
    let name = harness.name("items");
    let text =
        format!("create table {name} (id bigint primary key, name varchar(200) unique, number bigint)");
    database
        .execute(Statement::new(text))
        .await
        .premise("a table is created")?;
    Ok(name)
}

pub(super) fn insert(table: &str, id: i64, name: &str, number: i64) -> Statement {
    Statement::new(format!(
        "insert into {table} (id, name, number) values (:id, :name, :number)"
    ))
    .bind("id", id)
    .bind("name", name)
    .bind("number", number)
}

/// The numbers of the rows, by id.
pub(super) async fn numbers(database: &dyn Database, table: &str) -> Result<Vec<(i64, i64)>, Failure> {
    let all = Statement::new(format!("select id, number from {table} order by id"));
    database.query_as(all).await.premise("rows are read")
}
