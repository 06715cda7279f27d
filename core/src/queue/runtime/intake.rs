//! Fetching: one call to the source at a time, repeated with a growing delay while the broker is away.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::time::sleep;

use super::settler::pause_before;
use super::source::{DeliverySource, Received};
use crate::error::Result;

/// The call that is under way; kept across turns of the loop so that its wait is not begun anew each time.
pub(super) struct Intake {
    source: Arc<dyn DeliverySource>,
    call: Option<BoxFuture<'static, Result<Vec<Received>>>>,
    asked: usize,
    failures: u32,
}

impl fmt::Debug for Intake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intake")
            .field("open", &self.call.is_some())
            .field("failures", &self.failures)
            .finish_non_exhaustive()
    }
}

impl Intake {
    pub(super) fn new(source: Arc<dyn DeliverySource>) -> Self {
        Self {
            source,
            call: None,
            asked: 0,
            failures: 0,
        }
    }

    /// Wants up to `room` messages; nothing when there is no room. A call that asks for more than there is room for now is
    /// taken back, which the source allows.
    pub(super) fn want(&mut self, room: usize) {
        let Some(max) = NonZeroUsize::new(room) else {
            self.call = None;
            return;
        };
        if self.call.is_some() && self.asked <= room {
            return;
        }
        self.asked = room;
        let source = self.source.clone();
        let pause = self.failures.checked_sub(1).map(pause_before);
        self.call = Some(Box::pin(async move {
            if let Some(pause) = pause {
                sleep(pause).await;
            }
            source.receive(max).await
        }));
    }

    /// Whether a call is under way.
    pub(super) fn is_open(&self) -> bool {
        self.call.is_some()
    }

    /// Waits for messages. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Vec<Received>> {
        let Some(call) = &mut self.call else {
            return Ok(Vec::new());
        };
        let received = call.await;
        self.call = None;
        match &received {
            Ok(_) => self.failures = 0,
            Err(_) => self.failures = self.failures.saturating_add(1),
        }
        received
    }
}
