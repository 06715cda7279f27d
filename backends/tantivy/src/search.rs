//! The provider: [`TantivySearch`], which turns each call into a job on the blocking pool.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use infra_core::capability::Capabilities;
use infra_core::search::{Document, IndexSchema, Query, RawPage, Search, WriteOutcome};
use infra_core::{Backend, Error, ErrorKind, Result};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use crate::BACKEND;
use crate::config::TantivyConfig;
use crate::document::{Prepared, prepare};
use crate::engine::Engine;
use crate::error::from_join;
use crate::index::Index;
use crate::page;
use crate::writer::Change;

const COMPONENT: &str = "search";

/// A search engine inside this process: [`Search`] on tantivy.
///
/// Open it once and share it; dropping it without [`shutdown`](Backend::shutdown) loses nothing that was acknowledged
/// on a directory. The [crate documentation](crate) says what it guarantees.
///
/// ```
/// use infra_core::search::{Document, FieldKind, IndexSchema, Query, Search};
/// use infra_tantivy::{TantivyConfig, TantivySearch};
///
/// # #[tokio::main]
/// # async fn main() -> infra_core::Result<()> {
/// let search = TantivySearch::open(TantivyConfig::development()).await?;
/// search.create_index("messages", IndexSchema::new().with_field("content", FieldKind::Text)).await?;
/// search.bulk("messages", vec![Document::new("1", serde_json::json!({"content": "今天天气很好"}))]).await?;
/// search.refresh("messages").await?;
/// let page = search.search("messages", Query::text("天气")).await?;
/// assert_eq!(page.total, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TantivySearch {
    engine: Arc<Engine>,
    refresher: JoinHandle<()>,
}

impl TantivySearch {
    /// Opens the engine, and with a directory every index in it; writes that a crash left uncommitted are replayed.
    ///
    /// It waits up to a second for another process that is just letting go of the directory. The refresh runs on the
    /// tokio runtime that opens it.
    ///
    /// # Errors
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) for a wrong setting or a directory that holds something else;
    /// [`Unavailable`](ErrorKind::Unavailable) when the directory is open already; [`DataCorrupted`](ErrorKind::DataCorrupted)
    /// when its files are damaged; [`PermissionDenied`](ErrorKind::PermissionDenied) and
    /// [`ResourceExhausted`](ErrorKind::ResourceExhausted) as the file system says.
    ///
    /// # Cancellation
    /// The opening goes on in the background and is dropped when done.
    pub async fn open(config: TantivyConfig) -> Result<Self> {
        let interval = config.refresh_interval;
        let engine = tokio::task::spawn_blocking(move || Engine::open(config))
            .await
            .map_err(from_join)
            .and_then(|opened| opened)
            .map_err(|error| error.at(COMPONENT, BACKEND, "open"))?;
        let engine = Arc::new(engine);
        let refresher = tokio::spawn(refresh_regularly(Arc::downgrade(&engine), interval));
        Ok(Self { engine, refresher })
    }

    /// The settings it was opened with.
    #[must_use]
    pub fn config(&self) -> &TantivyConfig {
        &self.engine.config
    }

    /// The native searcher of an index, as of its last refresh: the way to what this crate does not offer.
    ///
    /// Fields are numbered in tantivy's schema: `f0`, `f1` … in the order of the names of the index's fields.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) for an unknown index; [`Closed`](ErrorKind::Closed) after shutdown.
    pub fn searcher(&self, index: &str) -> Result<tantivy::Searcher> {
        self.engine
            .check_open()
            .and_then(|()| self.engine.index(index))
            .map(|index| index.searcher())
            .map_err(|error| error.at(COMPONENT, BACKEND, "searcher"))
    }

    /// Runs a job on the blocking pool, when one of `slots` is free. The job runs to its end once it began.
    async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        slots: &Arc<Semaphore>,
        job: impl FnOnce(&Engine) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.try_run(slots, job)
            .await
            .map_err(|error| error.at(COMPONENT, BACKEND, operation))
    }

    async fn try_run<T: Send + 'static>(
        &self,
        slots: &Arc<Semaphore>,
        job: impl FnOnce(&Engine) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.engine.check_open()?;
        let slot = acquire(slots).await?;
        self.engine.check_open()?;
        let engine = self.engine.clone();
        tokio::task::spawn_blocking(move || {
            let result = job(&engine);
            drop(slot);
            result
        })
        .await
        .map_err(from_join)?
    }
}

