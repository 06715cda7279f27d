//! Fuzz targets of this crate's parsers: statements, URLs, configuration. See `infra_testkit::fuzz`.

use infra_core::config::{BackendUrl, Profile, Validate};
use infra_core::coordination::{ConfigEntry, Version};
use infra_core::database::{ShardingConfig, Statement, TableSharding};
use infra_testkit::fuzz::Start;

use crate::config::SqlConfig;
use crate::dialect::Dialect;
use crate::statement::{Mode, Parsed, Physical, Token, TokenKind, bind, tokens};

/// Stands for a value that must not be seen.
const SECRET: &str = "hunter2";

const STATEMENTS: [&str; 12] = [
    "select * from messages m where m.id = :id and x in (:ids) -- :no",
    "insert or ignore into \"messages\" (id, body) values (?, 'hunter2 :no ?''s')",
    "with recent as (select * from messages) select * from recent, archive as a where a.x = 42",
    "update main.messages set n = n + :n where [messages].id = `messages`.id returning *",
    "select /* :a /* ? */ :b from (messages natural join archive) order by 1 limit 0x1F;",
    "delete from messages where exists (select 1 from archive, messages x where archive.id = messages.id)",
    "create table if not exists messages (id bigint primary key); create index i{shard} on messages (id)",
    "select $$ hunter2 $$, $t$ hunter2 $t$, a::text, b ?| c, d ?& e, ?||'x', tags @> :b",
    "select ?1",
    "begin immediate",
    "select 'hunter2",
    "select :größe, \"größe\"",
];
const WORDS: [&str; 34] = [
    "select ",
    "from ",
    "join ",
    "with ",
    "as ",
    "into ",
    "update ",
    "messages",
    "archive",
    "{shard}",
    ":a",
    ":a::",
    "?",
    "?|",
    "?&",
    "?||",
    "'",
    "''",
    "'hunter2'",
    "\"",
    "`",
    "[",
    "]",
    "$$",
    "$t$",
    "--",
    "/*",
    "*/",
    ";",
    ".",
    ", ",
    "(:ids)",
    "@a",
    "commit",
];

fn start() -> Start {
    Start::new(&STATEMENTS).with_words(&WORDS).with_inputs(2_500)
}

fn sharding() -> ShardingConfig {
    ShardingConfig::new("id", 16)
        .with_table("messages", TableSharding::default())
        .with_table("archive", TableSharding::default().with_shards(128))
}

/// Cuts a text and asserts that nothing of it is lost.
fn cut(text: &str, dialect: &Dialect) -> Option<Vec<Token>> {
    let tokens = tokens(text, dialect).ok()?;
    let mut end = 0;
    for token in &tokens {
        assert!(token.span.start == end && token.span.end > end, "{token:?}");
        end = token.span.end;
    }
    assert_eq!(end, text.len());
    Some(tokens)
}

infra_testkit::fuzz!(tokens_cover_the_text, start(), |input| {
    let text = String::from_utf8_lossy(input);
    cut(&text, &Dialect::SQLITE);
    cut(&text, &Dialect::POSTGRES);
});

infra_testkit::fuzz!(
    /// A statement is bound with as many values as the text that is sent has places for them, and means the same when it is
    /// read again.
    statements_are_bound_completely,
    start(),
    |input| {
        let text = String::from_utf8_lossy(input);
        let sharding = sharding();
        let dialect = Dialect::SQLITE;
        let Ok(parsed) = Parsed::new(&text, &dialect, Some(&sharding), Mode::Statement) else {
            return;
        };
        let mut statement = Statement::new(text.clone().into_owned());
        for name in parsed.names() {
            statement = statement.bind(name.clone(), 1);
        }
        for _ in 0..parsed.positional() {
            statement = statement.bind_next(1);
        }
        let physical = || Physical {
            tables: parsed.tables().iter().map(|table| format!("{table}_07")).collect(),
            suffix: "_07".to_owned(),
        };
        let bound = bind(&parsed, statement.parameters(), &dialect, Some(7), physical).expect("all is bound");
        let sent = cut(&bound.text, &dialect).expect("what is sent can be cut");
        let places = sent.iter().filter(|token| token.kind == TokenKind::Positional).count();
        assert_eq!(places, bound.values.len(), "{}", bound.text);
        assert!(!sent.iter().any(|token| token.kind == TokenKind::Named), "{}", bound.text);
        let again = Parsed::new(&bound.text, &dialect, Some(&sharding), Mode::Statement).expect("reads back");
        assert_eq!(again.positional(), places);
        assert_eq!((again.writes(), again.only_reads()), (parsed.writes(), parsed.only_reads()));
    }
);

