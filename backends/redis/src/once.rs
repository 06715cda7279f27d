//! Claims and results of idempotent operations.

mod scripts;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use infra_core::capability::{Capabilities, Limits};
use infra_core::once::{Claim, ClaimRequest, OnceStatus, OnceStore};
use infra_core::{Backend, Error, ErrorKind, Result, async_trait};
use redis::Value;
use tokio::time::{Instant, sleep, timeout_at};

use crate::client::{Client, Repeat, unexpected};
use crate::config::RedisConfig;
use crate::fence::REMEMBERED;
use crate::script::{Invocation, Script};
use crate::strings::milliseconds;
use crate::{BACKEND, reply};

/// The pause of who cannot be told of a change.
const PAUSE: Duration = Duration::from_millis(100);

/// Where idempotent operations of many processes are kept: for [`StoreOnce`](infra_core::once::StoreOnce).
///
/// Each method is one script on one key, so it works on a cluster, and costs one round trip: one when the work was done before, two
/// when it is done now. Whoever waits is told by the server, or looks when the claim would be over. What Redis forgets in a fail-over
/// is done again; see the README's section *Idempotency*.
///
/// ```no_run
/// # async fn example() -> infra_core::Result<()> {
/// use std::sync::Arc;
/// use std::time::Duration;
/// use infra_core::once::{OnceConfig, OnceExt, OnceOptions, StoreOnce};
/// use infra_redis::{RedisConfig, RedisOnceStore};
///
/// let store = RedisOnceStore::connect(RedisConfig::development()).await?;
/// let once = StoreOnce::new(Arc::new(store), OnceConfig::development())?;
/// let options = OnceOptions::new(Duration::from_secs(24 * 3600));
/// let paid = once.execute("payment:7", options, async { Ok("receipt 42".to_owned()) }).await?;
/// assert_eq!(paid.into_inner(), "receipt 42");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct RedisOnceStore {
    client: Client,
    capabilities: Arc<Capabilities>,
}

fn at(operation: &'static str) -> impl Fn(Error) -> Error {
    move |error| error.at("once_store", BACKEND, operation)
}

impl RedisOnceStore {
    /// Connects; one host that answers is enough.
    ///
    /// # Errors
    /// Those of [`RedisCache::connect`](crate::RedisCache::connect).
    pub async fn connect(config: RedisConfig) -> Result<Self> {
        Ok(Self::of(Client::connect(config).await.map_err(at("connect"))?))
    }

    pub(crate) fn of(client: Client) -> Self {
        Self {
            capabilities: Arc::new(client.config().capabilities()),
            client,
        }
    }

    fn limits(&self) -> &Limits {
        self.capabilities.limits()
    }

    /// The key of the server, once the store is open and the key is acceptable.
    fn key(&self, key: &str) -> Result<String> {
        self.client.check_open()?;
        self.limits().check_key("key", key)?;
        Ok(self.client.keys().key(key))
    }

    fn script(&self, script: &'static Script, key: &str) -> Result<Invocation<'static>> {
        Ok(Invocation::of(script, &[&self.key(key)?]))
    }

    async fn ask(&self, invocation: &Invocation<'_>) -> Result<Value> {
        self.client.invoke(invocation, Repeat::Harmless).await
    }

    /// How long the claim to a key stands without renewal; `None` when there is none.
    async fn claimed_for(&self, key: &str) -> Result<Option<Duration>> {
        let left = reply::number(self.ask(&self.script(&scripts::LOOK, key)?).await?)?;
        let left = u64::try_from(left).ok().filter(|left| *left > 0);
        Ok(left.map(Duration::from_micros))
    }

    /// Waits for a notice, or until the claim is over. What happened before we listen is seen.
    async fn told_of_change(&self, key: &str) -> Result<()> {
        let name = self.key(key)?;
        let mut subscription = match self.client.notices().subscribe(&name).await {
            Ok(subscription) => subscription,
            Err(error) if error.kind() == ErrorKind::Closed => return Err(error),
            Err(error) => {
                tracing::debug!(%error, key, "nobody tells of a change; looking again");
                sleep(PAUSE.mul_f64(0.5 + fastrand::f64())).await;
                return Ok(());
            }
        };
        let Some(left) = self.claimed_for(key).await? else {
            return Ok(());
        };
        match tokio::time::timeout(left, subscription.changed()).await {
            Ok(changed) => changed,
            Err(_) => Ok(()),
        }
    }
}

/// Whether a script found that the caller still has the key.
fn ours(key: &str, answer: Value) -> Result<()> {
    if reply::flag(answer)? {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::LeaseLost,
        format!("the claim to key {key:?} is not ours any more; nothing was changed"),
    ))
}

