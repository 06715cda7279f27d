//! The table from SQLite's result codes to [`ErrorKind`], and from sqlx's own errors.
//!
//! Source of the codes: <https://www.sqlite.org/rescode.html>.

use infra_core::{Error, ErrorKind, Result, Retry};

/// What a result code means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Meaning {
    /// The extended or primary code.
    code: i32,
    kind: ErrorKind,
    retry: Retry,
    advice: &'static str,
}

const fn row(code: i32, kind: ErrorKind, retry: Retry, advice: &'static str) -> Meaning {
    Meaning {
        code,
        kind,
        retry,
        advice,
    }
}

/// Extended codes stand before the primary code that they refine; the first match counts.
const TABLE: &[Meaning] = &[
    row(
        2067,
        ErrorKind::AlreadyExists,
        Retry::Never,
        "a unique constraint refuses the row",
    ),
    row(
        1555,
        ErrorKind::AlreadyExists,
        Retry::Never,
        "a row with this primary key exists",
    ),
    row(
        2579,
        ErrorKind::AlreadyExists,
        Retry::Never,
        "a row with this row id exists",
    ),
    row(
        787,
        ErrorKind::Conflict,
        Retry::Never,
        "a foreign key refuses it: the other row is missing or still needed",
    ),
    row(1811, ErrorKind::Conflict, Retry::Never, "a trigger refuses it"),
    row(
        1299,
        ErrorKind::InvalidArgument,
        Retry::Never,
        "a column that may not be null would be null",
    ),
    row(
        275,
        ErrorKind::InvalidArgument,
        Retry::Never,
        "a check constraint refuses the row",
    ),
    row(
        3091,
        ErrorKind::InvalidArgument,
        Retry::Never,
        "a value does not have the column's type",
    ),
    row(
        19,
        ErrorKind::InvalidArgument,
        Retry::Never,
        "a constraint refuses the row",
    ),
    row(
        517,
        ErrorKind::Conflict,
        Retry::Backoff,
        "another transaction wrote after this one had read; repeat the transaction",
    ),
    row(
        5,
        ErrorKind::Conflict,
        Retry::Backoff,
        "another connection holds the lock; repeat the transaction",
    ),
    row(
        6,
        ErrorKind::Conflict,
        Retry::Backoff,
        "another statement holds the table; repeat the transaction",
    ),
    row(
        17,
        ErrorKind::Conflict,
        Retry::Backoff,
        "the schema changed under the statement; repeat it",
    ),
    row(
        9,
        ErrorKind::Cancelled,
        Retry::Never,
        "the statement was interrupted",
    ),
    row(
        8,
        ErrorKind::PermissionDenied,
        Retry::Never,
        "the database can only be read",
    ),
    row(
        3,
        ErrorKind::PermissionDenied,
        Retry::Never,
        "the operating system denies access to the file",
    ),
    row(
        23,
        ErrorKind::PermissionDenied,
        Retry::Never,
        "the statement is not authorised",
    ),
    row(
        13,
        ErrorKind::ResourceExhausted,
        Retry::Backoff,
        "the disk or the database is full",
    ),
    row(
        7,
        ErrorKind::ResourceExhausted,
        Retry::Backoff,
        "there is no memory left",
    ),
    row(
        18,
        ErrorKind::InvalidArgument,
        Retry::Never,
        "a text, value or statement is larger than SQLite allows",
    ),
    row(
        20,
        ErrorKind::InvalidArgument,
        Retry::Never,
        "a value does not have the type that is needed",
    ),
    row(
        25,
        ErrorKind::Internal,
        Retry::Never,
        "a parameter was bound out of range",
    ),
    row(
        21,
        ErrorKind::Internal,
        Retry::Never,
        "the driver misused the library",
    ),
    row(
        11,
        ErrorKind::DataCorrupted,
        Retry::Never,
        "the database file is damaged; restore it",
    ),
    row(
        26,
        ErrorKind::DataCorrupted,
        Retry::Never,
        "the file is not an SQLite database",
    ),
    row(
        14,
        ErrorKind::Unavailable,
        Retry::Backoff,
        "the database file cannot be opened; check the path and its permissions",
    ),
    row(
        10,
        ErrorKind::Unavailable,
        Retry::Backoff,
        "the operating system failed to read or write the file",
    ),
    row(
        1,
        ErrorKind::InvalidArgument,
        Retry::Never,
        "SQLite refuses the statement",
    ),
];

