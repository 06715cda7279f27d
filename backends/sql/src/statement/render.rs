//! Puts the text together for one engine and one shard, and the values in the order of their placeholders.

use std::borrow::Cow;
use std::collections::BTreeMap;

use infra_core::database::{Parameters, Value};
use infra_core::{Error, Result};

use super::parse::{Parsed, Piece};
use crate::dialect::Dialect;

/// A statement ready to be sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bound {
    /// The text in the engine's spelling.
    pub(crate) text: String,
    /// One value for each placeholder.
    pub(crate) values: Vec<Value>,
}

/// Binds `parameters`, with the sharded tables named `tables` and `{shard}` replaced by `suffix`.
///
/// # Errors
/// [`InvalidArgument`](infra_core::ErrorKind::InvalidArgument) when a parameter is missing, unused or of the other kind, when
/// an empty list stands where it cannot, or when there are more values than the engine takes.
pub(crate) fn bind(
    parsed: &Parsed,
    parameters: &Parameters,
    dialect: &Dialect,
    tables: &[String],
    suffix: &str,
) -> Result<Bound> {
    let mut bound = Bound {
        text: String::with_capacity(parsed.text().len() + 16),
        values: Vec::new(),
    };
    let mut source = Source::new(parsed, parameters)?;
    for piece in parsed.pieces() {
        match piece {
            Piece::Text(span) => bound.text.push_str(&parsed.text()[span.clone()]),
            Piece::Positional => {
                if let Some(value) = source.next_positional() {
                    bound.push(value, dialect);
                }
            }
            Piece::Named { name, alone } => {
                let values = source.named(*name);
                bound.push_all(values, *alone, &parsed.names()[*name], dialect)?;
            }
            Piece::Table { table, quoted } => {
                let table = tables.get(*table).map_or("", String::as_str);
                let quote = if *quoted { "\"" } else { "" };
                bound.text.extend([quote, table, quote]);
            }
            Piece::Suffix => bound.text.push_str(suffix),
        }
    }
    if bound.values.len() > dialect.max_parameters {
        return Err(Error::invalid_argument(format!(
            "the statement has {} parameters, more than the {} that {} takes; split it",
            bound.values.len(),
            dialect.max_parameters,
            dialect.name
        )));
    }
    Ok(bound)
}

impl Bound {
    fn push(&mut self, value: Value, dialect: &Dialect) {
        self.values.push(value);
        dialect.push_placeholder(&mut self.text, self.values.len());
    }

    fn push_all(&mut self, values: &[Value], alone: bool, name: &str, dialect: &Dialect) -> Result<()> {
        if values.is_empty() {
            if !alone {
                return Err(Error::invalid_argument(format!(
                    "the list :{name} is empty and does not stand alone in parentheses, as in `in (:{name})`; leave the condition out"
                )));
            }
            self.text.push_str(dialect.empty_list);
        }
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                self.text.push_str(", ");
            }
            self.push(value.clone(), dialect);
        }
        Ok(())
    }
}

/// Where values come from, checked against the statement.
enum Source<'a> {
    Positional(std::slice::Iter<'a, Value>),
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
                Ok(Self::Positional(values.iter()))
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

    fn next_positional(&mut self) -> Option<Value> {
        match self {
            Self::Positional(values) => values.next().cloned(),
            Self::Named(_) => None,
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
        bind(&parsed, statement.parameters(), dialect, &[], "")
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
            sqlite.text,
            "select ':a', ?, ?::int, x ?| y from t where id in (?, ?) and a = ?"
        );
        assert_eq!(sqlite.values, values);
        let postgres = render(&statement, &Dialect::POSTGRES).expect("complete");
        assert_eq!(
            postgres.text,
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
            bound.text,
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
