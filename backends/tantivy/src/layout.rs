//! The directory: its marker, its lock, the aliases, and the place of each index. All file handling of names is here.
//!
//! ```text
//! infra-search.json     what this directory is, and its format
//! lock                  held by the process that has it open
//! aliases.json          alias -> index
//! indexes/<escaped>/    schema.json, journal, tantivy/
//! removed-*, new-*      left by a crash; cleared when opened
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use infra_core::search::IndexSchema;
use infra_core::{Error, ErrorKind, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::from_io;
use crate::names::directory_name;
use crate::schema::{kind_name, kind_of};

const FORMAT: u32 = 1;
const MARKER: &str = "infra-search.json";
const ALIASES: &str = "aliases.json";
const INDEXES: &str = "indexes";
const DESCRIPTOR: &str = "schema.json";

/// How long opening waits for a process that is just ending.
const LOCK_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    format: u32,
}

/// What is stored beside an index.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Descriptor {
    format: u32,
    /// The version of the text analysis that made the terms.
    pub(crate) analysis: u32,
    /// The index's own name, unescaped.
    pub(crate) name: String,
    fields: BTreeMap<String, String>,
}

impl Descriptor {
    /// Describes an index.
    pub(crate) fn new(name: &str, schema: &IndexSchema) -> Result<Self> {
        let fields = schema
            .fields()
            .map(|(field, kind)| {
                let kind = kind_name(kind)
                    .ok_or_else(|| Error::unsupported(&format!("the kind of field {field:?}")))?;
                Ok((field.to_owned(), kind.to_owned()))
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            format: FORMAT,
            analysis: crate::analysis::VERSION,
            name: name.to_owned(),
            fields,
        })
    }

    /// The schema described.
    pub(crate) fn schema(&self) -> Result<IndexSchema> {
        let mut schema = IndexSchema::new();
        for (field, kind) in &self.fields {
            let kind = kind_of(kind).ok_or_else(|| {
                Error::new(
                    ErrorKind::DataCorrupted,
                    format!("index {:?} has a field of the unknown kind {kind:?}", self.name),
                )
            })?;
            schema = schema.with_field(field, kind);
        }
        Ok(schema)
    }
}

/// An open directory; the lock is held until it is dropped.
#[derive(Debug)]
pub(crate) struct Layout {
    root: PathBuf,
    _lock: File,
}

impl Layout {
    /// Opens a directory, creating it when it is not there, and takes its lock.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        let what = || format!("opening the search directory {}", root.display());
        fs::create_dir_all(root).map_err(|error| from_io(what(), error))?;
        check_marker(root)?;
        let lock = take_lock(root)?;
        let layout = Self {
            root: root.to_owned(),
            _lock: lock,
        };
        if !root.join(MARKER).exists() {
            layout.write_json(&root.join(MARKER), &Marker { format: FORMAT })?;
        }
        fs::create_dir_all(root.join(INDEXES)).map_err(|error| from_io(what(), error))?;
        layout.clear_leftovers()?;
        Ok(layout)
    }

    /// Whether the directory can still be read.
    pub(crate) fn check(&self) -> Result<()> {
        read_json::<Marker>(&self.root.join(MARKER)).map(|_| ())
    }

    /// Every index found, with its place.
    pub(crate) fn indexes(&self) -> Result<Vec<(Descriptor, PathBuf)>> {
        let directory = self.root.join(INDEXES);
        let mut found = Vec::new();
        for entry in entries(&directory)? {
            let descriptor: Descriptor = read_json(&entry.join(DESCRIPTOR))?;
            let expected = directory_name(&descriptor.name);
            if descriptor.format != FORMAT || entry.file_name() != Some(expected.as_ref()) {
                return Err(Error::new(
                    ErrorKind::DataCorrupted,
                    format!(
                        "{} is not the place of index {:?}, or of another format; it was moved or edited by hand",
                        entry.display(),
                        descriptor.name
                    ),
                ));
            }
            found.push((descriptor, entry));
        }
        Ok(found)
    }

    /// Makes the place of a new index: `fill` puts tantivy's files into it, then it appears in one step.
    pub(crate) fn create(
        &self,
        descriptor: &Descriptor,
        fill: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let escaped = directory_name(&descriptor.name);
        let staging = self.root.join(format!("new-{escaped}"));
        let place = self.root.join(INDEXES).join(escaped);
        let what = || format!("creating the directory of index {:?}", descriptor.name);
        if staging.exists() {
            fs::remove_dir_all(&staging).map_err(|error| from_io(what(), error))?;
        }
        fs::create_dir_all(staging.join("tantivy")).map_err(|error| from_io(what(), error))?;
        self.write_json(&staging.join(DESCRIPTOR), descriptor)?;
        fill(&staging.join("tantivy"))?;
        fs::rename(&staging, &place).map_err(|error| from_io(what(), error))?;
        sync_directory(&self.root.join(INDEXES)).map_err(|error| from_io(what(), error))?;
        Ok(place)
    }

    /// Makes an index disappear in one step, then frees its space.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        let escaped = directory_name(name);
        let trash = self.root.join(format!("removed-{escaped}"));
        let what = || format!("deleting the directory of index {name:?}");
        if trash.exists() {
            fs::remove_dir_all(&trash).map_err(|error| from_io(what(), error))?;
        }
        fs::rename(self.root.join(INDEXES).join(escaped), &trash).map_err(|error| from_io(what(), error))?;
        sync_directory(&self.root.join(INDEXES)).map_err(|error| from_io(what(), error))?;
        fs::remove_dir_all(&trash).map_err(|error| from_io(what(), error))
    }

    /// The stored aliases.
    pub(crate) fn aliases(&self) -> Result<BTreeMap<String, String>> {
        let path = self.root.join(ALIASES);
        if path.exists() {
            read_json(&path)
        } else {
            Ok(BTreeMap::new())
        }
    }

    /// Replaces the stored aliases in one step.
    pub(crate) fn store_aliases(&self, aliases: &BTreeMap<String, String>) -> Result<()> {
        self.write_json(&self.root.join(ALIASES), aliases)
    }

    /// Written beside and renamed over, so that a crash leaves the old or the new, whole.
    fn write_json<T: Serialize>(&self, path: &Path, value: &T) -> Result<()> {
        let what = || format!("writing {}", path.display());
        let bytes = serde_json::to_vec_pretty(value).map_err(|error| {
            Error::new(ErrorKind::Internal, format!("{} failed", what())).with_source(error)
        })?;
        let temporary = path.with_extension("new");
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&temporary)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&temporary, path)?;
            path.parent().map_or(Ok(()), sync_directory)
        };
        write().map_err(|error| from_io(what(), error))
    }

    fn clear_leftovers(&self) -> Result<()> {
        for entry in entries(&self.root)? {
            let name = entry.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("new-") || name.starts_with("removed-") {
                fs::remove_dir_all(&entry)
                    .map_err(|error| from_io(format!("clearing {}", entry.display()), error))?;
            }
        }
        Ok(())
    }
}

