//! The business logic: what happens to a message, in which order. Knows traits only.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use infra_core::error::{Error, ErrorKind, Failure as _, Result};
use infra_core::once::{Once, OnceExt as _, OnceOptions, OnceOutcome};
use infra_core::queue::{Message, Producer, names};
use infra_core::rate_limit::{RateLimiter, RateLimiterExt as _};
use infra_core::search::{Filter, Highlighting, Page, Query, Search, SearchExt as _, Sort};
use infra_core::uid::UidProvider;

use crate::model::{ChatMessage, INDEX, MAX_NAME_BYTES, NewMessage, Sent, TOPIC};
use crate::moderation::{Moderation, Verdict};
use crate::store::{Inserted, MessageStore};
use crate::timeline::{KEPT, Timeline};

/// How long a repeated request is recognised without asking the database.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// What the service stands on.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Limits senders.
    pub limiter: Arc<dyn RateLimiter>,
    /// Recognises repeated requests.
    pub once: Arc<dyn Once>,
    /// Gives messages their ids.
    pub ids: Arc<dyn UidProvider>,
    /// Reviews messages; a downstream service.
    pub moderation: Arc<dyn Moderation>,
    /// Stores messages.
    pub store: MessageStore,
    /// Announces stored messages.
    pub producer: Arc<dyn Producer>,
    /// Keeps the newest messages of each session.
    pub timeline: Timeline,
    /// Finds messages.
    pub search: Arc<dyn Search>,
}

/// Sends, lists and finds messages.
#[derive(Debug, Clone)]
pub struct MessageService {
    parts: Parts,
    rate_limit_rule: String,
}

impl MessageService {
    /// A service that limits senders by the rule of this name.
    #[must_use]
    pub fn new(parts: Parts, rate_limit_rule: impl Into<String>) -> Self {
        Self {
            parts,
            rate_limit_rule: rate_limit_rule.into(),
        }
    }

    /// Sends a message: review, store and announce it, once for each idempotency key of its session.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) for a message or key that cannot be accepted;
    /// [`RateLimited`](ErrorKind::RateLimited) with the time to wait; [`PermissionDenied`](ErrorKind::PermissionDenied) for
    /// a refused text; [`Conflict`](ErrorKind::Conflict) for a key that was used for another message. After any other error
    /// the same request may be sent again: it is stored at most once.
    ///
    /// # Cancellation
    /// The message may have been stored; sending it again under the same key gives its id.
    pub async fn send(&self, message: NewMessage, idempotency_key: &str) -> Result<OnceOutcome<Sent>> {
        message.validate()?;
        if idempotency_key.is_empty() || idempotency_key.len() > MAX_NAME_BYTES {
            return Err(Error::invalid_argument(format!(
                "the idempotency key must have 1 to {MAX_NAME_BYTES} bytes; send a fresh UUID for each message"
            )));
        }
        self.parts
            .limiter
            .check(&message.sender_id, &self.rate_limit_rule)
            .await?
            .into_result()?;
        let key = scoped_key(&message.session_id, idempotency_key);
        let options = OnceOptions::new(REMEMBERED).with_fingerprint(fingerprint(&message));
        let outcome = self
            .parts
            .once
            .execute(&key, options, self.accept(&message, idempotency_key))
            .await
            .map_err(|error| match error.kind() {
                // A conflict that passes is of another sort: the work is in progress elsewhere.
                ErrorKind::Conflict if !error.is_retryable() => used_for_another().with_source(error),
                _ => error,
            })?;
        // Stored before, by a process that did not live to remember it.
        Ok(match outcome {
            OnceOutcome::Executed((sent, Stored::Before)) => OnceOutcome::Replayed(sent),
            other => other.map(|(sent, _)| sent),
        })
    }

    /// The newest messages of a session, newest first, at most 50.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) for a session name that cannot be; the database's. A cache that is
    /// away is no error: the database answers.
    pub async fn recent(&self, session: &str, count: u32) -> Result<Vec<ChatMessage>> {
        check_session(session)?;
        let count = count.min(KEPT);
        match self.parts.timeline.newest(session, count).await {
            Ok(Some(messages)) => return Ok(messages),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the cache did not answer; reading from the database"),
        }
        let mut messages = self.load_timeline(session).await?;
        messages.truncate(usize::try_from(count).unwrap_or(usize::MAX));
        Ok(messages)
    }

    /// Finds messages by their words, in one session or in all.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) for a page that cannot be; the index's.
    pub async fn find(
        &self,
        text: &str,
        session: Option<&str>,
        page: NonZeroU32,
        size: u32,
    ) -> Result<Page<ChatMessage>> {
        let mut query = Query::text(text)
            .in_fields(["content"])
            .with_sort(Sort::relevance())
            .with_page(page)
            .with_size(size)
            .with_highlight(Highlighting::default());
        if let Some(session) = session {
            check_session(session)?;
            query = query.with_filter(Filter::equals("session_id", session));
        }
        self.parts.search.search_as(INDEX, query).await
    }

    /// Announces again what was stored and, for all we know, not taken in: after a crash, or while the queue was away.
    ///
    /// # Errors
    /// The database's or the queue's; what was announced so far stays announced, and doing it again is harmless.
    pub async fn announce_unsettled(&self) -> Result<u64> {
        self.announce_left(Duration::ZERO).await
    }

