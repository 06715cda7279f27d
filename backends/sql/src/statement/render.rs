//! Puts the text together for one engine and one shard, and the values in the order of their placeholders.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use infra_core::database::{Parameters, Value};
use infra_core::{Error, Result};

use super::parse::{Parsed, Piece};
use crate::dialect::Dialect;

/// A statement ready to be sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bound {
    /// The text in the engine's spelling.
    pub(crate) text: Arc<str>,
    /// One value for each placeholder.
    pub(crate) values: Vec<Value>,
}

/// The physical names of a statement's sharded tables, and what stands for `{shard}`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Physical {
    pub(crate) tables: Vec<String>,
    pub(crate) suffix: String,
}

/// Binds `parameters` for one shard, whose names `physical` gives when the text was not written before.
///
/// # Errors
/// [`InvalidArgument`](infra_core::ErrorKind::InvalidArgument) when a parameter is missing, unused or of the other kind, when
/// an empty list stands where it cannot, or when there are more values than the engine takes.
pub(crate) fn bind(
    parsed: &Parsed,
    parameters: &Parameters,
    dialect: &Dialect,
    shard: Option<u32>,
    physical: impl FnOnce() -> Physical,
) -> Result<Bound> {
    let source = Source::new(parsed, parameters)?;
    let values = source.values(parsed);
    if values.len() > dialect.max_parameters {
        return Err(Error::invalid_argument(format!(
            "the statement has {} parameters, more than the {} that {} takes; split it",
            values.len(),
            dialect.max_parameters,
            dialect.name
        )));
    }
    let text = if source.has_lists() {
        write(parsed, &source, dialect, &physical())?.into()
    } else {
        parsed.written(shard, || write(parsed, &source, dialect, &physical()))?
    };
    Ok(Bound { text, values })
}

/// Writes the text. Without lists it depends on the shard alone.
fn write(parsed: &Parsed, source: &Source<'_>, dialect: &Dialect, physical: &Physical) -> Result<String> {
    let mut text = String::with_capacity(parsed.text().len() + 16);
    let mut placeholders = 0..;
    let mut push_placeholder = |text: &mut String| {
        let position = placeholders.next().unwrap_or(usize::MAX - 1);
        dialect.push_placeholder(text, position + 1);
    };
    for piece in parsed.pieces() {
        match piece {
            Piece::Text(span) => text.push_str(&parsed.text()[span.clone()]),
            Piece::Positional => push_placeholder(&mut text),
            Piece::Named { name, alone } => match source.named(*name).len() {
                0 if *alone => text.push_str(dialect.empty_list),
                0 => {
                    let name = &parsed.names()[*name];
                    return Err(Error::invalid_argument(format!(
                        "the list :{name} is empty and does not stand alone in parentheses, as in `in (:{name})`; leave the condition out"
                    )));
                }
                count => {
                    for index in 0..count {
                        if index > 0 {
                            text.push_str(", ");
                        }
                        push_placeholder(&mut text);
                    }
                }
            },
            Piece::Table { table, quoted } => {
                let table = physical.tables.get(*table).map_or("", String::as_str);
                if *quoted {
                    dialect.push_name(&mut text, table);
                } else {
                    text.push_str(table);
                }
            }
            Piece::Suffix => text.push_str(&physical.suffix),
        }
    }
    Ok(text)
}

