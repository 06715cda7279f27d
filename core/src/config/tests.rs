//! What the loader promises, on configurations like a service's.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;
use crate::error::ErrorKind;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Service {
    name: String,
    server: Server,
    cache: Cache,
    #[serde(default)]
    queue: Queue,
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(default)]
    levels: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Server {
    port: u16,
    #[serde(default)]
    hosts: Vec<String>,
    #[serde(default)]
    tls: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cache {
    url: BackendUrl,
    password: Secret<String>,
    #[serde(with = "humane")]
    timeout: Duration,
    #[serde(default)]
    ratio: Option<f64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Queue {
    #[default]
    Memory,
    Kafka {
        brokers: Vec<String>,
        acks: NonZeroU32,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    rate: u32,
    burst: NonZeroU32,
}

impl Validate for Service {
    fn validate(&self, problems: &mut Problems) {
        problems.ensure(!self.name.is_empty(), "name", "must not be empty");
        problems.within("server", |problems| {
            problems.ensure(self.server.port != 0, "port", "must not be 0");
        });
        problems.within("cache", |problems| {
            problems.ensure(!self.cache.timeout.is_zero(), "timeout", "must not be zero");
        });
        problems.within("rules", |problems| self.rules.validate(problems));
    }
}

impl Validate for Rule {
    fn validate(&self, problems: &mut Problems) {
        problems.ensure(self.rate <= 1_000_000, "rate", "must be at most 1000000");
    }
}

fn defaults() -> Service {
    Service {
        name: "im-logic".to_owned(),
        server: Server {
            port: 8080,
            hosts: vec!["localhost".to_owned()],
            tls: false,
        },
        cache: Cache {
            url: BackendUrl::server("redis", "localhost", 6379).with_credentials("", "default".into()),
            password: "hunter2".into(),
            timeout: Duration::from_secs(90),
            ratio: None,
        },
        queue: Queue::Memory,
        rules: Vec::new(),
        levels: BTreeMap::new(),
    }
}

fn loader() -> Loader {
    Loader::new(Profile::Production).with_defaults(&defaults())
}

fn lines(error: &crate::Error) -> Vec<&str> {
    error.message().lines().skip(1).map(str::trim).collect()
}

#[test]
fn defaults_alone_survive_the_way_through_the_tree_with_their_secrets() {
    assert_eq!(loader().load::<Service>().expect("valid"), defaults());
}

#[test]
fn stronger_sources_win_whatever_the_order_of_the_calls() {
    let toml = "name = 'file'\n[server]\nport = 1\n[production.server]\nport = 2\nhosts = ['x']\n[development]\nname = 'dev'";
    let (config, origins) = Loader::new(Profile::Production)
        .with_override("server.tls", true)
        .with_variables(
            "APP",
            [
                ("APP__NAME", "env"),
                ("APP__SERVER__TLS", "false"),
                ("OTHER__NAME", "x"),
            ],
        )
        .with_document("app.toml", Format::Toml, toml)
        .with_defaults(&defaults())
        .load_explained::<Service>()
        .expect("valid");
    assert_eq!(config.name, "env");
    assert_eq!((config.server.port, config.server.tls), (2, true));
    assert_eq!(config.server.hosts, ["x"], "lists are replaced, not merged");
    assert_eq!(
        origins.of_path("name"),
        Some(&Source::Variable("APP__NAME".to_owned()))
    );
    assert_eq!(
        origins.of_path("server.port"),
        Some(&Source::File("app.toml".into()))
    );
    assert_eq!(origins.of_path("server.tls"), Some(&Source::Override));
    assert_eq!(origins.of_path("cache.timeout"), Some(&Source::Defaults));
}

#[test]
fn the_three_formats_say_the_same() {
    let documents = [
        (Format::Toml, "[queue.kafka]\nbrokers = ['a', 'b']\nacks = 3"),
        (Format::Yaml, "queue:\n  kafka:\n    brokers: [a, b]\n    acks: 3"),
        (
            Format::Json,
            r#"{"queue":{"kafka":{"brokers":["a","b"],"acks":3}}}"#,
        ),
    ];
    for (format, text) in documents {
        // The default is the text `memory`, so a table replaces it as a whole.
        let config: Service = loader().with_document("app", format, text).load().expect("valid");
        let expected = Queue::Kafka {
            brokers: vec!["a".to_owned(), "b".to_owned()],
            acks: NonZeroU32::new(3).expect("not zero"),
        };
        assert_eq!(config.queue, expected, "{format:?}");
    }
}

#[test]
fn variables_are_read_as_the_type_of_their_field() {
    let config: Service = loader()
        .with_variables(
            "APP",
            [
                ("APP__NAME", "123"),
                ("APP__SERVER__PORT", "99"),
                ("APP__SERVER__HOSTS", "a, b,"),
                ("APP__SERVER__TLS", "yes"),
                ("APP__CACHE__PASSWORD", "00123"),
                ("APP__CACHE__TIMEOUT", "2m"),
                ("APP__CACHE__RATIO", "0.5"),
                ("APP__RULES", r#"[{"rate": 1, "burst": 2}]"#),
                ("APP__LEVELS__IM.USER", "debug"),
                ("APP__QUEUE__KAFKA__BROKERS", "k1:9092,k2:9092"),
                ("APP__QUEUE__KAFKA__ACKS", "1"),
            ],
        )
        .load()
        .expect("valid");
    assert_eq!(config.name, "123", "text stays text");
    assert_eq!(config.cache.password.expose(), "00123");
    assert_eq!(config.server.hosts, ["a", "b"]);
    assert_eq!(config.cache.timeout, Duration::from_secs(120));
    assert_eq!(
        (config.server.port, config.server.tls, config.cache.ratio),
        (99, true, Some(0.5))
    );
    assert_eq!(config.rules.len(), 1);
    assert_eq!(config.levels["im.user"], "debug");
    assert!(matches!(config.queue, Queue::Kafka { ref brokers, .. } if brokers.len() == 2));
}

#[test]
fn every_problem_is_reported_at_once_with_its_path_and_source() {
    let toml = "naem = 'x'\nname = ''\n[server]\nport = 70000\nhosts = 'one'\n[cache]\nurl = 'redis://:hunter2@h:x'\n\
                password = 5\ntimeout = '5'\n[[rules]]\nrate = -1\nburst = 0\n[[rules]]\nrate = 2000000\nburst = 1\nextra = 1";
    let error = loader()
        .with_document("app.toml", Format::Toml, toml)
        .with_variables("APP", [("APP__SERVER__TLS", "maybe"), ("APP__QUEUE", "sqs")])
        .with_override("cache.ratio", "half")
        .load::<Service>()
        .expect_err("broken everywhere");
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    let mut found = lines(&error);
    found.sort_unstable();
    let mut expected = [
        "naem: unknown key; expected one of `name`, `server`, `cache`, `queue`, `rules`, `levels` (from app.toml)",
        "name: must not be empty (from app.toml)",
        "server.port: expected u16, found integer `70000` (from app.toml)",
        "server.hosts: expected a sequence, found text (from app.toml)",
        "server.tls: expected a boolean (from environment variable APP__SERVER__TLS)",
        "cache.url: the redis:// URL has a port that is no number from 0 to 65535 (from app.toml)",
        "cache.password: the secret has the wrong type or form (its value is not shown) (from app.toml)",
        "cache.timeout: expected a duration such as \"1m30s\", found text that is not one (from app.toml)",
        "cache.ratio: expected f64, found text (from an override in code)",
        "queue: expected one of `memory`, `kafka` (from environment variable APP__QUEUE)",
        "rules[0].rate: expected u32, found integer `-1` (from app.toml)",
        "rules[0].burst: expected a nonzero u32, found integer `0` (from app.toml)",
        "rules[1].extra: unknown key; expected one of `rate`, `burst` (from app.toml)",
        "rules[1].rate: must be at most 1000000 (from app.toml)",
    ];
    expected.sort_unstable();
    assert_eq!(found, expected, "{error}");
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[test]
fn everything_that_is_missing_is_reported_at_once() {
    let error = Loader::new(Profile::Development)
        .with_document(
            "app.toml",
            Format::Toml,
            "[queue.kafka]\nbrokers = []\n[[rules]]\nrate = 1",
        )
        .with_variables("APP", [("APP__CACHE__RATIO", "x")])
        .load::<Service>()
        .expect_err("nearly everything is missing");
    let found: Vec<_> = lines(&error)
        .iter()
        .map(|line| line.split(" (").next().unwrap_or_default().to_owned())
        .collect();
    for expected in [
        "name: missing; set it in app.toml or as APP__NAME",
        "server: missing; set it in app.toml or as APP__SERVER",
        "cache.url: missing; set it in app.toml or as APP__CACHE__URL",
        "cache.password: missing; set it in app.toml or as APP__CACHE__PASSWORD",
        "cache.timeout: missing; set it in app.toml or as APP__CACHE__TIMEOUT",
        "cache.ratio: expected f64",
        "queue.kafka.acks: missing; set it in app.toml or as APP__QUEUE__KAFKA__ACKS",
        "rules[0].burst: missing; set it in app.toml",
    ] {
        assert!(
            found.iter().any(|line| line == expected),
            "{expected} in {found:#?}"
        );
    }
    assert_eq!(found.len(), 8, "{found:#?}");
}

#[test]
fn files_that_are_missing_or_malformed_are_named_with_the_line() {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let cases: [(std::path::PathBuf, &str); 7] = [
        (write("a.toml", b"x = 1\npassword = \"hunter2\n"), "line 2"),
        (write("a.yaml", b"x: 1\ny: [hunter2\n"), "line"),
        (write("a.json", b"{\n\"password\": hunter2}"), "line 2"),
        (write("b.json", b"\"hunter2\""), "the top level must be a table"),
        (write("b.toml", b"x = 1\n\xff = 2"), "line 2 is not UTF-8"),
        (write("a.ini", b"hunter2"), "the format is not known"),
        (directory.path().join("absent.toml"), "there is no such file"),
    ];
    for (path, expected) in &cases {
        let error = loader().with_file(path).load::<Service>().expect_err(expected);
        let text = format!("{error:?}");
        assert!(
            text.contains(expected) && text.contains(&path.display().to_string()),
            "{text}"
        );
        assert!(!text.contains("hunter2"), "{text}");
    }
    let error = loader()
        .with_file(&cases[0].0)
        .with_file(&cases[6].0)
        .with_variables("APP", [("APP____X", "1")])
        .load::<Service>()
        .expect_err("three broken sources");
    assert_eq!(lines(&error).len(), 3, "{error}");

    let absent = loader().with_optional_file(&cases[6].0).load::<Service>();
    assert!(absent.is_ok(), "an optional file may be absent");
    let broken = loader().with_optional_file(&cases[0].0).load::<Service>();
    assert!(broken.is_err(), "but not broken");
}

#[test]
fn contradictions_between_sources_are_refused() {
    for (loader, expected) in [
        (
            loader().with_variables("APP", [("APP__CACHE", "x"), ("APP__CACHE__URL", "y")]),
            "APP__CACHE__URL",
        ),
        (loader().with_override("cache..url", 1), "cache..url"),
        (
            loader().with_document("a.toml", Format::Toml, "production = 1"),
            "production",
        ),
        (
            loader().with_document("a.yaml", Format::Yaml, "- ".repeat(400)),
            "nested deeper",
        ),
    ] {
        let error = loader.load::<Service>().expect_err(expected);
        assert!(error.message().contains(expected), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn arbitrary_documents_never_panic(text in "\\PC{0,60}", keyed in "[a-z.\\[\\]{}=:'\"0-9\n -]{0,80}") {
        for format in [Format::Toml, Format::Yaml, Format::Json] {
            for text in [&text, &keyed] {
                let _ = loader().with_document("x", format, text.clone()).load::<Service>();
            }
        }
    }

    #[test]
    fn arbitrary_variables_and_overrides_never_panic(
        name in "[A-Z_.\\[\\]0-9-]{0,20}",
        field in prop::sample::select(vec!["NAME", "SERVER__PORT", "SERVER__HOSTS", "CACHE__URL", "CACHE__TIMEOUT", "RULES", "QUEUE", "SERVER"]),
        value in "\\PC{0,20}|\\[[^\\[]{0,10}\\]|[0-9]{0,40}",
    ) {
        let _ = loader()
            .with_variables("APP", [(format!("APP__{name}"), value.clone()), (format!("APP__{field}"), value.clone())])
            .with_override(name, value)
            .load::<Service>();
    }
}