    /// The same for what was stored at least so long ago: a message that its own instance still works on is not announced
    /// by another.
    ///
    /// # Errors
    /// As [`MessageService::announce_unsettled`].
    pub async fn announce_left(&self, age: Duration) -> Result<u64> {
        if age.is_zero() {
            // Whatever the clock says now.
            return self.announce_stored_by(i64::MAX).await;
        }
        let stored_by = now_millis().saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        self.announce_stored_by(stored_by).await
    }

    async fn announce_stored_by(&self, stored_by: i64) -> Result<u64> {
        let (mut announced, mut after) = (0, i64::MIN);
        loop {
            let page = self.parts.store.unsettled(after).await?;
            let Some(last) = page.last() else {
                return Ok(announced);
            };
            after = last.id;
            for message in page.iter().filter(|message| message.sent_at <= stored_by) {
                self.announce(message).await?;
                announced += 1;
            }
        }
    }

    /// The work behind one idempotency key.
    async fn accept(&self, new: &NewMessage, idempotency_key: &str) -> Result<(Sent, Stored)> {
        self.review(new).await?;
        let message = ChatMessage {
            id: self.parts.ids.snowflake()?,
            session_id: new.session_id.clone(),
            sender_id: new.sender_id.clone(),
            content: new.content.clone(),
            lang: new.lang.clone(),
            sent_at: now_millis(),
        };
        match self.parts.store.insert(&message, idempotency_key).await? {
            Inserted::New => {
                self.announce_or_leave(&message).await;
                Ok((
                    Sent {
                        id: message.id,
                        sent_at: message.sent_at,
                    },
                    Stored::Now,
                ))
            }
            Inserted::Existing(existing) if same_request(&existing, new) => Ok((
                Sent {
                    id: existing.id,
                    sent_at: existing.sent_at,
                },
                Stored::Before,
            )),
            Inserted::Existing(_) => Err(used_for_another()),
        }
    }

    /// A reviewer that does not answer must not keep people from talking: the message passes, and the log says so.
    async fn review(&self, message: &NewMessage) -> Result<()> {
        match self.parts.moderation.review(message).await {
            Ok(Verdict::Allowed) => Ok(()),
            Ok(Verdict::Refused) => Err(Error::new(
                ErrorKind::PermissionDenied,
                "the text was refused by moderation",
            )
            .without_effect()),
            Err(error) => {
                tracing::warn!(kind = %error.kind(), "a message passed without review");
                Ok(())
            }
        }
    }

    /// The message is stored, and the outbox remembers it: an announcement that fails now is made later.
    async fn announce_or_leave(&self, message: &ChatMessage) {
        if let Err(error) = self.announce(message).await {
            tracing::warn!(%error, id = message.id, "a stored message could not be announced; it stays in the outbox");
        }
    }

    async fn announce(&self, message: &ChatMessage) -> Result<()> {
        let event = Message::json(TOPIC, message)?
            .with_key(message.session_id.clone())
            .with_header(names::MESSAGE_ID, message.id.to_string());
        self.parts.producer.send(event).await.map(drop)
    }

    /// Reads twice: what was stored between the first read and the moment the session is kept is seen by the second.
    async fn load_timeline(&self, session: &str) -> Result<Vec<ChatMessage>> {
        let mut messages = Vec::new();
        for _ in 0..2 {
            messages = self.parts.store.recent(session, KEPT).await?;
            if let Err(error) = self.parts.timeline.fill(session, &messages).await {
                tracing::warn!(%error, "the cache could not be filled");
                break;
            }
        }
        Ok(messages)
    }
}

/// Whether a message was stored by this call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
enum Stored {
    Now,
    Before,
}

/// Keys of two sessions stay apart, whatever characters they are made of.
fn scoped_key(session: &str, key: &str) -> String {
    format!("message:{}:{session}:{key}", session.len())
}

fn check_session(session: &str) -> Result<()> {
    if session.is_empty() || session.len() > MAX_NAME_BYTES {
        return Err(Error::invalid_argument(format!(
            "a session has 1 to {MAX_NAME_BYTES} bytes"
        )));
    }
    Ok(())
}

/// A conflict in the words of a client, who knows nothing of the key under which results are kept.
fn used_for_another() -> Error {
    Error::new(
        ErrorKind::Conflict,
        "this idempotency key was used for another message of the session; send each message under a key of its own",
    )
}

fn fingerprint(message: &NewMessage) -> Vec<u8> {
    let NewMessage {
        session_id,
        sender_id,
        content,
        lang,
    } = message;
    let parts = [
        session_id,
        sender_id,
        content,
        lang.as_deref().unwrap_or_default(),
    ];
    parts
        .iter()
        .flat_map(|part| part.len().to_be_bytes().into_iter().chain(part.bytes()))
        .collect()
}

fn same_request(stored: &ChatMessage, new: &NewMessage) -> bool {
    stored.sender_id == new.sender_id && stored.content == new.content && stored.lang == new.lang
}

fn now_millis() -> i64 {
    let since_1970 = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
}
