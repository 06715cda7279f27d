//! The sink over a search that records its bulk writes, holds them, and fails on command.

use std::sync::Mutex;

use async_trait::async_trait;
use serde_json::json;

use super::*;
use crate::Backend;
use crate::capability::{Capabilities, Limits};
use crate::search::{IndexSchema, Query, RawPage, WriteOutcome};

#[derive(Debug)]
struct Fake {
    capabilities: Capabilities,
    batches: Mutex<Vec<Vec<Document>>>,
    /// A bulk write waits for one permit.
    gate: Semaphore,
    fail: Mutex<Option<Error>>,
}

impl Fake {
    fn new(permits: usize) -> Arc<Self> {
        Arc::new(Self {
            capabilities: Capabilities::new(Limits::DEFAULT),
            batches: Mutex::default(),
            gate: Semaphore::new(permits),
            fail: Mutex::default(),
        })
    }

    fn sizes(&self) -> Vec<usize> {
        self.batches.lock().unwrap().iter().map(Vec::len).collect()
    }

    fn documents(&self) -> Vec<Document> {
        self.batches.lock().unwrap().concat()
    }
}

#[async_trait]
impl Backend for Fake {
    fn backend(&self) -> &'static str {
        "fake"
    }
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    async fn health(&self) -> Result<()> {
        Ok(())
    }
    async fn shutdown(&self, _: Duration) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl Search for Fake {
    async fn bulk(&self, _: &str, documents: Vec<Document>) -> Result<Vec<WriteOutcome>> {
        self.gate
            .acquire()
            .await
            .expect("the gate is never closed")
            .forget();
        assert!(documents.iter().all(|document| document.id != "panic"), "as told");
        if let Some(error) = self.fail.lock().unwrap().clone() {
            return Err(error);
        }
        let outcomes = documents
            .iter()
            .map(|document| {
                let result = match document.body.get("bad") {
                    Some(_) => Err(Error::invalid_argument("bad")),
                    None => Ok(document.version > 0),
                };
                WriteOutcome::new(document.id.clone(), result)
            })
            .collect();
        self.batches.lock().unwrap().push(documents);
        Ok(outcomes)
    }
    async fn create_index(&self, _: &str, _: IndexSchema) -> Result<()> {
        Err(Error::unsupported("this"))
    }
    async fn delete_index(&self, _: &str) -> Result<bool> {
        Err(Error::unsupported("this"))
    }
    async fn index_exists(&self, _: &str) -> Result<bool> {
        Err(Error::unsupported("this"))
    }
    async fn set_alias(&self, _: &str, _: &str) -> Result<()> {
        Err(Error::unsupported("this"))
    }
    async fn delete(&self, _: &str, _: &str) -> Result<bool> {
        Err(Error::unsupported("this"))
    }
    async fn get(&self, _: &str, _: &str) -> Result<Option<Value>> {
        Err(Error::unsupported("this"))
    }
    async fn search(&self, _: &str, _: Query) -> Result<RawPage> {
        Err(Error::unsupported("this"))
    }
    async fn count(&self, _: &str) -> Result<u64> {
        Err(Error::unsupported("this"))
    }
    async fn refresh(&self, _: &str) -> Result<()> {
        Err(Error::unsupported("this"))
    }
}

const LONG: Duration = Duration::from_secs(3600);

fn document(id: impl ToString) -> Document {
    Document::new(id.to_string(), json!({"text": "some text"})).with_version(1)
}

fn one_worker() -> BulkSinkConfig {
    BulkSinkConfig::development().with_workers(1)
}

#[tokio::test(start_paused = true)]
async fn it_writes_by_count_by_bytes_by_time_and_when_asked() {
    let fake = Fake::new(100);
    let sink = BulkSink::new(fake.clone(), "i", one_worker().with_batch(1000, 3)).unwrap();
    let mut receipts = Vec::new();
    for id in 0..4 {
        receipts.push(sink.add(document(id)).await.unwrap());
    }
    assert!(receipts.remove(0).await.unwrap());
    assert_eq!(fake.sizes(), [3], "by count");

    let started = tokio::time::Instant::now();
    assert!(receipts.pop().unwrap().await.unwrap());
    assert_eq!(started.elapsed().as_secs(), 5, "by time");

    let large = Document::new("large", json!({"text": "x".repeat(2000)})).with_version(1);
    assert!(sink.add(large).await.unwrap().await.unwrap());
    assert_eq!(fake.sizes(), [3, 1, 1], "by bytes");
    assert_eq!(started.elapsed().as_secs(), 5, "at once");

    sink.add(document(9)).await.unwrap();
    sink.flush(LONG).await.unwrap();
    assert_eq!(fake.sizes(), [3, 1, 1, 1], "when asked");
    assert_eq!(started.elapsed().as_secs(), 5, "at once");
}

#[tokio::test(start_paused = true)]
async fn every_document_has_its_own_outcome() {
    let fake = Fake::new(100);
    let sink = BulkSink::new(fake.clone(), "i", one_worker()).unwrap();
    let written = sink.add(document("new")).await.unwrap();
    let outdated = sink.add(Document::new("old", json!({}))).await.unwrap();
    let bad = sink.add(Document::new("bad", json!({"bad": 1}))).await.unwrap();
    sink.flush(LONG).await.unwrap();
    assert!(written.await.unwrap());
    assert!(!outdated.await.unwrap());
    assert_eq!(bad.await.unwrap_err().kind(), ErrorKind::InvalidArgument);

    *fake.fail.lock().unwrap() = Some(Error::new(ErrorKind::Unavailable, "down"));
    let failed = sink.add(document("lost")).await.unwrap();
    sink.flush(LONG).await.unwrap();
    assert_eq!(failed.await.unwrap_err().kind(), ErrorKind::Unavailable);
    let stats = sink.stats();
    assert_eq!(
        (stats.accepted, stats.written, stats.outdated, stats.failed),
        (4, 1, 1, 2)
    );
}

