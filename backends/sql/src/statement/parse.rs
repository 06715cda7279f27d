//! A statement taken apart once: its parameters, its sharded tables, what kind of statement it is.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

use infra_core::database::ShardingConfig;
use infra_core::{Error, Result};

use super::keywords::{changes_rows, ends_unit, first_keyword, is_transaction_control, summary};
use super::lexer::{Token, TokenKind, refused, tokens};
use super::names::{Names, Role};
use crate::dialect::Dialect;

/// For what a text is parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// One statement with parameters.
    Statement,
    /// The statements of a migration: several, without parameters, with `{shard}`.
    Migration,
}

/// A part of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Copied as it is.
    Text(Range<usize>),
    /// `?`
    Positional,
    /// `:name`; `alone` when it is all that stands between two parentheses.
    Named { name: usize, alone: bool },
    /// The name of a sharded table, in quotes or not.
    Table { table: usize, quoted: bool },
    /// `{shard}`
    Suffix,
}

/// A statement taken apart.
#[derive(Debug)]
pub(crate) struct Parsed {
    text: String,
    pieces: Vec<Piece>,
    names: Vec<String>,
    positional: usize,
    tables: Vec<String>,
    other_tables: bool,
    keyword: String,
    changes_rows: bool,
    summary: String,
    written: RwLock<HashMap<Option<u32>, Arc<str>>>,
}

impl Parsed {
    /// Takes `text` apart.
    ///
    /// # Errors
    /// [`InvalidArgument`](infra_core::ErrorKind::InvalidArgument), with the position, for what the lexer refuses, for an
    /// empty text, and for several statements or transaction control where one ordinary statement is expected.
    pub(crate) fn new(
        text: &str,
        dialect: &Dialect,
        sharding: Option<&ShardingConfig>,
        mode: Mode,
    ) -> Result<Self> {
        let tokens = tokens(text, dialect)?;
        let keyword = first_keyword(text, &tokens);
        if keyword.is_empty() && mode == Mode::Statement {
            return Err(Error::invalid_argument("the statement is empty; write one"));
        }
        let mut parser = Parser {
            text,
            sharding,
            mode,
            names: Names::new(&keyword),
            parsed: Self {
                text: text.to_owned(),
                pieces: Vec::new(),
                names: Vec::new(),
                positional: 0,
                tables: Vec::new(),
                other_tables: false,
                keyword,
                changes_rows: changes_rows(text, &tokens),
                summary: summary(text, &tokens),
                written: RwLock::default(),
            },
        };
        parser.run(&tokens)?;
        let parsed = parser.parsed;
        parsed.check(mode)?;
        Ok(parsed)
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The text for one shard, written by `write` the first time.
    pub(crate) fn written(
        &self,
        shard: Option<u32>,
        write: impl FnOnce() -> Result<String>,
    ) -> Result<Arc<str>> {
        let known = self.written.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(text) = known.get(&shard) {
            return Ok(Arc::clone(text));
        }
        drop(known);
        let text: Arc<str> = write()?.into();
        let mut known = self.written.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(shard, Arc::clone(&text));
        Ok(text)
    }

    /// The parameters' names, each once, in order of appearance.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// How many `?` there are.
    pub(crate) fn positional(&self) -> usize {
        self.positional
    }

    /// The sharded tables, each once, by logical name.
    pub(crate) fn tables(&self) -> &[String] {
        &self.tables
    }

    /// Whether tables are named that are not sharded.
    pub(crate) fn has_other_tables(&self) -> bool {
        self.other_tables
    }

    /// Whether `{shard}` appears.
    pub(crate) fn has_suffix(&self) -> bool {
        self.pieces.contains(&Piece::Suffix)
    }

    /// The text for logs: white space and comments collapsed, literals and numbers replaced by `?`.
    pub(crate) fn summary(&self) -> &str {
        &self.summary
    }

    /// Whether the statement may do more than read.
    pub(crate) fn writes(&self) -> bool {
        match self.keyword.as_str() {
            "with" => self.changes_rows,
            "select" | "values" | "explain" | "pragma" | "show" | "table" => false,
            _ => true,
        }
    }

    /// Whether the statement certainly only reads, so that it may be stopped after its first row.
    pub(crate) fn only_reads(&self) -> bool {
        matches!(self.keyword.as_str(), "select" | "values") || (self.keyword == "with" && !self.changes_rows)
    }

    /// Whether the statement changes the schema.
    pub(crate) fn changes_schema(&self) -> bool {
        matches!(
            self.keyword.as_str(),
            "create" | "alter" | "drop" | "rename" | "truncate"
        )
    }

    fn check(&self, mode: Mode) -> Result<()> {
        if self.positional > 0 && !self.names.is_empty() {
            return Err(Error::invalid_argument(format!(
                "the statement mixes ? with :{}; use one way to write parameters",
                self.names[0]
            )));
        }
        if mode == Mode::Migration && (self.positional > 0 || !self.names.is_empty()) {
            return Err(Error::invalid_argument(
                "a migration has a parameter, and nothing to bind to it; write the value",
            ));
        }
        if mode == Mode::Migration && ends_unit(&self.keyword) {
            return Err(Error::invalid_argument(
                "the migration begins with transaction control; it runs in a transaction of its own",
            ));
        }
        if mode == Mode::Statement && is_transaction_control(&self.keyword) {
            return Err(Error::invalid_argument(format!(
                "the statement is {:?}, which would leave its connection inside or outside a transaction; use Database::begin and the methods of Transaction",
                self.keyword
            )));
        }
        Ok(())
    }
}

struct Parser<'a> {
    text: &'a str,
    sharding: Option<&'a ShardingConfig>,
    mode: Mode,
    names: Names,
    parsed: Parsed,
}

