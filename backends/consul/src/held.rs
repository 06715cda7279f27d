//! A key that stands on a shared session: made once, and taken away again, whatever becomes of whoever asked for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use infra_core::async_trait;
use infra_core::error::{Error, ErrorKind, Result};
use infra_core::lease::{Lease, LeaseKeeper, LeasePool, SharedLease};

use crate::client::Client;
use crate::kv::{self, Operation, Pair, Range, Transacted};
use crate::sessions::{self, Grantor, SessionId};

/// A key that was made under a session: a place in the line for a lock, an instance id.
///
/// The session lives on as long as anything stands on it, so nothing here may be left to its end: a request that makes the key
/// runs to its own end even if nobody waits for it any more, what it may have made without an answer is looked for, and a
/// removal that fails is repeated until it is done or the session is lost.
#[derive(Debug)]
pub(crate) struct Held {
    client: Client,
    session: SharedLease<SessionId>,
    key: String,
    /// What the key holds, of this attempt alone.
    mark: String,
    /// The index of the change that made the key; 0 until that is known.
    made: AtomicU64,
    /// How long the key stays taken when it is given back.
    rest: Option<Duration>,
}

/// What became of an attempt to make a key.
pub(crate) enum Made {
    /// It is there, for as long as the lease is kept. With it comes what the transaction read.
    Kept(Kept),
    /// It was not made, since it is there already.
    Taken,
}

/// A key that was made.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) lease: Lease,
    pub(crate) held: Arc<Held>,
    /// The index of the change that made it.
    pub(crate) made: u64,
    /// What the transaction read after it was made.
    pub(crate) read: Vec<Pair>,
}

/// The pause before what a request may have made without an answer is looked for once more, and the longest one between attempts to
/// take a key away.
const SECOND_LOOK: Duration = Duration::from_secs(2);

/// How often a key is asked for on a new session, since the one before turned out lost.
const ATTEMPTS: usize = 3;

/// A text that no other attempt has.
pub(crate) fn unique() -> String {
    format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..))
}

impl Held {
    fn new(
        client: &Client,
        session: SharedLease<SessionId>,
        key: String,
        rest: Option<Duration>,
    ) -> Arc<Self> {
        Arc::new(Self {
            client: client.clone(),
            session,
            key,
            mark: unique(),
            made: AtomicU64::new(0),
            rest,
        })
    }

    /// Makes the key on the session that those with this time to live share, if it is not there, and then reads the folder.
    ///
    /// # Cancellation
    /// The request runs to its end, and what it made is taken away again.
    pub(crate) async fn stand(
        client: &Client,
        sessions: &LeasePool<Grantor>,
        ttl: Duration,
        key: &str,
        rest: Option<Duration>,
        folder: Option<&str>,
    ) -> Result<Made> {
        let mut attempts = 1;
        loop {
            let session = sessions.lease(ttl).await?;
            let made = Self::new(client, session, key.to_owned(), rest)
                .make(folder)
                .await;
            match made {
                // The next attempt has another session.
                Err(error) if error.kind() == ErrorKind::LeaseLost && attempts < ATTEMPTS => attempts += 1,
                Err(error) if error.kind() == ErrorKind::LeaseLost => {
                    let message = "Consul forgets each new session of this process at once";
                    return Err(Error::new(ErrorKind::Unavailable, message).with_source(error));
                }
                made => return made,
            }
        }
    }

    async fn make(self: Arc<Self>, folder: Option<&str>) -> Result<Made> {
        let folder = folder.map(str::to_owned);
        let making = tokio::spawn(async move {
            let mut operations = vec![
                Operation::check_absent(self.key.as_str()),
                self.lock(self.session.id().clone()),
            ];
            operations.extend(folder.map(Operation::get_tree));
            let answer = kv::transact(&self.client, &operations).await;
            self.judge(answer)
        });
        making.await.map_err(|source| {
            Error::new(ErrorKind::Internal, "a request of this client was stopped").with_source(source)
        })?
    }

    fn lock(&self, session: SessionId) -> Operation {
        Operation::lock(self.key.as_str(), Bytes::from(self.mark.clone()), session)
    }

