//! From a [`Query`] to tantivy's query. Everything is checked here, before anything is read.

use std::ops::Bound;

use infra_core::search::{FieldKind, Filter, Query, SortBy};
use infra_core::{Error, Result};
use serde_json::Value;
use tantivy::Term;
use tantivy::query::{
    AllQuery, BooleanQuery, BoostQuery, ConstScoreQuery, EmptyQuery, Occur, PhraseQuery,
    Query as TantivyQuery, RangeQuery, TermQuery, TermSetQuery,
};
use tantivy::schema::{Field, IndexRecordOption};

use crate::analysis::{Needle, needles, pair_term, single_term, word_term};
use crate::collect::Order;
use crate::schema::{Mapped, Mapping, described, expected};

/// The longest query text, in bytes.
pub(crate) const MAX_TEXT_BYTES: usize = 8 * 1024;

/// The most different words of a query.
pub(crate) const MAX_WORDS: usize = 256;

/// The most filters of a query and the most values of one filter.
pub(crate) const MAX_FILTERS: usize = 256;
pub(crate) const MAX_VALUES: usize = 65_536;

/// How much a whole word of a charwise script counts beside its characters.
const WORD_BOOST: f32 = 0.5;

type Boxed = Box<dyn TantivyQuery>;

/// A query that was checked against the schema.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) query: Boxed,
    pub(crate) order: Order,
    /// What is highlighted: the text fields searched, and the words.
    pub(crate) text_fields: Vec<String>,
    pub(crate) needles: Vec<Needle>,
}

/// Checks a query and makes tantivy's query of it.
///
/// # Errors
/// [`InvalidArgument`](infra_core::ErrorKind::InvalidArgument) for an unknown field, a filter or sort that the field's
/// kind does not allow, a value of another kind, or a query that is too large.
pub(crate) fn plan(mapping: &Mapping, query: &Query) -> Result<Plan> {
    let fields = text_fields(mapping, &query.fields)?;
    let needles = query_needles(query)?;
    let mut clauses: Vec<(Occur, Boxed)> = Vec::new();
    match query.text {
        None => clauses.push((Occur::Must, Box::new(AllQuery))),
        Some(_) if fields.is_empty() => {
            return Err(Error::invalid_argument(
                "the query has a text, but the index has no text field to look in; declare one in the schema",
            ));
        }
        Some(_) if needles.is_empty() => clauses.push((Occur::Must, Box::new(EmptyQuery))),
        Some(_) => {
            for needle in &needles {
                clauses.push((Occur::Must, anywhere(needle, &fields)));
            }
        }
    }
    if query.filters.len() > MAX_FILTERS {
        return Err(Error::invalid_argument(format!(
            "the query has {} filters, more than the {MAX_FILTERS} allowed; join them into any-of filters",
            query.filters.len()
        )));
    }
    for filter in &query.filters {
        let (occur, condition) = condition(mapping, filter)?;
        clauses.push((occur, Box::new(ConstScoreQuery::new(condition, 0.0))));
    }
    Ok(Plan {
        query: Box::new(BooleanQuery::new(clauses)),
        order: order(mapping, query)?,
        text_fields: fields.into_iter().map(|(name, _)| name).collect(),
        needles,
    })
}

fn query_needles(query: &Query) -> Result<Vec<Needle>> {
    let text = query.text.as_deref().unwrap_or_default();
    if text.len() > MAX_TEXT_BYTES {
        return Err(Error::invalid_argument(format!(
            "the query text has {} bytes, more than the {MAX_TEXT_BYTES} allowed; shorten it",
            text.len()
        )));
    }
    let needles = needles(text);
    if needles.len() > MAX_WORDS {
        return Err(Error::invalid_argument(format!(
            "the query text has {} different words, more than the {MAX_WORDS} allowed; shorten it",
            needles.len()
        )));
    }
    Ok(needles)
}