impl Parser<'_> {
    fn run(&mut self, tokens: &[Token]) -> Result<()> {
        let meaningful: Vec<usize> = (0..tokens.len())
            .filter(|index| tokens[*index].kind != TokenKind::Blank)
            .collect();
        let mut copied = 0;
        let mut skip_until = 0;
        for (order, index) in meaningful.iter().copied().enumerate() {
            let token = &tokens[index];
            let around = |offset: isize| {
                let position = order.checked_add_signed(offset)?;
                let neighbour = &tokens[*meaningful.get(position)?];
                Some(&self.text[neighbour.span.clone()])
            };
            if token.span.start < skip_until {
                continue;
            }
            if self.mode == Mode::Migration && self.text[token.span.start..].starts_with("{shard}") {
                skip_until = token.span.start + "{shard}".len();
                self.push(&mut copied, token.span.start..skip_until, Piece::Suffix);
                continue;
            }
            let (before, after) = (order.checked_sub(1).and_then(|_| around(-1)), around(1));
            if let Some(piece) = self.piece(token, before, after)? {
                self.push(&mut copied, token.span.clone(), piece);
            }
        }
        if copied < self.text.len() {
            self.parsed.pieces.push(Piece::Text(copied..self.text.len()));
        }
        Ok(())
    }

    fn push(&mut self, copied: &mut usize, span: Range<usize>, piece: Piece) {
        if *copied < span.start {
            self.parsed.pieces.push(Piece::Text(*copied..span.start));
        }
        self.parsed.pieces.push(piece);
        *copied = span.end;
    }

    fn piece(&mut self, token: &Token, before: Option<&str>, after: Option<&str>) -> Result<Option<Piece>> {
        let text = &self.text[token.span.clone()];
        match token.kind {
            TokenKind::Positional => {
                self.names.value();
                self.parsed.positional += 1;
                Ok(Some(Piece::Positional))
            }
            TokenKind::Named => {
                self.names.value();
                let alone = before == Some("(") && after == Some(")");
                let name = position_of(&mut self.parsed.names, &text[1..]);
                Ok(Some(Piece::Named { name, alone }))
            }
            TokenKind::Word | TokenKind::QuotedName => self.name(token, after == Some(".")),
            TokenKind::Literal | TokenKind::Number => {
                self.names.value();
                Ok(None)
            }
            TokenKind::Symbol => {
                if text == ";"
                    && self.mode == Mode::Migration
                    && after.is_some_and(|after| ends_unit(&after.to_ascii_lowercase()))
                {
                    return Err(refused(
                        self.text,
                        token.span.start,
                        "is followed by transaction control; a migration runs in a transaction of its own",
                    ));
                }
                if text == ";" && self.mode == Mode::Statement && after.is_some_and(|after| after != ";") {
                    return Err(refused(
                        self.text,
                        token.span.start,
                        "is followed by another statement; run them one by one, in a transaction if they belong together",
                    ));
                }
                self.names.symbol(text);
                Ok(None)
            }
            TokenKind::Blank => Ok(None),
        }
    }

    fn name(&mut self, token: &Token, qualifies: bool) -> Result<Option<Piece>> {
        let text = &self.text[token.span.clone()];
        let quoted = token.kind == TokenKind::QuotedName;
        let role = self.names.name(text, quoted, qualifies);
        if role == Role::Other {
            return Ok(None);
        }
        let Some(table) = self.sharded(text, quoted) else {
            self.parsed.other_tables |= role == Role::Table && !qualifies;
            return Ok(None);
        };
        if role == Role::Definition {
            return Err(refused(
                self.text,
                token.span.start,
                &format!(
                    "names a common table expression like the sharded table {table:?}; give it another name"
                ),
            ));
        }
        let table = position_of(&mut self.parsed.tables, &table);
        Ok(Some(Piece::Table { table, quoted }))
    }

    /// The logical name of the sharded table that is written here; without quotes, case does not count.
    fn sharded(&self, text: &str, quoted: bool) -> Option<String> {
        let tables = &self.sharding?.tables;
        if quoted {
            let inner = text.get(1..text.len().checked_sub(1)?)?;
            return tables.contains_key(inner).then(|| inner.to_owned());
        }
        tables
            .keys()
            .find(|table| table.eq_ignore_ascii_case(text))
            .cloned()
    }
}

