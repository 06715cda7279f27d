//! The service on fakes: what each business test begins with.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::expect_used, reason = "a fixture that cannot be made fails its test")]

use std::sync::Arc;

use async_trait::async_trait;
use infra_core::database::{Database, ShardingConfig, TableSharding};
use infra_core::error::{Error, ErrorKind};
use infra_core::queue::SubscriptionHandle;
use infra_core::rate_limit::Rule;
use infra_core::search::Search;
use infra_sql::{SqlConfig, SqlDatabase};
use infra_tantivy::{TantivyConfig, TantivySearch};
use infra_testkit::TestInfra;
use message_service::indexer::{GROUP, Indexer};
use message_service::model::NewMessage;
use message_service::moderation::{Moderation, ModerationError, Verdict};
use message_service::service::{MessageService, Parts};
use message_service::store::MessageStore;
use message_service::timeline::Timeline;

/// The service on fakes, and what a test needs to look behind it.
pub(crate) struct Fixture {
    pub(crate) infra: TestInfra,
    pub(crate) service: MessageService,
    pub(crate) store: MessageStore,
    pub(crate) search: Arc<dyn Search>,
    timeline: Timeline,
}

impl Fixture {
    /// Everything well, a generous rate limit.
    pub(crate) async fn new() -> Self {
        Self::on(TestInfra::new().with_rule("send", Rule::new(1000.0, 1000))).await
    }

    /// On this set of components.
    pub(crate) async fn on(infra: TestInfra) -> Self {
        let sharding = ShardingConfig::new("session_id", 16)
            .with_table("messages", TableSharding::default())
            .with_table("outbox", TableSharding::default());
        let config = SqlConfig::development("sqlite::memory:").with_sharding(sharding);
        let plain: Arc<dyn Database> =
            Arc::new(SqlDatabase::connect(config).await.expect("a database in memory"));
        // The schema is made before anything can go wrong; the tests are about messages.
        MessageStore::open(plain.clone()).await.expect("the schema");
        let store = MessageStore::open(infra.wrap(plain))
            .await
            .expect("the schema is there");
        let index = TantivySearch::open(TantivyConfig::development().in_memory())
            .await
            .expect("an index in memory");
        let index: Arc<dyn Search> = Arc::new(index);
        let search: Arc<dyn Search> = infra.wrap(index);
        let timeline = Timeline::new(infra.cache());
        let moderation: Arc<dyn Moderation> = Arc::new(Reviewer);
        let parts = Parts {
            limiter: infra.limiter().expect("valid rules"),
            once: infra.once().expect("a valid configuration"),
            ids: infra.ids(),
            moderation: infra.wrap_named("reviewer", moderation),
            store: store.clone(),
            producer: infra.producer().await.expect("an open queue"),
            timeline: timeline.clone(),
            search: search.clone(),
        };
        Self {
            service: MessageService::new(parts, "send"),
            infra,
            store,
            search,
            timeline,
        }
    }

    /// Starts the consumer.
    pub(crate) async fn start_indexer(&self) -> SubscriptionHandle {
        let consumer = self.infra.consumer(GROUP).await.expect("an open queue");
        let indexer = Indexer::new(self.search.clone(), self.timeline.clone(), self.store.clone());
        indexer
            .start(consumer.as_ref())
            .await
            .expect("the indexer starts")
    }

    /// How many messages are stored.
    pub(crate) async fn stored(&self) -> u64 {
        self.store.counts().await.expect("countable").0
    }

    /// How many messages are stored but not taken in.
    pub(crate) async fn unsettled(&self) -> u64 {
        self.store.counts().await.expect("countable").1
    }
}

/// A reviewer that refuses one word and knows no Klingon.
#[derive(Debug)]
struct Reviewer;

#[async_trait]
impl Moderation for Reviewer {
    async fn review(&self, message: &NewMessage) -> Result<Verdict, ModerationError> {
        if message.lang.as_deref() == Some("klingon") {
            return Err(ModerationError::UnknownLanguage("klingon".into()));
        }
        Ok(if message.content.contains("forbidden") {
            Verdict::Refused
        } else {
            Verdict::Allowed
        })
    }
}

/// A message of session `s1`.
pub(crate) fn message(content: &str) -> NewMessage {
    NewMessage {
        session_id: "s1".into(),
        sender_id: "ann".into(),
        content: content.into(),
        lang: None,
    }
}

/// An error that passes.
pub(crate) fn unavailable() -> Error {
    Error::new(ErrorKind::Unavailable, "down for a moment").without_effect()
}
