//! The message table and its outbox, sharded by session. Knows `dyn Database` only.

use std::sync::Arc;

use infra_core::database::{
    Database, DatabaseExt as _, Migration, Migrations, Scatter, ScopedFutureExt as _, Statement,
    TransactionOptions, Value,
};
use infra_core::error::{ErrorKind, Result};
use serde::Deserialize;

use crate::model::ChatMessage;

/// How many rows of the outbox are read at a time.
const OUTBOX_PAGE: i64 = 500;

/// What became of an insertion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inserted {
    /// The message is new.
    New,
    /// A message with this idempotency key is there already: this one.
    Existing(ChatMessage),
}

/// Messages in the database.
#[derive(Debug, Clone)]
pub struct MessageStore {
    database: Arc<dyn Database>,
}

#[derive(Deserialize)]
struct MessageRow {
    id: i64,
    session_id: String,
    sender_id: String,
    content: String,
    lang: Option<String>,
    sent_at: i64,
}

impl From<MessageRow> for ChatMessage {
    fn from(row: MessageRow) -> Self {
        let MessageRow {
            id,
            session_id,
            sender_id,
            content,
            lang,
            sent_at,
        } = row;
        Self {
            id,
            session_id,
            sender_id,
            content,
            lang,
            sent_at,
        }
    }
}

impl MessageStore {
    /// Brings the schema up to date.
    ///
    /// # Errors
    /// The database's, naming the migration.
    pub async fn open(database: Arc<dyn Database>) -> Result<Self> {
        let report = database.migrate(migrations()?).await?;
        if !report.applied.is_empty() {
            tracing::info!(versions = ?report.applied, "the database schema was brought up to date");
        }
        Ok(Self { database })
    }

