//! All open indexes and their aliases: creating, deleting, resolving. Blocking parts say so.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use infra_core::capability::{Capabilities, Capability, Limits};
use infra_core::config::Validate as _;
use infra_core::search::IndexSchema;
use infra_core::{Error, ErrorKind, Result};
use tokio::sync::Semaphore;

use crate::analysis;
use crate::config::{Storage, TantivyConfig};
use crate::index::Index;
use crate::layout::{Descriptor, Layout};
use crate::schema::check_schema;

/// The longest index name, alias, field name and document id, in bytes.
const MAX_NAME_BYTES: usize = 512;

/// Everything behind [`TantivySearch`](crate::TantivySearch).
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) config: TantivyConfig,
    pub(crate) capabilities: Capabilities,
    pub(crate) writes: Arc<Semaphore>,
    pub(crate) searches: Arc<Semaphore>,
    closed: AtomicBool,
    names: RwLock<Names>,
    /// Held while names change; it also owns the directory and its lock.
    layout: Mutex<Option<Layout>>,
}

#[derive(Debug, Default)]
struct Names {
    indexes: HashMap<String, Arc<Index>>,
    aliases: BTreeMap<String, String>,
}

impl Engine {
    /// Opens all indexes that there are. Blocking.
    pub(crate) fn open(config: TantivyConfig) -> Result<Self> {
        config.check()?;
        let limits = Limits::DEFAULT
            .with_max_key_bytes(MAX_NAME_BYTES)
            .with_max_value_bytes(config.max_document_bytes);
        let mut capabilities = Capabilities::new(limits)
            .with(Capability::Highlight)
            .with(Capability::Aliases);
        let mut names = Names::default();
        let layout = match &config.storage {
            Storage::Memory => None,
            Storage::Directory(root) => {
                capabilities = capabilities.with(Capability::Durable);
                let layout = Layout::open(root)?;
                names = open_all(&layout, &config)?;
                Some(layout)
            }
        };
        Ok(Self {
            capabilities,
            writes: Arc::new(Semaphore::new(config.max_concurrent_writes)),
            searches: Arc::new(Semaphore::new(config.max_concurrent_searches)),
            closed: AtomicBool::new(false),
            names: RwLock::new(names),
            layout: Mutex::new(layout),
            config,
        })
    }