#[tokio::test(start_paused = true)]
async fn a_full_buffer_makes_callers_wait() {
    let fake = Fake::new(0);
    let config = one_worker().with_batch(1, 1).with_max_buffered_bytes(300);
    let sink = BulkSink::new(fake.clone(), "i", config).unwrap();
    let mut accepted = 0;
    while tokio::time::timeout(Duration::from_secs(1), sink.add(document(accepted)))
        .await
        .is_ok()
    {
        accepted += 1;
        assert!(accepted < 100, "the buffer has no bound");
    }
    assert!(accepted >= 2);
    fake.gate.add_permits(1);
    let added = tokio::time::timeout(Duration::from_secs(1), sink.add(document("late"))).await;
    added.unwrap().unwrap();
    fake.gate.add_permits(100);
    let huge = Document::new("huge", json!({"text": "x".repeat(10_000)})).with_version(1);
    assert!(
        sink.add(huge).await.unwrap().await.unwrap(),
        "larger than the buffer, and yet it goes through"
    );
}

#[tokio::test(start_paused = true)]
async fn documents_of_one_id_keep_their_order() {
    let fake = Fake::new(1000);
    let config = BulkSinkConfig::production()
        .with_workers(4)
        .with_batch(1 << 20, 7);
    let sink = Arc::new(BulkSink::new(fake.clone(), "i", config).unwrap());
    for version in 1..=50u64 {
        for id in 0..10 {
            sink.add(Document::new(id.to_string(), json!({})).with_version(version))
                .await
                .unwrap();
        }
    }
    sink.close(LONG).await.unwrap();
    let mut last = std::collections::HashMap::new();
    for document in fake.documents() {
        let before = last.insert(document.id, document.version).unwrap_or(0);
        assert_eq!(document.version, before + 1);
    }
    assert_eq!(last.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn closing_loses_nothing_and_takes_nothing_more() {
    let fake = Fake::new(0);
    let sink = BulkSink::new(fake.clone(), "i", BulkSinkConfig::development()).unwrap();
    let mut receipts = Vec::new();
    for id in 0..100 {
        receipts.push(sink.add(document(id)).await.unwrap());
    }
    let error = sink.close(Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.message().starts_with("100 documents"), "{error}");
    assert_eq!(
        sink.add(document("late")).await.unwrap_err().kind(),
        ErrorKind::Closed
    );
    assert_eq!(sink.flush(LONG).await.unwrap_err().kind(), ErrorKind::Closed);
    fake.gate.add_permits(100);
    sink.close(LONG).await.unwrap();
    sink.close(LONG).await.unwrap();
    assert_eq!(fake.documents().len(), 100);
    for receipt in receipts {
        assert!(receipt.await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiting_add_ends_when_the_sink_closes() {
    let fake = Fake::new(0);
    let config = one_worker().with_batch(1, 1).with_max_buffered_bytes(1);
    let sink = Arc::new(BulkSink::new(fake.clone(), "i", config).unwrap());
    sink.add(document(1)).await.unwrap();
    let waiting = tokio::spawn({
        let sink = sink.clone();
        async move { sink.add(document(2)).await.map(|_| ()) }
    });
    tokio::task::yield_now().await;
    let closed = sink.close(Duration::from_secs(1)).await;
    assert_eq!(closed.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(waiting.await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn dropping_writes_what_was_accepted() {
    let fake = Fake::new(10);
    let sink = BulkSink::new(fake.clone(), "i", one_worker()).unwrap();
    let receipt = sink.add(document(1)).await.unwrap();
    drop(sink);
    assert!(receipt.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_panicking_backend_fails_its_documents_only() {
    let fake = Fake::new(10);
    let sink = BulkSink::new(fake.clone(), "i", one_worker().with_batch(1, 1)).unwrap();
    let failed = sink.add(document("panic")).await.unwrap();
    let written = sink.add(document("fine")).await.unwrap();
    assert_eq!(failed.await.unwrap_err().kind(), ErrorKind::Internal);
    assert!(written.await.unwrap());
    assert_eq!(sink.stats().failed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_add_leaves_no_trace() {
    let fake = Fake::new(0);
    let config = one_worker().with_batch(1, 1).with_max_buffered_bytes(100);
    let sink = BulkSink::new(fake.clone(), "i", config).unwrap();
    sink.add(document("first")).await.unwrap();
    for id in 0..10 {
        let add = tokio::time::timeout(Duration::from_millis(1), sink.add(document(id))).await;
        assert!(add.is_err(), "no room");
    }
    fake.gate.add_permits(100);
    sink.close(LONG).await.unwrap();
    assert_eq!(fake.documents().len(), 1);
    assert_eq!(sink.stats().accepted, 1);
}

#[test]
fn it_needs_a_runtime_and_a_sound_configuration() {
    let fake = Fake::new(0);
    let error = BulkSink::new(fake.clone(), "i", BulkSinkConfig::development()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    let error = BulkSink::new(
        fake,
        "i",
        BulkSinkConfig::development().with_workers(0).with_batch(0, 1),
    )
    .unwrap_err();
    assert!(
        error.message().contains("workers") && error.message().contains("max_batch_bytes"),
        "{error}"
    );
}
