//! A lock server of a few lines, its clients, and what can be wrong with them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use infra_core::capability::{Capabilities, Limits};
use infra_core::coordination::{FencingToken, LockGuard, LockOptions, Locks};
use infra_core::lease::{Lease, LeaseKeeper, LeaseOptions};
use infra_core::{Backend, Error, ErrorKind, Result, async_trait};
use tokio::time::{Instant, sleep};

/// How often a waiter asks.
const PAUSE: Duration = Duration::from_millis(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Defect {
    None,
    /// Gives the lock to everybody who asks.
    NoExclusion,
    /// Takes a renewal that could not be sent for one that succeeded.
    NoLeaseCheck,
    /// Keeps a lease for half of its time.
    GivesAwayEarly,
    /// Gives the token of an owner who died to the next one.
    RepeatsTokens,
    /// Counts tokens down.
    CountsDown,
    /// Waits for ever when it cannot reach the server.
    Hangs,
    /// Does not free the lock of an owner who died.
    NeverFrees,
}

#[derive(Debug)]
pub(crate) struct Server {
    defect: Defect,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    owner: Option<(u64, Instant)>,
    owners: u64,
    token: u64,
}

/// One client; `cut` takes its connection away.
#[derive(Debug)]
pub(crate) struct Toy {
    server: Arc<Server>,
    cut: AtomicBool,
    capabilities: Capabilities,
}

impl Server {
    pub(crate) fn new(defect: Defect) -> Arc<Self> {
        Arc::new(Self {
            defect,
            state: Mutex::new(State {
                owner: None,
                owners: 0,
                token: 1_000_000,
            }),
        })
    }

    pub(crate) fn connect(self: &Arc<Self>) -> Arc<Toy> {
        Arc::new(Toy {
            server: Arc::clone(self),
            cut: AtomicBool::new(false),
            capabilities: Capabilities::new(Limits::DEFAULT),
        })
    }

    fn kept(&self, ttl: Duration) -> Duration {
        match self.defect {
            Defect::GivesAwayEarly => ttl / 2,
            Defect::NeverFrees => ttl * 1_000_000,
            _ => ttl,
        }
    }

    /// A new owner and its token, if the lock is free.
    fn take(&self, ttl: Duration) -> Option<(u64, FencingToken)> {
        let (now, mut state) = (Instant::now(), self.state.lock().unwrap());
        let died = match state.owner {
            Some((_, until)) if until > now && self.defect != Defect::NoExclusion => return None,
            owner => owner.is_some(),
        };
        state.owners += 1;
        match self.defect {
            Defect::RepeatsTokens if died => {}
            Defect::CountsDown => state.token -= 1,
            _ => state.token += 1,
        }
        state.owner = Some((state.owners, now + self.kept(ttl)));
        Some((state.owners, FencingToken(state.token)))
    }
}

impl Toy {
    pub(crate) fn cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::SeqCst);
    }

    async fn reach(&self) -> Result<()> {
        if !self.cut.load(Ordering::SeqCst) {
            return Ok(());
        }
        if self.server.defect == Defect::Hangs {
            std::future::pending::<()>().await;
        }
        Err(Error::new(ErrorKind::Unavailable, "the connection is cut"))
    }
}

#[derive(Debug)]
struct Keeper {
    toy: Arc<Toy>,
    owner: u64,
    ttl: Duration,
}

#[async_trait]
impl LeaseKeeper for Keeper {
    async fn renew(&self) -> Result<()> {
        if self.toy.cut.load(Ordering::SeqCst) && self.toy.server.defect == Defect::NoLeaseCheck {
            return Ok(());
        }
        self.toy.reach().await?;
        let (now, mut state) = (Instant::now(), self.toy.server.state.lock().unwrap());
        match &mut state.owner {
            Some((owner, until)) if *owner == self.owner && *until > now => {
                *until = now + self.toy.server.kept(self.ttl);
                Ok(())
            }
            _ => Err(Error::new(ErrorKind::LeaseLost, "somebody else has it")),
        }
    }

    async fn release(&self) -> Result<()> {
        self.toy.reach().await?;
        let mut state = self.toy.server.state.lock().unwrap();
        if state.owner.is_some_and(|(owner, _)| owner == self.owner) {
            state.owner = None;
            return Ok(());
        }
        Err(Error::new(ErrorKind::LeaseLost, "somebody else has it"))
    }
}

#[async_trait]
impl Backend for Toy {
    fn backend(&self) -> &'static str {
        "toy"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn health(&self) -> Result<()> {
        self.reach().await
    }

    async fn shutdown(&self, _deadline: Duration) -> Result<()> {
        Ok(())
    }
}

/// The client as the campaign sees it: it hands its own `Arc` to its keepers.
#[derive(Debug)]
pub(crate) struct Client(pub(crate) Arc<Toy>);

#[async_trait]
impl Backend for Client {
    fn backend(&self) -> &'static str {
        self.0.backend()
    }

    fn capabilities(&self) -> &Capabilities {
        self.0.capabilities()
    }

    async fn health(&self) -> Result<()> {
        self.0.health().await
    }

    async fn shutdown(&self, deadline: Duration) -> Result<()> {
        self.0.shutdown(deadline).await
    }
}

#[async_trait]
impl Locks for Client {
    async fn acquire(&self, key: &str, options: LockOptions) -> Result<LockGuard> {
        let deadline = Instant::now() + options.wait;
        loop {
            if let Some(guard) = self.try_acquire(key, options.ttl).await? {
                return Ok(guard);
            }
            if Instant::now() >= deadline {
                return Err(Error::new(ErrorKind::Timeout, "it was not free in time"));
            }
            sleep(PAUSE).await;
        }
    }

    async fn try_acquire(&self, key: &str, ttl: Duration) -> Result<Option<LockGuard>> {
        let asked = Instant::now();
        self.0.reach().await?;
        let Some((owner, token)) = self.0.server.take(ttl) else {
            return Ok(None);
        };
        let keeper = Arc::new(Keeper {
            toy: Arc::clone(&self.0),
            owner,
            ttl,
        });
        let lease = Lease::keep(keeper, LeaseOptions::new(ttl), asked);
        Ok(Some(LockGuard::new(key, token, lease)))
    }
}