/// Refuses a directory that holds something else, before anything is written to it.
fn check_marker(root: &Path) -> Result<()> {
    let marker = root.join(MARKER);
    if marker.exists() {
        let found: Marker = read_json(&marker)?;
        if found.format != FORMAT {
            return Err(Error::new(
                ErrorKind::DataCorrupted,
                format!(
                    "the search directory {} has format {}, this build reads {FORMAT}; rebuild the indexes",
                    root.display(),
                    found.format
                ),
            ));
        }
        return Ok(());
    }
    // A crash between making the directory and its marker leaves these.
    let foreign = entries(root)?.into_iter().find(|entry| {
        ![Some("lock"), Some("infra-search.new")].contains(&entry.file_name().and_then(|name| name.to_str()))
    });
    match foreign {
        None => Ok(()),
        Some(entry) => Err(Error::invalid_config(format!(
            "the directory {} is not a search directory: it holds {:?}; name an empty or a new one",
            root.display(),
            entry.file_name().unwrap_or_default()
        ))),
    }
}

fn take_lock(root: &Path) -> Result<File> {
    let path = root.join("lock");
    let what = || format!("locking the search directory {}", root.display());
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| from_io(what(), error))?;
    let until = Instant::now() + LOCK_WAIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(from_io(what(), error)),
            Err(TryLockError::WouldBlock) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    format!(
                        "the search directory {} is open already, in this process or another; stop that one or use a directory of your own",
                        root.display()
                    ),
                ));
            }
        }
    }
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let what = || format!("listing {}", directory.display());
    let mut found = fs::read_dir(directory)
        .and_then(|entries| {
            entries
                .map(|entry| entry.map(|entry| entry.path()))
                .collect::<std::io::Result<Vec<_>>>()
        })
        .map_err(|error| from_io(what(), error))?;
    found.sort();
    Ok(found)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let what = || format!("reading {}", path.display());
    let bytes = fs::read(path).map_err(|error| from_io(what(), error))?;
    serde_json::from_slice(&bytes).map_err(|error| {
        Error::new(
            ErrorKind::DataCorrupted,
            format!(
                "{} failed: it is not what this crate writes; restore or delete the search directory",
                what()
            ),
        )
        .with_source(error)
    })
}

/// Makes a rename survive a power cut. Only Unix can and needs to.
fn sync_directory(directory: &Path) -> std::io::Result<()> {
    if cfg!(unix) {
        File::open(directory)?.sync_all()
    } else {
        Ok(())
    }
}
