//! One attempt at a lock: granted, refused, or given up without an answer, it is never left on the server for nobody.

use std::sync::Arc;
use std::time::Duration;

use infra_core::lease::LeaseKeeper;
use infra_core::{Error, ErrorKind, Result, async_trait};
use tokio::time::Instant;

use super::scripts::{Answer, Lock};

/// The first pause before what could not be given back is given back once more; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What an attempt made, or is about to make.
#[derive(Debug)]
pub(super) struct Held {
    lock: Lock,
    /// 32 hexadecimal digits, of this attempt alone.
    owner: String,
    ttl: Duration,
}

impl Held {
    pub(super) fn new(lock: &Lock, ttl: Duration) -> Arc<Self> {
        Arc::new(Self {
            lock: lock.clone(),
            owner: format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..)),
            ttl,
        })
    }

    /// Asks the server.
    ///
    /// # Cancellation
    /// What was granted is given back in the background.
    pub(super) async fn attempt(self: &Arc<Self>) -> Result<Answer> {
        let asking = Asking(Some(Arc::clone(self)));
        let answer = self.lock.acquire(&self.owner, self.ttl).await?;
        asking.answered();
        Ok(answer)
    }

    /// Gives back what there is of this attempt until that is done, or it has ended by itself.
    async fn give_back(self: Arc<Self>, late: bool) {
        let over = Instant::now() + self.ttl;
        let closed = self.lock.client().closed();
        // GoChat's format does not remember who gave up: a request that comes late is met by a second look.
        let mut looks = if late && !self.lock.is_told() { 2 } else { 1 };
        let mut pause = FIRST_PAUSE;
        loop {
            match self.lock.release(&self.owner, late).await {
                Ok(_) => looks -= 1,
                Err(error) => tracing::debug!(%error, lock = self.lock.key(), "a lock is not given back yet"),
            }
            if looks == 0 || Instant::now() >= over {
                return;
            }
            tokio::select! {
                () = closed.cancelled() => return,
                () = tokio::time::sleep(pause.mul_f64(0.5 + 0.5 * fastrand::f64())) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn not_ours(&self) -> Error {
        Error::new(
            ErrorKind::LeaseLost,
            format!(
                "{:?} is not ours any more: it expired, or somebody removed it",
                self.lock.key()
            ),
        )
    }
}

/// An attempt whose answer has not come; nobody knows whether the lock was granted.
struct Asking(Option<Arc<Held>>);

impl Asking {
    fn answered(mut self) {
        self.0 = None;
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if let (Some(held), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(held.give_back(true));
        }
    }
}

#[async_trait]
impl LeaseKeeper for Held {
    async fn renew(&self) -> Result<()> {
        if self.lock.client().check_open().is_err() {
            return Err(Error::new(
                ErrorKind::LeaseLost,
                "the client of Redis was shut down: its locks are renewed no more",
            ));
        }
        match self.lock.renew(&self.owner, self.ttl).await? {
            true => Ok(()),
            false => Err(self.not_ours()),
        }
    }

    async fn release(&self) -> Result<()> {
        match self.lock.release(&self.owner, false).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.not_ours()),
            Err(error) => {
                let again = Arc::new(Self {
                    lock: self.lock.clone(),
                    owner: self.owner.clone(),
                    ttl: self.ttl,
                });
                tokio::spawn(again.give_back(false));
                Err(error)
            }
        }
    }
}