    /// Refuses everything after a shutdown began.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::closed("the search engine"));
        }
        Ok(())
    }

    /// Stops taking calls.
    pub(crate) fn stop(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Refuses names that no index can have.
    pub(crate) fn check_name(&self, what: &str, name: &str) -> Result<()> {
        self.capabilities.limits().check_key(what, name)
    }

    /// The index of this name or alias.
    pub(crate) fn index(&self, name: &str) -> Result<Arc<Index>> {
        self.check_name("index name", name)?;
        self.find(name).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("there is no index or alias {name:?}; create it first"),
            )
            .without_effect()
        })
    }

    /// The index of this name or alias, if there is one.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Index>> {
        let names = self.read();
        let name = names.aliases.get(name).map_or(name, String::as_str);
        names.indexes.get(name).cloned()
    }

    /// Every open index.
    pub(crate) fn all(&self) -> Vec<Arc<Index>> {
        self.read().indexes.values().cloned().collect()
    }

    /// Creates an index. Blocking.
    pub(crate) fn create(&self, name: &str, schema: IndexSchema) -> Result<()> {
        check_schema(&schema, MAX_NAME_BYTES)?;
        let layout = self.layout.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_open()?;
        if self.exists_already(name, &schema)? {
            return Ok(());
        }
        let descriptor = Descriptor::new(name, &schema)?;
        let place = match layout.as_ref() {
            None => None,
            Some(layout) => {
                Some(layout.create(&descriptor, |directory| Index::create_files(&schema, directory))?)
            }
        };
        let index = Index::open(name, schema, place.as_deref(), &self.config)?;
        self.write().indexes.insert(name.to_owned(), Arc::new(index));
        Ok(())
    }

    /// Deletes an index and the aliases that point at it. Blocking.
    pub(crate) fn delete(&self, name: &str) -> Result<bool> {
        let layout = self.layout.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_open()?;
        let (index, aliases) = {
            let names = self.read();
            if let Some(target) = names.aliases.get(name) {
                return Err(Error::invalid_argument(format!(
                    "{name:?} is an alias of index {target:?}; delete an index by its own name"
                )));
            }
            let Some(index) = names.indexes.get(name).cloned() else {
                return Ok(false);
            };
            let mut aliases = names.aliases.clone();
            aliases.retain(|_, target| target != name);
            (index, aliases)
        };
        self.write().indexes.remove(name);
        if let Err(error) = index.close() {
            tracing::warn!(%error, index = name, "an index that is being deleted could not be committed");
        }
        if let Some(layout) = layout.as_ref() {
            // Aliases first: a crash between the two leaves an index without aliases, never an alias without index.
            layout.store_aliases(&aliases)?;
            layout.remove(name)?;
        }
        self.write().aliases = aliases;
        Ok(true)
    }

    /// Points an alias at an index. Blocking.
    pub(crate) fn set_alias(&self, alias: &str, target: &str) -> Result<()> {
        let layout = self.layout.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_open()?;
        let index = self.index(target)?;
        let mut aliases = {
            let names = self.read();
            if names.indexes.contains_key(alias) {
                return Err(Error::new(
                    ErrorKind::AlreadyExists,
                    format!("{alias:?} is an index of its own; choose another alias or delete that index"),
                )
                .without_effect());
            }
            names.aliases.clone()
        };
        aliases.insert(alias.to_owned(), index.name.clone());
        if let Some(layout) = layout.as_ref() {
            layout.store_aliases(&aliases)?;
        }
        self.write().aliases = aliases;
        Ok(())
    }

    /// What is wrong, if anything. Blocking.
    pub(crate) fn health(&self) -> Result<()> {
        for index in self.all() {
            if let Some(failure) = index.failure() {
                return Err(failure.context(format!("index {:?}", index.name)));
            }
        }
        match self.layout.try_lock() {
            Ok(layout) => layout.as_ref().map_or(Ok(()), Layout::check),
            // Somebody is creating or deleting an index right now, so the directory is in use and well.
            Err(_) => Ok(()),
        }
    }

    /// Commits and closes every index, then lets the directory go. Blocking.
    pub(crate) fn close(&self) -> Result<()> {
        let mut layout = self.layout.lock().unwrap_or_else(PoisonError::into_inner);
        let mut first = Ok(());
        for index in self.all() {
            let closed = index
                .close()
                .map_err(|error| error.context(format!("closing index {:?}", index.name)));
            first = first.and(closed);
        }
        *layout = None;
        first
    }

    fn exists_already(&self, name: &str, schema: &IndexSchema) -> Result<bool> {
        let names = self.read();
        let conflict = |message: String| Err(Error::new(ErrorKind::AlreadyExists, message).without_effect());
        if let Some(target) = names.aliases.get(name) {
            return conflict(format!(
                "{name:?} is an alias of index {target:?}; choose another name"
            ));
        }
        match names.indexes.get(name) {
            Some(index) if index.schema == *schema => Ok(true),
            Some(_) => conflict(format!(
                "index {name:?} exists with another schema; create one under another name and move an alias to it"
            )),
            None if names.indexes.len() >= self.config.max_indexes => Err(Error::new(
                ErrorKind::ResourceExhausted,
                format!(
                    "there are {} indexes already, as many as max_indexes allows; delete one or raise it",
                    names.indexes.len()
                ),
            )
            .without_effect()),
            None => Ok(false),
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Names> {
        self.names.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Names> {
        self.names.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open_all(layout: &Layout, config: &TantivyConfig) -> Result<Names> {
    let mut names = Names::default();
    for (descriptor, place) in layout.indexes()? {
        let index = open_one(&descriptor, &place, config)?;
        names.indexes.insert(descriptor.name, Arc::new(index));
    }
    let mut aliases = layout.aliases()?;
    aliases.retain(|alias, target| {
        let kept = names.indexes.contains_key(target);
        if !kept {
            tracing::warn!(alias, index = target, "dropping an alias whose index is gone");
        }
        kept
    });
    names.aliases = aliases;
    Ok(names)
}

fn open_one(descriptor: &Descriptor, place: &Path, config: &TantivyConfig) -> Result<Index> {
    if descriptor.analysis != analysis::VERSION {
        return Err(Error::new(
            ErrorKind::DataCorrupted,
            format!(
                "index {:?} was made by version {} of the text analysis, this build has {}; rebuild it from its source",
                descriptor.name,
                descriptor.analysis,
                analysis::VERSION
            ),
        ));
    }
    Index::open(&descriptor.name, descriptor.schema()?, Some(place), config)
}
