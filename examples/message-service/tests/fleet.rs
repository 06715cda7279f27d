//! Two instances of the program on a real etcd or Consul, by configuration alone: they find each other, follow the same
//! configuration, make ids that differ, and one takes over what the other did for both. Every process is ended by its own id.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests stop where they cannot go on"
)]

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use infra_core::assembly::{OpenContext, Section};
use infra_core::cache::Cache;
use infra_core::config::{BackendUrl, Profile};
use infra_core::coordination::{ConfigCenterExt as _, Coordinator};
use infra_core::telemetry::NoMeter;
use infra_testkit::servers;
use infra_testkit::time::eventually;
use message_service::assembly::backends;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// Longer than any of these should take on a busy machine; a bound, not a wait. Consul frees what a dead process held after up to
/// twice its time to live.
const BOUND: Duration = Duration::from_secs(90);
/// How long a change of the configuration may take to every instance.
const REACTION: Duration = Duration::from_secs(1);

/// A running instance of the program.
struct Instance {
    child: Child,
    /// Open for as long as it runs: it may have more to say.
    _output: BufReader<ChildStdout>,
    address: String,
}

impl Instance {
    /// One that shares its database with others, and has a search index of its own.
    async fn start(data: &Path, name: &str, service: &str, coordination: &str) -> Self {
        Self::start_with(data, name, service, coordination, &[]).await
    }

