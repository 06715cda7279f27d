//! A downstream service of ours: text goes there before it is stored. The trait is this service's own, and is
//! intercepted like infra's.

use std::sync::Arc;

use infra_core::async_trait;
use infra_core::error::{Error, ErrorKind, Failure, Result};
use infra_core::intercept::{Proxy, Stack};

use crate::model::NewMessage;

/// What the reviewer thinks of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may be sent.
    Allowed,
    /// It may not.
    Refused,
}

/// Why there is no verdict.
#[derive(Debug, Clone)]
pub enum ModerationError {
    /// The reviewer cannot read this language.
    UnknownLanguage(String),
    /// The call did not get through: timeout, open breaker, connection.
    Infrastructure(Error),
}

impl From<Error> for ModerationError {
    fn from(error: Error) -> Self {
        Self::Infrastructure(error)
    }
}

impl Failure for ModerationError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownLanguage(_) => ErrorKind::InvalidArgument,
            Self::Infrastructure(error) => error.kind(),
        }
    }

    fn as_error(&self) -> Option<&Error> {
        match self {
            Self::UnknownLanguage(_) => None,
            Self::Infrastructure(error) => Some(error),
        }
    }

    fn exhausted(self) -> Self {
        match self {
            Self::Infrastructure(error) => Self::Infrastructure(error.exhausted()),
            unknown => unknown,
        }
    }
}

/// Reviews messages.
///
/// It takes the message rather than its text: a `&str` would be the subject of the call, and stand in traces and logs.
#[infra_core::intercept(component = "moderation")]
#[async_trait]
pub trait Moderation: std::fmt::Debug + Send + Sync + 'static {
    /// Reviews one message.
    #[call(idempotent)]
    async fn review(&self, message: &NewMessage) -> Result<Verdict, ModerationError>;
}

/// The reviewer that this example ships: a list of words that nobody may send.
#[derive(Debug)]
pub struct WordList {
    forbidden: Vec<String>,
}

impl WordList {
    /// Refuses texts with any of these words, in any case.
    #[must_use]
    pub fn new<W: AsRef<str>>(words: impl IntoIterator<Item = W>) -> Self {
        Self {
            forbidden: words
                .into_iter()
                .map(|word| word.as_ref().to_lowercase())
                .collect(),
        }
    }
}

#[async_trait]
impl Moderation for WordList {
    async fn review(&self, message: &NewMessage) -> Result<Verdict, ModerationError> {
        let text = message.content.to_lowercase();
        let mut words = text.split(|c: char| !c.is_alphanumeric());
        let found = words.any(|word| self.forbidden.iter().any(|forbidden| forbidden == word));
        Ok(if found { Verdict::Refused } else { Verdict::Allowed })
    }
}

/// Puts a stack in front of a reviewer: its retries and its breaker are not the reviewer's business, nor the caller's.
#[must_use]
pub fn guarded(reviewer: Arc<dyn Moderation>, name: &'static str, stack: &Stack) -> Arc<dyn Moderation> {
    let proxy: Arc<Proxy<dyn Moderation>> = stack.wrap_named(name, reviewer);
    proxy
}