fn text_fields(mapping: &Mapping, names: &[String]) -> Result<Vec<(String, Field)>> {
    if names.is_empty() {
        return Ok(mapping
            .text_fields()
            .map(|(name, mapped)| (name.to_owned(), mapped.field))
            .collect());
    }
    let mut fields: Vec<(String, Field)> = Vec::new();
    for name in names {
        let mapped = mapping.field(name)?;
        if mapped.kind != FieldKind::Text {
            return Err(Error::invalid_argument(format!(
                "field {name:?} is {}; look for words in text fields and use a filter for this one",
                expected(mapped.kind)
            )));
        }
        if fields.iter().all(|(known, _)| known != name) {
            fields.push((name.clone(), mapped.field));
        }
    }
    Ok(fields)
}

/// The needle in any of the fields.
fn anywhere(needle: &Needle, fields: &[(String, Field)]) -> Boxed {
    let mut queries: Vec<Boxed> = fields.iter().map(|(_, field)| in_field(needle, *field)).collect();
    if queries.len() == 1
        && let Some(only) = queries.pop()
    {
        return only;
    }
    Box::new(BooleanQuery::union(queries))
}

fn in_field(needle: &Needle, field: Field) -> Boxed {
    match needle {
        Needle::Word(word) => term(field, word),
        Needle::Characters(characters) => {
            let matching = adjacent(field, characters);
            match word_term(characters) {
                None => matching,
                Some(word) => Box::new(BooleanQuery::new(vec![
                    (Occur::Must, matching),
                    (
                        Occur::Should,
                        Box::new(BoostQuery::new(term(field, &word), WORD_BOOST)),
                    ),
                ])),
            }
        }
    }
}

/// The characters one after the other: by the pairs at every second place, and the last pair.
fn adjacent(field: Field, characters: &[String]) -> Boxed {
    match characters {
        [] => Box::new(EmptyQuery),
        [only] => term(field, &single_term(only)),
        [first, second] => term(field, &pair_term(first, second)),
        more => {
            let last = more.len() - 2;
            let terms = (0..more.len() - 1)
                .filter(|at| at % 2 == 0 || *at == last)
                .map(|at| {
                    let pair = pair_term(&more[at], &more[at + 1]);
                    (at, Term::from_field_text(field, &pair))
                })
                .collect();
            Box::new(PhraseQuery::new_with_offset(terms))
        }
    }
}

fn term(field: Field, text: &str) -> Boxed {
    Box::new(TermQuery::new(
        Term::from_field_text(field, text),
        IndexRecordOption::WithFreqs,
    ))
}

/// A filter, and whether it must hold or must not.
fn condition(mapping: &Mapping, filter: &Filter) -> Result<(Occur, Boxed)> {
    let mut filter = filter;
    let mut occur = Occur::Must;
    while let Filter::Not(inner) = filter {
        filter = inner;
        occur = if occur == Occur::Must {
            Occur::MustNot
        } else {
            Occur::Must
        };
    }
    let query: Boxed = match filter {
        Filter::Equals { field, value } => Box::new(TermQuery::new(
            exact(field, filterable(mapping, field)?, value)?,
            IndexRecordOption::Basic,
        )),
        Filter::AnyOf { field, values } => any_of(mapping, field, values)?,
        Filter::Range { field, from, to } => range(mapping, field, from, to)?,
        _ => return Err(Error::unsupported("this kind of filter")),
    };
    Ok((occur, query))
}

fn filterable<'a>(mapping: &'a Mapping, field: &str) -> Result<&'a Mapped> {
    let mapped = mapping.field(field)?;
    if mapped.kind == FieldKind::Text {
        return Err(Error::invalid_argument(format!(
            "field {field:?} is text, which is cut into words; filter on keyword, number and boolean fields"
        )));
    }
    Ok(mapped)
}

