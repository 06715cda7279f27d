//! One open index: its writer behind a queue, what is visible, and reads by id. Blocking parts say so.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use infra_core::search::IndexSchema;
use infra_core::{Error, ErrorKind, Result};
use serde_json::Value;
use tantivy::schema::Value as _;
use tantivy::{IndexBuilder, IndexReader, ReloadPolicy, Searcher, TantivyDocument};

use crate::analysis::InfraTokenizer;
use crate::config::TantivyConfig;
use crate::error::from_tantivy;
use crate::lookup::Lookup;
use crate::schema::{Mapping, TOKENIZER};
use crate::writer::{Change, Pending, Writer};

/// What readers see: the last commit, and the acknowledged writes after it.
#[derive(Debug)]
pub(crate) struct Visible {
    lookup: RwLock<Arc<Lookup>>,
    pending: Mutex<HashMap<String, Pending>>,
}

impl Visible {
    /// The last commit.
    pub(crate) fn lookup(&self) -> Arc<Lookup> {
        self.lookup.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The acknowledged and uncommitted write of a document, if there is one.
    pub(crate) fn pending(&self, id: &str) -> Option<Pending> {
        self.lock_pending().get(id).cloned()
    }

    /// Whether there is anything that searches do not see yet.
    pub(crate) fn has_pending(&self) -> bool {
        !self.lock_pending().is_empty()
    }

    /// Adds acknowledged writes.
    pub(crate) fn merge_pending(&self, entries: HashMap<String, Pending>) {
        self.lock_pending().extend(entries);
    }

    /// Shows a new commit, which holds all pending writes.
    pub(crate) fn publish(&self, lookup: Lookup) {
        *self.lookup.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(lookup);
        *self.lock_pending() = HashMap::new();
    }

    fn lock_pending(&self) -> MutexGuard<'_, HashMap<String, Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A bulk write in the queue, and where its outcome goes.
type Queued = (Vec<Change>, tokio::sync::oneshot::Sender<Result<Vec<bool>>>);

/// One open index.
#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) name: String,
    pub(crate) schema: IndexSchema,
    pub(crate) mapping: Arc<Mapping>,
    visible: Arc<Visible>,
    queue: Mutex<Vec<Queued>>,
    writer: Mutex<Writer>,
}

impl Index {
    /// Creates tantivy's files of a new index. Blocking.
    pub(crate) fn create_files(schema: &IndexSchema, directory: &Path) -> Result<()> {
        IndexBuilder::new()
            .schema(Mapping::new(schema).schema)
            .create_in_dir(directory)
            .map(|_| ())
            .map_err(|error| from_tantivy("creating the files of the index", error))
    }

    /// Opens an index: in memory without a place, else in that directory. Blocking.
    pub(crate) fn open(
        name: &str,
        schema: IndexSchema,
        place: Option<&Path>,
        config: &TantivyConfig,
    ) -> Result<Self> {
        let what = || format!("opening index {name:?}");
        let mapping = Arc::new(Mapping::new(&schema));
        let index = match place {
            None => IndexBuilder::new().schema(mapping.schema.clone()).create_in_ram(),
            Some(place) => tantivy::Index::open_in_dir(place.join("tantivy")),
        }
        .map_err(|error| from_tantivy(what(), error))?;
        if index.schema() != mapping.schema {
            return Err(Error::new(
                ErrorKind::DataCorrupted,
                format!(
                    "the files of index {name:?} do not have the schema it was created with; rebuild the index"
                ),
            ));
        }
        index.tokenizers().register(TOKENIZER, InfraTokenizer);
        let reader: IndexReader = index
            .reader_builder()
            .reload_policy(ReloadPolicy::Manual)
            .try_into()
            .map_err(|error| from_tantivy(what(), error))?;
        let lookup =
            Lookup::new(reader.searcher(), mapping.id).map_err(|error| from_tantivy(what(), error))?;
        let visible = Arc::new(Visible {
            lookup: RwLock::new(Arc::new(lookup)),
            pending: Mutex::default(),
        });
        let journal = place.map(|place| place.join("journal"));
        let writer = Writer::open(
            &index,
            reader,
            mapping.clone(),
            visible.clone(),
            journal.as_deref(),
            config,
        )
        .map_err(|error| error.context(what()))?;
        Ok(Self {
            name: name.to_owned(),
            schema,
            mapping,
            visible,
            queue: Mutex::default(),
            writer: Mutex::new(writer),
        })
    }