fn meaning(code: i32) -> Meaning {
    TABLE
        .iter()
        .find(|row| row.code == code)
        .or_else(|| TABLE.iter().find(|row| row.code == code & 0xff))
        .copied()
        .unwrap_or(row(
            code,
            ErrorKind::Internal,
            Retry::Never,
            "SQLite answered with an unexpected code",
        ))
}

/// The extended result code, when SQLite itself refused.
pub(crate) fn code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse().ok()
}

/// Whether another connection was in the way and waiting may help. The statement had no effect.
pub(crate) fn is_busy(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| matches!(code & 0xff, 5 | 6) && code != 517)
}

/// Whether the statement was stopped by the progress handler.
pub(crate) fn is_interrupted(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| code & 0xff == 9)
}

/// Whether SQLite may have undone the whole transaction and not the statement alone
/// (<https://www.sqlite.org/lang_transaction.html>, "Response To Errors Within A Transaction").
pub(crate) fn ends_transaction(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(_) => code(error)
            .is_none_or(|code| matches!(code & 0xff, 13 | 10 | 7 | 9 | 11 | 26 | 21) || code == 517),
        sqlx::Error::Encode(_) | sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => false,
        _ => true,
    }
}

/// Turns the driver's error into ours.
pub(crate) fn translate(error: sqlx::Error) -> Error {
    let (kind, retry, message) = match &error {
        sqlx::Error::Database(database) => {
            let meaning = code(&error).map_or(
                row(
                    -1,
                    ErrorKind::Internal,
                    Retry::Never,
                    "the driver gave no result code",
                ),
                meaning,
            );
            let message = format!("{} ({})", meaning.advice, database.message());
            (meaning.kind, meaning.retry, message)
        }
        // Without a connection nothing was sent, so that even what must not be done twice may be tried again.
        sqlx::Error::PoolTimedOut => {
            return Error::new(
                ErrorKind::Timeout,
                "no connection became free in time; raise max_connections or acquire_timeout, or hold connections for less long",
            )
            .without_effect()
            .with_source(error);
        }
        sqlx::Error::PoolClosed => {
            return Error::closed("the database").with_source(error);
        }
        sqlx::Error::Io(io) => (
            ErrorKind::Unavailable,
            Retry::Backoff,
            format!("the operating system refused: {io}"),
        ),
        sqlx::Error::WorkerCrashed => (
            ErrorKind::Unavailable,
            Retry::Backoff,
            "the connection's worker thread ended; the pool opens another".to_owned(),
        ),
        sqlx::Error::Configuration(problem) => (
            ErrorKind::InvalidConfig,
            Retry::Never,
            format!("the driver refuses the configuration: {problem}"),
        ),
        sqlx::Error::Encode(_) => (
            ErrorKind::InvalidArgument,
            Retry::Never,
            "a value cannot be sent to the engine".to_owned(),
        ),
        sqlx::Error::ColumnDecode { index, .. } => (
            ErrorKind::DataCorrupted,
            Retry::Never,
            format!("column {index} holds what cannot be read"),
        ),
        sqlx::Error::Decode(_) => (
            ErrorKind::DataCorrupted,
            Retry::Never,
            "a column holds what cannot be read".to_owned(),
        ),
        other => (
            ErrorKind::Internal,
            Retry::Never,
            format!("the driver failed unexpectedly: {other}"),
        ),
    };
    Error::new(kind, message).with_retry(retry).with_source(error)
}

/// Turns an error of `commit` into ours: where nobody knows whether it happened, it says so.
pub(crate) fn translate_commit(error: sqlx::Error) -> Error {
    let unknown = match &error {
        // Reading and writing failed half-way; or the answer got lost.
        sqlx::Error::Database(_) => code(&error).is_none_or(|code| code & 0xff == 10),
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed | sqlx::Error::Protocol(_) => true,
        _ => false,
    };
    if unknown {
        Error::new(
            ErrorKind::OutcomeUnknown,
            "the connection failed while committing; read what was written before repeating it",
        )
        .with_source(error)
    } else {
        translate(error)
    }
}

/// Adds where an error happened.
pub(crate) trait Placed<T> {
    /// Names the operation of the database component in the error.
    fn during(self, operation: &'static str) -> Result<T>;
}

impl<T> Placed<T> for Result<T> {
    fn during(self, operation: &'static str) -> Result<T> {
        self.map_err(|error| error.at("database", crate::dialect::Dialect::SQLITE.name, operation))
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    #[derive(Debug)]
    struct Code(i32);

    impl std::fmt::Display for Code {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "code {}", self.0)
        }
    }

    impl std::error::Error for Code {}