infra_testkit::fuzz!(
    /// What logs and metrics show of a statement has none of its literals.
    summaries_hold_no_values,
    start(),
    |input| {
        let text = String::from_utf8_lossy(input);
        for dialect in [Dialect::SQLITE, Dialect::POSTGRES] {
            for mode in [Mode::Statement, Mode::Migration] {
                let parsed = Parsed::new(&text, &dialect, Some(&sharding()), mode);
                let shown = match &parsed {
                    Ok(parsed) => parsed.summary().to_owned(),
                    Err(error) => format!("{error:?}"),
                };
                let is_name = tokens(&text, &dialect).is_ok_and(|tokens| {
                    tokens.iter().any(|token| {
                        !matches!(token.kind, TokenKind::Literal | TokenKind::Blank)
                            && text[token.span.clone()].to_lowercase().contains(SECRET)
                    })
                });
                assert!(is_name || !shown.to_lowercase().contains(SECRET), "{shown}");
            }
        }
    }
);

infra_testkit::fuzz!(
    /// URLs are understood, or refused without their credentials.
    urls_are_refused_without_credentials,
    Start::new(&[
        "sqlite::memory:",
        "sqlite://orders?mode=memory&cache=shared",
        "sqlite:///var/lib/a%20b.db?mode=ro",
        "sqlite:app.db",
        "postgres://root:hunter2@localhost/app?password=hunter2",
        "root:hunter2@tcp(localhost:3306)/app",
    ])
    .with_words(&["sqlite:", "://", "?mode=", "rwc", "&cache=", "%00", "%2e", "hunter2", "@", ":memory:"]),
    |input| {
        let text = String::from_utf8_lossy(input);
        // A path may be shown, and hosts and names of parameters are.
        let is_shown = text.to_ascii_lowercase().trim_start().starts_with("sqlite");
        let config = SqlConfig::development(text.clone().into_owned());
        let mut shown = format!("{config:?}");
        if let Err(error) = config.check() {
            shown.push_str(&format!("{error} {error:?}"));
        }
        if let Ok(url) = BackendUrl::parse(&text)
            && let Err(error) = SqlConfig::from_url(&url, Profile::Production)
        {
            shown.push_str(&format!("{error} {error:?}"));
        }
        let is_seen = shown.contains(":hunter2@") || ["?password=hunter2", "&password=hunter2"].iter().any(|value| shown.contains(value));
        assert!(is_shown || !is_seen, "{shown}");
    }
);

infra_testkit::fuzz!(
    configurations_are_read_and_validated,
    Start::new(&[
        r#"{"url":"sqlite::memory:","slow_query":"1m30s","durability":"full","max_connections":7,"sharding":{"key":"session_id","shards":16,"tables":{"messages":{"shards":128}}}}"#,
        r#"{"url":"postgres://u:hunter2@h/d","additional_urls":["sqlite://a.db","mysql://u:hunter2@h"],"statement_timeout":"0s"}"#,
    ])
    .with_words(&["\"sharding\":", "\"tables\":", "4294967295", "\"1day\"", "null", "{}", "\"; drop table\""])
    .with_inputs(2_000),
    |input| {
        let entry = ConfigEntry::new("database.json", input.to_vec().into(), Version(1));
        let shown = match entry.decode::<SqlConfig>() {
            Ok(config) => format!("{config:?} {:?}", config.check().err()),
            Err(error) => {
                assert!(error.message().contains("database.json"), "{error}");
                format!("{error:?}")
            }
        };
        // The names of fields may be shown.
        let is_field = shown.contains("unknown field");
        assert!(is_field || !shown.contains(":hunter2@"), "{shown}");
    }
);
