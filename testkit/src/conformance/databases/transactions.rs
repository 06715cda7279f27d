//! All or nothing.

use std::sync::Arc;

use infra_core::capability::Capability;
use infra_core::database::{
    Database, DatabaseExt, Isolation, ScopedFutureExt, Statement, Transaction, TransactionOptions,
};
use infra_core::{Error, ErrorKind, Result};

use super::{insert, numbers, table};
use crate::conformance::{Failure, Harness, Outcome, Premise, check, check_eq, check_error, declares};

async fn begin(database: &dyn Database) -> std::result::Result<Box<dyn Transaction>, Failure> {
    database
        .begin(TransactionOptions::new())
        .await
        .premise("a transaction begins")
}

/// What a transaction did is invisible to others until it commits, and then visible whole.
pub async fn db_014_a_commit_is_seen_by_others_and_only_then(harness: &Harness<dyn Database>) -> Outcome {
    let (writer, reader) = (harness.client().await?, harness.client().await?);
    let items = table(harness, &*writer).await?;
    let mut transaction = begin(&*writer).await?;
    for id in [1, 2] {
        transaction
            .execute(insert(&items, id, &format!("n{id}"), id))
            .await
            .premise("a row is inserted")?;
    }
    check!(
        numbers(&*reader, &items).await?.is_empty(),
        "another client sees what is not committed"
    );
    transaction.commit().await?;
    check_eq!(
        numbers(&*reader, &items).await?,
        [(1, 1), (2, 2)],
        "rows after the commit"
    );
    Ok(())
}

/// A closure that returns an error undoes all it did.
pub async fn db_015_an_error_rolls_back(harness: &Harness<dyn Database>) -> Outcome {
    let database = harness.client().await?;
    let items = table(harness, &*database).await?;
    let answer: Result<()> = database
        .transaction(TransactionOptions::new(), |transaction| {
            let items = items.as_str();
            async move {
                transaction.execute(insert(items, 1, "ann", 1)).await?;
                Err(Error::invalid_argument("changed my mind"))
            }
            .scope_boxed()
        })
        .await;
    check_error!(answer, ErrorKind::InvalidArgument, "the closure's own error");
    check!(
        numbers(&*database, &items).await?.is_empty(),
        "a transaction that failed left a row"
    );
    Ok(())
}

/// A transaction that is dropped without a commit undoes all it did, and gives its connection back.
pub async fn db_016_a_drop_rolls_back(harness: &Harness<dyn Database>) -> Outcome {
    let database = harness.client().await?;
    let items = table(harness, &*database).await?;
    let mut transaction = begin(&*database).await?;
    transaction
        .execute(insert(&items, 1, "ann", 1))
        .await
        .premise("a row is inserted")?;
    drop(transaction);
    // A write has to wait for the end of the dropped transaction, however the engine locks.
    database
        .execute(insert(&items, 2, "bob", 2))
        .await
        .premise("a row is inserted afterwards")?;
    check_eq!(
        numbers(&*database, &items).await?,
        [(2, 2)],
        "rows after a transaction was dropped"
    );
    Ok(())
}

/// What was done since a savepoint can be undone by itself, savepoints nest, and strange names are refused.
pub async fn db_017_savepoints_nest(harness: &Harness<dyn Database>) -> Outcome {
    let database = harness.client().await?;
    let items = table(harness, &*database).await?;
    let mut transaction = begin(&*database).await?;
    if !declares(&*database, Capability::Savepoints) {
        check_error!(
            transaction.savepoint("outer").await,
            ErrorKind::Unsupported,
            "a savepoint, not declared"
        );
        return Ok(());
    }
    transaction
        .execute(insert(&items, 1, "kept", 1))
        .await
        .premise("a row is inserted")?;
    transaction.savepoint("outer").await?;
    transaction
        .execute(insert(&items, 2, "undone", 2))
        .await
        .premise("a row is inserted")?;
    transaction.savepoint("inner").await?;
    transaction
        .execute(insert(&items, 3, "undone too", 3))
        .await
        .premise("a row is inserted")?;
    transaction.release_savepoint("inner").await?;
    transaction.rollback_to("outer").await?;
    transaction
        .execute(insert(&items, 4, "kept too", 4))
        .await
        .premise("a row is inserted")?;
    let strange = transaction.savepoint("x; drop table").await;
    check_error!(
        strange,
        ErrorKind::InvalidArgument,
        "a savepoint with a strange name"
    );
    transaction.commit().await?;
    check_eq!(
        numbers(&*database, &items).await?,
        [(1, 1), (4, 4)],
        "rows after going back to the outer savepoint"
    );
    Ok(())
}