fn position_of(names: &mut Vec<String>, wanted: &str) -> usize {
    names.iter().position(|name| name == wanted).unwrap_or_else(|| {
        names.push(wanted.to_owned());
        names.len() - 1
    })
}

#[cfg(test)]
mod tests {
    use infra_core::database::TableSharding;
    use proptest::prelude::*;

    use super::*;

    fn sharding() -> ShardingConfig {
        ShardingConfig::new("session_id", 16)
            .with_table("messages", TableSharding::default())
            .with_table("archive", TableSharding::default().with_shards(128))
    }

    fn parse(text: &str) -> Result<Parsed> {
        Parsed::new(text, &Dialect::SQLITE, Some(&sharding()), Mode::Statement)
    }

    /// The text with every sharded table marked.
    fn marked(text: &str, mode: Mode) -> String {
        let parsed = Parsed::new(text, &Dialect::SQLITE, Some(&sharding()), mode).expect(text);
        parsed
            .pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(span) => text[span.clone()].to_owned(),
                Piece::Positional => "?".to_owned(),
                Piece::Named { name, .. } => format!(":{}", parsed.names[*name]),
                Piece::Table { table, quoted: true } => format!("\"<{}>\"", parsed.tables[*table]),
                Piece::Table { table, .. } => format!("<{}>", parsed.tables[*table]),
                Piece::Suffix => "<suffix>".to_owned(),
            })
            .collect()
    }

    #[test]
    fn replaces_tables_and_not_what_only_shares_their_name() {
        for (text, expected) in [
            ("select * from messages", "select * from <messages>"),
            (
                "select * from Messages m where m.id = 1",
                "select * from <messages> m where m.id = 1",
            ),
            (
                "select messages.id from main.messages",
                "select <messages>.id from main.<messages>",
            ),
            (
                "select count(*) as messages from messages",
                "select count(*) as messages from <messages>",
            ),
            ("select m.messages from t m", "select m.messages from t m"),
            (
                "insert into messages (id, messages) values (?, ?)",
                "insert into <messages> (id, messages) values (?, ?)",
            ),
            (
                "insert or ignore into \"messages\" values (?)",
                "insert or ignore into \"<messages>\" values (?)",
            ),
            (
                "update or replace messages set messages = :m where 'messages' = \"messages\".x",
                "update or replace <messages> set messages = :m where 'messages' = \"<messages>\".x",
            ),
            (
                "delete from messages where exists (select 1 from archive, messages x where archive.id = messages.id)",
                "delete from <messages> where exists (select 1 from <archive>, <messages> x where <archive>.id = <messages>.id)",
            ),
            (
                "select * from (messages natural join archive), messages where messages in (1)",
                "select * from (<messages> natural join <archive>), <messages> where messages in (1)",
            ),
            (
                "insert into t select messages, 1 from u left join messages on messages.id = u.id",
                "insert into t select messages, 1 from u left join <messages> on <messages>.id = u.id",
            ),
            (
                "with recent as (select * from messages) select * from recent",
                "with recent as (select * from <messages>) select * from recent",
            ),
            (
                "create index if not exists by_messages on messages (messages)",
                "create index if not exists by_messages on <messages> (messages)",
            ),
            (
                "select messages_extra.id from messages_extra -- messages",
                "select messages_extra.id from messages_extra -- messages",
            ),
            (
                "insert into messages (id) values (1) on conflict (id) do update set messages = excluded.messages",
                "insert into <messages> (id) values (1) on conflict (id) do update set messages = excluded.messages",
            ),
        ] {
            assert_eq!(marked(text, Mode::Statement), expected);
        }
    }

    #[test]
    fn a_migration_may_hold_several_statements_and_the_suffix() {
        let text = "create table if not exists messages (id bigint);\n create index i{shard} on messages (id); -- {shard}";
        assert_eq!(
            marked(text, Mode::Migration),
            "create table if not exists <messages> (id bigint);\n create index i<suffix> on <messages> (id); -- {shard}"
        );
        for text in ["insert into t values (?)", "insert into t values (:a)"] {
            assert!(Parsed::new(text, &Dialect::SQLITE, None, Mode::Migration).is_err());
        }
    }

    #[test]
    fn tells_sharded_from_other_tables() {
        for (text, sharded, others) in [
            ("select 1", 0, false),
            (
                "select * from messages join users on users.id = messages.user",
                1,
                true,
            ),
            ("select messages.id from messages", 1, false),
            ("select * from messages, archive", 2, false),
        ] {
            let parsed = parse(text).expect("valid");
            assert_eq!(
                (parsed.tables().len(), parsed.has_other_tables()),
                (sharded, others),
                "{text}"
            );
        }
    }

    #[test]
    fn refuses_what_cannot_be_one_ordinary_statement() {
        for (text, part) in [
            ("", "empty"),
            (" -- nothing\n;", "empty"),
            ("select 1; drop table users", "another statement"),
            ("select ?, :a", "mixes"),
            ("BEGIN immediate", "Database::begin"),
            ("  commit", "Database::begin"),
            (
                "with messages as (select 1) select * from messages",
                "another name",
            ),
            (
                "with a as (select 1), messages (x) as (select 2) select * from messages",
                "another name",
            ),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.message().contains(part), "{text}: {error}");
        }
        assert!(parse("select ';'; -- done\n ;").is_ok());
    }

    #[test]
    fn the_summary_holds_no_values() {
        let parsed = parse("select *\n  from t -- about alice\n where name = 'alice' and n=42 and x = :x")
            .expect("valid");
        assert_eq!(
            parsed.summary(),
            "select * from t where name = ? and n=? and x = :x"
        );
    }

    proptest! {
        #[test]
        fn pieces_cover_any_text(text in any::<String>()) {
            if let Ok(parsed) = parse(&text) {
                prop_assert!(parsed.pieces.len() <= 2 * text.len() + 1);
            }
        }

        #[test]
        fn without_sharding_only_parameters_change(text in "(select|from|messages|,|\\(|\\)|'x'|:a|\\.| |;|with|as|\n){0,30}") {
            if let Ok(parsed) = Parsed::new(&text, &Dialect::SQLITE, None, Mode::Statement) {
                let rebuilt: String = parsed.pieces.iter().map(|piece| match piece {
                    Piece::Text(span) => text[span.clone()].to_owned(),
                    Piece::Named { name, .. } => format!(":{}", parsed.names[*name]),
                    _ => "?".to_owned(),
                }).collect();
                prop_assert_eq!(rebuilt, text);
            }
        }
    }
}
