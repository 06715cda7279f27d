//! The table from tantivy's and the file system's errors to [`ErrorKind`]; nothing else maps errors.

use std::io;

use infra_core::{Error, ErrorKind};
use tantivy::TantivyError;
use tantivy::directory::error::{LockError, OpenDirectoryError, OpenReadError, OpenWriteError};

/// Turns an error of tantivy into ours; `what` says what was attempted on what.
pub(crate) fn from_tantivy(what: impl std::fmt::Display, error: TantivyError) -> Error {
    let (kind, advice) = kind_of(&error);
    Error::new(kind, format!("{what} failed: {advice}")).with_source(error)
}

/// Turns an error of the file system into ours; `what` says what was attempted on what.
pub(crate) fn from_io(what: impl std::fmt::Display, error: io::Error) -> Error {
    let (kind, advice) = io_kind(&error);
    Error::new(kind, format!("{what} failed: {advice}")).with_source(error)
}

/// Turns the end of a background job into ours: it panicked, or the runtime went down before it ran.
pub(crate) fn from_join(error: tokio::task::JoinError) -> Error {
    if error.is_panic() {
        return Error::new(
            ErrorKind::Internal,
            "the search engine panicked, which points at damaged index files; reopen it, and rebuild the index if it happens again",
        )
        .with_source(error);
    }
    Error::new(
        ErrorKind::Cancelled,
        "the runtime was shut down before the search engine finished",
    )
    .with_source(error)
}

const DAMAGED: &str =
    "the files of the index are damaged, incomplete or of another version; rebuild the index from its source";

fn kind_of(error: &TantivyError) -> (ErrorKind, &'static str) {
    match error {
        TantivyError::IndexAlreadyExists => (ErrorKind::AlreadyExists, "there is an index already"),
        TantivyError::LockFailure(LockError::LockBusy, _) => (
            ErrorKind::Unavailable,
            "another process holds the index; stop it first",
        ),
        TantivyError::LockFailure(LockError::IoError(error), _) | TantivyError::IoError(error) => {
            io_kind(error)
        }
        TantivyError::OpenDirectoryError(error) => directory_kind(error),
        TantivyError::OpenReadError(OpenReadError::IoError { io_error, .. })
        | TantivyError::OpenWriteError(OpenWriteError::IoError { io_error, .. }) => io_kind(io_error),
        TantivyError::OpenReadError(_)
        | TantivyError::OpenWriteError(OpenWriteError::FileAlreadyExists(_))
        | TantivyError::DataCorruption(_)
        | TantivyError::IncompatibleIndex(_)
        | TantivyError::DeserializeError(_)
        | TantivyError::MissingPlugin(_)
        | TantivyError::ConflictingPlugins(_)
        | TantivyError::UnexpectedPlugin(_) => (ErrorKind::DataCorrupted, DAMAGED),
        TantivyError::InvalidArgument(_) => (ErrorKind::InvalidArgument, "the engine refused the argument"),
        TantivyError::SystemError(_) => (
            ErrorKind::ResourceExhausted,
            "the system gave no thread or memory; use fewer indexes or writer threads",
        ),
        TantivyError::AggregationError(_)
        | TantivyError::Poisoned
        | TantivyError::FieldNotFound(_)
        | TantivyError::ErrorInThread(_)
        | TantivyError::IndexBuilderMissingArgument(_)
        | TantivyError::SchemaError(_)
        | TantivyError::InternalError(_) => (ErrorKind::Internal, "the engine failed internally; reopen it"),
    }
}

fn directory_kind(error: &OpenDirectoryError) -> (ErrorKind, &'static str) {
    match error {
        OpenDirectoryError::DoesNotExist(_) => (ErrorKind::DataCorrupted, DAMAGED),
        OpenDirectoryError::NotADirectory(_) => {
            (ErrorKind::InvalidConfig, "the path is a file; name a directory")
        }
        OpenDirectoryError::FailedToCreateTempDir(error)
        | OpenDirectoryError::IoError { io_error: error, .. } => io_kind(error),
    }
}

