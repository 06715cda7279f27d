//! What differs between engines in the text of a statement: the one place to extend for PostgreSQL and MySQL.

/// The spelling rules of one engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dialect {
    /// The backend's name in errors, logs and metrics.
    pub(crate) name: &'static str,
    /// How the n-th parameter is written.
    pub(crate) placeholders: Placeholders,
    /// What surrounds a name that might be a keyword.
    pub(crate) name_quote: char,
    /// What follows an insert to leave out rows that exist.
    pub(crate) skip_existing: &'static str,
    /// The most parameters of one statement.
    pub(crate) max_parameters: usize,
    /// What stands for a list without elements between the parentheses of `in ( )`: a query without rows.
    pub(crate) empty_list: &'static str,
    /// Whether `[name]` quotes an identifier (elsewhere it indexes an array).
    pub(crate) bracket_quotes: bool,
    /// Whether block comments nest.
    pub(crate) nested_comments: bool,
    /// Whether `$tag$ … $tag$` quotes a text.
    pub(crate) dollar_quotes: bool,
    /// Whether `$name`, `@name` and `?1` would be parameters of the engine itself, which would be left unbound.
    pub(crate) native_parameters: bool,
}

/// How parameters are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "numbered placeholders arrive with PostgreSQL")
)]
pub(crate) enum Placeholders {
    /// `?` each time.
    Question,
    /// `$1`, `$2` …
    Numbered,
}

impl Dialect {
    /// Appends the placeholder of the parameter with this position, from 1.
    pub(crate) fn push_placeholder(&self, text: &mut String, position: usize) {
        match self.placeholders {
            Placeholders::Question => text.push('?'),
            Placeholders::Numbered => {
                text.push('$');
                text.push_str(&position.to_string());
            }
        }
    }

    /// Appends a plain name, quoted.
    pub(crate) fn push_name(&self, text: &mut String, name: &str) {
        text.push(self.name_quote);
        text.push_str(name);
        text.push(self.name_quote);
    }

    /// SQLite 3.
    pub(crate) const SQLITE: Self = Self {
        name: "sqlite",
        placeholders: Placeholders::Question,
        name_quote: '"',
        skip_existing: " on conflict do nothing",
        max_parameters: 32_766,
        empty_list: "select null where 1 = 0",
        bracket_quotes: true,
        nested_comments: false,
        dollar_quotes: false,
        native_parameters: true,
    };

    /// PostgreSQL: here so that the tokenizer's rules for it are tested before its driver arrives.
    #[cfg(test)]
    pub(crate) const POSTGRES: Self = Self {
        name: "postgres",
        placeholders: Placeholders::Numbered,
        name_quote: '"',
        skip_existing: " on conflict do nothing",
        max_parameters: 65_535,
        empty_list: "select null where false",
        bracket_quotes: false,
        nested_comments: true,
        dollar_quotes: true,
        native_parameters: false,
    };
}
