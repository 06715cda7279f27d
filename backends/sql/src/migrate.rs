//! Migrations: each step in a transaction of its own, once per shard, by one starter at a time.
//!
//! Safety does not depend on the lock: whether a step was applied to a shard is checked and noted in the transaction that
//! applies it, so that a crash leaves it undone or done and noted. The lock only makes other starters wait.

mod lock;
mod plan;

use std::sync::Arc;

use infra_core::database::{Migration, MigrationReport, Migrations, Value};
use infra_core::{Error, ErrorKind, Result};

use self::lock::Lock;
use self::plan::{Applied, Plan, Step, Unit};
use crate::database::Shared;
use crate::sqlite::{Pool, TransactionKind, Want};
use crate::statement::Bound;

const HISTORY: &str = "create table if not exists _infra_migrations (\
    version bigint not null, shard bigint not null, shards bigint not null, name text not null, checksum text not null, \
    applied_at timestamp not null, primary key (version, shard))";

/// Applies what was not applied yet.
pub(crate) async fn migrate(shared: &Shared, migrations: &Migrations) -> Result<MigrationReport> {
    shared.check_open()?;
    let plan = Plan::new(migrations, &shared.router)?;
    for pool in &shared.pools {
        change(pool, vec![statement(HISTORY, vec![])]).await?;
    }
    let first = shared.pool(0)?;
    let lock = Lock::acquire(Arc::clone(first), shared.config.migration_wait).await?;
    let result = apply(shared, &plan, &lock).await;
    lock.release().await;
    for pool in &shared.pools {
        pool.schema_changed();
    }
    result
}

/// The versions that [`migrate`] would apply, at least to some shards.
pub(crate) async fn pending(shared: &Shared, migrations: &Migrations) -> Result<Vec<u64>> {
    shared.check_open()?;
    let plan = Plan::new(migrations, &shared.router)?;
    let applied = history(shared).await?;
    plan.check(&applied)?;
    let pending = plan.steps().iter().filter(|step| !step.is_applied(&applied));
    Ok(pending.map(|step| step.migration.version).collect())
}

/// Undoes the step that was applied last.
pub(crate) async fn rollback_last(shared: &Shared, migrations: &Migrations) -> Result<Option<u64>> {
    shared.check_open()?;
    let plan = Plan::new(migrations, &shared.router)?;
    let first = shared.pool(0)?;
    let lock = Lock::acquire(Arc::clone(first), shared.config.migration_wait).await?;
    let result = undo_last(shared, &plan, &lock).await;
    lock.release().await;
    for pool in &shared.pools {
        pool.schema_changed();
    }
    result
}

async fn apply(shared: &Shared, plan: &Plan, lock: &Lock) -> Result<MigrationReport> {
    let applied = history(shared).await?;
    plan.check(&applied)?;
    let mut report = MigrationReport::default();
    for step in plan.steps() {
        let mut worked = false;
        for unit in step.units(&shared.router) {
            if applied.contains(&step.migration, unit.shard) {
                continue;
            }
            lock.renew().await?;
            worked |= apply_unit(shared.pool(unit.database)?, step, &unit)
                .await
                .map_err(|error| error.context(place(&step.migration, &unit)))?;
        }
        if worked {
            report.applied.push(step.migration.version);
        } else {
            report.already_applied += 1;
        }
    }
    Ok(report)
}

/// Applies a step to one shard; false when somebody else had done so.
async fn apply_unit(pool: &Arc<Pool>, step: &Step, unit: &Unit) -> Result<bool> {
    let mut connection = pool.connection(true).await?;
    connection.begin(TransactionKind::Writing).await?;
    let noted = connection
        .run(
            statement(
                "select 1 from _infra_migrations where version = ? and shard = ?",
                vec![version(&step.migration)?, unit.number()],
            ),
            Want::All,
        )
        .await?;
    if !noted.rows.is_empty() {
        connection.rollback().await?;
        return Ok(false);
    }
    connection.run_script(&unit.text).await?;
    let note = "insert into _infra_migrations (version, shard, shards, name, checksum, applied_at) values (?, ?, ?, ?, ?, ?)";
    let values = vec![
        version(&step.migration)?,
        unit.number(),
        step.shards.map_or(0, i64::from).into(),
        step.migration.name.as_ref().into(),
        step.checksum.as_str().into(),
        time::OffsetDateTime::now_utc().into(),
    ];
    connection.run(statement(note, values), Want::Count).await?;
    connection.commit().await?;
    Ok(true)
}

async fn undo_last(shared: &Shared, plan: &Plan, lock: &Lock) -> Result<Option<u64>> {
    let applied = history(shared).await?;
    plan.check(&applied)?;
    let Some(step) = plan.steps().iter().rev().find(|step| step.is_touched(&applied)) else {
        return Ok(None);
    };
    for unit in step.down_units(&shared.router)? {
        if !applied.contains(&step.migration, unit.shard) {
            continue;
        }
        lock.renew().await?;
        let undo = async {
            let mut connection = shared.pool(unit.database)?.connection(true).await?;
            connection.begin(TransactionKind::Writing).await?;
            connection.run_script(&unit.text).await?;
            let forget = "delete from _infra_migrations where version = ? and shard = ?";
            let values = vec![version(&step.migration)?, unit.number()];
            connection.run(statement(forget, values), Want::Count).await?;
            connection.commit().await
        };
        undo.await
            .map_err(|error: Error| error.context(place(&step.migration, &unit)))?;
    }
    Ok(Some(step.migration.version))
}

fn place(migration: &Migration, unit: &Unit) -> String {
    let shard = unit
        .shard
        .map_or_else(String::new, |shard| format!(" on shard {shard}"));
    format!("migration {} {:?}{shard}", migration.version, migration.name)
}

/// What the databases remember.
async fn history(shared: &Shared) -> Result<Applied> {
    let mut applied = Applied::default();
    for (database, pool) in shared.pools.iter().enumerate() {
        let mut connection = pool.connection(false).await?;
        let exists = statement(
            "select 1 from sqlite_master where name = '_infra_migrations'",
            vec![],
        );
        if connection.run(exists, Want::All).await?.rows.is_empty() {
            continue;
        }
        let notes = statement(
            "select version, shard, shards, name, checksum from _infra_migrations",
            vec![],
        );
        for row in connection.run(notes, Want::All).await?.rows {
            let (version, shard, shards, name, checksum): (u64, i64, u32, String, String) = row.decode()?;
            let shard = u32::try_from(shard).ok();
            let expected = shard.map_or(0, |shard| shared.router.database_of(shard));
            if expected != database {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!(
                        "shard {shard:?} was created on database {database} and the configuration now looks for it on database {expected}; restore the order and number of the URLs, or move the shards first"
                    ),
                ));
            }
            applied.add(version, shard, shards, name, checksum);
        }
    }
    Ok(applied)
}

/// Runs statements in one transaction.
async fn change(pool: &Arc<Pool>, statements: Vec<Bound>) -> Result<()> {
    let mut connection = pool.connection(true).await?;
    connection.begin(TransactionKind::Writing).await?;
    for statement in statements {
        connection.run(statement, Want::Count).await?;
    }
    connection.commit().await
}

fn statement(text: &str, values: Vec<Value>) -> Bound {
    Bound {
        text: text.into(),
        values,
    }
}

fn version(migration: &Migration) -> Result<Value> {
    i64::try_from(migration.version).map(Value::from).map_err(|_| {
        Error::invalid_argument(format!(
            "the migration's version {} does not fit a signed 64-bit integer",
            migration.version
        ))
    })
}