fn io_kind(error: &io::Error) -> (ErrorKind, &'static str) {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => (
            ErrorKind::PermissionDenied,
            "the process may not write here; check the directory's owner and mode",
        ),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::OutOfMemory => (
            ErrorKind::ResourceExhausted,
            "no space is left; free some and reopen",
        ),
        io::ErrorKind::NotADirectory => (ErrorKind::InvalidConfig, "the path is a file; name a directory"),
        io::ErrorKind::NotFound | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            (ErrorKind::DataCorrupted, DAMAGED)
        }
        _ => (
            ErrorKind::Unavailable,
            "the file system failed; see the source of this error",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use tantivy::error::DataCorruption;

    use super::*;

    fn io(kind: io::ErrorKind) -> Arc<io::Error> {
        Arc::new(io::Error::from(kind))
    }

    #[test]
    fn every_row_of_the_table() {
        let path = PathBuf::from("p");
        let rows = [
            (TantivyError::IndexAlreadyExists, ErrorKind::AlreadyExists),
            (
                TantivyError::LockFailure(LockError::LockBusy, None),
                ErrorKind::Unavailable,
            ),
            (
                TantivyError::LockFailure(LockError::IoError(io(io::ErrorKind::PermissionDenied)), None),
                ErrorKind::PermissionDenied,
            ),
            (
                TantivyError::OpenDirectoryError(OpenDirectoryError::DoesNotExist(path.clone())),
                ErrorKind::DataCorrupted,
            ),
            (
                TantivyError::OpenDirectoryError(OpenDirectoryError::NotADirectory(path.clone())),
                ErrorKind::InvalidConfig,
            ),
            (
                TantivyError::OpenDirectoryError(OpenDirectoryError::FailedToCreateTempDir(io(
                    io::ErrorKind::StorageFull,
                ))),
                ErrorKind::ResourceExhausted,
            ),
            (
                TantivyError::OpenDirectoryError(OpenDirectoryError::wrap_io_error(
                    io::ErrorKind::PermissionDenied.into(),
                    path.clone(),
                )),
                ErrorKind::PermissionDenied,
            ),
            (
                TantivyError::OpenReadError(OpenReadError::FileDoesNotExist(path.clone())),
                ErrorKind::DataCorrupted,
            ),
            (
                TantivyError::OpenReadError(OpenReadError::wrap_io_error(
                    io::ErrorKind::Other.into(),
                    path.clone(),
                )),
                ErrorKind::Unavailable,
            ),
            (
                TantivyError::OpenWriteError(OpenWriteError::FileAlreadyExists(path.clone())),
                ErrorKind::DataCorrupted,
            ),
            (
                TantivyError::OpenWriteError(OpenWriteError::wrap_io_error(
                    io::ErrorKind::StorageFull.into(),
                    path,
                )),
                ErrorKind::ResourceExhausted,
            ),
            (
                TantivyError::IoError(io(io::ErrorKind::InvalidData)),
                ErrorKind::DataCorrupted,
            ),
            (
                TantivyError::IoError(io(io::ErrorKind::NotADirectory)),
                ErrorKind::InvalidConfig,
            ),
            (
                TantivyError::DataCorruption(DataCorruption::comment_only("x")),
                ErrorKind::DataCorrupted,
            ),
            (TantivyError::MissingPlugin("x".into()), ErrorKind::DataCorrupted),
            (
                TantivyError::ConflictingPlugins("x".into()),
                ErrorKind::DataCorrupted,
            ),
            (
                TantivyError::UnexpectedPlugin("x".into()),
                ErrorKind::DataCorrupted,
            ),
            (
                TantivyError::InvalidArgument("x".into()),
                ErrorKind::InvalidArgument,
            ),
            (
                TantivyError::SystemError("x".into()),
                ErrorKind::ResourceExhausted,
            ),
            (TantivyError::Poisoned, ErrorKind::Internal),
            (TantivyError::FieldNotFound("x".into()), ErrorKind::Internal),
            (TantivyError::ErrorInThread("x".into()), ErrorKind::Internal),
            (
                TantivyError::IndexBuilderMissingArgument("x"),
                ErrorKind::Internal,
            ),
            (TantivyError::SchemaError("x".into()), ErrorKind::Internal),
            (TantivyError::InternalError("x".into()), ErrorKind::Internal),
        ];
        for (error, kind) in rows {
            let text = format!("{error:?}");
            let mapped = from_tantivy("doing it", error);
            assert_eq!(mapped.kind(), kind, "{text}");
            assert!(mapped.downcast_source::<TantivyError>().is_some(), "{text}");
        }
    }

    #[tokio::test]
    async fn a_panic_is_an_error() {
        let joined = tokio::task::spawn_blocking(|| panic!("damaged")).await;
        assert_eq!(from_join(joined.unwrap_err()).kind(), ErrorKind::Internal);
    }
}
