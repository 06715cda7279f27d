//! Rules and policies as the configuration centre holds them: read as JSON, validated, written back.

use std::fmt::Debug;

use infra_core::breaker::{self, BreakerConfig};
use infra_core::cache::LoadOptions;
use infra_core::config::{Format, HotReload, Validate};
use infra_core::coordination::{ConfigEntry, Instance, Version};
use infra_core::intercept::StackConfig;
use infra_core::rate_limit::RuleFile;
use infra_core::retry::{self, BudgetPolicy};
use infra_testkit::fuzz::Start;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::support::{assert_no_secret, frugally};

const WORDS: [&str; 22] = [
    "\"hunter2\"",
    "hunter2",
    "\"1m\"",
    "\"0s\"",
    "\"5000000000years\"",
    "null",
    "{}",
    "[]",
    "\"rate\":",
    "\"capacity\":",
    "\"mode\":",
    "\"force\":",
    "\"unknown field\":",
    "missing field ",
    "duplicate field ",
    ", expected ",
    " at line ",
    "1e308",
    "-1e308",
    "0.0",
    "\"infinite\"",
    "\"backoff\":",
];

/// Reads an entry of the configuration centre; validates what is read, writes it and reads it again.
fn check<T: Serialize + DeserializeOwned + Debug + Clone>(
    input: &[u8],
    validate: impl Fn(&T) -> Option<infra_core::Error>,
) {
    let text = String::from_utf8_lossy(input);
    let entry = ConfigEntry::new("rules/login.json", input.to_vec().into(), Version(1));
    match frugally(input, || entry.decode::<T>()) {
        Ok(value) => {
            if let Some(error) = validate(&value) {
                assert_no_secret(&text, &error);
            }
            let written = serde_json::to_vec(&value).expect("JSON");
            let again = ConfigEntry::new("k", written.into(), Version(1));
            let again = again
                .decode::<T>()
                .unwrap_or_else(|error| panic!("{value:?} does not read back: {error}"));
            assert_eq!(format!("{again:?}"), format!("{value:?}"));
        }
        Err(error) => {
            assert!(error.message().contains("rules/login.json"), "{error}");
            assert_no_secret(&text, &error);
        }
    }
}

fn validated<T: Serialize + DeserializeOwned + Debug + Clone + Validate>(input: &[u8]) {
    check::<T>(input, |value| value.check().err());
}

fn start(seeds: &[&str]) -> Start {
    Start::new(seeds).with_words(&WORDS).with_inputs(3_000)
}

const RULES: [&str; 5] = [
    r#"{"mode":"distributed","rate":30.0,"capacity":60,"description":"hunter2"}"#,
    r#"{"login":{"rate":5,"capacity":10},"rate":{"mode":"local","rate":1,"capacity":1}}"#,
    r#"{"login":{"rate":"hunter2","capacity":10}}"#,
    r#"{"rate":1,"capacity":"hunter2"}"#,
    "{}",
];

infra_testkit::fuzz!(rate_limit_rules, start(&RULES), validated::<RuleFile>);

infra_testkit::fuzz!(
    /// The way by which rules really arrive: a document for a value that is replaced while the service runs.
    reloaded_rules,
    start(&RULES),
    |input| {
        let text = String::from_utf8_lossy(input);
        let reload = HotReload::new(RuleFile::Map(Default::default())).expect("valid");
        for format in [Format::Json, Format::Yaml, Format::Toml] {
            let source = infra_core::config::Source::File("rules.json".into());
            let before = reload.current();
            match frugally(input, || reload.offer(&source, format, input)) {
                Ok(_) => reload.current().check().expect("only what is valid is taken"),
                Err(error) => {
                    assert_eq!(reload.current(), before, "what is refused changes nothing");
                    assert_no_secret(&text, &error);
                }
            }
        }
    }
);

infra_testkit::fuzz!(
    breaker_policies,
    start(&[
        r#"{"failureThreshold":5,"successThreshold":2,"openStateTimeout":"1m","windowLength":"10s"}"#,
        r#"{"minimumCalls":20,"failureRateThreshold":0.5,"slowCallDuration":"1s","slowCallRateThreshold":0.8}"#,
        r#"{"halfOpenMaxProbes":32,"probeTimeout":"30s","force":"open"}"#,
        r#"{"openStateTimeout":"hunter2"}"#,
        r#"{"force":"hunter2"}"#,
    ]),
    validated::<breaker::Policy>
);

infra_testkit::fuzz!(
    breaker_configurations,
    start(&[
        r#"{"policies_path":"breakers/","policies_snapshot":"a/b","max_breakers":3,"default_policy":{"force":"closed"}}"#
    ]),
    validated::<BreakerConfig>
);

infra_testkit::fuzz!(
    retry_policies,
    start(&[
        r#"{"max_attempts":3,"backoff":{"exponential":{"initial":"100ms","factor":2.0,"max":"5s"}},"jitter":"full"}"#,
        r#"{"attempt_timeout":null,"total_deadline":"10s","budget":{"ttl":"10s","min_per_second":3,"ratio":0.2}}"#,
        r#"{"backoff":{"fixed":"hunter2"},"jitter":"none"}"#,
        r#"{"jitter":"hunter2","budget":{"ratio":"hunter2"}}"#,
    ]),
    |input| {
        validated::<retry::Policy>(input);
        validated::<BudgetPolicy>(input);
    }
);

infra_testkit::fuzz!(
    stacks_of_interceptors,
    start(&[
        r#"{"timeout":"300ms","concurrency":{"limit":64,"queue":0,"max_wait":"0s"},"retry":null}"#,
        r#"{"slow_threshold":"1s","retry":{"max_attempts":1,"jitter":"equal"}}"#,
    ]),
    validated::<StackConfig>
);

infra_testkit::fuzz!(
    load_options,
    start(&[
        r#"{"ttl":"10m","negative_ttl":"30s","jitter":0.1,"refresh_ahead":0.2,"stale_for":"1h","load_timeout":"10s"}"#
    ]),
    validated::<LoadOptions>
);

infra_testkit::fuzz!(
    registered_instances,
    start(&[
        r#"{"service":"orders","id":"orders-1","address":"::1","port":80,"metadata":{"token":"hunter2"},"weight":0,"zone":"a","state":"draining"}"#
    ]),
    |input| check::<Instance>(input, |instance| instance.validate().err())
);