    impl sqlx::error::DatabaseError for Code {
        fn message(&self) -> &str {
            "said by SQLite"
        }
        fn code(&self) -> Option<Cow<'_, str>> {
            Some(self.0.to_string().into())
        }
        fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
            self
        }
        fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
            self
        }
        fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
            self
        }
        fn kind(&self) -> sqlx::error::ErrorKind {
            sqlx::error::ErrorKind::Other
        }
    }

    fn database(code: i32) -> sqlx::Error {
        sqlx::Error::Database(Box::new(Code(code)))
    }

    #[test]
    fn every_row_of_the_table() {
        for (code, kind, retryable) in [
            (2067, ErrorKind::AlreadyExists, false),
            (1555, ErrorKind::AlreadyExists, false),
            (2579, ErrorKind::AlreadyExists, false),
            (787, ErrorKind::Conflict, false),
            (1811, ErrorKind::Conflict, false),
            (1299, ErrorKind::InvalidArgument, false),
            (275, ErrorKind::InvalidArgument, false),
            (3091, ErrorKind::InvalidArgument, false),
            (19, ErrorKind::InvalidArgument, false),
            (531, ErrorKind::InvalidArgument, false),
            (5, ErrorKind::Conflict, true),
            (261, ErrorKind::Conflict, true),
            (517, ErrorKind::Conflict, true),
            (6, ErrorKind::Conflict, true),
            (262, ErrorKind::Conflict, true),
            (17, ErrorKind::Conflict, true),
            (9, ErrorKind::Cancelled, false),
            (8, ErrorKind::PermissionDenied, false),
            (1032, ErrorKind::PermissionDenied, false),
            (3, ErrorKind::PermissionDenied, false),
            (23, ErrorKind::PermissionDenied, false),
            (13, ErrorKind::ResourceExhausted, true),
            (7, ErrorKind::ResourceExhausted, true),
            (18, ErrorKind::InvalidArgument, false),
            (20, ErrorKind::InvalidArgument, false),
            (25, ErrorKind::Internal, false),
            (21, ErrorKind::Internal, false),
            (11, ErrorKind::DataCorrupted, false),
            (267, ErrorKind::DataCorrupted, false),
            (26, ErrorKind::DataCorrupted, false),
            (14, ErrorKind::Unavailable, true),
            (10, ErrorKind::Unavailable, true),
            (778, ErrorKind::Unavailable, true),
            (1, ErrorKind::InvalidArgument, false),
            (99, ErrorKind::Internal, false),
        ] {
            let error = translate(database(code));
            assert_eq!(
                (error.kind(), error.is_retryable()),
                (kind, retryable),
                "code {code}"
            );
            assert!(error.message().contains("said by SQLite"));
            assert!(
                error.downcast_source::<sqlx::Error>().is_some(),
                "the driver's error stays reachable"
            );
        }
        for row in TABLE {
            assert_eq!(meaning(row.code), *row, "a row that an earlier one hides");
        }
    }

    #[test]
    fn the_drivers_own_errors() {
        for (error, kind) in [
            (sqlx::Error::PoolTimedOut, ErrorKind::Timeout),
            (sqlx::Error::PoolClosed, ErrorKind::Closed),
            (sqlx::Error::WorkerCrashed, ErrorKind::Unavailable),
            (
                sqlx::Error::Io(std::io::Error::other("gone")),
                ErrorKind::Unavailable,
            ),
            (sqlx::Error::Configuration("bad".into()), ErrorKind::InvalidConfig),
            (sqlx::Error::Encode("bad".into()), ErrorKind::InvalidArgument),
            (sqlx::Error::Decode("bad".into()), ErrorKind::DataCorrupted),
            (sqlx::Error::RowNotFound, ErrorKind::Internal),
        ] {
            assert_eq!(translate(error).kind(), kind);
        }
    }

    #[test]
    fn a_commit_says_when_its_outcome_is_unknown() {
        assert_eq!(
            translate_commit(sqlx::Error::WorkerCrashed).kind(),
            ErrorKind::OutcomeUnknown
        );
        assert_eq!(translate_commit(database(1034)).kind(), ErrorKind::OutcomeUnknown);
        assert_eq!(translate_commit(database(5)).kind(), ErrorKind::Conflict);
        assert_eq!(translate_commit(database(787)).kind(), ErrorKind::Conflict);
    }

    #[test]
    fn knows_which_errors_end_a_transaction() {
        for (code, ends) in [
            (2067, false),
            (1, false),
            (5, false),
            (517, true),
            (13, true),
            (9, true),
            (778, true),
        ] {
            assert_eq!(ends_transaction(&database(code)), ends, "code {code}");
        }
    }
}
