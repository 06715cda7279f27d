//! The newest messages of each session, in the cache. Knows `dyn Cache` only.

use std::sync::Arc;

use infra_core::Ttl;
use infra_core::cache::{Batch, Cache, Operation, RankRange, Scored};
use infra_core::error::{Error, ErrorKind, Result};

use crate::model::ChatMessage;

/// How many messages of a session are kept at hand.
pub const KEPT: u32 = 50;
/// How long a quiet session stays in the cache.
const LIFETIME: Ttl = Ttl::secs(2 * 3600);

/// The newest messages of each session.
#[derive(Debug, Clone)]
pub struct Timeline {
    cache: Arc<dyn Cache>,
}

impl Timeline {
    /// Keeps them in this cache.
    #[must_use]
    pub fn new(cache: Arc<dyn Cache>) -> Self {
        Self { cache }
    }

    /// Adds messages of one session, if it is kept; one round trip, and doing it again changes nothing.
    ///
    /// A session that is not kept stays so: its timeline would have only these messages. The next reader fills it from
    /// the database.
    ///
    /// # Errors
    /// The cache's.
    pub async fn append(&self, session: &str, messages: &[ChatMessage]) -> Result<()> {
        let batch = keep(
            Batch::new().when(infra_core::cache::Check::Exists(key(session))),
            session,
            messages,
        )?;
        self.cache.atomically(batch).await.map(drop)
    }

    /// Starts to keep a session with its newest messages.
    ///
    /// # Errors
    /// The cache's.
    pub async fn fill(&self, session: &str, messages: &[ChatMessage]) -> Result<()> {
        if messages.is_empty() {
            return Ok(());
        }
        self.cache
            .atomically(keep(Batch::new(), session, messages)?)
            .await
            .map(drop)
    }

    /// The newest messages, newest first, or `None` when the session is not kept.
    ///
    /// # Errors
    /// The cache's.
    pub async fn newest(&self, session: &str, count: u32) -> Result<Option<Vec<ChatMessage>>> {
        let key = key(session);
        let members = self
            .cache
            .sorted_range(&key, RankRange::greatest(count.min(KEPT)))
            .await?;
        if members.is_empty() {
            return Ok(None);
        }
        members
            .iter()
            .map(|scored| read(&key, scored))
            .collect::<Result<_>>()
            .map(Some)
    }
}

/// The hash tag keeps a session's keys on one node of a cluster.
fn key(session: &str) -> String {
    format!("session:{{{session}}}:messages")
}

fn keep(batch: Batch, session: &str, messages: &[ChatMessage]) -> Result<Batch> {
    let members = messages.iter().map(write).collect::<Result<Vec<_>>>()?;
    let beyond = -i64::from(KEPT) - 1;
    Ok(batch
        .then(Operation::SortedAdd(key(session), members))
        .then(Operation::SortedRemoveByRank(
            key(session),
            RankRange::new(0, beyond),
        ))
        .then(Operation::Expire(key(session), LIFETIME)))
}

/// The score is the time; messages of one millisecond are ordered by the member, which begins with the id.
fn write(message: &ChatMessage) -> Result<Scored> {
    let member = serde_json::to_vec(message).map_err(|source| {
        Error::invalid_argument("a message cannot be written as JSON").with_source(source)
    })?;
    #[expect(
        clippy::cast_precision_loss,
        reason = "milliseconds stay exact for 285 thousand years"
    )]
    let score = message.sent_at as f64;
    Ok(Scored::new(member, score))
}

fn read(key: &str, scored: &Scored) -> Result<ChatMessage> {
    // Without serde's error as its source, which may quote the message.
    serde_json::from_slice(&scored.member).map_err(|_| {
        Error::new(
            ErrorKind::DataCorrupted,
            format!("a member of {key:?} is not a message; delete the key"),
        )
    })
}
