//! The business logic on fakes: what happens when each of its parts fails. Every test runs in milliseconds.

mod support;

use std::sync::Arc;
use std::time::Duration;

use infra_core::ErrorKind;
use infra_core::intercept::Fault;
use infra_core::once::OnceOutcome;
use infra_core::rate_limit::Rule;
use infra_testkit::TestInfra;
use infra_testkit::time::eventually;
use support::{Fixture, message};

/// Longer than any of these should take; a bound, not a wait.
const BOUND: Duration = Duration::from_secs(10);

#[tokio::test]
async fn the_same_key_sends_once_and_answers_twice() {
    let fixture = Fixture::new().await;
    let first = fixture.service.send(message("hello"), "k1").await.expect("sent");
    let second = fixture
        .service
        .send(message("hello"), "k1")
        .await
        .expect("answered");
    assert!(matches!(
        (&first, &second),
        (OnceOutcome::Executed(_), OnceOutcome::Replayed(_))
    ));
    assert_eq!(first.into_inner(), second.into_inner());
    assert_eq!(fixture.stored().await, 1);
    assert_eq!(fixture.infra.recorder().count("producer.send"), 1);
}

#[tokio::test]
async fn a_key_is_for_one_message_only() {
    let fixture = Fixture::new().await;
    fixture.service.send(message("hello"), "k1").await.expect("sent");
    let error = fixture
        .service
        .send(message("something else"), "k1")
        .await
        .expect_err("another message");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(fixture.stored().await, 1);
}

#[tokio::test]
async fn a_key_that_only_the_database_remembers_is_answered_from_there() {
    let fixture = Fixture::new().await;
    let first = fixture
        .service
        .send(message("hello"), "k1")
        .await
        .expect("sent")
        .into_inner();
    // A service that restarted has an empty memory of what it did, and the same database.
    let forgetful = Fixture::new().await;
    drop(forgetful);
    fixture
        .infra
        .once()
        .expect("open")
        .clear("message:2:s1:k1")
        .await
        .expect("forgotten");
    let second = fixture
        .service
        .send(message("hello"), "k1")
        .await
        .expect("answered");
    assert!(second.is_replay());
    assert_eq!(second.into_inner().id, first.id);
    let conflict = {
        fixture
            .infra
            .once()
            .expect("open")
            .clear("message:2:s1:k1")
            .await
            .expect("forgotten");
        fixture
            .service
            .send(message("something else"), "k1")
            .await
            .expect_err("another message")
    };
    assert_eq!(conflict.kind(), ErrorKind::Conflict);
    assert_eq!(fixture.stored().await, 1);
}

#[tokio::test]
async fn sixty_four_callers_with_one_key_store_one_message() {
    let fixture = Arc::new(Fixture::new().await);
    let calls = (0..64).map(|_| {
        let fixture = fixture.clone();
        tokio::spawn(async move { fixture.service.send(message("hello"), "k1").await })
    });
    let mut executed = 0;
    for call in calls.collect::<Vec<_>>() {
        let outcome = call.await.expect("no panic").expect("answered");
        executed += u32::from(!outcome.is_replay());
    }
    assert_eq!((executed, fixture.stored().await), (1, 1));
}

#[tokio::test]
async fn a_queue_that_is_away_delays_a_message_and_loses_none() {
    let fixture = Fixture::new().await;
    fixture
        .infra
        .faults()
        .script("producer.send", [Fault::Err(ErrorKind::Unavailable)]);
    fixture
        .service
        .send(message("hello"), "k1")
        .await
        .expect("stored all the same");
    assert_eq!((fixture.stored().await, fixture.unsettled().await), (1, 1));

    let _indexer = fixture.start_indexer().await;
    // Another instance leaves alone what this one may still work on.
    let long_ago = Duration::from_secs(3600);
    assert_eq!(fixture.service.announce_left(long_ago).await.expect("looked"), 0);
    assert_eq!(fixture.service.announce_unsettled().await.expect("announced"), 1);
    assert!(
        eventually(BOUND, async || fixture.unsettled().await == 0).await,
        "the indexer took it in"
    );
}

