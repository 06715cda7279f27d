//! Finding one committed document by its id: what version it has, where it lies. Reads only.

use std::sync::Arc;

use tantivy::columnar::Column;
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{DocAddress, DocSet, InvertedIndexReader, Searcher, TERMINATED, Term};

use crate::schema::VERSION;

/// The parts of each segment that a look-up needs, opened once per refresh.
pub(crate) struct Lookup {
    id: Field,
    searcher: Searcher,
    segments: Vec<(Arc<InvertedIndexReader>, Column<u64>)>,
}

impl Lookup {
    /// Opens what is needed of a searcher.
    pub(crate) fn new(searcher: Searcher, id: Field) -> tantivy::Result<Self> {
        let segments = searcher
            .segment_readers()
            .iter()
            .map(|segment| Ok((segment.inverted_index(id)?, segment.fast_fields().u64(VERSION)?)))
            .collect::<tantivy::Result<_>>()?;
        Ok(Self {
            id,
            searcher,
            segments,
        })
    }

    /// The searcher that the look-ups are made on.
    pub(crate) fn searcher(&self) -> &Searcher {
        &self.searcher
    }

    /// The version of a committed document, or `None` when there is none with this id.
    pub(crate) fn version(&self, id: &str) -> tantivy::Result<Option<u64>> {
        let address = self.address(id)?;
        Ok(address.map(|address| {
            self.segments
                .get(address.segment_ord as usize)
                .and_then(|(_, versions)| versions.first(address.doc_id))
                .unwrap_or(0)
        }))
    }

    /// Where a committed document lies.
    pub(crate) fn address(&self, id: &str) -> tantivy::Result<Option<DocAddress>> {
        let term = Term::from_field_text(self.id, id);
        for (ordinal, (index, _)) in self.segments.iter().enumerate() {
            let Some(info) = index.get_term_info(&term)? else {
                continue;
            };
            let segment = self
                .searcher
                .segment_reader(u32::try_from(ordinal).unwrap_or(u32::MAX));
            let mut postings = index.read_postings_from_terminfo(&info, IndexRecordOption::Basic)?;
            let mut doc = postings.doc();
            while doc != TERMINATED {
                if !segment.is_deleted(doc) {
                    return Ok(Some(DocAddress::new(
                        u32::try_from(ordinal).unwrap_or(u32::MAX),
                        doc,
                    )));
                }
                doc = postings.advance();
            }
        }
        Ok(None)
    }
}

impl std::fmt::Debug for Lookup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lookup")
            .field("segments", &self.segments.len())
            .finish_non_exhaustive()
    }
}