    /// The same with more variables.
    async fn start_with(
        data: &Path,
        name: &str,
        service: &str,
        coordination: &str,
        variables: &[(&str, String)],
    ) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_message-service"))
            .env("MESSAGE_SERVICE__HTTP__ADDRESS", "127.0.0.1:0")
            .env("MESSAGE_SERVICE__SERVICE", service)
            .env("MESSAGE_SERVICE__INFRA__COORDINATION__URL", coordination)
            .env(
                "MESSAGE_SERVICE__INFRA__RATE_LIMIT__RULES_PATH",
                format!("config/{service}/ratelimit/"),
            )
            .env(
                "MESSAGE_SERVICE__INFRA__DATABASE__URL",
                format!("sqlite://{}", data.join("messages.db").display()),
            )
            .env(
                "MESSAGE_SERVICE__INFRA__SEARCH__URL",
                format!("tantivy://{}", data.join(name).display()),
            )
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        let mut banner = String::new();
        while !banner.contains("Ctrl-C") {
            let read = timeout(BOUND, output.read_line(&mut banner)).await;
            assert_ne!(
                read.expect("it speaks").expect("readable"),
                0,
                "it ended early: {banner}"
            );
        }
        let mut words = banner.split_whitespace();
        let address = words.find_map(|word| word.strip_prefix("http://"));
        Self {
            child,
            _output: output,
            address: address.expect("an address").to_owned(),
        }
    }

    async fn call(&self, request: &str) -> Value {
        let mut stream = TcpStream::connect(&self.address).await.expect("connected");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        let read = timeout(BOUND, stream.read_to_string(&mut answer)).await;
        read.expect("an answer in time").expect("readable");
        let body = answer.split_once("\r\n\r\n").expect("a body").1;
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error} in {answer}"))
    }

    async fn get(&self, path: &str) -> Value {
        self.call(&format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        ))
        .await
    }

    async fn send(&self, session: &str, content: &str) -> Value {
        self.send_as("ann", session, content).await
    }

    async fn send_as(&self, sender: &str, session: &str, content: &str) -> Value {
        let body = json!({ "sender_id": sender, "content": content }).to_string();
        self.call(&format!(
            "POST /sessions/{session}/messages HTTP/1.1\r\nhost: x\r\nconnection: close\r\nidempotency-key: {session}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await
    }

    /// What it says of itself.
    async fn describe(&self) -> Value {
        self.get("/instance").await
    }

    async fn leads(&self) -> bool {
        self.describe().await["announces_for_all"] == true
    }

    /// How often its rate-limit rules were replaced, and what of them was refused.
    async fn rules(&self) -> (u64, String) {
        let described = self.describe().await;
        let follows = described["follows"].as_array().expect("a list");
        let rules = follows
            .iter()
            .find(|followed| followed["name"] == "rate-limit rules");
        let rules = rules.expect("it follows rules");
        (
            rules["generation"].as_u64().expect("a number"),
            rules["refused"].to_string(),
        )
    }
}

/// A client of the same centre, as an operator's tool has one.
async fn operator(coordination: &str) -> Arc<dyn Coordinator> {
    let section = Section::new(BackendUrl::parse(coordination).expect("a URL"));
    let context = OpenContext::new(Profile::Development, Arc::new(NoMeter));
    backends()
        .open_coordinator(&section, &context)
        .await
        .expect("the server is there")
}

/// Changes a rule and measures how long it takes until both instances have it.
async fn reaction(both: [&Instance; 2], center: &dyn Coordinator, key: &str, capacity: u32) -> Duration {
    let [first, second] = [both[0].rules().await.0, both[1].rules().await.0];
    let rule = json!({ "rate": 100, "capacity": capacity });
    center.set(key, &rule).await.expect("a rule is written");
    let written = Instant::now();
    let reached = eventually(BOUND, async || {
        both[0].rules().await.0 > first && both[1].rules().await.0 > second
    });
    assert!(reached.await, "the change reaches both");
    written.elapsed()
}

async fn two_instances_share_the_work(server: &str) {
    let Some(coordination) = servers::require(server) else {
        return;
    };
    let data = tempfile::tempdir().expect("a folder");
    let unique = unique_name();
    let service = format!("messages-{unique}");
    let one = Instance::start(data.path(), "one", &service, &coordination).await;
    let two = Instance::start(data.path(), "two", &service, &coordination).await;

    // They are told apart, and know each other.
    let (first, second) = (one.describe().await, two.describe().await);
    assert_ne!(first["id"], second["id"]);
    assert_ne!(first["snowflake_instance"], second["snowflake_instance"]);
    for instance in [&one, &two] {
        assert!(
            eventually(BOUND, async || {
                let described = instance.describe().await;
                let known = described["instances"].to_string();
                known.contains(first["id"].as_str().unwrap())
                    && known.contains(second["id"].as_str().unwrap())
            })
            .await
        );
    }

    // What one takes, the other knows: one database, and ids of both.
    let (sent, other) = (one.send("s1", "from one").await, two.send("s2", "from two").await);
    assert!(
        sent["id"].is_string() && other["id"].is_string(),
        "{sent} {other}"
    );
    assert_ne!(sent["id"], other["id"]);
    let seen = two.get("/sessions/s1/messages").await.to_string();
    assert!(seen.contains("from one"), "{seen}");

    // A change of the configuration reaches both; a bad one is refused by both, with its key and its reason.
    let center = operator(&coordination).await;
    let key = format!("config/{service}/ratelimit/send_message.json");
    let mut reactions = Vec::new();
    for capacity in [50, 60, 70] {
        reactions.push(reaction([&one, &two], center.as_ref(), &key, capacity).await);
    }
    // The machine that runs tests may be busy for one of them.
    assert!(reactions.iter().min().unwrap() < &REACTION, "{reactions:?}");
    let bad = json!({ "rate": -1, "capacity": 5 });
    center.set(&key, &bad).await.expect("a bad rule is written");
    for instance in [&one, &two] {
        assert!(
            eventually(BOUND, async || {
                let (_, refused) = instance.rules().await;
                refused.contains(&key) && refused.contains("rate")
            })
            .await
        );
    }

    // One of them announces for all; when it dies, the other takes over, and is alone.
    assert!(eventually(BOUND, async || one.leads().await || two.leads().await).await);
    let (mut leader, follower) = if one.leads().await { (one, two) } else { (two, one) };
    assert!(!follower.leads().await, "there is one at a time");
    leader.child.kill().await.expect("killed");
    assert!(
        eventually(BOUND, async || follower.leads().await).await,
        "the other takes over"
    );
    let alone = async || follower.describe().await["instances"].as_array().map(Vec::len) == Some(1);
    assert!(eventually(BOUND, alone).await, "the dead one is forgotten");
    center.delete(&key).await.expect("the rule is removed");
}

/// Letters that no other run has.
fn unique_name() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    format!("{}-{}", std::process::id(), now.unwrap().as_millis())
}

