//! What the contract costs beside bare HTTP (`reqwest`) to the same agent, in one run:
//! `eval "$(cargo servers up consul)" && cargo bench -p infra-consul`.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a program for people to read"
)]

#[path = "../../../testkit/benches/coordination/mod.rs"]
mod coordination;

use std::time::{Duration, Instant};

use bytes::Bytes;
use coordination::{compare, fleet, print_percentiles};
use futures_util::StreamExt;
use infra_consul::{ConsulConfig, ConsulCoordinator};
use infra_core::Backend;
use infra_core::assembly::BackendOptions;
use infra_core::config::BackendUrl;
use infra_core::coordination::{ConfigCenter, ConfigWrite, Locks, Version, WatchScope};
use serde_json::{Value, json};

const TTL: Duration = Duration::from_secs(30);

/// The discovered instances are on so many nodes.
const NODES: usize = 100;

/// Whom the bare side asks, and where.
struct Bare {
    http: reqwest::Client,
    agent: String,
    prefix: String,
}

#[tokio::main]
async fn main() {
    let Ok(url) = std::env::var("INFRA_CONSUL_URL") else {
        println!("skipped: no INFRA_CONSUL_URL; eval \"$(cargo servers up consul)\"");
        return;
    };
    // The bare client has no TLS library of its own choice.
    let chosen = rustls::crypto::ring::default_provider().install_default();
    assert!(chosen.is_ok(), "nobody has chosen before");
    let url = BackendUrl::parse(&url).expect("a URL");
    let prefix = format!("bench-{}/", std::process::id());
    let mut config = ConsulConfig::development().with_key_prefix(prefix.as_str());
    config.take_url(&url).expect("a URL of Consul");
    let bare = Bare {
        http: reqwest::Client::new(),
        agent: format!("http://{}/v1/", url.hosts()[0].or_port(8500)),
        prefix,
    };
    let ours = ConsulCoordinator::connect(config.clone())
        .await
        .expect("connected");
    let other = ConsulCoordinator::connect(config).await.expect("connected");

    single_calls(&ours, &bare).await;
    bare.tell_of_a_change(1).await;
    bare.tell_of_a_change(fleet::WATCHED).await;
    fleet::handovers(&ours).await;
    fleet::fan_out(&ours).await;
    bare.register().await;
    drop(fleet::register(&ours, fleet::REGISTERED).await);
    let service = bare.fill_the_catalog().await;
    bare.discover(&service).await;
    fleet::discover(&other, &service).await;
    bare.empty_the_catalog().await;
    ours.shutdown(TTL).await.expect("given back");
    bare.call("DELETE", &format!("kv/{}?recurse", bare.prefix), "")
        .await;
}

async fn single_calls(ours: &ConsulCoordinator, bare: &Bare) {
    let value = Bytes::from_static(&[7; 128]);
    let (scope, text) = (WatchScope::Key("read".to_owned()), "BwcH".repeat(43));
    let prefix = bare.prefix.as_str();
    let write = ConfigWrite::set("read", value.clone());
    ours.write(vec![write]).await.expect("written");
    let place = format!("kv/{prefix}config/read?consistent");

    compare(
        "read one key",
        "HTTP",
        &async |_| drop(ours.read(&scope).await.expect("read")),
        &async |_| drop(bare.call("GET", &place, "").await),
    )
    .await;
    compare(
        "compare and set",
        "HTTP",
        &async |call| {
            let key = format!("cas-{call}-{}", fastrand::u64(..));
            let create = ConfigWrite::compare_and_set(key, value.clone(), Version::ABSENT);
            ours.write(vec![create]).await.expect("written");
        },
        // The version of what was written is told by a transaction alone.
        &async |call| {
            let key = format!("{prefix}config/cas-{call}-{}", fastrand::u64(..));
            bare.transact(json!([{"KV": {"Verb": "cas", "Key": key, "Value": text, "Index": 0}}]))
                .await;
        },
    )
    .await;
    let wanted = r#"{"TTL": "60s", "Behavior": "delete"}"#;
    let session = bare.call("PUT", "session/create", wanted).await["ID"].clone();
    compare(
        "lock and unlock",
        "HTTP",
        &async |call| {
            let guard = ours.try_acquire(&format!("lock-{call}"), TTL).await;
            let guard = guard.expect("answered").expect("free");
            guard.release().await.expect("released");
        },
        // The fewest round trips that a lock can have, on a session that is there: one takes it, one gives it back.
        &async |call| {
            let key = format!("{prefix}bare-{call}");
            let take = json!([
                {"KV": {"Verb": "check-not-exists", "Key": key}},
                {"KV": {"Verb": "lock", "Key": key, "Value": "", "Session": session}},
            ]);
            let taken = bare.transact(take).await;
            let index = &taken["Results"][0]["KV"]["ModifyIndex"];
            bare.transact(json!([{"KV": {"Verb": "delete-cas", "Key": key, "Index": index}}]))
                .await;
        },
    )
    .await;
}

