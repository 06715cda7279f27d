//! The one writer of an index: decides versions, journals, hands documents to tantivy, commits. Blocking; call it from
//! blocking threads only, one at a time.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use infra_core::{Error, ErrorKind, Result};
use tantivy::{IndexReader, IndexWriter, TantivyDocument, Term};

use crate::config::TantivyConfig;
use crate::document::Prepared;
use crate::error::from_tantivy;
use crate::index::Visible;
use crate::journal::{Journal, Operation, Record, encode};
use crate::lookup::Lookup;
use crate::schema::Mapping;

/// A write that is acknowledged and not committed yet.
#[derive(Debug, Clone)]
pub(crate) enum Pending {
    /// The document's version and body, serialised JSON.
    Put { version: u64, source: Arc<[u8]> },
    /// The document is gone.
    Deleted,
}

/// One write as it is asked for.
#[derive(Debug)]
pub(crate) enum Change {
    /// Write this document unless a newer version is there.
    Put(Box<Prepared>),
    /// Delete the document of this id.
    Delete(String),
}

/// The writer of one index.
pub(crate) struct Writer {
    mapping: Arc<Mapping>,
    visible: Arc<Visible>,
    reader: IndexReader,
    /// `None` once the index is closed or failed.
    tantivy: Option<IndexWriter<TantivyDocument>>,
    failure: Option<Error>,
    journal: Option<Journal>,
    sequence: u64,
    committed: u64,
    pending_bytes: usize,
    max_pending_bytes: usize,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("sequence", &self.sequence)
            .field("committed", &self.committed)
            .field("failure", &self.failure)
            .finish_non_exhaustive()
    }
}

impl Writer {
    /// Opens the writer and brings the index up to date with its journal.
    pub(crate) fn open(
        index: &tantivy::Index,
        reader: IndexReader,
        mapping: Arc<Mapping>,
        visible: Arc<Visible>,
        journal: Option<&Path>,
        config: &TantivyConfig,
    ) -> Result<Self> {
        let what = "opening the writer of the index";
        let metas = index.load_metas().map_err(|error| from_tantivy(what, error))?;
        let committed = metas
            .payload
            .and_then(|payload| payload.parse().ok())
            .unwrap_or(0);
        let tantivy = index
            .writer_with_num_threads(config.writer_threads, config.writer_heap_bytes)
            .map_err(|error| from_tantivy(what, error))?;
        let (journal, records) = match journal {
            Some(path) => {
                let (journal, records) = Journal::open(path, config.durability)?;
                (Some(journal), records)
            }
            None => (None, Vec::new()),
        };
        let mut writer = Self {
            mapping,
            visible,
            reader,
            tantivy: Some(tantivy),
            failure: None,
            journal,
            sequence: committed,
            committed,
            pending_bytes: 0,
            max_pending_bytes: config.max_pending_bytes,
        };
        writer.replay(records)?;
        Ok(writer)
    }

    /// Why the index takes no more writes, if it does not.
    pub(crate) fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    /// Applies groups of changes with one append to the journal; gives for each change whether it took effect.
    ///
    /// # Errors
    /// When it fails, nothing of it is acknowledged.
    pub(crate) fn apply(&mut self, groups: &mut [Vec<Change>]) -> Result<Vec<Vec<bool>>> {
        self.usable()?;
        let lookup = self.visible.lookup();
        let mut staged = Staged::default();
        let first = self.sequence;
        let decided = groups
            .iter()
            .map(|changes| {
                changes
                    .iter()
                    .map(|change| self.decide(change, &lookup, &mut staged))
                    .collect()
            })
            .collect::<Result<Vec<Vec<Decision>>>>()
            .inspect_err(|_| self.sequence = first)?;
        let appended = match &mut self.journal {
            Some(journal) if !staged.records.is_empty() => journal.append(&staged.records),
            _ => Ok(()),
        };
        if let Err(error) = appended {
            if error.had_no_effect() {
                self.sequence = first;
                return Err(error);
            }
            return Err(self.fail(error));
        }
        let mut outcomes = Vec::with_capacity(groups.len());
        for (changes, decisions) in groups.iter_mut().zip(decided) {
            outcomes.push(decisions.iter().map(|decision| decision.takes_effect).collect());
            for (change, decision) in changes.drain(..).zip(decisions) {
                self.execute(change, decision)?;
            }
        }
        self.pending_bytes += staged.bytes;
        self.visible.merge_pending(staged.entries);
        if self.pending_bytes >= self.max_pending_bytes
            && let Err(error) = self.commit()
        {
            // These writes are acknowledged all the same: they are journalled. The next call reports the failure.
            tracing::warn!(%error, "an early refresh failed");
        }
        Ok(outcomes)
    }

    /// Makes everything acknowledged visible, and durable in tantivy's own files.
    pub(crate) fn commit(&mut self) -> Result<()> {
        self.usable()?;
        if self.sequence == self.committed {
            return Ok(());
        }
        self.try_commit().map_err(|error| self.fail(error))
    }

    /// Commits and gives everything back; the writer is closed afterwards. Closing twice does nothing.
    pub(crate) fn close(&mut self) -> Result<()> {
        let committed = match (&self.tantivy, &self.failure) {
            (None, _) => return Ok(()),
            (Some(_), Some(failure)) => Err(failure.clone()),
            (Some(_), None) => self.commit(),
        };
        self.tantivy = None;
        self.journal = None;
        committed
    }

