//! Statements and their parameters.

use infra_core::ErrorKind;
use infra_core::capability::Capability;
use infra_core::database::{Database, DatabaseExt, Statement};

use super::{insert, numbers, table};
use crate::conformance::{Harness, Outcome, Premise, check, check_eq, check_error, declares};

/// What one client has written, another reads.
pub async fn db_001_what_was_written_is_read_by_another_client(harness: &Harness<dyn Database>) -> Outcome {
    let (writer, reader) = (harness.client().await?, harness.client().await?);
    let items = table(harness, &*writer).await?;
    writer
        .execute(insert(&items, 1, "ann", 7))
        .await
        .premise("a row is inserted")?;
    let select = format!("select name, number from {items} where id = :id");
    let found: Vec<(String, i64)> = reader.query_as(Statement::new(select).bind("id", 1_i64)).await?;
    check_eq!(
        found,
        [("ann".to_owned(), 7)],
        "the row that another client wrote"
    );
    Ok(())
}

/// No row is `None` or an empty list; only where one is required is it `NotFound`.
pub async fn db_002_absent_rows_are_none_and_not_an_error(harness: &Harness<dyn Database>) -> Outcome {
    let database = harness.client().await?;
    let items = table(harness, &*database).await?;
    let none = || Statement::new(format!("select id from {items} where id = :id")).bind("id", 404_i64);
    check!(
        database.fetch_optional(none()).await?.is_none(),
        "a row that is not there was found"
    );
    check!(
        database.fetch_all(none()).await?.is_empty(),
        "rows that are not there were found"
    );
    check_error!(
        database.query_one::<i64>(none()).await,
        ErrorKind::NotFound,
        "a row that is required"
    );
    Ok(())
}

/// Inserts, updates and deletes say how many rows they touched.
pub async fn db_003_the_number_of_affected_rows_is_exact(harness: &Harness<dyn Database>) -> Outcome {
    let database = harness.client().await?;
    let items = table(harness, &*database).await?;
    for id in 1..=4 {
        let inserted = database
            .execute(insert(&items, id, &format!("n{id}"), 0))
            .await
            .premise("a row is inserted")?;
        check_eq!(inserted.rows_affected, 1, "rows that one insert affected");
    }
    let update =
        Statement::new(format!("update {items} set number = number + 1 where id <= :id")).bind("id", 3_i64);
    check_eq!(
        database.execute(update).await?.rows_affected,
        3,
        "rows that an update affected"
    );
    let delete = Statement::new(format!("delete from {items} where id > :id")).bind("id", 9_i64);
    check_eq!(
        database.execute(delete).await?.rows_affected,
        0,
        "rows that a delete of nothing affected"
    );
    Ok(())
}

/// Whatever a value consists of, it comes back as it was and changes nothing else.
pub async fn db_004_values_never_become_part_of_the_text(harness: &Harness<dyn Database>) -> Outcome {
    let database = harness.client().await?;
    let items = table(harness, &*database).await?;
    let hostile = [
        format!("x'); drop table {items}; --"),
        "' or '1'='1".to_owned(),
        "\\'; -- \" ` $$ $1 ? :id /* */".to_owned(),
        "喵 🦀 e\u{301}\u{200d}".to_owned(),
    ];
    for (id, name) in (1..).zip(&hostile) {
        database.execute(insert(&items, id, name, id)).await?;
        let by_name = Statement::new(format!("select id, name from {items} where name = :name"));
        let found: Vec<(i64, String)> = database.query_as(by_name.bind("name", name.as_str())).await?;
        check_eq!(found, [(id, name.clone())], "the row whose name is {name:?}");
    }
    check_eq!(numbers(&*database, &items).await?.len(), hostile.len(), "rows");
    Ok(())
}

/// A question mark or a colon inside a literal or a comment is no parameter.
pub async fn db_005_placeholders_in_literals_and_comments_are_left_alone(
    harness: &Harness<dyn Database>,
) -> Outcome {
    let database = harness.client().await?;
    let text = "select 'is ? :id it''s' as a, :id as b -- ? :other\n /* :third ? */";
    let rows: Vec<(String, i64)> = database.query_as(Statement::new(text).bind("id", 5_i64)).await?;
    check_eq!(
        rows,
        [("is ? :id it's".to_owned(), 5)],
        "a literal and the one parameter"
    );
    Ok(())
}

