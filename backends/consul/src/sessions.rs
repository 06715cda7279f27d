//! Sessions of Consul: keys that were locked by one are deleted when it is not renewed in time.

use std::time::Duration;

use infra_core::async_trait;
use infra_core::error::{Error, ErrorKind, Result};
use infra_core::lease::LeaseGrantor;
use serde::{Deserialize, Serialize};

use crate::BACKEND;
use crate::client::{Client, Request};
use crate::kv::as_json;

/// What Consul calls a session.
pub(crate) type SessionId = String;

/// The longest lock delay that Consul takes.
const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// Grants the sessions that a client's holders share.
#[derive(Debug)]
pub(crate) struct Grantor {
    pub(crate) client: Client,
    /// How much longer than its holders believe in it a session lives.
    pub(crate) longer: Duration,
    /// How long nobody may lock what a session had locked when it ended, however it ended. Consul does not take more than a minute.
    pub(crate) lock_delay: Duration,
}

#[async_trait]
impl LeaseGrantor for Grantor {
    type Id = SessionId;

    async fn grant(&self, ttl: Duration) -> Result<SessionId> {
        create(&self.client, ttl + self.longer, self.lock_delay).await
    }

    async fn renew(&self, id: &SessionId) -> Result<()> {
        let request = Request::put(format!("session/renew/{id}"), "");
        let renewed = self.client.send(&request).await?.success();
        renewed.map(drop).map_err(|error| match error.kind() {
            ErrorKind::NotFound => unknown(error),
            _ => error,
        })
    }

    async fn revoke(&self, id: &SessionId) -> Result<()> {
        let request = Request::put(format!("session/destroy/{id}"), "");
        self.client.send(&request).await?.success().map(drop)
    }
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