impl Bare {
    async fn call(&self, method: &str, path: &str, body: impl Into<reqwest::Body>) -> Value {
        let method = method.parse().expect("a method");
        let request = self
            .http
            .request(method, format!("{}{path}", self.agent))
            .body(body);
        let answer = request.send().await.expect("answered");
        let answer = answer.error_for_status().expect("done");
        let body = answer.bytes().await.expect("read");
        serde_json::from_slice(&body).unwrap_or(Value::Null)
    }

    async fn transact(&self, operations: Value) -> Value {
        self.call("PUT", "txn", operations.to_string()).await
    }

    /// How much later than the answer of a write a question is answered that waits for a change in a folder of so many keys.
    async fn tell_of_a_change(&self, keys: usize) {
        let folder = format!("kv/{}bare-{keys}/", self.prefix);
        for number in 0..keys {
            self.call("PUT", &format!("{folder}{number}"), "0").await;
        }
        let mut lag = Vec::new();
        for round in 1..=200 {
            let pairs = self.call("GET", &format!("{folder}?recurse"), "").await;
            let indexes = pairs
                .as_array()
                .expect("pairs")
                .iter()
                .map(|pair| pair["ModifyIndex"].as_u64());
            let index = indexes.max().flatten().expect("an index");
            let question = format!("{folder}?recurse&consistent&index={index}&wait=10s");
            let asked = async {
                self.call("GET", &question, "").await;
                Instant::now()
            };
            let written = async {
                // The question is there first.
                tokio::time::sleep(Duration::from_millis(5)).await;
                self.call("PUT", &format!("{folder}0"), round.to_string()).await;
                Instant::now()
            };
            let (told, written) = tokio::join!(asked, written);
            lag.push(told.saturating_duration_since(written));
        }
        print_percentiles(&format!("bare HTTP: a question for {keys} keys"), &mut lag);
    }

    /// As many instances as the fleet has, as plain services of the agent with a check.
    async fn register(&self) {
        let service = format!("{}bare", self.prefix.replace('/', "-"));
        let name = |number: usize| format!("{service}-{number:05}");
        let begun = Instant::now();
        let register = |number| {
            let wanted = json!({
                "ID": name(number), "Name": service, "Address": "10.0.0.1", "Port": 9000,
                "Check": {"TTL": "600s", "Status": "passing"},
            });
            self.call("PUT", "agent/service/register", wanted.to_string())
        };
        let mut registered = futures_util::stream::iter(0..fleet::REGISTERED)
            .map(register)
            .buffer_unordered(16);
        while registered.next().await.is_some() {}
        println!(
            "{:<38} {:>9.1?}",
            "bare HTTP: 1,000 services registered",
            begun.elapsed()
        );
        for number in 0..fleet::REGISTERED {
            let gone = format!("agent/service/deregister/{}", name(number));
            self.call("PUT", &gone, "").await;
        }
    }

    fn node(&self, number: usize) -> String {
        format!("{}node-{}", self.prefix.replace('/', "-"), number % NODES)
    }

    /// Instances of a fleet on many agents, as those make them known to the servers.
    async fn fill_the_catalog(&self) -> String {
        let service = format!("{}catalog", self.prefix.replace('/', "-"));
        let known = |number: usize| {
            let wanted = json!({
                "Node": self.node(number), "Address": "10.0.0.1",
                "Service": {"ID": format!("instance-{number:05}"), "Service": service, "Address": "10.0.0.1", "Port": 9000},
            });
            self.call("PUT", "catalog/register", wanted.to_string())
        };
        let mut known = futures_util::stream::iter(0..fleet::DISCOVERED)
            .map(known)
            .buffer_unordered(16);
        while known.next().await.is_some() {}
        service.clone()
    }

    async fn discover(&self, service: &str) {
        let path = format!("health/service/{service}?passing=true&consistent");
        let mut discoveries = Vec::new();
        for _ in 0..10 {
            let begun = Instant::now();
            let found = self.call("GET", &path, "").await;
            assert_eq!(found.as_array().map_or(0, Vec::len), fleet::DISCOVERED);
            discoveries.push(begun.elapsed());
        }
        print_percentiles("bare HTTP: 10,000 instances discovered", &mut discoveries);
    }

    async fn empty_the_catalog(&self) {
        for number in 0..NODES {
            let gone = json!({"Node": self.node(number)});
            self.call("PUT", "catalog/deregister", gone.to_string()).await;
        }
    }
}