/// A list fills `in (:list)`, whatever its length; an empty one matches nothing.
pub async fn db_006_lists_fill_in_and_an_empty_list_matches_nothing(
    harness: &Harness<dyn Database>,
) -> Outcome {
    let database = harness.client().await?;
    let items = table(harness, &*database).await?;
    for id in 1..=5 {
        database
            .execute(insert(&items, id, &format!("n{id}"), id))
            .await
            .premise("a row is inserted")?;
    }
    for wanted in [vec![], vec![2], vec![1, 3, 5, 77]] {
        let text = format!("select id from {items} where id in (:ids) order by id");
        let found: Vec<i64> = database
            .query_as(Statement::new(text).bind_list("ids", wanted.clone()))
            .await?;
        let expected: Vec<i64> = wanted.into_iter().filter(|id| *id <= 5).collect();
        check_eq!(found, expected, "rows in the list");
    }
    Ok(())
}

/// A parameter without a value, a value without a parameter, and a mixture of both kinds are refused, and nothing is sent.
pub async fn db_007_parameters_that_do_not_fit_are_refused_before_any_io(
    harness: &Harness<dyn Database>,
) -> Outcome {
    let database = harness.client().await?;
    let items = table(harness, &*database).await?;
    let delete = |condition: &str| Statement::new(format!("delete from {items} where {condition}"));
    database
        .execute(insert(&items, 1, "ann", 1))
        .await
        .premise("a row is inserted")?;
    let misfits = [
        ("a value is missing", delete("id = :id")),
        ("a positional value is missing", delete("id = ?")),
        ("a value is left over", delete("id = id").bind("id", 1_i64)),
        (
            "both kinds are mixed",
            delete("id = :id or id = ?").bind("id", 1_i64).bind_next(1_i64),
        ),
    ];
    for (what, statement) in misfits {
        check_error!(
            database.execute(statement).await,
            ErrorKind::InvalidArgument,
            "{what}"
        );
    }
    check_eq!(
        numbers(&*database, &items).await?.len(),
        1,
        "rows, after deletes that were refused"
    );
    Ok(())
}

/// A row that exists already is said to, on the primary key and on any other unique column.
pub async fn db_008_a_violated_unique_constraint_already_exists(harness: &Harness<dyn Database>) -> Outcome {
    let database = harness.client().await?;
    let items = table(harness, &*database).await?;
    database
        .execute(insert(&items, 1, "ann", 1))
        .await
        .premise("a row is inserted")?;
    for (what, id, name) in [("the primary key", 1, "bob"), ("a unique column", 2, "ann")] {
        let answer = database.execute(insert(&items, id, name, 2)).await;
        let error = check_error!(answer, ErrorKind::AlreadyExists, "{what} twice");
        check!(
            !error.is_retryable(),
            "a unique violation will not pass when repeated: {error:?}"
        );
    }
    Ok(())
}

/// A statement that the engine does not understand, or that names what is not there, is the caller's error and is not repeated.
pub async fn db_009_a_statement_that_makes_no_sense_is_an_invalid_argument(
    harness: &Harness<dyn Database>,
) -> Outcome {
    let database = harness.client().await?;
    let absent = harness.name("absent");
    for text in ["selekt 1".to_owned(), format!("select * from {absent}")] {
        let error = check_error!(
            database.execute(Statement::new(text.clone())).await,
            ErrorKind::InvalidArgument,
            "{text:?}"
        );
        check!(
            !error.is_retryable(),
            "{text:?} will not pass when repeated: {error:?}"
        );
    }
    Ok(())
}

/// Where it is declared, `returning` gives the changed rows; where it is not, it is refused.
pub async fn db_010_changed_rows_can_be_returned(harness: &Harness<dyn Database>) -> Outcome {
    let database = harness.client().await?;
    let items = table(harness, &*database).await?;
    let text = format!("insert into {items} (id, number) values (:id, :number) returning number");
    let returning = Statement::new(text).bind("id", 1_i64).bind("number", 42_i64);
    let answer = database.fetch_all(returning).await;
    if declares(&*database, Capability::Returning) {
        let rows = answer?;
        let numbers: Vec<i64> = rows
            .into_iter()
            .map(|row| row.decode())
            .collect::<infra_core::Result<_>>()?;
        check_eq!(numbers, [42], "what `returning` gave");
    } else {
        check!(
            answer.is_err(),
            "`returning` is not declared, but was answered: {answer:?}"
        );
    }
    Ok(())
}