#[tokio::test]
async fn a_lost_answer_of_the_queue_makes_no_second_message() {
    let fixture = Fixture::new().await;
    let _indexer = fixture.start_indexer().await;
    fixture
        .infra
        .faults()
        .script("producer.send", [Fault::DropReply, Fault::Duplicate]);
    for key in ["k1", "k2"] {
        fixture.service.send(message(key), key).await.expect("sent");
    }
    assert!(eventually(BOUND, async || fixture.unsettled().await == 0).await);
    fixture.search.refresh("chat-messages").await.expect("refreshed");
    assert_eq!(fixture.search.count("chat-messages").await.expect("counted"), 2);
    let recent = fixture.service.recent("s1", 50).await.expect("listed");
    assert_eq!(
        recent
            .iter()
            .map(|message| message.content.as_str())
            .collect::<Vec<_>>(),
        ["k2", "k1"]
    );
}

#[tokio::test]
async fn a_sender_who_is_too_fast_is_told_when_to_come_back() {
    let fixture = Fixture::on(TestInfra::new().with_rule("send", Rule::new(2.0, 1))).await;
    fixture
        .service
        .send(message("one"), "k1")
        .await
        .expect("within the limit");
    let error = fixture
        .service
        .send(message("two"), "k2")
        .await
        .expect_err("beyond it");
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    assert!(
        error
            .retry_after()
            .is_some_and(|wait| wait <= Duration::from_millis(500))
    );
    assert_eq!(fixture.stored().await, 1);
}

#[tokio::test]
async fn a_refused_text_is_not_stored_and_a_silent_reviewer_stops_nobody() {
    let fixture = Fixture::new().await;
    let error = fixture
        .service
        .send(message("a forbidden word"), "k1")
        .await
        .expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert_eq!(fixture.stored().await, 0);

    fixture
        .infra
        .faults()
        .script("moderation.review", [Fault::Err(ErrorKind::Timeout)]);
    fixture
        .service
        .send(message("hello"), "k2")
        .await
        .expect("passes without review");
    let klingon = message_service::model::NewMessage {
        lang: Some("klingon".into()),
        ..message("nuqneH")
    };
    fixture
        .service
        .send(klingon, "k3")
        .await
        .expect("passes without review");
    assert_eq!(fixture.stored().await, 2);
}

#[tokio::test]
async fn a_database_that_fails_gives_an_error_and_the_same_key_works_later() {
    let fixture = Fixture::new().await;
    fixture
        .infra
        .faults()
        .script("database.begin", [Fault::Err(ErrorKind::Unavailable)]);
    let error = fixture
        .service
        .send(message("hello"), "k1")
        .await
        .expect_err("no database");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        !fixture
            .service
            .send(message("hello"), "k1")
            .await
            .expect("sent")
            .is_replay()
    );
    assert_eq!(fixture.stored().await, 1);
}

#[tokio::test]
async fn a_lost_memory_of_the_work_does_not_repeat_it() {
    let fixture = Fixture::new().await;
    fixture
        .infra
        .faults()
        .script("once_store.complete", [Fault::Err(ErrorKind::Unavailable)]);
    // The work is done, but that could not be noted; whatever the caller hears, the next try finds one message.
    let heard = fixture.service.send(message("hello"), "k1").await;
    assert_eq!(fixture.stored().await, 1, "{heard:?}");
    let again = fixture
        .service
        .send(message("hello"), "k1")
        .await
        .expect("answered");
    assert!(again.is_replay());
    assert_eq!(fixture.stored().await, 1);
}

#[tokio::test]
async fn recent_messages_come_from_the_database_when_the_cache_is_away() {
    let fixture = Fixture::new().await;
    for n in 0..3 {
        fixture
            .service
            .send(message(&format!("message {n}")), &format!("k{n}"))
            .await
            .expect("sent");
    }
    fixture
        .infra
        .faults()
        .always("cache.*", Fault::Err(ErrorKind::Unavailable));
    let recent = fixture.service.recent("s1", 2).await.expect("listed");
    let contents: Vec<_> = recent.iter().map(|message| message.content.as_str()).collect();
    assert_eq!(contents, ["message 2", "message 1"]);
}