    fn judge(self: Arc<Self>, answer: Result<Transacted>) -> Result<Made> {
        match answer {
            Ok(Transacted::Done(mut pairs)) if !pairs.is_empty() => {
                let made = pairs.remove(0).modify_index;
                self.made.store(made, Ordering::Release);
                let lease = Lease::share(&self.session, Arc::new(Keeper(Arc::clone(&self))));
                Ok(Made::Kept(Kept {
                    lease,
                    held: self,
                    made,
                    read: pairs,
                }))
            }
            Ok(Transacted::Done(_)) => {
                tokio::spawn(self.insist());
                let message = "Consul did not say what a transaction made";
                Err(Error::new(ErrorKind::DataCorrupted, message))
            }
            Ok(Transacted::RolledBack(faults)) => {
                if faults.iter().any(|fault| fault.what.contains("session")) {
                    self.session.report_lost();
                    return Err(Error::new(
                        ErrorKind::LeaseLost,
                        "Consul does not know the session any more",
                    ));
                }
                Ok(Made::Taken)
            }
            Err(error) if error.had_no_effect() => Err(error),
            Err(error) => {
                tokio::spawn(self.insist());
                Err(error)
            }
        }
    }

    /// Takes the key away until that is done, or the session is lost and the key with it.
    async fn insist(self: Arc<Self>) {
        let (lost, closed) = (self.session.lost_token(), self.client.closed().clone());
        // A request that made the key without an answer may still be on its way: hence a second look.
        let mut looks = if self.made().is_some() { 1 } else { 2 };
        let removing = async {
            let mut pause = SECOND_LOOK / 16;
            while looks > 0 {
                pause = match self.remove().await {
                    Err(error) if error.kind() != ErrorKind::LeaseLost => {
                        tracing::debug!(%error, key = self.key, "a key is not given back yet");
                        (pause * 2).min(SECOND_LOOK)
                    }
                    _ => {
                        looks -= 1;
                        SECOND_LOOK
                    }
                };
                tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            }
        };
        tokio::select! {
            () = lost.cancelled() => {}
            () = closed.cancelled() => {}
            () = removing => {}
        }
    }

    /// The index of the change that made the key, where that is known.
    fn made(&self) -> Option<u64> {
        Some(self.made.load(Ordering::Acquire)).filter(|made| *made > 0)
    }

    /// Takes the key away if it is of this attempt, and where it has a rest, lets it stay taken for that.
    ///
    /// # Errors
    /// [`LeaseLost`](ErrorKind::LeaseLost) where it was not there any more.
    pub(crate) async fn remove(&self) -> Result<()> {
        let made = match self.made() {
            Some(made) => made,
            None => match self.find().await? {
                Some(pair) => pair.modify_index,
                None => return Err(self.not_ours()),
            },
        };
        let mut operations = vec![
            Operation::check_index(self.key.as_str(), made),
            Operation::delete(self.key.as_str()),
        ];
        // Nobody ever believed in what is not known to be made.
        if let (Some(rest), Some(_)) = (self.rest, self.made()) {
            // Nobody renews this session: the key goes when it ends.
            let session = sessions::create(&self.client, rest, Duration::ZERO).await?;
            operations.push(self.lock(session));
        }
        match kv::transact(&self.client, &operations).await? {
            Transacted::Done(_) => Ok(()),
            Transacted::RolledBack(_) => Err(self.not_ours()),
        }
    }

    /// The key, if it is of this attempt and stands on its session.
    async fn find(&self) -> Result<Option<Pair>> {
        let (pairs, _) = kv::read(&self.client, &Range::Key(self.key.clone()).request()).await?;
        let ours = |pair: &Pair| pair.session == *self.session.id() && pair.value.0 == self.mark.as_bytes();
        Ok(pairs.into_iter().find(ours))
    }

    fn not_ours(&self) -> Error {
        Error::new(
            ErrorKind::LeaseLost,
            format!(
                "{:?} is not ours any more: it expired, or somebody removed it",
                self.key
            ),
        )
    }
}

/// Keeps the lease of a key that was made.
#[derive(Debug)]
struct Keeper(Arc<Held>);

#[async_trait]
impl LeaseKeeper for Keeper {
    async fn renew(&self) -> Result<()> {
        match self.0.find().await? {
            Some(_) => Ok(()),
            None => Err(self.0.not_ours()),
        }
    }

    async fn release(&self) -> Result<()> {
        let removed = self.0.remove().await;
        if removed
            .as_ref()
            .is_err_and(|error| error.kind() != ErrorKind::LeaseLost)
        {
            tokio::spawn(Arc::clone(&self.0).insist());
        }
        removed
    }
}
