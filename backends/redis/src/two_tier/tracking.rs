//! Who tells of changes: the connections to servers that track what we keep, and the proofs that they do.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use infra_core::config::Host;
use infra_core::{Error, ErrorKind, Result};
use redis::aio::{AsyncPushSender, MultiplexedConnection, SendError};
use redis::{Cmd, PushInfo};

use super::Shared;
use crate::client::{Client, unexpected};
use crate::{error, line, reply};

/// Hears what a server says unasked.
struct Pushes(Weak<Shared>);

impl AsyncPushSender for Pushes {
    fn send(&self, push: PushInfo) -> std::result::Result<(), SendError> {
        if let Some(shared) = self.0.upgrade() {
            shared.hear(&push);
        }
        Ok(())
    }
}

/// Keeps the connections up, and proves again and again that they tell of changes, as long as there is somebody to read.
pub(super) async fn keep(shared: Weak<Shared>, client: Client, staleness: Duration) {
    let mut failed = 0;
    while shared.strong_count() > 0 {
        match track(&shared, &client, staleness, &mut failed).await {
            Ok(()) => return,
            Err(error) => tracing::debug!(%error, "values near to this process are not used for a while"),
        }
        if let Some(shared) = shared.upgrade() {
            shared.lose();
        }
        tokio::time::sleep(line::pause(client.config(), failed)).await;
        failed = failed.saturating_add(1);
    }
}

/// Connects, and proves until that fails.
async fn track(shared: &Weak<Shared>, client: &Client, staleness: Duration, failed: &mut u32) -> Result<()> {
    let pushes = || Arc::new(Pushes(Weak::clone(shared)));
    let masters = client.masters().await?;
    let mut connections = if client.config().is_cluster() {
        let dialing = masters
            .iter()
            .map(async |node| client.dialer().dial_node(&host(node)?, pushes()).await);
        try_join_all(dialing).await?
    } else {
        vec![client.dialer().dial(pushes()).await?]
    };
    let mut question = start(client);
    loop {
        let asked = Instant::now();
        let asking = connections
            .iter_mut()
            .map(|connection| ask(connection, &question));
        let answers = async {
            try_join_all(asking).await?;
            // A master that was made meanwhile has told us nothing.
            if client.masters().await? != masters {
                return Err(broken("the masters of the cluster are not the same any more"));
            }
            Ok(())
        };
        tokio::time::timeout(staleness / 2, answers)
            .await
            .unwrap_or_else(|_| {
                Err(Error::new(
                    ErrorKind::Timeout,
                    "Redis did not prove in time that it tells of changes",
                ))
            })?;
        let Some(shared) = shared.upgrade() else {
            return Ok(());
        };
        if !client.config().is_cluster() && shared.reader.load().is_none() {
            shared.reader.store(connections.first().cloned().map(Arc::new));
        }
        shared.prove(asked, staleness);
        (question, *failed) = (redis::cmd("PING"), 0);
        tokio::select! {
            () = tokio::time::sleep(staleness / 4) => {}
            () = shared.ended.notified() => return Err(broken("a connection that tells of changes broke")),
        }
    }
}

/// What makes a server tell: one of what is read on the connection, a master of a cluster of every key with our prefix, since reads go
/// another way there.
fn start(client: &Client) -> Cmd {
    let mut tracking = redis::cmd("CLIENT");
    tracking.arg("TRACKING").arg("ON");
    if client.config().is_cluster() {
        tracking.arg("BCAST").arg("PREFIX").arg(client.keys().prefix());
    }
    tracking
}

async fn ask(connection: &mut MultiplexedConnection, question: &Cmd) -> Result<()> {
    let answer = connection.send_packed_command(question).await;
    reply::good(answer.map_err(|source| error::of(source, true))?).map(drop)
}

fn broken(what: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, what)
}

fn host(node: &str) -> Result<Host> {
    let address = node
        .rsplit_once(':')
        .and_then(|(name, port)| Some((name, port.parse().ok()?)));
    let (name, port) = address.ok_or_else(unexpected)?;
    Ok(Host::new(name, Some(port)))
}
