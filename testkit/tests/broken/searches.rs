//! Search engines that are broken on purpose: tantivy with one defect.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use infra_core::search::{
    Document, FieldKind, Filter, IndexSchema, Paging, Query, RawPage, Search, Sort, SortBy, WriteOutcome,
};
use infra_core::{Backend, Error, ErrorKind, Result, async_trait};
use infra_tantivy::{TantivyConfig, TantivySearch};
use infra_testkit::conformance::{self, Breakage, Fixture, prove};
use serde_json::Value;

use crate::support::{backend_of_inner, locked};

pub(crate) const FAMILY: &str = "searches";

#[test]
fn every_scenario_notices_its_defect_and_no_other() {
    use Defect::*;
    prove(
        conformance::searches::SCENARIOS,
        &[
            broken(
                "SEARCH-001",
                ReadsOnlyRefreshed,
                "reads by id only what was refreshed",
            ),
            broken(
                "SEARCH-002",
                CountsOneLess,
                "leaves the newest document out of its count",
            ),
            broken(
                "SEARCH-003",
                MisfitIsInternal,
                "reports a document that does not fit as an internal error",
            ),
            broken(
                "SEARCH-004",
                DeletesAlways,
                "says that there always was a document to delete",
            ),
            broken(
                "SEARCH-005",
                IgnoresVersions,
                "lets the last write win whatever its version",
            ),
            broken("SEARCH-006", KeepsReplaced, "keeps a copy of what was replaced"),
            broken("SEARCH-007", FoldsIds, "takes ids that differ in case for one"),
            broken(
                "SEARCH-008",
                SwallowsLarge,
                "drops what is too large and says that it was written",
            ),
            broken(
                "SEARCH-009",
                DropsUnknownFields,
                "keeps only what the schema names",
            ),
            broken("SEARCH-010", MindsCase, "finds nothing by capital letters"),
            broken("SEARCH-011", SpacesOnly, "cuts words at spaces only"),
            broken(
                "SEARCH-012",
                IncludesBounds,
                "includes the bounds of a range that excludes them",
            ),
            broken("SEARCH-013", SmallPagesAscend, "gives small pages smallest first"),
            broken("SEARCH-014", SkipsBetweenPages, "skips a hit between pages"),
            broken(
                "SEARCH-015",
                CursorIsANumber,
                "goes on by page numbers where a cursor is given",
            ),
            broken(
                "SEARCH-016",
                TotalsThePage,
                "gives the size of the page for the total",
            ),
            broken(
                "SEARCH-017",
                IgnoresUnknownFields,
                "ignores a filter on a field that it does not know",
            ),
            broken(
                "SEARCH-018",
                ParsesText,
                "reads what people type as a query language",
            ),
            broken("SEARCH-019", MarksNothing, "marks no match"),
            broken(
                "SEARCH-020",
                FoldsSessions,
                "takes sessions that differ in case for one",
            ),
            broken(
                "SEARCH-021",
                NobodyIsEverybody,
                "takes an empty permission for no restriction",
            ),
            broken("SEARCH-022", ForgivesSchemas, "takes another schema for the same"),
            broken(
                "SEARCH-023",
                CreatesOnWrite,
                "makes an index of whatever is written to",
            ),
            broken("SEARCH-024", ReadsEverywhere, "reads by id from all indexes"),
            broken(
                "SEARCH-025",
                DeletesIndexAlways,
                "says that there always was an index to delete",
            ),
            broken("SEARCH-026", AliasStays, "does not move an alias that is there"),
            broken("SEARCH-027", WorksAfterShutdown, "goes on after its shutdown"),
        ],
    );
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Defect {
    ReadsOnlyRefreshed,
    CountsOneLess,
    MisfitIsInternal,
    DeletesAlways,
    IgnoresVersions,
    KeepsReplaced,
    FoldsIds,
    SwallowsLarge,
    DropsUnknownFields,
    MindsCase,
    SpacesOnly,
    IncludesBounds,
    SmallPagesAscend,
    SkipsBetweenPages,
    CursorIsANumber,
    TotalsThePage,
    IgnoresUnknownFields,
    ParsesText,
    MarksNothing,
    FoldsSessions,
    NobodyIsEverybody,
    ForgivesSchemas,
    CreatesOnWrite,
    ReadsEverywhere,
    DeletesIndexAlways,
    AliasStays,
    WorksAfterShutdown,
}

fn broken(breaks: &str, defect: Defect, words: &'static str) -> Breakage<dyn Search> {
    Breakage::new(breaks, words, move |_setup| async move {
        let inner = TantivySearch::open(TantivyConfig::development()).await?;
        let engine: Arc<dyn Search> = Arc::new(Broken {
            inner,
            defect,
            seen: Mutex::default(),
        });
        Ok(Fixture::server(move || {
            let engine = Arc::clone(&engine);
            async { Ok(engine) }
        }))
    })
}

/// What some defects have to remember.
#[derive(Debug, Default)]
struct Seen {
    unrefreshed: BTreeSet<String>,
    indexes: BTreeSet<String>,
    aliases: HashMap<String, String>,
}

/// Tantivy with one defect.
#[derive(Debug)]
struct Broken {
    inner: TantivySearch,
    defect: Defect,
    seen: Mutex<Seen>,
}

impl Broken {
    fn is(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        locked(&self.seen)
    }

    fn id(&self, id: &str) -> String {
        if self.is(Defect::FoldsIds) {
            id.to_lowercase()
        } else {
            id.to_owned()
        }
    }

    fn is_large(&self, document: &Document) -> bool {
        document.body.to_string().len() > self.capabilities().limits().max_value_bytes
    }

    fn alter(&self, mut document: Document) -> Document {
        document.id = self.id(&document.id);
        match self.defect {
            Defect::IgnoresVersions => document.version = 0,
            Defect::DropsUnknownFields => {
                document.body.as_object_mut().map(|fields| fields.remove("extra"));
            }
            _ => {}
        }
        document
    }

    fn alter_filter(&self, filter: Filter) -> Option<Filter> {
        match (self.defect, filter) {
            (Defect::IncludesBounds, Filter::Range { field, from, to }) => {
                let include = |bound| match bound {
                    Bound::Excluded(value) => Bound::Included(value),
                    other => other,
                };
                Some(Filter::range(field, include(from), include(to)))
            }
            (Defect::IgnoresUnknownFields, Filter::Equals { field, .. }) if field == "nonsense" => None,
            (Defect::NobodyIsEverybody, Filter::AnyOf { values, .. }) if values.is_empty() => None,
            (
                Defect::FoldsSessions,
                Filter::Equals {
                    field,
                    value: Value::String(text),
                },
            ) => Some(Filter::any_of(field, [text.to_lowercase(), text.to_uppercase()])),
            (_, filter) => Some(filter),
        }
    }

    fn alter_query(&self, mut query: Query) -> Query {
        query.filters = query
            .filters
            .into_iter()
            .filter_map(|filter| self.alter_filter(filter))
            .collect();
        if self.is(Defect::SmallPagesAscend) && query.size < 5 {
            query.sort.descending &= query.sort.by == SortBy::Relevance;
        }
        if let (Defect::CursorIsANumber, Paging::After(cursor)) = (self.defect, &query.paging)
            && let Some(number) = cursor
                .strip_prefix("page ")
                .and_then(|number| number.parse().ok())
        {
            query.paging = Paging::Number(number);
        }
        query
    }

    fn alter_page(&self, query: &Query, mut page: RawPage) -> RawPage {
        match self.defect {
            Defect::SkipsBetweenPages if matches!(query.paging, Paging::Number(number) if number.get() > 1) =>
            {
                page.hits.drain(..1.min(page.hits.len()));
            }
            Defect::CursorIsANumber if query.sort == Sort::descending("sent_at") => {
                let number = match query.paging {
                    Paging::Number(number) => number.get(),
                    _ => 1,
                };
                page.next = Some(format!("page {}", number + 1));
            }
            Defect::TotalsThePage => page.total = page.hits.len() as u64,
            Defect::MarksNothing => {
                let fragments = page.hits.iter_mut().flat_map(|hit| &mut hit.highlights);
                fragments.for_each(|(_, text)| *text = text.replace(['[', ']'], ""));
            }
            _ => {}
        }
        page
    }

    /// Copies of what these documents will replace, under other ids.
    async fn copies(&self, index: &str, documents: &[Document]) -> Result<Vec<Document>> {
        let mut copies = Vec::new();
        for document in documents.iter().filter(|_| self.is(Defect::KeepsReplaced)) {
            if let Some(body) = self.inner.get(index, &document.id).await? {
                copies.push(Document::new(format!("{}-before", document.id), body));
            }
        }
        Ok(copies)
    }
}

backend_of_inner!(Broken, shutdown = close);

impl Broken {
    async fn close(&self, deadline: Duration) -> Result<()> {
        if self.is(Defect::WorksAfterShutdown) {
            return Ok(());
        }
        self.inner.shutdown(deadline).await
    }
}

#[async_trait]
impl Search for Broken {
    async fn create_index(&self, index: &str, schema: IndexSchema) -> Result<()> {
        self.seen().indexes.insert(index.to_owned());
        match self.inner.create_index(index, schema).await {
            Err(error) if self.is(Defect::ForgivesSchemas) && error.kind() == ErrorKind::AlreadyExists => {
                Ok(())
            }
            answer => answer,
        }
    }

    async fn delete_index(&self, index: &str) -> Result<bool> {
        let deleted = self.inner.delete_index(index).await?;
        Ok(deleted || self.is(Defect::DeletesIndexAlways))
    }

    async fn index_exists(&self, index: &str) -> Result<bool> {
        self.inner.index_exists(index).await
    }

    async fn set_alias(&self, alias: &str, index: &str) -> Result<()> {
        let first = self
            .seen()
            .aliases
            .entry(alias.to_owned())
            .or_insert_with(|| index.to_owned())
            .clone();
        self.inner
            .set_alias(
                alias,
                if self.is(Defect::AliasStays) {
                    &first
                } else {
                    index
                },
            )
            .await
    }

    async fn bulk(&self, index: &str, documents: Vec<Document>) -> Result<Vec<WriteOutcome>> {
        if self.is(Defect::CreatesOnWrite) && !self.inner.index_exists(index).await? {
            let schema = IndexSchema::new().with_field("content", FieldKind::Text);
            self.inner.create_index(index, schema).await?;
        }
        let large: BTreeSet<String> = documents
            .iter()
            .filter(|document| self.is_large(document))
            .map(|document| document.id.clone())
            .collect();
        let documents: Vec<Document> = documents
            .into_iter()
            .map(|document| self.alter(document))
            .collect();
        self.seen()
            .unrefreshed
            .extend(documents.iter().map(|document| document.id.clone()));
        let copies = self.copies(index, &documents).await?;
        if !copies.is_empty() {
            self.inner.bulk(index, copies).await?;
        }
        let mut outcomes = self.inner.bulk(index, documents).await?;
        for outcome in &mut outcomes {
            let is_large = large.contains(&outcome.id);
            match (self.defect, &outcome.result) {
                (Defect::SwallowsLarge, Err(_)) if is_large => outcome.result = Ok(true),
                (Defect::MisfitIsInternal, Err(_)) if !is_large => {
                    outcome.result = Err(Error::new(ErrorKind::Internal, "cannot be indexed"));
                }
                _ => {}
            }
        }
        Ok(outcomes)
    }

    async fn delete(&self, index: &str, id: &str) -> Result<bool> {
        let deleted = self.inner.delete(index, &self.id(id)).await?;
        Ok(deleted || self.is(Defect::DeletesAlways))
    }

    async fn get(&self, index: &str, id: &str) -> Result<Option<Value>> {
        let found = self.inner.get(index, &self.id(id)).await?;
        if self.is(Defect::ReadsOnlyRefreshed) && self.seen().unrefreshed.contains(id) {
            return Ok(None);
        }
        if found.is_some() || !self.is(Defect::ReadsEverywhere) {
            return Ok(found);
        }
        let others: Vec<String> = self.seen().indexes.iter().cloned().collect();
        for other in others {
            if let Some(body) = self.inner.get(&other, id).await? {
                return Ok(Some(body));
            }
        }
        Ok(None)
    }

    async fn search(&self, index: &str, query: Query) -> Result<RawPage> {
        let text = query.text.clone().unwrap_or_default();
        let nothing = self.is(Defect::MindsCase) && text.chars().any(char::is_uppercase)
            || self.is(Defect::SpacesOnly) && !text.is_ascii();
        if nothing {
            return Ok(RawPage::new(0, Vec::new(), None));
        }
        if self.is(Defect::ParsesText) && text.contains(['"', '(', '\\']) {
            return Err(Error::invalid_argument("a syntax error"));
        }
        let query = self.alter_query(query);
        let page = self.inner.search(index, query.clone()).await?;
        Ok(self.alter_page(&query, page))
    }

    async fn count(&self, index: &str) -> Result<u64> {
        let count = self.inner.count(index).await?;
        Ok(count.saturating_sub(u64::from(self.is(Defect::CountsOneLess))))
    }

    async fn refresh(&self, index: &str) -> Result<()> {
        self.inner.refresh(index).await?;
        self.seen().unrefreshed.clear();
        Ok(())
    }
}
