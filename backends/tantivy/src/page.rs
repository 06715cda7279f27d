//! One search: plan, collect, read the bodies, mark, and the cursor of the next page. Blocking.

use infra_core::search::{Paging, Query, RawHit, RawPage};
use infra_core::{Error, ErrorKind, Result};
use tantivy::schema::Value as _;
use tantivy::{Searcher, TantivyDocument};

use crate::collect::{Found, Order, PageCollector, Place};
use crate::config::TantivyConfig;
use crate::cursor;
use crate::error::from_tantivy;
use crate::highlight;
use crate::index::Index;
use crate::query::{Plan, plan};

/// Where the page lies among the hits.
struct Span {
    /// Hits before it that are collected and left out.
    skip: usize,
    after: Option<Place>,
}

/// Runs a query; `name` is the index as the caller named it.
pub(crate) fn search(index: &Index, name: &str, query: &Query, config: &TantivyConfig) -> Result<RawPage> {
    let fingerprint = cursor::fingerprint(name, query);
    let span = span(query, &fingerprint, config)?;
    if let Some(highlighting) = &query.highlight {
        highlight::check(highlighting)?;
    }
    let plan = plan(&index.mapping, query)?;
    let searcher = index.searcher();
    let size = query.size as usize;
    let collector = PageCollector {
        order: plan.order.clone(),
        limit: span.skip + size + 1,
        after: span.after,
    };
    let collected = searcher
        .search(&*plan.query, &collector)
        .map_err(|error| from_tantivy("running the query", error))?;
    let more = collected.found.len() > span.skip + size;
    let found: Vec<Found> = collected.found.into_iter().skip(span.skip).take(size).collect();
    let next = match found.last() {
        Some(last) if more => Some(cursor::encode(&fingerprint, &last.place)?),
        _ => None,
    };
    let hits = found
        .into_iter()
        .map(|found| hit(index, &searcher, query, &plan, found))
        .collect::<Result<Vec<_>>>()?;
    Ok(RawPage::new(collected.total, hits, next))
}

fn span(query: &Query, fingerprint: &str, config: &TantivyConfig) -> Result<Span> {
    if query.size == 0 || query.size > config.max_page_size {
        return Err(Error::invalid_argument(format!(
            "a page of {} hits is outside 1 to {}; ask for fewer and follow the cursor",
            query.size, config.max_page_size
        )));
    }
    match &query.paging {
        Paging::Number(number) => {
            let depth = u64::from(number.get()) * u64::from(query.size);
            if depth > u64::from(config.max_page_depth) {
                return Err(Error::invalid_argument(format!(
                    "page {number} of {} hits ends at hit {depth}, beyond the limit of {}; follow the cursor of the page before",
                    query.size, config.max_page_depth
                )));
            }
            Ok(Span {
                skip: (number.get() as usize - 1) * query.size as usize,
                after: None,
            })
        }
        Paging::After(text) => Ok(Span {
            skip: 0,
            after: Some(cursor::decode(fingerprint, text)?),
        }),
        _ => Err(Error::unsupported("this kind of paging")),
    }
}

fn hit(index: &Index, searcher: &Searcher, query: &Query, plan: &Plan, found: Found) -> Result<RawHit> {
    let id = found.place.id;
    let document: TantivyDocument = searcher
        .doc(found.address)
        .map_err(|error| from_tantivy(format!("reading document {id:?}"), error))?;
    let stored = document.get_first(index.mapping.id);
    if stored.as_ref().and_then(|stored| stored.as_str()) != Some(id.as_str()) {
        return Err(Error::new(
            ErrorKind::DataCorrupted,
            format!("the column of ids and the stored document {id:?} disagree; rebuild the index"),
        ));
    }
    let body = index.body(&id, &document)?;
    let highlights = match &query.highlight {
        Some(highlighting) => highlight::fragments(&body, &plan.text_fields, &plan.needles, highlighting),
        None => Vec::new(),
    };
    let score = match plan.order {
        Order::Score { .. } => f64::from(found.score),
        _ => 0.0,
    };
    Ok(RawHit::new(id, score, body).with_highlights(highlights))
}
