//! What is asked and what is answered.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::Bound;

use serde_json::Value;

use crate::hidden::Hidden;

/// A condition that a hit must meet; it does not influence the ranking. Filters of one query all apply.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum Filter {
    /// The field has exactly this value (keyword, number or boolean).
    Equals {
        /// The field.
        field: String,
        /// The value.
        value: Value,
    },
    /// The field has one of these values.
    AnyOf {
        /// The field.
        field: String,
        /// The values; none matches nothing.
        values: Vec<Value>,
    },
    /// The number or keyword lies in this range.
    Range {
        /// The field.
        field: String,
        /// The lower bound.
        from: Bound<Value>,
        /// The upper bound.
        to: Bound<Value>,
    },
    /// None of these conditions holds.
    Not(Box<Filter>),
}

/// Shows the fields, not the values.
impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equals { field, .. } => f.debug_tuple("Equals").field(field).finish(),
            Self::AnyOf { field, values } => {
                f.debug_tuple("AnyOf").field(field).field(&values.len()).finish()
            }
            Self::Range { field, .. } => f.debug_tuple("Range").field(field).finish(),
            Self::Not(filter) => f.debug_tuple("Not").field(filter).finish(),
        }
    }
}

impl Filter {
    /// The field has exactly this value.
    #[must_use]
    pub fn equals(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self::Equals {
            field: field.into(),
            value: value.into(),
        }
    }

    /// The field has one of these values.
    #[must_use]
    pub fn any_of<V: Into<Value>>(field: impl Into<String>, values: impl IntoIterator<Item = V>) -> Self {
        Self::AnyOf {
            field: field.into(),
            values: values.into_iter().map(Into::into).collect(),
        }
    }

    /// The value lies in this range, which has at least one bound.
    #[must_use]
    pub fn range(field: impl Into<String>, from: Bound<Value>, to: Bound<Value>) -> Self {
        Self::Range {
            field: field.into(),
            from,
            to,
        }
    }

    /// The condition does not hold.
    #[must_use]
    pub fn negate(self) -> Self {
        Self::Not(Box::new(self))
    }
}

/// What hits are ordered by.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SortBy {
    /// How well they match the text.
    Relevance,
    /// A keyword or number field.
    Field(String),
}

/// The order of hits; ties are broken by document id, ascending, so that paging is stable.
///
/// Documents without a value in the field come last, in either direction; of several values the first in the order counts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sort {
    /// What to order by.
    pub by: SortBy,
    /// Greatest first.
    pub descending: bool,
}

impl Sort {
    /// Best match first: the default.
    #[must_use]
    pub fn relevance() -> Self {
        Self {
            by: SortBy::Relevance,
            descending: true,
        }
    }

    /// Smallest value first.
    #[must_use]
    pub fn ascending(field: impl Into<String>) -> Self {
        Self {
            by: SortBy::Field(field.into()),
            descending: false,
        }
    }

    /// Greatest value first.
    #[must_use]
    pub fn descending(field: impl Into<String>) -> Self {
        Self {
            by: SortBy::Field(field.into()),
            descending: true,
        }
    }
}

/// Which part of the hits is returned.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Paging {
    /// By number, from 1. Costs more the deeper it goes; the backend refuses beyond its limit.
    Number(NonZeroU32),
    /// After the cursor of an earlier page: as cheap at depth as at the start.
    ///
    /// Ordered by a field, it is stable under concurrent writes: every document that matches all the time and keeps its
    /// value comes exactly once. Ordered by relevance, writes change the scores of all documents a little, so that one
    /// near the end of a page may come twice or not at all.
    After(String),
}

/// Marks the words that were found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Highlighting {
    /// Put before each word found.
    pub before: String,
    /// Put after each word found.
    pub after: String,
    /// The longest fragment returned for a field, in characters.
    pub fragment_chars: usize,
}

impl Default for Highlighting {
    /// `<em>` and `</em>`, 150 characters; the text around them is HTML-escaped.
    fn default() -> Self {
        Self {
            before: "<em>".into(),
            after: "</em>".into(),
            fragment_chars: 150,
        }
    }
}

impl Highlighting {
    /// The same with other marks. They are put in as they are; only the text around them is escaped.
    #[must_use]
    pub fn with_marks(mut self, before: impl Into<String>, after: impl Into<String>) -> Self {
        self.before = before.into();
        self.after = after.into();
        self
    }

    /// The same with another longest fragment, in characters.
    #[must_use]
    pub fn with_fragment_chars(mut self, chars: usize) -> Self {
        self.fragment_chars = chars;
        self
    }
}

