//! The file that holds the last good values of the config centre, for starting while the centre is away.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind as IoErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::coordination::{ConfigEntry, Version, WatchScope};
use crate::error::{Error, ErrorKind, Result};

const FORMAT: u32 = 1;

/// A snapshot file for one scope.
pub(super) struct Snapshot {
    path: PathBuf,
    scope: String,
    written: bool,
}

#[derive(Serialize, Deserialize)]
struct Document {
    format: u32,
    scope: String,
    entries: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    key: String,
    version: u64,
    value: String,
}

impl Snapshot {
    pub(super) fn new(path: PathBuf, scope: &WatchScope) -> Self {
        let scope = match scope {
            WatchScope::Key(key) => format!("key {key}"),
            WatchScope::Prefix(prefix) => format!("prefix {prefix}"),
        };
        Self {
            path,
            scope,
            written: false,
        }
    }

    /// Whether nothing was written yet by this process.
    pub(super) const fn is_unwritten(&self) -> bool {
        !self.written
    }

    /// Reads the file; `None` when there is none.
    pub(super) async fn load(&self) -> Result<Option<Vec<ConfigEntry>>> {
        let path = self.path.clone();
        let scope = self.scope.clone();
        blocking(move || load(&path, &scope)).await
    }

    /// Replaces the file.
    pub(super) async fn save(&mut self, entries: Vec<ConfigEntry>) -> Result<()> {
        let document = Document {
            format: FORMAT,
            scope: self.scope.clone(),
            entries: entries.into_iter().filter_map(Entry::of).collect(),
        };
        let path = self.path.clone();
        blocking(move || save(&path, &document)).await?;
        self.written = true;
        Ok(())
    }
}

impl Entry {
    /// A value that was decoded is text, so that nothing is lost here.
    fn of(entry: ConfigEntry) -> Option<Self> {
        Some(Self {
            value: String::from_utf8(entry.value.to_vec()).ok()?,
            key: entry.key,
            version: entry.version.0,
        })
    }
}

fn load(path: &Path, scope: &str) -> Result<Option<Vec<ConfigEntry>>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == IoErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("read", path, error)),
    };
    let corrupted = |what: &str| {
        Error::new(
            ErrorKind::DataCorrupted,
            format!(
                "{}: {what}; it is written anew when the config centre answers",
                path.display()
            ),
        )
    };
    // The parser's message may quote a value.
    let document: Document =
        serde_json::from_slice(&bytes).map_err(|_| corrupted("not a configuration snapshot"))?;
    if document.format != FORMAT {
        return Err(corrupted("a snapshot of another version"));
    }
    if document.scope != scope {
        return Err(corrupted("a snapshot of another key or prefix"));
    }
    let entries = document.entries.into_iter();
    Ok(Some(
        entries
            .map(|entry| ConfigEntry::new(entry.key, entry.value.into(), Version(entry.version)))
            .collect(),
    ))
}

/// Writes beside the file and renames, so that a crash leaves the old file or the new one, never half of one.
fn save(path: &Path, document: &Document) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{:016x}.tmp", fastrand::u64(..)));
    let beside = PathBuf::from(beside);
    let written = write_and_rename(path, &beside, document);
    if written.is_err() {
        // What cannot be written can rarely be removed; nothing depends on it.
        let _ = fs::remove_file(&beside);
    }
    written.map_err(|error| io_error("written", path, error))
}

fn write_and_rename(path: &Path, beside: &Path, document: &Document) -> std::io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(directory) = directory {
        fs::create_dir_all(directory)?;
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let mut file = options.open(beside)?;
    file.write_all(&serde_json::to_vec(document)?)?;
    file.sync_all()?;
    fs::rename(beside, path)?;
    // The rename itself must reach the disk; some systems cannot open a directory, and there it already has.
    if let Ok(directory) = File::open(directory.unwrap_or(Path::new("."))) {
        let _ = directory.sync_all();
    }
    Ok(())
}

fn io_error(verb: &str, path: &Path, error: std::io::Error) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("{}: cannot be {verb}: {error}", path.display()),
    )
    .with_source(error)
}

async fn blocking<V: Send + 'static>(work: impl FnOnce() -> Result<V> + Send + 'static) -> Result<V> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(Error::new(
            ErrorKind::Internal,
            "the task that accesses the snapshot did not finish",
        )
        .with_source(error))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    infra_testkit::fuzz!(
        /// A snapshot is read, or refused with the name of its file and without its values; what is read is written the same.
        any_file_is_a_snapshot_or_is_refused,
        infra_testkit::fuzz::Start::new(&[
            r#"{"format":1,"scope":"prefix rules/","entries":[{"key":"rules/a","version":7,"value":"hunter2"}]}"#,
            r#"{"format":2,"scope":"prefix rules/","entries":[]}"#,
            r#"{"format":1,"scope":"key a","entries":[{"key":"a","version":"hunter2","value":1}]}"#,
        ])
        .with_inputs(1_000),
        |input| {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("snapshot.json");
            fs::write(&path, input).expect("written");
            match load(&path, "prefix rules/") {
                Ok(entries) => {
                    let entries: Vec<_> = entries.into_iter().flatten().collect();
                    let document = Document {
                        format: FORMAT,
                        scope: "prefix rules/".to_owned(),
                        entries: entries.iter().cloned().filter_map(Entry::of).collect(),
                    };
                    save(&path, &document).expect("written");
                    let again = load(&path, "prefix rules/").expect("read back").expect("there");
                    assert_eq!(format!("{again:?}"), format!("{entries:?}"));
                }
                Err(error) => {
                    let told = format!("{error:?}");
                    assert!(told.contains("snapshot.json") && !told.contains("hunter2"), "{told}");
                }
            }
        }
    );
}