impl Drop for TantivySearch {
    fn drop(&mut self) {
        self.refresher.abort();
    }
}

#[async_trait]
impl Backend for TantivySearch {
    fn backend(&self) -> &'static str {
        BACKEND
    }

    fn capabilities(&self) -> &Capabilities {
        &self.engine.capabilities
    }

    async fn health(&self) -> Result<()> {
        let engine = self.engine.clone();
        self.engine
            .check_open()
            .map_err(|error| error.at(COMPONENT, BACKEND, "health"))?;
        tokio::task::spawn_blocking(move || engine.health())
            .await
            .map_err(from_join)
            .and_then(|health| health)
            .map_err(|error| error.at(COMPONENT, BACKEND, "health"))
    }

    async fn shutdown(&self, deadline: Duration) -> Result<()> {
        self.engine.stop();
        self.refresher.abort();
        let engine = self.engine.clone();
        let finish = async move {
            // All slots of writes and searches: nothing accepted is still running.
            let writes = engine.config.max_concurrent_writes;
            let searches = engine.config.max_concurrent_searches;
            let _writes = acquire_many(&engine.writes, writes).await?;
            let _searches = acquire_many(&engine.searches, searches).await?;
            let closing = engine.clone();
            tokio::task::spawn_blocking(move || closing.close())
                .await
                .map_err(from_join)?
        };
        let finished = tokio::time::timeout(deadline, finish).await.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::Timeout,
                format!("running calls or the last commit were not finished after {deadline:?}; call shutdown again to wait longer"),
            ))
        });
        finished.map_err(|error| error.at(COMPONENT, BACKEND, "shutdown"))
    }
}

#[async_trait]
impl Search for TantivySearch {
    async fn create_index(&self, index: &str, schema: IndexSchema) -> Result<()> {
        let name = index.to_owned();
        self.run("create_index", &self.engine.writes, move |engine| {
            engine.check_name("index name", &name)?;
            engine.create(&name, schema)
        })
        .await
    }

    async fn delete_index(&self, index: &str) -> Result<bool> {
        let name = index.to_owned();
        self.run("delete_index", &self.engine.writes, move |engine| {
            engine.check_name("index name", &name)?;
            engine.delete(&name)
        })
        .await
    }

    async fn index_exists(&self, index: &str) -> Result<bool> {
        self.engine
            .check_open()
            .and_then(|()| self.engine.check_name("index name", index))
            .map(|()| self.engine.find(index).is_some())
            .map_err(|error| error.at(COMPONENT, BACKEND, "index_exists"))
    }

    async fn set_alias(&self, alias: &str, index: &str) -> Result<()> {
        let (alias, index) = (alias.to_owned(), index.to_owned());
        self.run("set_alias", &self.engine.writes, move |engine| {
            engine.check_name("alias", &alias)?;
            engine.set_alias(&alias, &index)
        })
        .await
    }

    async fn bulk(&self, index: &str, documents: Vec<Document>) -> Result<Vec<WriteOutcome>> {
        let name = index.to_owned();
        self.run("bulk", &self.engine.writes, move |engine| {
            bulk(engine, &*engine.index(&name)?, &documents)
        })
        .await
    }

    async fn delete(&self, index: &str, id: &str) -> Result<bool> {
        let (name, id) = (index.to_owned(), id.to_owned());
        self.run("delete", &self.engine.writes, move |engine| {
            engine.check_name("document id", &id)?;
            let outcome = engine.index(&name)?.write(vec![Change::Delete(id)])?;
            Ok(outcome.first().copied().unwrap_or(false))
        })
        .await
    }