/// A search: text in fields, filters, order, page, highlighting.
///
/// ```
/// use infra_core::search::{Filter, Query, Sort};
///
/// let query = Query::text("天气").in_fields(["content"])
///     .with_filter(Filter::equals("session_id", "s1"))
///     .with_sort(Sort::descending("sent_at"))
///     .with_size(20);
/// assert_eq!(query.size, 20);
/// ```
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Query {
    /// The words looked for, all of which must occur; `None` matches every document, a text without a word matches none.
    /// It is data, not a query language: no character in it has a special meaning.
    pub text: Option<String>,
    /// The text fields to look in; none means all text fields.
    pub fields: Vec<String>,
    /// Conditions, all of which must hold.
    pub filters: Vec<Filter>,
    /// The order. Default: relevance.
    pub sort: Sort,
    /// Which page. Default: the first.
    pub paging: Paging,
    /// Hits per page. Default: 10.
    pub size: u32,
    /// Marks the words found. Default: off.
    pub highlight: Option<Highlighting>,
}

/// Shows the size of the text: what people look for does not belong in a log.
impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query")
            .field("text", &self.text.as_ref().map(Hidden::of))
            .field("fields", &self.fields)
            .field("filters", &self.filters)
            .field("sort", &self.sort)
            .field("paging", &self.paging)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl Query {
    /// Every document.
    #[must_use]
    pub fn all() -> Self {
        Self {
            text: None,
            fields: Vec::new(),
            filters: Vec::new(),
            sort: Sort::relevance(),
            paging: Paging::Number(NonZeroU32::MIN),
            size: 10,
            highlight: None,
        }
    }

    /// Documents that contain these words.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            text: Some(text.into()),
            ..Self::all()
        }
    }

    /// Looks only in these text fields.
    #[must_use]
    pub fn in_fields<F: Into<String>>(mut self, fields: impl IntoIterator<Item = F>) -> Self {
        self.fields = fields.into_iter().map(Into::into).collect();
        self
    }

    /// Adds a condition.
    #[must_use]
    pub fn with_filter(mut self, filter: Filter) -> Self {
        self.filters.push(filter);
        self
    }

    /// Sets the order.
    #[must_use]
    pub fn with_sort(mut self, sort: Sort) -> Self {
        self.sort = sort;
        self
    }

    /// Sets the number of hits per page.
    #[must_use]
    pub fn with_size(mut self, size: u32) -> Self {
        self.size = size;
        self
    }

    /// Asks for a page by number, from 1.
    #[must_use]
    pub fn with_page(mut self, number: NonZeroU32) -> Self {
        self.paging = Paging::Number(number);
        self
    }

    /// Asks for what follows an earlier page.
    #[must_use]
    pub fn after(mut self, cursor: impl Into<String>) -> Self {
        self.paging = Paging::After(cursor.into());
        self
    }

    /// Marks the words found.
    #[must_use]
    pub fn with_highlight(mut self, highlight: Highlighting) -> Self {
        self.highlight = Some(highlight);
        self
    }
}

/// A document that was found.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct RawHit {
    /// Its id.
    pub id: String,
    /// How well it matches; 0 when not ordered by relevance.
    pub score: f64,
    /// Its body.
    pub body: Value,
    /// Marked fragments by field, if asked for: `(field, fragment)`.
    pub highlights: Vec<(String, String)>,
}

/// Leaves the body and its fragments out.
impl fmt::Debug for RawHit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawHit")
            .field("id", &self.id)
            .field("score", &self.score)
            .finish_non_exhaustive()
    }
}

impl RawHit {
    /// A hit without highlights.
    #[must_use]
    pub fn new(id: impl Into<String>, score: f64, body: Value) -> Self {
        Self {
            id: id.into(),
            score,
            body,
            highlights: Vec::new(),
        }
    }

    /// The same hit with marked fragments.
    #[must_use]
    pub fn with_highlights(mut self, highlights: Vec<(String, String)>) -> Self {
        self.highlights = highlights;
        self
    }
}

/// One page of hits.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RawPage {
    /// How many documents match in all.
    pub total: u64,
    /// This page's hits.
    pub hits: Vec<RawHit>,
    /// The cursor for [`Query::after`], or `None` when there is nothing more.
    pub next: Option<String>,
}

impl RawPage {
    /// Puts a page together.
    #[must_use]
    pub fn new(total: u64, hits: Vec<RawHit>, next: Option<String>) -> Self {
        Self { total, hits, next }
    }
}
