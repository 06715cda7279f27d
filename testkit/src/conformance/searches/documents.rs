//! Writing, reading by id, versions.

use infra_core::ErrorKind;
use infra_core::search::{Document, Query, Search};
use serde_json::json;

use super::{content, fill, ids, index, message, results};
use crate::conformance::{Harness, Outcome, Premise, check, check_eq, limits};

/// A write that was acknowledged is read by its id before any refresh.
pub async fn search_001_a_written_document_is_read_by_its_id_at_once(
    harness: &Harness<dyn Search>,
) -> Outcome {
    let search = harness.client().await?;
    let index = index(harness, &*search).await?;
    check!(
        search.get(&index, "m001").await?.is_none(),
        "a document that was never written was read"
    );
    search
        .bulk(&index, vec![message(1, "hello")])
        .await
        .premise("a document is written")?;
    let body = search.get(&index, "m001").await?;
    check_eq!(
        content(body.as_ref()),
        Some("hello"),
        "the document, before a refresh"
    );
    Ok(())
}

/// After a refresh every acknowledged write is found and counted.
pub async fn search_002_a_write_is_found_after_a_refresh(harness: &Harness<dyn Search>) -> Outcome {
    let search = harness.client().await?;
    let index = index(harness, &*search).await?;
    search
        .bulk(&index, (0..20).map(|number| message(number, "hello")).collect())
        .await
        .premise("documents are written")?;
    search.refresh(&index).await?;
    check_eq!(search.count(&index).await?, 20, "documents that are counted");
    Ok(())
}

/// One document that does not fit the schema fails by itself; the others are written, and outcomes are in order.
pub async fn search_003_a_document_that_does_not_fit_fails_alone(harness: &Harness<dyn Search>) -> Outcome {
    let search = harness.client().await?;
    let index = index(harness, &*search).await?;
    let misfit = Document::new("misfit", json!({ "content": "x", "sent_at": "no number" }));
    let outcomes = search
        .bulk(&index, vec![message(1, "a"), misfit, message(2, "b")])
        .await?;
    let outcomes = results(outcomes);
    let order: Vec<&str> = outcomes.iter().map(|(id, _)| id.as_str()).collect();
    check_eq!(order, ["m001", "misfit", "m002"], "the order of the outcomes");
    let kinds: Vec<Option<ErrorKind>> = outcomes
        .iter()
        .map(|(_, result)| result.as_ref().err().map(|e| e.kind()))
        .collect();
    check_eq!(
        kinds,
        [None, Some(ErrorKind::InvalidArgument), None],
        "what became of each document"
    );
    Ok(())
}

/// A delete says whether there was something to delete; afterwards there is nothing.
pub async fn search_004_deleting_says_whether_there_was_a_document(harness: &Harness<dyn Search>) -> Outcome {
    let search = harness.client().await?;
    let index = index(harness, &*search).await?;
    fill(&*search, &index, vec![message(1, "hello")]).await?;
    check!(
        !search.delete(&index, "absent").await?,
        "a delete of nothing says that there was something"
    );
    check!(
        search.delete(&index, "m001").await?,
        "a delete of a document says that there was none"
    );
    check!(
        search.get(&index, "m001").await?.is_none(),
        "a deleted document is read"
    );
    Ok(())
}

/// An older state that comes late leaves the newer one alone, and says so.
pub async fn search_005_an_older_version_never_overwrites_a_newer_one(
    harness: &Harness<dyn Search>,
) -> Outcome {
    let search = harness.client().await?;
    let index = index(harness, &*search).await?;
    let write = async |version: u64, text: &str| {
        results(
            search
                .bulk(&index, vec![message(1, text).with_version(version)])
                .await?,
        )
        .pop()
        .premise("one outcome")?
        .1
        .premise("a write is answered")
    };
    check!(write(5, "five").await?, "a first version was left out");
    check!(
        !write(4, "four").await?,
        "an older version says that it was written"
    );
    search.refresh(&index).await.premise("a refresh")?;
    let body = search.get(&index, "m001").await?;
    check_eq!(
        content(body.as_ref()),
        Some("five"),
        "the document after an older version came late"
    );
    check!(write(6, "six").await?, "a newer version was left out");
    Ok(())
}

/// An id is one document: written again, it is replaced and not doubled.
pub async fn search_006_writing_an_id_again_replaces_the_document(harness: &Harness<dyn Search>) -> Outcome {
    let search = harness.client().await?;
    let index = index(harness, &*search).await?;
    fill(&*search, &index, vec![message(1, "first")]).await?;
    fill(&*search, &index, vec![message(1, "second")]).await?;
    check_eq!(
        ids(&*search, &index, Query::text("first")).await?.len(),
        0,
        "hits for the text that was replaced"
    );
    check_eq!(
        ids(&*search, &index, Query::text("second")).await?.len(),
        1,
        "hits for the text that replaced it"
    );
    Ok(())
}

/// Two ids never mean one document, whatever characters they consist of.
pub async fn search_007_strange_ids_are_kept_apart(harness: &Harness<dyn Search>) -> Outcome {
    let search = harness.client().await?;
    let index = index(harness, &*search).await?;
    let strange = [
        "a/b", "a%2Fb", "A/b", "a b", "a", "ä", "a\u{308}", "会话:1", "../x", "_doc",
    ];
    let documents = strange
        .iter()
        .map(|id| Document::new(*id, json!({ "content": *id })))
        .collect();
    let mut kept = Vec::new();
    for (id, result) in results(
        search
            .bulk(&index, documents)
            .await
            .premise("documents are written")?,
    ) {
        match result {
            Ok(_) => kept.push(id),
            Err(error) => check_eq!(error.kind(), ErrorKind::InvalidArgument, "why {id:?} was refused"),
        }
    }
    search.refresh(&index).await.premise("a refresh")?;
    for id in &kept {
        let body = search.get(&index, id).await?;
        check_eq!(content(body.as_ref()), Some(id.as_str()), "the document {id:?}");
    }
    check!(kept.len() >= 5, "of ten ids only {kept:?} were taken");
    Ok(())
}

/// A document beyond the limit fails by itself, as a wrong argument.
pub async fn search_008_an_oversized_document_fails_alone(harness: &Harness<dyn Search>) -> Outcome {
    let search = harness.client().await?;
    let index = index(harness, &*search).await?;
    let long = "x".repeat(limits(&*search).max_value_bytes + 1);
    let outcomes = search
        .bulk(&index, vec![message(1, &long), message(2, "short")])
        .await?;
    let outcomes = results(outcomes);
    let kinds: Vec<Option<ErrorKind>> = outcomes
        .iter()
        .map(|(_, result)| result.as_ref().err().map(|e| e.kind()))
        .collect();
    check_eq!(
        kinds,
        [Some(ErrorKind::InvalidArgument), None],
        "what became of a document that is too large, and of another"
    );
    Ok(())
}

/// What the schema does not name comes back with the document, and cannot be filtered by.
pub async fn search_009_fields_outside_the_schema_are_kept_but_not_searched(
    harness: &Harness<dyn Search>,
) -> Outcome {
    let search = harness.client().await?;
    let index = index(harness, &*search).await?;
    let body = json!({ "content": "hello", "extra": { "deep": [1, "ü"] } });
    fill(&*search, &index, vec![Document::new("m", body.clone())]).await?;
    check_eq!(
        search.get(&index, "m").await?,
        Some(body),
        "the body of the document"
    );
    check!(
        ids(&*search, &index, Query::text("ü")).await?.is_empty(),
        "a field outside the schema was searched"
    );
    Ok(())
}
