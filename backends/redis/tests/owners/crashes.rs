//! A process that is killed in the midst of an idempotent operation, in every gap that there is.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use infra_core::capability::Capabilities;
use infra_core::once::{
    Claim, ClaimRequest, Once, OnceConfig, OnceOptions, OnceStatus, OnceStore, StoreOnce, Waiting,
};
use infra_core::{Backend, Result, async_trait};
use infra_redis::RedisOnceStore;
use infra_redis::redis::{self, Value};
use tokio::time::Instant;

use crate::server::{LONG, Server};

const LEASE: Duration = Duration::from_secs(2);
/// How late things may be on a busy machine.
const SLACK: Duration = Duration::from_secs(4);

/// The variables that tell the process what to do, and where to stop.
const URL: &str = "INFRA_TEST_CRASHER_URL";
const PREFIX: &str = "INFRA_TEST_CRASHER_PREFIX";
const GAP: &str = "INFRA_TEST_CRASHER_GAP";

/// A store that stops for ever in one gap, after it has said so.
#[derive(Debug)]
struct Stopping {
    store: RedisOnceStore,
    gap: String,
}

/// Says that the process may be killed now, in a line of its own, and does nothing more.
async fn stop() {
    println!("\ncrasher: stopped");
    std::future::pending().await
}

impl Stopping {
    async fn at(&self, gap: &str) {
        if self.gap == gap {
            stop().await;
        }
    }
}

#[async_trait]
impl Backend for Stopping {
    fn backend(&self) -> &'static str {
        self.store.backend()
    }

    fn capabilities(&self) -> &Capabilities {
        self.store.capabilities()
    }

    async fn health(&self) -> Result<()> {
        self.store.health().await
    }

    async fn shutdown(&self, deadline: Duration) -> Result<()> {
        self.store.shutdown(deadline).await
    }
}

#[async_trait]
impl OnceStore for Stopping {
    async fn claim(&self, request: ClaimRequest) -> Result<Claim> {
        self.at("before claim").await;
        let claim = self.store.claim(request).await;
        self.at("after claim").await;
        claim
    }

    async fn renew(&self, key: &str, owner: &str, lease: Duration) -> Result<()> {
        self.store.renew(key, owner, lease).await
    }

    async fn complete(&self, key: &str, owner: &str, result: Bytes, ttl: Duration) -> Result<()> {
        self.at("before store").await;
        let completed = self.store.complete(key, owner, result, ttl).await;
        self.at("after store").await;
        completed
    }

    async fn release(&self, key: &str, owner: &str) -> Result<()> {
        self.store.release(key, owner).await
    }

    async fn wait_for_change(&self, key: &str, timeout: Duration) -> Result<()> {
        self.store.wait_for_change(key, timeout).await
    }

    async fn clear(&self, key: &str) -> Result<bool> {
        self.store.clear(key).await
    }

    async fn status(&self, key: &str) -> Result<OnceStatus> {
        self.store.status(key).await
    }
}

/// Does the work, whose effect is counted, as the process that is killed and as the one that comes after it.
async fn execute(server: &Server, gap: &str) -> bool {
    let store = Stopping {
        store: RedisOnceStore::connect(server.config()).await.unwrap(),
        gap: gap.to_owned(),
    };
    let once = StoreOnce::new(Arc::new(store), OnceConfig::development().with_lease(LEASE)).unwrap();
    let options = OnceOptions::new(LONG * 60).with_waiting(Waiting::UpTo(LONG));
    let work = async {
        server.run(redis::cmd("INCR").arg(effects(server))).await;
        if gap == "after work" {
            stop().await;
        }
        Ok(Bytes::from_static(b"done"))
    };
    let outcome = once
        .execute_bytes("crash", options, Box::pin(work))
        .await
        .unwrap();
    let replayed = outcome.is_replay();
    assert_eq!(outcome.into_inner(), Bytes::from_static(b"done"), "{gap}");
    replayed
}

fn effects(server: &Server) -> String {
    format!("{}effects", server.prefix)
}

#[tokio::test]
#[ignore = "the next test starts it, as a process of its own"]
async fn crasher() {
    let server = Server {
        url: std::env::var(URL).unwrap(),
        prefix: std::env::var(PREFIX).unwrap(),
    };
    execute(&server, &std::env::var(GAP).unwrap()).await;
    panic!("it was to stop");
}

/// Runs the process until it stops in the gap, and kills it there.
async fn crash(server: &Server, gap: &str) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "crashes::crasher", "--ignored", "--nocapture"]);
    command
        .env(URL, &server.url)
        .env(PREFIX, &server.prefix)
        .env(GAP, gap);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let heard = tokio::task::spawn_blocking(move || {
        output
            .lines()
            .map_while(std::io::Result::ok)
            .any(|line| line == "crasher: stopped")
    });
    let heard = tokio::time::timeout(LONG, heard).await;
    let killed = kill(&mut child);
    assert!(
        matches!(heard, Ok(Ok(true))),
        "{gap}: the process never came there"
    );
    killed.unwrap();
}

fn kill(child: &mut Child) -> std::io::Result<()> {
    child.kill()?;
    child.wait().map(drop)
}

#[tokio::test]
async fn a_process_that_dies_in_any_gap_blocks_its_key_for_a_lease_only_and_leaves_no_false_result() {
    for (gap, blocks, begun_before, replayed) in [
        ("before claim", false, 0, false),
        ("after claim", true, 0, false),
        ("after work", true, 1, false),
        ("before store", true, 1, false),
        ("after store", false, 1, true),
    ] {
        let Some(server) = Server::find("once-crash") else {
            return;
        };
        crash(&server, gap).await;
        let killed = Instant::now();
        let store = RedisOnceStore::connect(server.config()).await.unwrap();
        let status = store.status("idempotent:crash").await.unwrap();
        let expected = match (blocks, replayed) {
            (true, _) => OnceStatus::InProgress,
            (false, true) => OnceStatus::Done,
            (false, false) => OnceStatus::Unknown,
        };
        assert_eq!(status, expected, "{gap}");
        assert_eq!(execute(&server, "none").await, replayed, "{gap}");
        let waited = killed.elapsed();
        assert!(waited < LEASE + SLACK, "{gap}: blocked for {waited:?}");
        let done = server.run(redis::cmd("GET").arg(effects(&server))).await;
        let expected = begun_before + i32::from(!replayed);
        assert_eq!(
            done,
            Value::BulkString(expected.to_string().into()),
            "{gap}: how often it was done"
        );
        println!("{gap}: done {waited:?} after the crash");
    }
}