#[tokio::test]
async fn two_instances_share_the_work_on_etcd() {
    two_instances_share_the_work("etcd").await;
}

#[tokio::test]
async fn two_instances_share_the_work_on_consul() {
    two_instances_share_the_work("consul").await;
}

/// Idempotency, rate limits and recent messages in one Redis, by configuration alone.
#[tokio::test]
async fn two_instances_share_a_redis() {
    let (Some(coordination), Some(redis)) = (servers::require("etcd"), servers::require("redis")) else {
        return;
    };
    let data = tempfile::tempdir().expect("a folder");
    let service = format!("messages-{}", unique_name());
    let prefix = format!("{service}:");
    let mut variables = vec![(
        "MESSAGE_SERVICE__INFRA__RATE_LIMIT__MODE",
        "distributed".to_owned(),
    )];
    for (url, key_prefix) in [
        (
            "MESSAGE_SERVICE__INFRA__CACHE__URL",
            "MESSAGE_SERVICE__INFRA__CACHE__KEY_PREFIX",
        ),
        (
            "MESSAGE_SERVICE__INFRA__ONCE_STORE__URL",
            "MESSAGE_SERVICE__INFRA__ONCE_STORE__KEY_PREFIX",
        ),
        (
            "MESSAGE_SERVICE__INFRA__RATE_LIMIT_STORE__URL",
            "MESSAGE_SERVICE__INFRA__RATE_LIMIT_STORE__KEY_PREFIX",
        ),
    ] {
        variables.extend([(url, redis.clone()), (key_prefix, prefix.clone())]);
    }
    let start =
        async |name| Instance::start_with(data.path(), name, &service, &coordination, &variables).await;
    let (one, two) = (start("one").await, start("two").await);

    // The same key at the other instance is the same message.
    let (sent, again) = (one.send("s1", "from one").await, two.send("s1", "from one").await);
    assert!(sent["id"].is_string(), "{sent}");
    assert_eq!(sent["id"], again["id"]);

    // Recent messages lie in Redis, for both.
    let seen = two.get("/sessions/s1/messages").await.to_string();
    assert!(seen.contains("from one"), "{seen}");
    let cache = cache(&redis, &prefix).await;
    let kept = eventually(BOUND, async || {
        cache.exists("session:{s1}:messages").await.expect("answered")
    });
    assert!(kept.await, "the session is not kept in Redis");

    // One bucket for both: of what they are asked for together, so much passes as one alone would let pass.
    let center = operator(&coordination).await;
    let before = [one.rules().await.0, two.rules().await.0];
    let rule = json!({ "rate": 0.001, "capacity": 6, "mode": "distributed" });
    let key = format!("config/{service}/ratelimit/send_message.json");
    center.set(&key, &rule).await.expect("a rule is written");
    let reached = eventually(BOUND, async || {
        one.rules().await.0 > before[0] && two.rules().await.0 > before[1]
    });
    assert!(reached.await, "the rule reaches both");
    let mut passed = 0;
    for number in 0..12 {
        let instance = if number % 2 == 0 { &one } else { &two };
        let answer = instance
            .send_as("bob", &format!("limited-{number}"), "hello")
            .await;
        passed += usize::from(answer["id"].is_string());
    }
    assert_eq!(passed, 6);
    center.delete(&key).await.expect("the rule is removed");
    cache.delete_prefix("s").await.expect("cleaned up");
}

/// A client of the same cache.
async fn cache(url: &str, prefix: &str) -> Arc<dyn Cache> {
    let section = Section::new(BackendUrl::parse(url).expect("a URL")).with_option("key_prefix", prefix);
    let context = OpenContext::new(Profile::Development, Arc::new(NoMeter));
    backends()
        .open_cache(&section, &context)
        .await
        .expect("the server is there")
}
