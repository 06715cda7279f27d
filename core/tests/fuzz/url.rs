//! The URL of a backend.

use infra_core::config::{BackendUrl, Secret};
use infra_testkit::fuzz::Start;

use crate::support::{SECRET, frugally, told};

const SEEDS: [&str; 12] = [
    "memory://",
    "redis://user:hunter2@cache-1:6380,[::1]:6379,cache-2/0?pool=8&name=a%26b",
    "redis://:hunter2@localhost",
    "etcd://root:hunter2@a:2379,b:2379/apps?dial_timeout=5s",
    "amqp://guest:hunter2@broker/%2F",
    "amqp://b/",
    "sqlite://data/app.db?mode=ro",
    "sqlite:///abs/a@b.db",
    "kafka+file:///etc/kafka/hunter2",
    "postgres://u:hunter2@[fe80::1]:5432/db?sslmode=require&password=hunter2",
    "opensearch://hunter2@host:9200",
    "tantivy://./dir%20x",
];
const WORDS: [&str; 18] = [
    "://", "redis", "sqlite", "+file", "@", ":", "/", "//", "?", "&", "=", "%2F", "%zz", "%ff", "%00",
    "[::1]", "#", "hunter2",
];

fn start() -> Start {
    Start::new(&SEEDS).with_words(&WORDS)
}

/// Whether the secret is not where credentials and values are: a scheme and the names of parameters may be shown.
fn is_shown(text: &str) -> bool {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let query = rest.split_once('?').map_or("", |(_, query)| query);
    let in_name = query
        .split('&')
        .any(|pair| pair.split('=').next().is_some_and(|name| name.contains(SECRET)));
    scheme.to_ascii_lowercase().contains(SECRET) || in_name
}

infra_testkit::fuzz!(
    /// What is refused is not quoted; what is read is written so that the same is read again.
    reads_back_what_it_writes_and_quotes_nothing,
    start(),
    |input| {
        let text = String::from_utf8_lossy(input);
        match frugally(input, || BackendUrl::parse(&text)) {
            Ok(url) => {
                let written = url.expose();
                let again = BackendUrl::parse(written.expose()).expect("reads what it writes");
                assert_eq!(again, url);
                assert!(!url.scheme().is_empty() && url.scheme() == url.scheme().to_ascii_lowercase());
            }
            Err(error) => {
                assert_eq!(error.kind(), infra_core::ErrorKind::InvalidConfig);
                assert!(!told(&error).contains(SECRET) || is_shown(&text), "{}", told(&error));
            }
        }
    }
);

infra_testkit::fuzz!(
    /// What people see of a URL is the same whatever its password, its token and its secret parameters are.
    looks_the_same_with_another_password,
    start(),
    |input| {
        let text = String::from_utf8_lossy(input);
        let Ok(url) = BackendUrl::parse(&text) else {
            return;
        };
        let mut other = url.clone();
        if url.password().is_some() {
            let user = url.user().unwrap_or_default().to_owned();
            other = other.with_credentials(user, Secret::new("another one".to_owned()));
        }
        let shown = |url: &BackendUrl| format!("{url} {url:?} {}", serde_json::to_string(url).expect("text"));
        assert_eq!(shown(&url), shown(&other));
        let bare = url.user().is_some() && url.password().is_none();
        for (name, value) in url.params().filter(|(name, value)| name.contains("password") && value.len() > 12) {
            assert!(!shown(&url).contains(value), "the value of {name}");
        }
        if bare {
            let token = url.user().unwrap_or_default();
            let elsewhere = text.matches(token).count() > 1;
            assert!(token.len() < 12 || elsewhere || !shown(&url).contains(token), "a token: {url}");
        }
    }
);

infra_testkit::fuzz!(
    /// Parameters are read as any type, or refused without their values.
    parameters_are_refused_by_name,
    start(),
    |input| {
        let text = String::from_utf8_lossy(input);
        let Ok(url) = BackendUrl::parse(&text) else {
            return;
        };
        let names: Vec<_> = url.params().map(|(name, _)| name.to_owned()).collect();
        for name in &names {
            let errors = [
                url.param::<u16>(name).err(),
                url.param::<f64>(name).err(),
                url.duration_param(name).err(),
            ];
            for error in errors.into_iter().flatten() {
                assert!(error.message().contains(name.as_str()), "{error}");
                assert!(!told(&error).contains(SECRET) || is_shown(&text), "{}", told(&error));
            }
        }
        if let Err(error) = url.check_params(&["mode"]) {
            assert!(names.iter().any(|name| error.message().contains(name.as_str())), "{error}");
        }
    }
);