    fn usable(&self) -> Result<()> {
        match (&self.failure, &self.tantivy) {
            (Some(failure), _) => Err(failure.clone()),
            (None, None) => Err(Error::closed("the index")),
            _ => Ok(()),
        }
    }

    /// Remembers a failure after which tantivy's writer cannot be trusted; reads go on.
    fn fail(&mut self, error: Error) -> Error {
        tracing::error!(%error, "an index takes no more writes until it is reopened");
        self.failure = Some(
            Error::new(
                ErrorKind::Unavailable,
                format!(
                    "an earlier write of this index failed ({}); reopen the search engine",
                    error.message()
                ),
            )
            .with_source(error.clone()),
        );
        error
    }

    fn try_commit(&mut self) -> Result<()> {
        let what = "committing the index";
        let Some(tantivy) = &mut self.tantivy else {
            return Err(Error::closed("the index"));
        };
        let sequence = self.sequence;
        let mut prepared = tantivy
            .prepare_commit()
            .map_err(|error| from_tantivy(what, error))?;
        prepared.set_payload(&sequence.to_string());
        prepared.commit().map_err(|error| from_tantivy(what, error))?;
        self.committed = sequence;
        self.reader.reload().map_err(|error| from_tantivy(what, error))?;
        let lookup = Lookup::new(self.reader.searcher(), self.mapping.id)
            .map_err(|error| from_tantivy(what, error))?;
        self.visible.publish(lookup);
        self.pending_bytes = 0;
        self.journal.as_mut().map_or(Ok(()), Journal::clear)
    }

    fn replay(&mut self, records: Vec<Record>) -> Result<()> {
        let mut replayed = 0;
        for record in records {
            if record.sequence <= self.committed {
                continue;
            }
            self.sequence = record.sequence;
            replayed += 1;
            let term = Term::from_field_text(self.mapping.id, &record.id);
            let document = match record.operation {
                Operation::Delete => None,
                Operation::Put { version, body } => {
                    let value = serde_json::from_slice(&body).map_err(|error| {
                        Error::new(
                            ErrorKind::DataCorrupted,
                            "the journal holds a document that is not JSON",
                        )
                        .with_source(error)
                    })?;
                    Some(self.mapping.document(&record.id, version, &value, &body)?)
                }
            };
            self.write(Some(term), document)?;
        }
        if replayed > 0 {
            tracing::info!(
                writes = replayed,
                "replayed the journal of an index that was not shut down"
            );
        }
        self.commit()
    }

    /// Decides one change against what is stored, pending and decided before it, and encodes it for the journal.
    fn decide(&mut self, change: &Change, lookup: &Lookup, staged: &mut Staged) -> Result<Decision> {
        let id = match change {
            Change::Put(prepared) => &prepared.id,
            Change::Delete(id) => id,
        };
        let stored = match staged
            .entries
            .get(id)
            .cloned()
            .or_else(|| self.visible.pending(id))
        {
            Some(Pending::Put { version, .. }) => Some(version),
            Some(Pending::Deleted) => None,
            None => lookup
                .version(id)
                .map_err(|error| from_tantivy("looking up a document", error))?,
        };
        let takes_effect = match change {
            Change::Put(prepared) => stored.is_none_or(|stored| stored <= prepared.version),
            Change::Delete(_) => stored.is_some(),
        };
        if takes_effect {
            self.sequence += 1;
            staged.add(change, self.sequence, self.journal.is_some());
        }
        Ok(Decision {
            takes_effect,
            replaces: stored.is_some(),
        })
    }

    fn execute(&mut self, change: Change, decision: Decision) -> Result<()> {
        if !decision.takes_effect {
            return Ok(());
        }
        let (id, document) = match change {
            Change::Put(prepared) => (prepared.id, Some(prepared.document)),
            Change::Delete(id) => (id, None),
        };
        let old = decision
            .replaces
            .then(|| Term::from_field_text(self.mapping.id, &id));
        self.write(old, document).map_err(|error| self.fail(error))
    }

    fn write(&self, delete: Option<Term>, document: Option<TantivyDocument>) -> Result<()> {
        let Some(tantivy) = &self.tantivy else {
            return Err(Error::closed("the index"));
        };
        if let Some(term) = delete {
            tantivy.delete_term(term);
        }
        if let Some(document) = document {
            tantivy
                .add_document(document)
                .map_err(|error| from_tantivy("writing a document", error))?;
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy)]
struct Decision {
    takes_effect: bool,
    /// Whether there is something of this id to delete first.
    replaces: bool,
}

/// What a group of changes adds to the journal and to the pending writes.
#[derive(Debug, Default)]
struct Staged {
    records: Vec<u8>,
    entries: HashMap<String, Pending>,
    bytes: usize,
}

impl Staged {
    fn add(&mut self, change: &Change, sequence: u64, journalled: bool) {
        let (id, put, entry) = match change {
            Change::Put(prepared) => (
                &prepared.id,
                Some((prepared.version, prepared.source.as_slice())),
                Pending::Put {
                    version: prepared.version,
                    source: Arc::from(prepared.source.as_slice()),
                },
            ),
            Change::Delete(id) => (id, None, Pending::Deleted),
        };
        if journalled {
            encode(&mut self.records, sequence, id, put);
        }
        self.bytes += 64 + id.len() + put.map_or(0, |(_, source)| source.len());
        self.entries.insert(id.clone(), entry);
    }
}