/// A transaction that promised not to write is held to it.
pub async fn db_018_a_read_only_transaction_writes_nothing(harness: &Harness<dyn Database>) -> Outcome {
    let database = harness.client().await?;
    let items = table(harness, &*database).await?;
    let options = TransactionOptions::new().read_only();
    let mut transaction = database.begin(options).await.premise("a transaction begins")?;
    let answer = transaction.execute(insert(&items, 1, "ann", 1)).await;
    check!(answer.is_err(), "a read-only transaction wrote: {answer:?}");
    drop(transaction);
    check!(
        numbers(&*database, &items).await?.is_empty(),
        "a read-only transaction left a row"
    );
    Ok(())
}

/// Statements of a transaction see those before them and apply one after the other.
pub async fn db_019_operations_apply_in_their_order(harness: &Harness<dyn Database>) -> Outcome {
    let database = harness.client().await?;
    let items = table(harness, &*database).await?;
    let mut transaction = begin(&*database).await?;
    transaction.execute(insert(&items, 1, "ann", 1)).await?;
    for change in ["number + 1", "number * 10", "number - 3"] {
        transaction
            .execute(Statement::new(format!("update {items} set number = {change}")))
            .await?;
    }
    transaction.commit().await.premise("a commit")?;
    check_eq!(
        numbers(&*database, &items).await?,
        [(1, 17)],
        "((1 + 1) * 10) - 3"
    );
    Ok(())
}

/// Transactions that read and then write the same row, declared repeatable, lose no update.
pub async fn db_020_racing_transactions_lose_no_update(harness: &Harness<dyn Database>) -> Outcome {
    let database = harness.client().await?;
    let items = table(harness, &*database).await?;
    database
        .execute(insert(&items, 1, "counter", 0))
        .await
        .premise("a row is inserted")?;
    let mut racers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (database, items) = (Arc::clone(&database), items.clone());
        racers.spawn(async move {
            for _ in 0..5 {
                increment(&*database, &items).await?;
            }
            Result::<()>::Ok(())
        });
    }
    while let Some(raced) = racers.join_next().await {
        raced??;
    }
    check_eq!(
        numbers(&*database, &items).await?,
        [(1, 20)],
        "a counter that 4 tasks incremented 5 times each"
    );
    Ok(())
}

async fn increment(database: &dyn Database, items: &str) -> Result<()> {
    let options = TransactionOptions::new()
        .with_isolation(Isolation::Serializable)
        .repeatable(50);
    database
        .transaction(options, |transaction| {
            async move {
                let read = Statement::new(format!("select number from {items} where id = 1"));
                let row = transaction.fetch_optional(read).await?;
                let number: i64 = row.map_or(Ok(0), infra_core::database::Row::decode)?;
                let write = format!("update {items} set number = :number where id = 1");
                transaction
                    .execute(Statement::new(write).bind("number", number + 1))
                    .await
                    .map(|_| ())
            }
            .scope_boxed()
        })
        .await
}

/// An update that names the revision it has read touches nothing once somebody else has changed it.
pub async fn db_021_a_stale_revision_is_refused(harness: &Harness<dyn Database>) -> Outcome {
    let (ours, theirs) = (harness.client().await?, harness.client().await?);
    let items = table(harness, &*ours).await?;
    ours.execute(insert(&items, 1, "ann", 1))
        .await
        .premise("a row is inserted")?;
    let update = |revision: i64| {
        let text = format!("update {items} set number = number + 1 where id = 1 and number = :revision");
        Statement::new(text).bind("revision", revision)
    };
    let first = theirs.execute(update(1)).await.premise("an update")?;
    (first.rows_affected == 1).premise("the first update changes the row")?;
    check_eq!(
        ours.execute(update(1)).await?.rows_affected,
        0,
        "rows updated by the second, whose revision is stale"
    );
    Ok(())
}