#[tokio::test]
async fn the_timeline_keeps_the_fifty_newest_in_order() {
    let fixture = Fixture::new().await;
    let _indexer = fixture.start_indexer().await;
    // The first reader makes the session one that is kept.
    fixture
        .service
        .send(message("message 0"), "k0")
        .await
        .expect("sent");
    assert_eq!(fixture.service.recent("s1", 50).await.expect("listed").len(), 1);
    for n in 1..60 {
        fixture
            .service
            .send(message(&format!("message {n}")), &format!("k{n}"))
            .await
            .expect("sent");
    }
    assert!(eventually(BOUND, async || fixture.unsettled().await == 0).await);
    fixture
        .infra
        .faults()
        .always("database.*", Fault::Err(ErrorKind::Unavailable));
    let recent = fixture
        .service
        .recent("s1", 1000)
        .await
        .expect("listed from the cache alone");
    let expected: Vec<_> = (10..60).rev().map(|n| format!("message {n}")).collect();
    assert_eq!(
        recent
            .iter()
            .map(|message| message.content.clone())
            .collect::<Vec<_>>(),
        expected
    );
}

#[tokio::test]
async fn an_index_that_fails_is_tried_again_and_nonsense_goes_to_the_dead_letters() {
    let fixture = Fixture::new().await;
    fixture.infra.faults().script(
        "search.bulk",
        [Fault::Err(ErrorKind::Unavailable), Fault::DropReply],
    );
    let _indexer = fixture.start_indexer().await;
    let producer = fixture.infra.producer().await.expect("open");
    let nonsense = infra_core::queue::Message::new(message_service::model::TOPIC, "not json").with_key("s1");
    producer.send(nonsense).await.expect("accepted");
    fixture.service.send(message("hello"), "k1").await.expect("sent");

    assert!(
        eventually(BOUND, async || fixture.unsettled().await == 0).await,
        "indexed in the end"
    );
    let dead = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counted = dead.clone();
    let handler = infra_core::queue::handler_fn(move |delivery| {
        let counted = counted.clone();
        async move {
            assert!(
                delivery
                    .message
                    .headers
                    .get(infra_core::queue::names::DEAD_LETTER_REASON)
                    .is_some()
            );
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Ok(infra_core::queue::Disposition::Ack)
        }
    });
    let topic = format!("{}.dlq", message_service::model::TOPIC);
    let consumer = fixture.infra.consumer("undertaker").await.expect("open");
    let subscription = infra_core::queue::Subscription::to([topic]);
    let _dead_letters = consumer
        .subscribe(subscription, handler)
        .await
        .expect("subscribed");
    assert!(
        eventually(BOUND, async || dead.load(std::sync::atomic::Ordering::SeqCst)
            == 1)
        .await
    );
    fixture.search.refresh("chat-messages").await.expect("refreshed");
    assert_eq!(fixture.search.count("chat-messages").await.expect("counted"), 1);
}

#[tokio::test]
async fn one_call_in_twenty_fails_and_every_message_arrives_once() {
    let infra = TestInfra::seeded(42)
        .with_chance(0.05, Fault::Err(ErrorKind::Unavailable))
        .with_rule("send", Rule::new(10_000.0, 10_000))
        .hardened()
        .expect("the standard stack");
    // The chances begin once the service stands: a start that fails is another test.
    infra.faults().clear();
    let fixture = Fixture::on(infra).await;
    let _indexer = fixture.start_indexer().await;
    fixture
        .infra
        .faults()
        .by_chance(0.05, Fault::Err(ErrorKind::Unavailable));

    for n in 0..200 {
        let text = format!("message {n}");
        let mut answer = fixture.service.send(message(&text), &text).await;
        // What retries could not mend, a client repeats under the same key.
        for _ in 0..5 {
            if answer.is_ok() {
                break;
            }
            answer = fixture.service.send(message(&text), &text).await;
        }
        answer.unwrap_or_else(|error| panic!("seed {}: {error}", fixture.infra.seed()));
    }
    fixture.infra.faults().clear();
    fixture.service.announce_unsettled().await.expect("announced");
    assert!(eventually(BOUND, async || fixture.unsettled().await == 0).await);
    assert_eq!(fixture.stored().await, 200);
    let retries = fixture
        .infra
        .recorder()
        .calls()
        .iter()
        .filter(|call| call.attempt > 1)
        .count();
    assert!(retries > 0, "the faults were felt");
}
