//! Memory's store of idempotent operations with one defect in front of it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use infra_core::capability::{Capabilities, Limits};
use infra_core::once::{Claim, ClaimRequest, OnceStatus, OnceStore};
use infra_core::{Backend, Error, ErrorKind, Result, async_trait};
use infra_memory::MemoryOnceStore;
use infra_testkit::conformance::{Breakage, Disturbance, Fixture};
use tokio::time::{Instant, sleep_until};

use crate::support::locked;

/// What is wrong with the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Defect {
    MistakesTheFirst,
    CutsAtNul,
    SleepsTheWholeTime,
    RemainsForADay,
    WaitsForEver,
    KeepsUnrenewed,
    ComparesOnlyClaims,
    ComparesOnlyResults,
    AbsentIsAnother,
    RemembersTwiceAsLong,
    RenewsForADay,
    FenceAnewAfterClear,
    DoesNotExtend,
    CompletesForAnybody,
    RenewsForAnybody,
    ReleasesForAnybody,
    RevivesExpired,
    HandsWaitersNothing,
    CutsLargeResults,
    CutsLongKeys,
    KeepsRenewed,
    ClearSaysTrue,
    ClearKeepsClaims,
    SaysDoneTooEarly,
    RefusesOwnClaim,
    RefusesRepetition,
    ShortensLongTimes,
    OpenAfterShutdown,
    AwayIsInternal,
    TakesRepetitionForDone,
    PretendsInTheEnd,
    LooksThenTakes,
    CountsFromTheClaim,
    TrimsSlashes,
    ShowsResults,
}

const DAY: Duration = Duration::from_secs(24 * 3600);
const LIMITS: Limits = Limits::DEFAULT;

pub(super) fn broken(breaks: &str, defect: Defect, words: &'static str) -> Breakage<dyn OnceStore> {
    Breakage::new(breaks, words, move |_| async move { Ok(fixture(defect)) })
}

fn fixture(defect: Defect) -> Fixture<dyn OnceStore> {
    let server = MemoryOnceStore::new();
    let clients = Arc::new(Mutex::new(Vec::<MemoryOnceStore>::new()));
    let known = Arc::new(Mutex::new(Known::default()));
    let (connecting, connected) = (server.clone(), Arc::clone(&clients));
    let fixture = Fixture::in_process(move || {
        let client = connecting.connect();
        locked(&connected).push(client.clone());
        async { Ok(Arc::new(client)) }
    });
    let observer = server.clone();
    fixture
        .on_disturbance(move |disturbance| {
            match disturbance {
                Disturbance::GoAway => server.go_away(),
                Disturbance::ComeBack => server.come_back(),
                Disturbance::Crash { client } => locked(&clients)[client].disconnect(),
                _ => {}
            }
            async { Ok(true) }
        })
        .map(move |inner: Arc<MemoryOnceStore>| {
            Arc::new(Broken {
                inner,
                observer: observer.clone(),
                known: Arc::clone(&known),
                defect,
            }) as Arc<dyn OnceStore>
        })
}

/// What the defects remember, for all clients.
#[derive(Debug, Default)]
struct Known {
    claims: HashMap<String, Claimed>,
    seen: HashSet<String>,
    renewed: HashSet<String>,
    completed: HashSet<String>,
    cleared: HashSet<String>,
    waiting: HashMap<String, usize>,
    /// Failed completions of a key by an owner.
    failures: HashMap<(String, String), usize>,
}

#[derive(Debug, Clone)]
struct Claimed {
    owner: String,
    at: Instant,
    with_fingerprint: bool,
}

#[derive(Debug)]
struct Broken {
    inner: Arc<MemoryOnceStore>,
    /// A client that no scenario shuts down.
    observer: MemoryOnceStore,
    known: Arc<Mutex<Known>>,
    defect: Defect,
}

