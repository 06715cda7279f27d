//! Configuration files, environment variables and overrides, read into the configuration of everything.

use infra_core::ErrorKind;
use infra_core::assembly::InfraConfig;
use infra_core::config::{Format, Loader, Profile};
use infra_testkit::fuzz::Start;

use crate::support::{assert_no_secret, frugally};

const WORDS: [&str; 30] = [
    "hunter2",
    "\"hunter2\"",
    "[cache]\n",
    "[production]\n",
    "[production.cache]\n",
    "[[a]]\n",
    "url = ",
    "url: ",
    "cache:\n  ",
    "- ",
    "  ",
    ": ",
    " = ",
    "\"\"\"",
    "'''",
    "!!str ",
    "&a ",
    "*a",
    "<<: *a\n",
    "|\n  ",
    "2026-11-21",
    "0x1F",
    "1_000",
    "\"url\":",
    "development",
    "'memory://'",
    "cache.url",
    "__",
    "\\x00",
    "#",
];

const TOML: [&str; 4] = [
    "shutdown_deadline = '5s'\n[cache]\nurl = 'redis://:hunter2@h:6379/0'\nmax_entries = 7\n[production]\nlog.level = 'warn'\n",
    "[log]\nlevel = \"debug\"\nformat = \"json\"\noutput = \"stderr\"\n[log.levels]\n'user.auth' = 'trace'\n[log.rotation]\nmax_bytes = 1000\n",
    "[uid]\nmax_wait = 'hunter2'\nepoch_unix_millis = 'hunter2'\n[breaker.default_policy]\nforce = 'hunter2'\n",
    "[queue]\nurl = 'amqp://u:hunter2@h/%zz'\n[[queue.topics]]\nname = 'hunter2'\n[stack]\nretry = { max_attempts = 'hunter2' }\n",
];
const YAML: [&str; 3] = [
    "shutdown_deadline: 5s\ncache:\n  url: \"redis://:hunter2@h:6379/0\"\n  tables: [a, b, {c: 1}]\nproduction:\n  log:\n    level: warn\n",
    "log:\n  level: hunter2\n  levels: {user.auth: trace}\n  rotation:\n    every: 1day\n",
    "uid: &u\n  max_wait: |\n    hunter2\nstack:\n  <<: *u\n  retry: ~\n",
];
const JSON: [&str; 2] = [
    r#"{"shutdown_deadline":"5s","cache":{"url":"redis://:hunter2@h:6379/0","n":[1,2.5,null]},"production":{"log":{"level":"warn"}}}"#,
    r#"{"uid":{"max_instance":"hunter2"},"once":{"url":"hunter2"},"log":{"output":"stdout"}}"#,
];

/// Loads a document over the defaults. What is refused names the document, and shows none of its values.
fn load(input: &[u8], format: Format) {
    let text = String::from_utf8_lossy(input);
    let profile = if input.len().is_multiple_of(2) {
        Profile::Production
    } else {
        Profile::Development
    };
    let loader = Loader::new(profile)
        .with_defaults(&InfraConfig::of(profile))
        .with_document("settings.conf", format, text.clone());
    match frugally(input, || loader.load_explained::<InfraConfig>()) {
        Ok((config, origins)) => {
            config.clone_and_read_back(profile);
            assert!(
                !format!("{config:?} {origins:?}").contains("redis://:hunter2@"),
                "the password of a URL"
            );
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
            // What only validation finds in a whole table has no single source.
            for problem in error
                .message()
                .lines()
                .filter(|line| line.contains(": expected "))
            {
                assert!(
                    problem.contains("settings.conf"),
                    "it does not name its source: {error}"
                );
            }
            let malformed = error.message().contains("not valid ");
            assert!(!malformed || error.message().contains("settings.conf"), "{error}");
            assert_no_secret(&text, &error);
        }
    }
}

trait ReadBack {
    fn clone_and_read_back(&self, profile: Profile);
}

impl ReadBack for InfraConfig {
    /// A configuration that is given as defaults is the one that comes out.
    fn clone_and_read_back(&self, profile: Profile) {
        let again = Loader::new(profile).with_defaults(self).load::<Self>();
        let again = again.unwrap_or_else(|error| panic!("{self:?} does not read back: {error}"));
        assert_eq!(format!("{again:?}"), format!("{self:?}"));
    }
}

fn start(seeds: &[&str]) -> Start {
    Start::new(seeds).with_words(&WORDS).with_inputs(700)
}

infra_testkit::fuzz!(toml_documents, start(&TOML), |input| load(input, Format::Toml));
infra_testkit::fuzz!(yaml_documents, start(&YAML), |input| load(input, Format::Yaml));
infra_testkit::fuzz!(json_documents, start(&JSON), |input| load(input, Format::Json));

infra_testkit::fuzz!(
    /// Lines `NAME=value` are the variables of the environment.
    environment_variables,
    Start::new(&[
        "APP__CACHE__URL=redis://:hunter2@h\nAPP__LOG__LEVEL=debug\nAPP__UID__MAX_INSTANCE=7",
        "APP__STACK__RETRY={\"max_attempts\":\"hunter2\"}\nAPP__SHUTDOWN_DEADLINE=hunter2",
        "APP__STACK=[hunter2\nAPP__LOG__LEVELS={\"a\":\"info\"}\nOTHER=hunter2",
        "APP__UID__MAX_INSTANCE=yes\nAPP__UID=1\nAPP__UID__COMPAT=go_chat\nAPP__CACHE__N=a,b,,c",
    ])
    .with_words(&["APP__", "__", "LOG", "CACHE", "URL", "=", "\n", "hunter2", "{", "\"a\":", "[[", ",", "yes", "1e5", "İ"])
    .with_inputs(700),
    |input| {
        let text = String::from_utf8_lossy(input);
        let variables = text.lines().filter_map(|line| line.split_once('='));
        let loader = Loader::new(Profile::Development)
            .with_defaults(&InfraConfig::of(Profile::Development))
            .with_variables("APP", variables);
        if let Err(error) = frugally(input, || loader.load::<InfraConfig>()) {
            for problem in error.message().lines().filter(|line| line.contains(": expected ")) {
                assert!(problem.contains("APP__"), "it does not name the variable: {error}");
            }
            let in_name = text.lines().any(|line| line.split('=').next().is_some_and(|name| name.contains("hunter2")));
            if !in_name {
                assert_no_secret(&text, &error);
            }
        }
    }
);
