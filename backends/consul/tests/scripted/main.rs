//! What a scripted agent sees and what is made of its answers: the token, deadlines, indexes that go back, refusals, many watches.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking"
)]

mod agent;

use std::time::Duration;

use futures_util::StreamExt;
use infra_consul::{ConsulConfig, ConsulCoordinator};
use infra_core::ErrorKind;
use infra_core::config::Host;
use infra_core::coordination::{ConfigCenter, ConfigCenterExt, WatchScope};
use infra_core::watch::WatchEvent;
use infra_testkit::time::eventually;
use tokio::time::{Instant, timeout};

use crate::agent::{Agent, Answer, pair};

const BOUND: Duration = Duration::from_secs(10);

fn config(agent: &Agent) -> ConsulConfig {
    ConsulConfig::development()
        .with_hosts([Host::new("127.0.0.1", Some(agent.port()))])
        .with_request_timeout(Duration::from_secs(1))
        .with_watches(Duration::from_secs(1), 64)
}

fn key() -> WatchScope {
    WatchScope::Key("key".to_owned())
}

#[tokio::test]
async fn the_token_is_in_its_header_and_nowhere_else() {
    let agent = Agent::start(|_| Answer::nothing(7)).await;
    let config = config(&agent).with_token("hunter2");
    let said = format!("{config:?}");
    let client = ConsulCoordinator::connect(config).await.unwrap();
    client.list("").await.unwrap();
    for request in agent.requests() {
        let (line, rest) = request.split_once("\r\n").unwrap();
        assert!(rest.contains("x-consul-token: hunter2"), "{request}");
        assert!(
            !line.contains("hunter2") && request.matches("hunter2").count() == 1,
            "{request}"
        );
    }
    assert!(!format!("{said}{client:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_bad_token_ends_the_start_at_once_and_is_asked_once() {
    for (body, kind) in [
        ("ACL not found", ErrorKind::Unauthenticated),
        ("Permission denied", ErrorKind::PermissionDenied),
    ] {
        let agent = Agent::start(move |_| Answer::new(403, body)).await;
        let error = ConsulCoordinator::connect(config(&agent).with_token("wrong"))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(!error.is_retryable());
        assert_eq!(agent.requests().len(), 1);
    }
}

#[tokio::test]
async fn an_agent_that_never_answers_ends_a_call_in_time() {
    let agent = Agent::start(|request| {
        if request.contains("separator") {
            Answer::nothing(7)
        } else {
            Answer::never()
        }
    })
    .await;
    let client = ConsulCoordinator::connect(config(&agent)).await.unwrap();
    let began = Instant::now();
    // More than are on their way at once: those that wait for the others wait no longer either.
    let reads = futures_util::future::join_all((0..40).map(|_| client.list(""))).await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    for read in reads {
        assert_eq!(read.unwrap_err().kind(), ErrorKind::Timeout);
    }
}

/// The index that a question waits for.
fn asked(request: &str) -> Option<u64> {
    let (_, after) = request.lines().next()?.split_once("index=")?;
    after.split(['&', ' ']).next()?.parse().ok()
}

#[tokio::test]
async fn an_index_that_goes_back_is_told_as_a_reset_and_the_next_question_waits_for_the_new_one() {
    let agent = Agent::start(|request| match asked(request) {
        None => Answer::json(50, &pair("key", "old", 50)),
        Some(50) => Answer::json(7, &pair("key", "other", 7)).after(Duration::from_millis(50)),
        Some(7) => Answer::json(8, &pair("key", "new", 8)).after(Duration::from_millis(50)),
        Some(_) => Answer::never(),
    })
    .await;
    let client = ConsulCoordinator::connect(config(&agent)).await.unwrap();
    let (_, revision) = client.read(&key()).await.unwrap();
    let mut watch = client.watch(&key(), revision).await.unwrap();
    let first = timeout(BOUND, watch.next()).await.unwrap();
    assert!(matches!(first, Some(WatchEvent::Reset)), "{first:?}");
    let second = timeout(BOUND, watch.next()).await.unwrap();
    assert!(
        matches!(&second, Some(WatchEvent::Put(entry)) if entry.value == "new"),
        "{second:?}"
    );
}

#[tokio::test]
async fn an_agent_that_says_no_index_is_not_asked_in_a_loop() {
    let agent = Agent::start(|_| Answer::json(0, &pair("key", "value", 3))).await;
    let client = ConsulCoordinator::connect(config(&agent)).await.unwrap();
    let _watch = client.watch(&key(), 3).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let questions = agent.requests().len();
    assert!(questions < 60, "{questions} questions in two seconds");
}

#[tokio::test]
async fn answers_that_tell_nothing_new_are_not_asked_for_in_a_loop() {
    // As for a key that is not there, where everything that is written elsewhere counts on.
    let agent = Agent::start(|request| Answer::nothing(asked(request).unwrap_or(1) + 1)).await;
    let client = ConsulCoordinator::connect(config(&agent)).await.unwrap();
    let (_, revision) = client.read(&key()).await.unwrap();
    let mut watch = client.watch(&key(), revision).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let questions = agent.requests().len();
    assert!(questions < 60, "{questions} questions in two seconds");
    assert!(
        futures_util::poll!(watch.next()).is_pending(),
        "nothing has changed"
    );
}

#[tokio::test]
async fn an_agent_that_fails_is_asked_with_pauses_and_the_watch_goes_on() {
    let agent = Agent::start_counting(|request, number| match (asked(request), number) {
        (_, 4..=8) => Answer::new(500, "No cluster leader"),
        (None, 9..) => Answer::json(60, &pair("key", "new", 60)),
        (None, _) => Answer::json(50, &pair("key", "old", 50)),
        (Some(_), _) => Answer::never(),
    })
    .await;
    let client = ConsulCoordinator::connect(config(&agent)).await.unwrap();
    let (_, revision) = client.read(&key()).await.unwrap();
    let began = Instant::now();
    let mut watch = client.watch(&key(), revision).await.unwrap();
    let first = timeout(BOUND, watch.next()).await.unwrap();
    assert!(
        matches!(&first, Some(WatchEvent::Put(entry)) if entry.value == "new"),
        "{first:?}"
    );
    assert!(
        began.elapsed() > Duration::from_millis(300),
        "five failures in {:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn a_refusal_ends_a_watch_and_says_why() {
    let agent = Agent::start(|request| match asked(request) {
        None => Answer::json(50, &pair("key", "old", 50)),
        Some(_) => Answer::new(403, "Permission denied").after(Duration::from_millis(50)),
    })
    .await;
    let client = ConsulCoordinator::connect(config(&agent)).await.unwrap();
    let mut watch = client.watch(&key(), 50).await.unwrap();
    let end = timeout(BOUND, watch.next()).await.unwrap();
    assert!(
        matches!(&end, Some(WatchEvent::Closed(error)) if error.kind() == ErrorKind::PermissionDenied),
        "{end:?}"
    );
    assert!(timeout(BOUND, watch.next()).await.unwrap().is_none());
    let asked = agent.requests().len();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(agent.requests().len(), asked, "the agent is asked after the end");
}

#[tokio::test]
async fn a_dropped_watch_leaves_no_question_behind() {
    let agent = Agent::start(|request| match asked(request) {
        None => Answer::json(50, &pair("key", "old", 50)),
        Some(_) => Answer::never(),
    })
    .await;
    let client = ConsulCoordinator::connect(config(&agent)).await.unwrap();
    let watch = client.watch(&key(), 50).await.unwrap();
    assert!(
        eventually(BOUND, async || agent.waiting() == 1).await,
        "a question waits"
    );
    drop(watch);
    assert!(
        eventually(BOUND, async || agent.waiting() == 0).await,
        "the question was left behind"
    );
}

#[tokio::test]
async fn many_watches_have_few_connections_and_each_is_told() {
    const WATCHES: usize = 300;
    let agent = Agent::start_counting(|request, number| match asked(request) {
        None if number > WATCHES + 200 => Answer::json(60, &pair("key", "new", 60)),
        None => Answer::json(50, &pair("key", "old", 50)),
        Some(_) => Answer::json(60, &pair("key", "new", 60)).after(Duration::from_millis(900)),
    })
    .await;
    let client = ConsulCoordinator::connect(config(&agent)).await.unwrap();
    let mut watches = Vec::new();
    for _ in 0..WATCHES {
        watches.push(client.watch(&key(), 50).await.unwrap());
    }
    for watch in &mut watches {
        let first = timeout(BOUND, watch.next()).await.unwrap();
        assert!(
            matches!(&first, Some(WatchEvent::Put(entry)) if entry.value == "new"),
            "{first:?}"
        );
    }
    assert!(
        agent.most_connections() <= 100,
        "{} connections at once",
        agent.most_connections()
    );
}
