//! What an operator or another program does to the server: keys removed, leases revoked, history compacted. With etcd's own client,
//! connected directly.

use etcd_client::{Client, DeleteOptions, GetOptions};
use infra_core::{Error, ErrorKind, Result};
use infra_etcd::EtcdConfig;
use infra_testkit::conformance::Disturbance;

#[derive(Clone)]
pub(crate) struct Native {
    client: Client,
    /// What all keys of the scenario begin with.
    prefix: String,
}

fn failed(source: etcd_client::Error) -> Error {
    Error::new(ErrorKind::Internal, "etcd's own client failed").with_source(source)
}

/// A name as it stands in a key.
fn segment(name: &str) -> String {
    name.replace('%', "%25").replace('/', "%2F")
}

impl Native {
    pub(crate) async fn connect(config: &EtcdConfig) -> Result<Self> {
        let endpoints: Vec<String> = config.endpoints.iter().map(ToString::to_string).collect();
        let client = Client::connect(endpoints, None).await.map_err(failed)?;
        Ok(Self {
            client,
            prefix: config.key_prefix.clone(),
        })
    }

    pub(crate) async fn disturb(&self, disturbance: Disturbance) -> Result<bool> {
        match disturbance {
            Disturbance::StealLock { key } => {
                let folder = self.line(&key);
                self.delete_all(&folder).await?;
                let mut client = self.client.clone();
                client
                    .put(format!("{folder}thief"), "", None)
                    .await
                    .map_err(failed)?;
            }
            Disturbance::ExpireLock { key } => self.expire_holder(&key).await?,
            Disturbance::ExpireInstance { service, id } => {
                self.delete(&format!(
                    "{}services/{}/{}",
                    self.prefix,
                    segment(&service),
                    segment(&id)
                ))
                .await?;
            }
            Disturbance::RevokeInstanceId { service, number } => {
                self.delete(&format!(
                    "{}instance_ids/{}/{number}",
                    self.prefix,
                    segment(&service)
                ))
                .await?;
            }
            Disturbance::LoseSessions => return self.revoke_all().await,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Compacts everything up to now, after two changes of something that no scenario looks at: whoever saw everything before
    /// them would have to be told of the first.
    pub(crate) async fn compact(&self) -> Result<()> {
        let mut client = self.client.clone();
        let unseen = format!("{}unseen", self.prefix);
        client.put(unseen.as_str(), "", None).await.map_err(failed)?;
        let put = client.put(unseen, "", None).await.map_err(failed)?;
        let revision = put.header().map_or(0, etcd_client::ResponseHeader::revision);
        match client.compact(revision, None).await {
            // Another scenario was faster, and compacted more.
            Err(etcd_client::Error::GRpcStatus(status)) if status.message().contains("compacted") => Ok(()),
            answer => answer.map(drop).map_err(failed),
        }
    }

    /// Removes the key of whoever holds a lock: the oldest of its folder.
    async fn expire_holder(&self, key: &str) -> Result<()> {
        let mut client = self.client.clone();
        let options = GetOptions::new().with_prefix();
        let found = client.get(self.line(key), Some(options)).await.map_err(failed)?;
        if let Some(holder) = found.kvs().iter().min_by_key(|kv| kv.create_revision()) {
            client.delete(holder.key(), None).await.map_err(failed)?;
        }
        Ok(())
    }

    /// Revokes every lease that anything of this scenario is attached to; `false` if there are instance ids among it: whose lease
    /// is revoked by hand gives its number away before the holder is told, see the README.
    async fn revoke_all(&self) -> Result<bool> {
        let mut client = self.client.clone();
        let options = GetOptions::new().with_prefix();
        let found = client
            .get(self.prefix.as_str(), Some(options))
            .await
            .map_err(failed)?;
        let numbers = format!("{}instance_ids/", self.prefix);
        if found
            .kvs()
            .iter()
            .any(|kv| kv.key().starts_with(numbers.as_bytes()))
        {
            return Ok(false);
        }
        let mut leases: Vec<i64> = found.kvs().iter().map(etcd_client::KeyValue::lease).collect();
        leases.sort_unstable();
        leases.dedup();
        for lease in leases.into_iter().filter(|lease| *lease != 0) {
            client.lease_revoke(lease).await.map_err(failed)?;
        }
        Ok(true)
    }

    /// Where those stand who hold or wait for a lock.
    fn line(&self, key: &str) -> String {
        format!("{}locks/{}/", self.prefix, segment(key))
    }

    async fn delete(&self, key: &str) -> Result<()> {
        let mut client = self.client.clone();
        client.delete(key, None).await.map(drop).map_err(failed)
    }

    async fn delete_all(&self, prefix: &str) -> Result<()> {
        let mut client = self.client.clone();
        let options = DeleteOptions::new().with_prefix();
        client
            .delete(prefix, Some(options))
            .await
            .map(drop)
            .map_err(failed)
    }
}