    async fn get(&self, index: &str, id: &str) -> Result<Option<Value>> {
        let (name, id) = (index.to_owned(), id.to_owned());
        self.run("get", &self.engine.searches, move |engine| {
            engine.check_name("document id", &id)?;
            engine.index(&name)?.get(&id)
        })
        .await
    }

    async fn search(&self, index: &str, query: Query) -> Result<RawPage> {
        let name = index.to_owned();
        self.run("search", &self.engine.searches, move |engine| {
            page::search(&*engine.index(&name)?, &name, &query, &engine.config)
        })
        .await
    }

    async fn count(&self, index: &str) -> Result<u64> {
        let name = index.to_owned();
        self.run("count", &self.engine.searches, move |engine| {
            Ok(engine.index(&name)?.searcher().num_docs())
        })
        .await
    }

    async fn refresh(&self, index: &str) -> Result<()> {
        let name = index.to_owned();
        self.run("refresh", &self.engine.writes, move |engine| {
            engine.index(&name)?.refresh()
        })
        .await
    }
}

/// Checks every document, writes those that fit, and puts the outcomes in the order of the documents.
fn bulk(engine: &Engine, index: &Index, documents: &[Document]) -> Result<Vec<WriteOutcome>> {
    let most = engine.config.max_bulk_documents;
    if documents.len() > most {
        return Err(Error::invalid_argument(format!(
            "a bulk write has {} documents, more than the {most} allowed; split it",
            documents.len()
        )));
    }
    let limits = engine.capabilities.limits();
    let mut outcomes = Vec::with_capacity(documents.len());
    let mut changes = Vec::with_capacity(documents.len());
    let mut places = Vec::with_capacity(documents.len());
    for document in documents {
        let checked: Result<Prepared> = prepare(&index.mapping, limits, document);
        match checked {
            Ok(prepared) => {
                places.push(outcomes.len());
                changes.push(Change::Put(Box::new(prepared)));
                outcomes.push(WriteOutcome::new(document.id.clone(), Ok(false)));
            }
            Err(error) => outcomes.push(WriteOutcome::new(
                document.id.clone(),
                Err(error.at(COMPONENT, BACKEND, "bulk")),
            )),
        }
    }
    if changes.is_empty() {
        return Ok(outcomes);
    }
    for (place, written) in places.into_iter().zip(index.write(changes)?) {
        if let Some(outcome) = outcomes.get_mut(place) {
            outcome.result = Ok(written);
        }
    }
    Ok(outcomes)
}

/// Refreshes every index that has something to show, until the engine is gone.
async fn refresh_regularly(engine: std::sync::Weak<Engine>, interval: Duration) {
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + interval, interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(engine) = engine.upgrade() else {
            return;
        };
        for index in engine.all().into_iter().filter(|index| index.has_pending()) {
            let name = index.name.clone();
            let holder = engine.clone();
            let refresh = move || {
                let refreshed = index.refresh();
                // The index first: the engine holds the directory's lock.
                drop(index);
                drop(holder);
                refreshed
            };
            let refreshed = tokio::task::spawn_blocking(refresh)
                .await
                .map_err(from_join)
                .and_then(|refreshed| refreshed);
            if let Err(error) = refreshed
                && error.kind() != ErrorKind::Closed
            {
                tracing::warn!(%error, index = name, "the regular refresh failed");
            }
        }
    }
}

async fn acquire(slots: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit> {
    acquire_many(slots, 1).await
}

async fn acquire_many(slots: &Arc<Semaphore>, count: usize) -> Result<OwnedSemaphorePermit> {
    slots
        .clone()
        .acquire_many_owned(u32::try_from(count).unwrap_or(u32::MAX))
        .await
        .map_err(|_| Error::closed("the search engine"))
}
