//! Statements: text and values, kept apart from the first to the last step.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{ShardKey, Value};

/// The values of a statement's parameters.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Parameters {
    /// For `?` in order of appearance.
    Positional(Vec<Value>),
    /// For `:name`, each of which may appear several times.
    Named(BTreeMap<Cow<'static, str>, Vec<Value>>),
}

/// A statement with its parameters, the same text on every engine.
///
/// Parameters are `:name` or `?`, not both in one statement; literals, quoted identifiers, comments, casts (`::text`) and
/// JSON operators (`?|`, `?&`) are left alone. A list bound to one name fills `in (:names)`.
///
/// **Sharded tables** are written by their logical name. The statement is routed by its shard key: the value bound to the
/// parameter that is named like the table's sharding column, or the one given with [`Statement::shard_key`]. A
/// statement on a sharded table without either is refused.
///
/// ```
/// use infra_core::database::Statement;
///
/// let recent = Statement::new("select id, content from messages where session_id = :session_id order by id desc limit :n")
///     .bind("session_id", "s-1")
///     .bind("n", 50_i64);
/// assert!(recent.text().starts_with("select"));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    text: Cow<'static, str>,
    parameters: Parameters,
    shard_key: Option<ShardKey>,
}

impl Statement {
    /// A statement without parameters yet.
    #[must_use]
    pub fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            text: text.into(),
            parameters: Parameters::Positional(Vec::new()),
            shard_key: None,
        }
    }

    /// Binds `:name`. Binding a name again replaces its value.
    ///
    /// Mixing named and positional parameters is refused when the statement is run: see [`Statement::bind_next`].
    #[must_use]
    pub fn bind(self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) -> Self {
        self.bind_values(name.into(), vec![value.into()])
    }

    /// Binds `:name` to a list, for `in (:name)`. An empty list matches nothing.
    #[must_use]
    pub fn bind_list<V: Into<Value>>(
        self,
        name: impl Into<Cow<'static, str>>,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        let values = values.into_iter().map(Into::into).collect();
        self.bind_values(name.into(), values)
    }

    /// Binds the next `?`.
    #[must_use]
    pub fn bind_next(mut self, value: impl Into<Value>) -> Self {
        match &mut self.parameters {
            Parameters::Positional(values) => values.push(value.into()),
            // A name no one can write keeps the value, so that the engine refuses the mixture instead of losing it.
            Parameters::Named(values) => values.entry(Cow::Borrowed("?")).or_default().push(value.into()),
        }
        self
    }

    /// Routes the statement by `key`, whatever its parameters are named.
    #[must_use]
    pub fn shard_key(mut self, key: impl Into<ShardKey>) -> Self {
        self.shard_key = Some(key.into());
        self
    }

    /// The text as written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The bound values.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The explicit shard key, if one was given.
    #[must_use]
    pub fn explicit_shard_key(&self) -> Option<&ShardKey> {
        self.shard_key.as_ref()
    }

    fn bind_values(mut self, name: Cow<'static, str>, values: Vec<Value>) -> Self {
        if let Parameters::Positional(positional) = &mut self.parameters {
            let mut named = BTreeMap::new();
            if !positional.is_empty() {
                named.insert(Cow::Borrowed("?"), std::mem::take(positional));
            }
            self.parameters = Parameters::Named(named);
        }
        if let Parameters::Named(named) = &mut self.parameters {
            named.insert(name, values);
        }
        self
    }
}

impl From<&'static str> for Statement {
    fn from(text: &'static str) -> Self {
        Self::new(text)
    }
}