impl Broken {
    fn known(&self) -> MutexGuard<'_, Known> {
        locked(&self.known)
    }

    fn is(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    fn key(&self, key: &str) -> String {
        match self.defect {
            Defect::CutsLongKeys => key.chars().take(LIMITS.max_key_bytes).collect(),
            Defect::TrimsSlashes => key.trim_end_matches('/').to_owned(),
            _ => key.to_owned(),
        }
    }

    /// The owner in whose name a call is made.
    fn owner(&self, key: &str, owner: &str, for_anybody: Defect) -> String {
        let present = self.known().claims.get(key).map(|claimed| claimed.owner.clone());
        match present {
            Some(present) if self.is(for_anybody) => present,
            _ => owner.to_owned(),
        }
    }

    fn unreachable(&self, error: Error) -> Error {
        if self.is(Defect::AwayIsInternal) && error.kind() == ErrorKind::Unavailable {
            return Error::new(ErrorKind::Internal, "the store does not answer");
        }
        error
    }

    /// What the claim looks like by the time it reaches the store; an answer of the defect's own instead of it.
    async fn before(&self, request: &mut ClaimRequest) -> Result<Option<Claim>> {
        request.key = self.key(&request.key);
        let (key, owner) = (request.key.clone(), request.owner.clone());
        let (claimed, completed) = {
            let known = self.known();
            (known.claims.get(&key).cloned(), known.completed.contains(&key))
        };
        let with_fingerprint = request.fingerprint.is_some();
        match (self.defect, claimed) {
            (Defect::AbsentIsAnother, Some(claimed)) if claimed.with_fingerprint != with_fingerprint => {
                return Ok(Some(Claim::FingerprintMismatch));
            }
            (Defect::RefusesOwnClaim, Some(claimed)) if claimed.owner == owner && !completed => {
                let remaining = request.lease;
                return Ok(Some(Claim::InProgress { remaining }));
            }
            (Defect::ComparesOnlyClaims, _) if completed => request.fingerprint = None,
            (Defect::ComparesOnlyResults, Some(_)) if !completed => request.fingerprint = None,
            (Defect::LooksThenTakes, _) if self.inner.status(&key).await? == OnceStatus::Unknown => {
                tokio::task::yield_now().await;
                self.inner.clear(&key).await?;
            }
            _ => {}
        }
        Ok(None)
    }
}

#[async_trait]
impl Backend for Broken {
    fn backend(&self) -> &'static str {
        "broken"
    }

    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    async fn health(&self) -> Result<()> {
        self.inner.health().await.map_err(|error| self.unreachable(error))
    }

    async fn shutdown(&self, deadline: Duration) -> Result<()> {
        self.inner.shutdown(deadline).await
    }
}

#[async_trait]
impl OnceStore for Broken {
    async fn claim(&self, mut request: ClaimRequest) -> Result<Claim> {
        if let Some(answer) = self.before(&mut request).await? {
            return Ok(answer);
        }
        let (key, owner) = (request.key.clone(), request.owner.clone());
        let with_fingerprint = request.fingerprint.is_some();
        let answer = self.inner.claim(request).await;
        let answer = answer.map_err(|error| self.unreachable(error))?;
        Ok(match (answer, self.defect) {
            (Claim::Acquired { fence }, defect) => {
                let mut known = self.known();
                let at = Instant::now();
                let claimed = Claimed {
                    owner,
                    at,
                    with_fingerprint,
                };
                known.claims.insert(key.clone(), claimed);
                known.completed.remove(&key);
                let first = known.seen.insert(key.clone());
                match defect {
                    Defect::MistakesTheFirst if first => Claim::FingerprintMismatch,
                    Defect::FenceAnewAfterClear if known.cleared.contains(&key) => {
                        Claim::Acquired { fence: 1 }
                    }
                    _ => Claim::Acquired { fence },
                }
            }
            (Claim::Done { result }, Defect::CutsAtNul) => {
                let end = result.iter().position(|byte| *byte == 0);
                let result = result.slice(..end.unwrap_or(result.len()));
                Claim::Done { result }
            }
            (Claim::InProgress { .. }, Defect::RemainsForADay) => Claim::InProgress { remaining: DAY },
            (answer, _) => answer,
        })
    }

    async fn renew(&self, key: &str, owner: &str, lease: Duration) -> Result<()> {
        LIMITS.check_ttl(lease)?;
        let key = self.key(key);
        let owner = self.owner(&key, owner, Defect::RenewsForAnybody);
        let ours = self
            .known()
            .claims
            .get(&key)
            .is_some_and(|claimed| claimed.owner == owner);
        match self.defect {
            Defect::DoesNotExtend if ours && self.inner.status(&key).await? == OnceStatus::InProgress => {
                return Ok(());
            }
            Defect::RevivesExpired if ours && self.inner.status(&key).await? == OnceStatus::Unknown => {
                self.inner.claim(ClaimRequest::new(key, owner, lease)).await?;
                return Ok(());
            }
            _ => {}
        }
        let lease = match self.defect {
            Defect::RenewsForADay => DAY,
            _ => lease,
        };
        self.inner.renew(&key, &owner, lease).await?;
        self.known().renewed.insert(key);
        Ok(())
    }