fn any_of(mapping: &Mapping, field: &str, values: &[Value]) -> Result<Boxed> {
    let mapped = filterable(mapping, field)?;
    if values.len() > MAX_VALUES {
        return Err(Error::invalid_argument(format!(
            "the filter on field {field:?} has {} values, more than the {MAX_VALUES} allowed; split the query",
            values.len()
        )));
    }
    let terms = values
        .iter()
        .map(|value| exact(field, mapped, value))
        .collect::<Result<Vec<_>>>()?;
    Ok(if terms.is_empty() {
        Box::new(EmptyQuery)
    } else {
        Box::new(TermSetQuery::new(terms))
    })
}

fn range(mapping: &Mapping, field: &str, from: &Bound<Value>, to: &Bound<Value>) -> Result<Boxed> {
    let mapped = filterable(mapping, field)?;
    if mapped.kind == FieldKind::Boolean {
        return Err(Error::invalid_argument(format!(
            "field {field:?} is boolean, which has no ranges; use equals"
        )));
    }
    let convert = |bound: &Bound<Value>| -> Result<Bound<Term>> {
        Ok(match bound {
            Bound::Included(value) => Bound::Included(exact(field, mapped, value)?),
            Bound::Excluded(value) => Bound::Excluded(exact(field, mapped, value)?),
            Bound::Unbounded => Bound::Unbounded,
        })
    };
    let (from, to) = (convert(from)?, convert(to)?);
    match (&from, &to) {
        (Bound::Unbounded, Bound::Unbounded) => Err(Error::invalid_argument(format!(
            "the range on field {field:?} has no bound; give one, or leave the filter out"
        ))),
        _ if is_empty_range(&from, &to) => Ok(Box::new(EmptyQuery)),
        _ => Ok(Box::new(RangeQuery::new(from, to))),
    }
}

/// Whether no value can lie between the bounds. Terms compare as their values do.
fn is_empty_range(from: &Bound<Term>, to: &Bound<Term>) -> bool {
    match (from, to) {
        (Bound::Included(from), Bound::Included(to)) => {
            from.serialized_value_bytes() > to.serialized_value_bytes()
        }
        (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => {
            from.serialized_value_bytes() >= to.serialized_value_bytes()
        }
        _ => false,
    }
}

/// The index term of a value, which must be of the field's kind.
fn exact(name: &str, mapped: &Mapped, value: &Value) -> Result<Term> {
    let field = mapped.field;
    match (mapped.kind, value) {
        (FieldKind::Keyword, Value::String(keyword)) => Ok(Term::from_field_text(field, keyword)),
        (FieldKind::Integer, Value::Number(number)) if number.is_i64() => {
            Ok(Term::from_field_i64(field, number.as_i64().unwrap_or_default()))
        }
        (FieldKind::Float, Value::Number(number)) => {
            Ok(Term::from_field_f64(field, number.as_f64().unwrap_or_default()))
        }
        (FieldKind::Boolean, Value::Bool(value)) => Ok(Term::from_field_bool(field, *value)),
        (kind, value) => Err(Error::invalid_argument(format!(
            "the filter on field {name:?} gives {}, but the schema says {}",
            described(value),
            expected(kind)
        ))),
    }
}

fn order(mapping: &Mapping, query: &Query) -> Result<Order> {
    let descending = query.sort.descending;
    match &query.sort.by {
        SortBy::Relevance => Ok(Order::Score { descending }),
        SortBy::Field(name) => {
            let mapped = mapping.field(name)?;
            let column = mapped.column.clone();
            match mapped.kind {
                FieldKind::Keyword => Ok(Order::Keyword { column, descending }),
                FieldKind::Integer => Ok(Order::Integer { column, descending }),
                FieldKind::Float => Ok(Order::Float { column, descending }),
                kind => Err(Error::invalid_argument(format!(
                    "field {name:?} is {}; sort by a keyword or number field",
                    expected(kind)
                ))),
            }
        }
        _ => Err(Error::unsupported("this order")),
    }
}