    /// Writes changes, in one group with whatever else is queued; says for each whether it took effect. Blocking.
    pub(crate) fn write(&self, changes: Vec<Change>) -> Result<Vec<bool>> {
        let (reply, outcome) = tokio::sync::oneshot::channel();
        self.lock_queue().push((changes, reply));
        match self.lock_writer() {
            Ok(mut writer) => self.drain(&mut writer),
            Err(error) => {
                self.lock_queue().clear();
                return Err(error);
            }
        }
        // Whoever emptied the queue before this call got the writer has sent the outcome already.
        outcome.blocking_recv().unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::OutcomeUnknown,
                "the group that this write was in was given up; write it again",
            ))
        })
    }

    /// Makes every acknowledged write visible. Blocking.
    pub(crate) fn refresh(&self) -> Result<()> {
        let mut writer = self.lock_writer()?;
        self.drain(&mut writer);
        writer.commit()
    }

    /// Finishes what is queued, commits and closes. Blocking. Closing twice does nothing.
    pub(crate) fn close(&self) -> Result<()> {
        let mut writer = self.lock_writer()?;
        self.drain(&mut writer);
        writer.close()
    }

    /// Whether the index can still be written; `None` while it is busy, which says it can. Never waits.
    pub(crate) fn failure(&self) -> Option<Error> {
        match self.writer.try_lock() {
            Ok(writer) => writer.failure().cloned(),
            Err(std::sync::TryLockError::WouldBlock) => None,
            Err(std::sync::TryLockError::Poisoned(_)) => Some(poisoned()),
        }
    }

    /// Whether searches do not see everything yet.
    pub(crate) fn has_pending(&self) -> bool {
        self.visible.has_pending()
    }

    /// The last commit, as searches see it.
    pub(crate) fn searcher(&self) -> Searcher {
        self.visible.lookup().searcher().clone()
    }

    /// The body of a document, acknowledged writes included. Blocking.
    pub(crate) fn get(&self, id: &str) -> Result<Option<Value>> {
        match self.visible.pending(id) {
            Some(Pending::Deleted) => return Ok(None),
            Some(Pending::Put { source, .. }) => return parse(id, &source).map(Some),
            None => {}
        }
        let what = || format!("reading document {id:?}");
        let lookup = self.visible.lookup();
        let Some(address) = lookup.address(id).map_err(|error| from_tantivy(what(), error))? else {
            return Ok(None);
        };
        let document: TantivyDocument = lookup
            .searcher()
            .doc(address)
            .map_err(|error| from_tantivy(what(), error))?;
        self.body(id, &document).map(Some)
    }

    /// The body inside tantivy's document.
    pub(crate) fn body(&self, id: &str, document: &TantivyDocument) -> Result<Value> {
        let source = document.get_first(self.mapping.source);
        match source.as_ref().and_then(|source| source.as_bytes()) {
            Some(bytes) => parse(id, bytes),
            None => Err(Error::new(
                ErrorKind::DataCorrupted,
                format!("document {id:?} has no body; rebuild the index"),
            )),
        }
    }

    fn drain(&self, writer: &mut Writer) {
        let queued = std::mem::take(&mut *self.lock_queue());
        if queued.is_empty() {
            return;
        }
        let (mut groups, replies): (Vec<_>, Vec<_>) = queued.into_iter().unzip();
        let outcomes = match writer.apply(&mut groups) {
            Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error); replies.len()],
        };
        for (reply, outcome) in replies.into_iter().zip(outcomes) {
            // A caller that went away has no use for its outcome.
            let _gone = reply.send(outcome);
        }
    }

    fn lock_queue(&self) -> MutexGuard<'_, Vec<Queued>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A writer whose holder panicked may have half a group in it: it is not used again.
    fn lock_writer(&self) -> Result<MutexGuard<'_, Writer>> {
        self.writer.lock().map_err(|_| poisoned())
    }
}

fn poisoned() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the writer of this index panicked earlier; reopen the search engine",
    )
}

fn parse(id: &str, source: &[u8]) -> Result<Value> {
    serde_json::from_slice(source).map_err(|error| {
        Error::new(
            ErrorKind::DataCorrupted,
            format!("the stored body of document {id:?} is not JSON; rebuild the index"),
        )
        .with_source(error)
    })
}