    async fn complete(&self, key: &str, owner: &str, result: Bytes, ttl: Duration) -> Result<()> {
        let ttl = match self.defect {
            Defect::ShortensLongTimes => ttl.min(LIMITS.max_ttl),
            _ => ttl,
        };
        LIMITS.check_ttl(ttl)?;
        let key = self.key(key);
        let owner = self.owner(&key, owner, Defect::CompletesForAnybody);
        let attempt = (key.clone(), owner.clone());
        let (failed, taken, repeated) = {
            let known = self.known();
            let failed = known.failures.get(&attempt).copied().unwrap_or_default();
            let claimed = known.claims.get(&key);
            let taken = claimed.map_or(Duration::ZERO, |claimed| claimed.at.elapsed());
            (failed, taken, known.completed.contains(&key))
        };
        let ttl = match self.defect {
            Defect::RemembersTwiceAsLong => ttl * 2,
            Defect::CountsFromTheClaim => ttl.saturating_sub(taken).max(LIMITS.min_ttl),
            _ => ttl,
        };
        if self.is(Defect::RefusesRepetition) && repeated {
            return Err(not_ours(""));
        }
        let kept = match self.defect {
            Defect::CutsLargeResults => result.slice(..result.len().min(LIMITS.max_value_bytes)),
            _ => result.clone(),
        };
        // Whether the store answers is seen before anything is stored.
        if self.is(Defect::TakesRepetitionForDone) && failed > 0 && self.inner.status(&key).await.is_ok() {
            return Ok(());
        }
        match self.inner.complete(&key, &owner, kept, ttl).await {
            Ok(()) => {
                self.known().completed.insert(key);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                self.known().failures.insert(attempt, failed + 1);
                match self.defect {
                    Defect::PretendsInTheEnd if failed >= 3 => Ok(()),
                    _ => Err(error),
                }
            }
            Err(error) if error.kind() == ErrorKind::LeaseLost && self.is(Defect::ShowsResults) => {
                Err(not_ours(&String::from_utf8_lossy(&result)))
            }
            Err(error) => Err(error),
        }
    }

    async fn release(&self, key: &str, owner: &str) -> Result<()> {
        let key = self.key(key);
        let owner = self.owner(&key, owner, Defect::ReleasesForAnybody);
        let (renewed, waiting) = {
            let known = self.known();
            let waiting = known.waiting.get(&key).copied().unwrap_or_default();
            (known.renewed.contains(&key), waiting)
        };
        // What the store itself refuses is refused as ever.
        self.inner.status(&key).await?;
        match self.defect {
            Defect::KeepsUnrenewed if !renewed => return Err(not_ours("")),
            Defect::KeepsRenewed if renewed => return Err(not_ours("")),
            Defect::HandsWaitersNothing if waiting > 0 => {
                let ttl = Duration::from_secs(60);
                return self.inner.complete(&key, &owner, Bytes::new(), ttl).await;
            }
            _ => {}
        }
        self.inner.release(&key, &owner).await
    }

    async fn wait_for_change(&self, key: &str, timeout: Duration) -> Result<()> {
        let (key, begun) = (self.key(key), Instant::now());
        *self.known().waiting.entry(key.clone()).or_default() += 1;
        let bound = match self.defect {
            Defect::WaitsForEver => DAY,
            _ => timeout,
        };
        let answer = self.inner.wait_for_change(&key, bound).await;
        if answer.is_ok() && self.is(Defect::SleepsTheWholeTime) {
            sleep_until(begun + timeout).await;
        }
        if let Some(waiting) = self.known().waiting.get_mut(&key) {
            *waiting -= 1;
        }
        answer
    }

    async fn clear(&self, key: &str) -> Result<bool> {
        let key = self.key(key);
        if self.is(Defect::ClearKeepsClaims) && self.inner.status(&key).await? == OnceStatus::InProgress {
            return Ok(true);
        }
        let known = self.inner.clear(&key).await?;
        {
            let mut remembered = self.known();
            remembered.claims.remove(&key);
            remembered.completed.remove(&key);
            remembered.cleared.insert(key);
        }
        Ok(known || self.is(Defect::ClearSaysTrue))
    }

    async fn status(&self, key: &str) -> Result<OnceStatus> {
        let key = self.key(key);
        match self.inner.status(&key).await {
            Ok(OnceStatus::InProgress) if self.is(Defect::SaysDoneTooEarly) => Ok(OnceStatus::Done),
            Err(error) if error.kind() == ErrorKind::Closed && self.is(Defect::OpenAfterShutdown) => {
                self.observer.status(&key).await
            }
            answer => answer.map_err(|error| self.unreachable(error)),
        }
    }
}

fn not_ours(what: &str) -> Error {
    Error::new(
        ErrorKind::LeaseLost,
        format!("the claim is not ours any more {what}"),
    )
}
