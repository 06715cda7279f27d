//! Sessions of Consul: keys that were locked by one are deleted when it is not renewed in time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use infra_core::async_trait;
use infra_core::error::{Error, ErrorKind, Result};
use infra_core::lease::LeaseGrantor;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::BACKEND;
use crate::client::{Client, Request};
use crate::kv::as_json;

/// What Consul calls a session.
pub(crate) type SessionId = String;

/// The longest lock delay that Consul takes.
const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// Grants the sessions that a client's holders share.
///
/// Consul keeps a session for up to twice its time to live, and what it locked with it. Holders that could not reach Consul have given
/// up long before; so when they come back and ask for the next session, the one before is ended at once.
#[derive(Debug)]
pub(crate) struct Grantor {
    client: Client,
    /// How much longer than its holders believe in it a session lives.
    longer: Duration,
    /// How long nobody may lock what a session had locked when it ended, however it ended. Consul does not take more than a minute.
    lock_delay: Duration,
    granted: Arc<Mutex<Vec<Granted>>>,
}

/// A session that was not ended.
#[derive(Debug)]
struct Granted {
    id: SessionId,
    /// When nobody believes in it any more, unless it is renewed.
    until: Instant,
    ttl: Duration,
}

impl Grantor {
    pub(crate) fn new(client: &Client, longer: Duration, lock_delay: Duration) -> Self {
        Self {
            client: client.clone(),
            longer,
            lock_delay,
            granted: Arc::default(),
        }
    }

    fn granted(&self) -> MutexGuard<'_, Vec<Granted>> {
        self.granted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, id: &SessionId) {
        self.granted().retain(|granted| granted.id != *id);
    }

    /// Ends the sessions that nobody believes in any more, in the background; what cannot be ended now is tried with the next one.
    /// Those that live longer than the belief in them do so on purpose.
    fn end_abandoned(&self) {
        if !self.longer.is_zero() {
            return;
        }
        let now = Instant::now();
        let abandoned: Vec<Granted> = self
            .granted()
            .extract_if(.., |granted| granted.until < now)
            .collect();
        for abandoned in abandoned {
            let (client, granted) = (self.client.clone(), Arc::clone(&self.granted));
            tokio::spawn(async move {
                if let Err(error) = destroy(&client, &abandoned.id).await {
                    tracing::debug!(%error, "a session that was given up is not ended yet");
                    granted
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(abandoned);
                }
            });
        }
    }
}

#[async_trait]
impl LeaseGrantor for Grantor {
    type Id = SessionId;

    async fn grant(&self, ttl: Duration) -> Result<SessionId> {
        let asked_at = Instant::now();
        let id = create(&self.client, ttl + self.longer, self.lock_delay).await?;
        self.end_abandoned();
        self.granted().push(Granted {
            id: id.clone(),
            until: asked_at + ttl,
            ttl,
        });
        Ok(id)
    }

    async fn renew(&self, id: &SessionId) -> Result<()> {
        let asked_at = Instant::now();
        let request = Request::put(format!("session/renew/{id}"), "");
        match self.client.send(&request).await?.success() {
            Ok(_) => {
                for granted in self.granted().iter_mut().filter(|granted| granted.id == *id) {
                    granted.until = asked_at + granted.ttl;
                }
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.forget(id);
                Err(unknown(error))
            }
            Err(error) => Err(error),
        }
    }

    async fn revoke(&self, id: &SessionId) -> Result<()> {
        destroy(&self.client, id).await?;
        self.forget(id);
        Ok(())
    }
}

/// Ends a session, with everything that it locked.
async fn destroy(client: &Client, id: &SessionId) -> Result<()> {
    let request = Request::put(format!("session/destroy/{id}"), "");
    client.send(&request).await?.success().map(drop)
}

fn unknown(source: Error) -> Error {
    Error::new(ErrorKind::LeaseLost, "Consul does not know the session any more").with_source(source)
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Wanted<'a> {
    name: &'a str,
    #[serde(rename = "TTL")]
    ttl: String,
    /// What the session locked goes with it.
    behavior: &'a str,
    lock_delay: String,
    /// No check of the agent's node: the session lives as long as it is renewed, through whichever agent.
    node_checks: [&'a str; 0],
    checks: [&'a str; 0],
}

#[derive(Deserialize)]
struct Created {
    #[serde(rename = "ID")]
    id: SessionId,
}

/// A session that Consul keeps for at least `ttl` without a renewal, and at most for twice as long.
pub(crate) async fn create(client: &Client, ttl: Duration, lock_delay: Duration) -> Result<SessionId> {
    // Rounded up: never shorter than its holder believes.
    let milliseconds = |time: Duration| format!("{}ms", time.as_nanos().div_ceil(1_000_000));
    let wanted = Wanted {
        name: BACKEND,
        ttl: milliseconds(ttl),
        behavior: "delete",
        lock_delay: milliseconds(lock_delay.min(LONGEST_DELAY)),
        node_checks: [],
        checks: [],
    };
    let request = Request::put("session/create", as_json("a session", &wanted)?);
    let created: Created = client.send(&request).await?.success()?.json("a new session")?;
    Ok(created.id)
}
