//! SEARCH: documents written, found, filtered, paged.

pub mod documents;
pub mod indexes;
pub mod queries;

use infra_core::search::{Document, FieldKind, IndexSchema, Query, Search, WriteOutcome};
use serde_json::{Value, json};

use super::{Failure, Harness, Premise, Scenario};

/// Every scenario of this family.
pub const SCENARIOS: &[Scenario<dyn Search>] = crate::searches!(@list __conformance_table ());

/// One test per scenario of SEARCH: `conformance::searches!(make_search)`, or `conformance::searches!(make_search, every_mode)`.
#[macro_export]
macro_rules! searches {
    (@list $callback:ident $arguments:tt) => {
        $crate::$callback! { (searches) $arguments {
            documents {
                search_001_a_written_document_is_read_by_its_id_at_once,
                search_002_a_write_is_found_after_a_refresh,
                search_003_a_document_that_does_not_fit_fails_alone,
                search_004_deleting_says_whether_there_was_a_document,
                search_005_an_older_version_never_overwrites_a_newer_one,
                search_006_writing_an_id_again_replaces_the_document,
                search_007_strange_ids_are_kept_apart,
                search_008_an_oversized_document_fails_alone,
                search_009_fields_outside_the_schema_are_kept_but_not_searched,
            }
            queries {
                search_010_words_are_found_whatever_their_case,
                search_011_chinese_japanese_and_korean_are_found_by_word,
                search_012_filters_are_applied,
                search_013_hits_come_in_the_order_asked_for,
                search_014_numbered_pages_neither_repeat_nor_skip,
                search_015_a_cursor_is_stable_while_documents_are_written,
                search_016_the_total_counts_every_match,
                search_017_what_makes_no_sense_is_refused,
                search_018_operators_in_the_text_are_words,
                search_019_matches_are_marked,
                search_020_a_session_sees_only_its_own_documents,
                search_021_the_callers_permission_is_applied,
            }
            indexes {
                search_022_creating_an_index_again_succeeds_with_the_same_schema_only,
                search_023_an_unknown_index_is_not_found,
                search_024_indexes_are_apart,
                search_025_a_deleted_index_is_gone,
                search_026_an_alias_moves_in_one_step,
                search_027_a_search_that_was_shut_down_is_closed,
            }
        } }
    };
    ($($arguments:tt)+) => { $crate::searches!(@list __conformance_tests ($($arguments)+)); };
}

pub(super) fn schema() -> IndexSchema {
    IndexSchema::new()
        .with_field("content", FieldKind::Text)
        .with_field("session_id", FieldKind::Keyword)
        .with_field("sent_at", FieldKind::Integer)
        .with_field("score", FieldKind::Float)
        .with_field("pinned", FieldKind::Boolean)
}

/// An empty index of this run.
pub(super) async fn index(harness: &Harness<dyn Search>, search: &dyn Search) -> Result<String, Failure> {
    let name = harness.name("messages");
    search
        .create_index(&name, schema())
        .await
        .premise("an index is created")?;
    Ok(name)
}

pub(super) fn message(number: i64, content: &str) -> Document {
    let session = if number % 2 == 0 { "even" } else { "odd" };
    let body = json!({
        "content": content, "session_id": session, "sent_at": number, "score": number as f64 / 2.0, "pinned": number % 5 == 0,
    });
    Document::new(format!("m{number:03}"), body)
}

/// Writes documents and makes them visible.
pub(super) async fn fill(search: &dyn Search, index: &str, documents: Vec<Document>) -> Result<(), Failure> {
    let outcomes = search
        .bulk(index, documents)
        .await
        .premise("documents are written")?;
    for outcome in outcomes {
        outcome.result.premise("a document is written")?;
    }
    search.refresh(index).await.premise("a refresh")
}

/// The ids that match, in the order of the hits.
pub(super) async fn ids(search: &dyn Search, index: &str, query: Query) -> Result<Vec<String>, Failure> {
    let page = search.search(index, query).await?;
    Ok(page.hits.into_iter().map(|hit| hit.id).collect())
}

/// What became of each document.
pub(super) fn results(outcomes: Vec<WriteOutcome>) -> Vec<(String, infra_core::Result<bool>)> {
    outcomes
        .into_iter()
        .map(|outcome| (outcome.id, outcome.result))
        .collect()
}

/// The text of a body.
pub(super) fn content(body: Option<&Value>) -> Option<&str> {
    body?.get("content")?.as_str()
}