/// What [`scripts::CLAIM`] answers.
fn claim(answer: Value) -> Result<Claim> {
    let mut answer = reply::list(answer)?.into_iter();
    let how = reply::number(answer.next().ok_or_else(unexpected)?)?;
    let mut what = || answer.next().ok_or_else(unexpected);
    Ok(match how {
        0 => Claim::InProgress {
            remaining: Duration::from_micros(reply::count(what()?)?),
        },
        1 => Claim::Acquired {
            fence: reply::count(what()?)?,
        },
        2 => Claim::Done {
            result: reply::bytes(what()?)?,
        },
        3 => Claim::FingerprintMismatch,
        _ => return Err(unexpected()),
    })
}

#[async_trait]
impl Backend for RedisOnceStore {
    fn backend(&self) -> &'static str {
        BACKEND
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn health(&self) -> Result<()> {
        self.client.ping().await.map_err(at("health"))
    }

    async fn shutdown(&self, _deadline: Duration) -> Result<()> {
        self.client.close();
        Ok(())
    }
}

#[async_trait]
impl OnceStore for RedisOnceStore {
    async fn claim(&self, request: ClaimRequest) -> Result<Claim> {
        let run = async {
            let mut invocation = self.script(&scripts::CLAIM, &request.key)?;
            self.limits().check_ttl(request.lease)?;
            invocation.arg(&request.owner).arg(milliseconds(request.lease));
            invocation
                .arg(REMEMBERED)
                .arg(request.fingerprint.as_deref().unwrap_or_default());
            claim(self.ask(&invocation).await?)
        };
        run.await.map_err(at("claim"))
    }

    async fn renew(&self, key: &str, owner: &str, lease: Duration) -> Result<()> {
        let run = async {
            let mut invocation = self.script(&scripts::RENEW, key)?;
            self.limits().check_ttl(lease)?;
            invocation.arg(owner).arg(milliseconds(lease)).arg(REMEMBERED);
            ours(key, self.ask(&invocation).await?)
        };
        run.await.map_err(at("renew"))
    }

    async fn complete(&self, key: &str, owner: &str, result: Bytes, ttl: Duration) -> Result<()> {
        let run = async {
            let mut invocation = self.script(&scripts::COMPLETE, key)?;
            self.limits().check_ttl(ttl)?;
            self.limits().check_value("result", result.len())?;
            invocation.arg(owner).arg(&result[..]).arg(milliseconds(ttl));
            ours(key, self.ask(&invocation).await?)
        };
        run.await.map_err(at("complete"))
    }

    async fn release(&self, key: &str, owner: &str) -> Result<()> {
        let run = async {
            let mut invocation = self.script(&scripts::RELEASE, key)?;
            invocation.arg(owner).arg(REMEMBERED);
            // A second time it is not ours any more.
            ours(key, self.client.invoke(&invocation, Repeat::Never).await?)
        };
        run.await.map_err(at("release"))
    }

    async fn wait_for_change(&self, key: &str, timeout: Duration) -> Result<()> {
        let run = async {
            self.key(key)?;
            let waiting = self.told_of_change(key);
            let Some(deadline) = Instant::now().checked_add(timeout) else {
                return waiting.await;
            };
            tokio::select! {
                biased;
                () = self.client.closed().cancelled() => Err(Error::closed("the client of Redis")),
                told = timeout_at(deadline, waiting) => told.unwrap_or(Ok(())),
            }
        };
        run.await.map_err(at("wait_for_change"))
    }

    async fn clear(&self, key: &str) -> Result<bool> {
        let run = async {
            let mut invocation = self.script(&scripts::CLEAR, key)?;
            invocation.arg(REMEMBERED);
            reply::flag(self.ask(&invocation).await?)
        };
        run.await.map_err(at("clear"))
    }

    async fn status(&self, key: &str) -> Result<OnceStatus> {
        let run = async {
            Ok(
                match reply::number(self.ask(&self.script(&scripts::LOOK, key)?).await?)? {
                    -1 => OnceStatus::Done,
                    0 => OnceStatus::Unknown,
                    _ => OnceStatus::InProgress,
                },
            )
        };
        run.await.map_err(at("status"))
    }
}