    /// Stores a message and notes in the same transaction that it has to be announced.
    ///
    /// # Errors
    /// The database's. A second message under the same key is no error but [`Inserted::Existing`].
    pub async fn insert(&self, message: &ChatMessage, idempotency_key: &str) -> Result<Inserted> {
        let options = TransactionOptions::new()
            .on_shard("messages", message.session_id.as_str())
            .repeatable(5);
        let inserted = self
            .database
            .transaction(options, |tx| {
                async move {
                    let row = "insert into messages (id, session_id, sender_id, content, lang, sent_at, idempotency_key) \
                               values (:id, :session_id, :sender_id, :content, :lang, :sent_at, :idempotency_key)";
                    let row = Statement::new(row)
                        .bind("id", message.id)
                        .bind("session_id", message.session_id.as_str())
                        .bind("sender_id", message.sender_id.as_str())
                        .bind("content", message.content.as_str())
                        .bind("lang", message.lang.clone())
                        .bind("sent_at", message.sent_at)
                        .bind("idempotency_key", idempotency_key);
                    tx.execute(row).await?;
                    let note = Statement::new("insert into outbox (message_id, session_id) values (:id, :session_id)")
                        .bind("id", message.id)
                        .bind("session_id", message.session_id.as_str());
                    tx.execute(note).await.map(drop)
                }
                .scope_boxed()
            })
            .await;
        match inserted {
            Ok(()) => Ok(Inserted::New),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let existing = self
                    .by_idempotency_key(&message.session_id, idempotency_key)
                    .await?;
                // Without a row under this key, the violation was of another constraint.
                existing.map(Inserted::Existing).ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    /// The newest messages of a session, newest first.
    ///
    /// # Errors
    /// The database's.
    pub async fn recent(&self, session: &str, limit: u32) -> Result<Vec<ChatMessage>> {
        let statement = Statement::new(
            "select id, session_id, sender_id, content, lang, sent_at from messages \
             where session_id = :session_id order by id desc limit :count",
        )
        .bind("session_id", session)
        .bind("count", limit);
        Ok(self
            .database
            .query_as::<MessageRow>(statement)
            .await?
            .into_iter()
            .map(Into::into)
            .collect())
    }

    /// Notes that a message was announced and taken in.
    ///
    /// # Errors
    /// The database's. Doing it again is harmless.
    pub async fn settle(&self, session: &str, message_ids: &[i64]) -> Result<()> {
        let statement = Statement::new(
            "delete from outbox where session_id = :session_id and message_id in (:message_ids)",
        )
        .bind("session_id", session)
        .bind_list("message_ids", message_ids.iter().copied());
        self.database.execute(statement).await.map(drop)
    }

    /// The oldest messages after `after` (an id) that were stored and not yet taken in.
    ///
    /// # Errors
    /// The database's.
    pub async fn unsettled(&self, after: i64) -> Result<Vec<ChatMessage>> {
        let notes = Statement::new(
            "select message_id, session_id from outbox where message_id > :after order by message_id limit :count",
        )
        .bind("after", after)
        .bind("count", OUTBOX_PAGE);
        let page = usize::try_from(OUTBOX_PAGE).unwrap_or(usize::MAX);
        let notes = self
            .database
            .scatter(Scatter::new(notes).order_by("message_id").limit(page))
            .await?;
        let mut messages = Vec::with_capacity(notes.len());
        for note in notes {
            let (id, session): (i64, String) = note.decode()?;
            messages.extend(self.by_id(&session, id).await?);
        }
        Ok(messages)
    }

    /// How many messages are stored, and how many of them are not yet taken in.
    ///
    /// # Errors
    /// The database's.
    pub async fn counts(&self) -> Result<(u64, u64)> {
        Ok((
            self.count("select count(*) as n from messages").await?,
            self.count("select count(*) as n from outbox").await?,
        ))
    }

    /// Which of these ids are stored, each as often as it is: a list to be compared with, not a set.
    ///
    /// # Errors
    /// The database's.
    pub async fn stored_ids(&self) -> Result<Vec<i64>> {
        let all = Scatter::new(Statement::new("select id from messages"));
        let rows = self.database.scatter(all).await?;
        rows.into_iter().map(infra_core::database::Row::decode).collect()
    }

    async fn by_id(&self, session: &str, id: i64) -> Result<Option<ChatMessage>> {
        self.one("id = :id", session, "id", id.into()).await
    }

    async fn by_idempotency_key(&self, session: &str, key: &str) -> Result<Option<ChatMessage>> {
        self.one("idempotency_key = :key", session, "key", key.into())
            .await
    }

    /// The message of a session that meets one more condition, which is text of this file.
    async fn one(
        &self,
        condition: &'static str,
        session: &str,
        name: &'static str,
        value: Value,
    ) -> Result<Option<ChatMessage>> {
        let text = format!(
            "select id, session_id, sender_id, content, lang, sent_at from messages where session_id = :session_id and {condition}"
        );
        let statement = Statement::new(text).bind("session_id", session).bind(name, value);
        Ok(self
            .database
            .query_optional::<MessageRow>(statement)
            .await?
            .map(Into::into))
    }

    async fn count(&self, statement: &'static str) -> Result<u64> {
        let mut total = 0;
        for row in self
            .database
            .scatter(Scatter::new(Statement::new(statement)))
            .await?
        {
            total += row.decode::<u64>()?;
        }
        Ok(total)
    }
}

/// The history of the schema. Both tables are sharded by `session_id`, so that one transaction holds both.
fn migrations() -> Result<Migrations> {
    Migrations::new([
        Migration::new(
            1,
            "create messages",
            "create table messages (
                 id bigint not null primary key,
                 session_id varchar(256) not null,
                 sender_id varchar(256) not null,
                 content text not null,
                 lang varchar(256),
                 sent_at bigint not null,
                 idempotency_key varchar(256) not null
             );
             create unique index messages_key{shard} on messages (session_id, idempotency_key);
             create index messages_session{shard} on messages (session_id, id);",
        )
        .with_down("drop table messages"),
        Migration::new(
            2,
            "create outbox",
            "create table outbox (
                 message_id bigint not null primary key,
                 session_id varchar(256) not null
             );",
        )
        .with_down("drop table outbox"),
    ])
}