/// Where values come from, checked against the statement.
enum Source<'a> {
    Positional(&'a [Value]),
    Named(Vec<&'a [Value]>),
}

impl<'a> Source<'a> {
    fn new(parsed: &Parsed, parameters: &'a Parameters) -> Result<Self> {
        match parameters {
            Parameters::Positional(values) => {
                if let Some(name) = parsed.names().first() {
                    return Err(Error::invalid_argument(format!(
                        "the parameter :{name} has no value; bind it with bind({name:?}, …)"
                    )));
                }
                if values.len() != parsed.positional() {
                    return Err(Error::invalid_argument(format!(
                        "the statement has {} parameters written ? and {} values; bind one for each",
                        parsed.positional(),
                        values.len()
                    )));
                }
                Ok(Self::Positional(values))
            }
            Parameters::Named(values) => Self::named_source(parsed, values),
            _ => Err(Error::invalid_argument(
                "the statement's parameters are of a kind that this backend does not know",
            )),
        }
    }

    fn named_source(parsed: &Parsed, values: &'a BTreeMap<Cow<'static, str>, Vec<Value>>) -> Result<Self> {
        if values.contains_key("?") {
            return Err(Error::invalid_argument(
                "the statement mixes bind_next with bind; use one way to bind parameters",
            ));
        }
        if parsed.positional() > 0 {
            return Err(Error::invalid_argument(
                "the statement's parameters are written ? but bound by name; use bind_next or write :name",
            ));
        }
        if let Some(unused) = values
            .keys()
            .find(|bound| !parsed.names().iter().any(|name| name == *bound))
        {
            return Err(Error::invalid_argument(format!(
                "a value is bound to :{unused}, which the statement does not contain; remove it or correct its name"
            )));
        }
        let mut ordered = Vec::with_capacity(parsed.names().len());
        for name in parsed.names() {
            let Some(values) = values.get(name.as_str()) else {
                return Err(Error::invalid_argument(format!(
                    "the parameter :{name} has no value; bind it with bind({name:?}, …)"
                )));
            };
            ordered.push(values.as_slice());
        }
        Ok(Self::Named(ordered))
    }

    /// The values in the order of their placeholders.
    fn values(&self, parsed: &Parsed) -> Vec<Value> {
        match self {
            Self::Positional(values) => values.to_vec(),
            Self::Named(_) => {
                let mut values = Vec::with_capacity(parsed.names().len());
                for piece in parsed.pieces() {
                    if let Piece::Named { name, .. } = piece {
                        values.extend_from_slice(self.named(*name));
                    }
                }
                values
            }
        }
    }

    /// Whether the text depends on how many values a name has.
    fn has_lists(&self) -> bool {
        match self {
            Self::Positional(_) => false,
            Self::Named(values) => values.iter().any(|values| values.len() != 1),
        }
    }

    fn named(&self, name: usize) -> &'a [Value] {
        match self {
            Self::Named(values) => values.get(name).copied().unwrap_or_default(),
            Self::Positional(_) => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use infra_core::database::Statement;

    use super::super::parse::Mode;
    use super::*;

    fn render(statement: &Statement, dialect: &Dialect) -> Result<Bound> {
        let parsed = Parsed::new(statement.text(), dialect, None, Mode::Statement)?;
        bind(&parsed, statement.parameters(), dialect, None, Physical::default)
    }

    #[test]
    fn writes_the_dialects_placeholders_and_orders_the_values() {
        let statement =
            Statement::new("select ':a', :a, :b::int, x ?| y from t where id in (:ids) and a = :a")
                .bind("b", 2)
                .bind("a", 1)
                .bind_list("ids", [7, 8]);
        let values: Vec<Value> = [1, 2, 7, 8, 1].map(Value::from).to_vec();
        let sqlite = render(&statement, &Dialect::SQLITE).expect("complete");
        assert_eq!(
            &*sqlite.text,
            "select ':a', ?, ?::int, x ?| y from t where id in (?, ?) and a = ?"
        );
        assert_eq!(sqlite.values, values);
        let postgres = render(&statement, &Dialect::POSTGRES).expect("complete");
        assert_eq!(
            &*postgres.text,
            "select ':a', $1, $2::int, x ?| y from t where id in ($3, $4) and a = $5"
        );
        assert_eq!(postgres.values, values);
    }

    #[test]
    fn an_empty_list_is_a_query_without_rows() {
        let none: [i64; 0] = [];
        let alone = Statement::new("delete from t where id in ( :ids )").bind_list("ids", none);
        let bound = render(&alone, &Dialect::SQLITE).expect("alone");
        assert_eq!(
            &*bound.text,
            "delete from t where id in ( select null where 1 = 0 )"
        );
        assert!(bound.values.is_empty());
        let among = Statement::new("delete from t where id in (1, :ids)").bind_list("ids", none);
        assert!(render(&among, &Dialect::SQLITE).is_err());
    }

    #[test]
    fn refuses_missing_unused_and_mixed_parameters() {
        let too_many = vec![0_i64; Dialect::SQLITE.max_parameters + 1];
        for (statement, part) in [
            (Statement::new("select :a"), ":a has no value"),
            (Statement::new("select :a").bind("b", 1), ":b"),
            (Statement::new("select :a, :b").bind("a", 1), ":b has no value"),
            (Statement::new("select ?"), "1 parameters written ? and 0 values"),
            (
                Statement::new("select ?").bind_next(1).bind_next(2),
                "and 2 values",
            ),
            (Statement::new("select ?").bind("a", 1), "bound by name"),
            (Statement::new("select :a").bind_next(1), ":a has no value"),
            (Statement::new("select :a").bind("a", 1).bind_next(2), "mixes"),
            (Statement::new("select ?").bind_next(1).bind("a", 2), "mixes"),
            (
                Statement::new("select 1 in (:a)").bind_list("a", too_many),
                "split it",
            ),
        ] {
            let error = render(&statement, &Dialect::SQLITE).expect_err(part);
            assert!(error.message().contains(part), "{error}");
            assert!(error.had_no_effect());
        }
    }
}
