//! The masters of a cluster, as its nodes know them.

use infra_core::Result;

use crate::client::{Client, Repeat, unexpected};
use crate::reply;

impl Client {
    /// The addresses of the masters of a cluster, `host:port`, in order; of a single server, nothing.
    pub(crate) async fn masters(&self) -> Result<Vec<String>> {
        if !self.config().is_cluster() {
            return Ok(Vec::new());
        }
        let mut slots = redis::cmd("CLUSTER");
        slots.arg("SLOTS");
        let mut masters = Vec::new();
        for range in reply::list(self.run(&slots, Repeat::Harmless).await?)? {
            let master = reply::list(range)?.into_iter().nth(2).ok_or_else(unexpected)?;
            let mut parts = reply::list(master)?.into_iter();
            let (Some(host), Some(port)) = (parts.next(), parts.next()) else {
                return Err(unexpected());
            };
            masters.push(format!("{}:{}", reply::text(host)?, reply::number(port)?));
        }
        masters.sort_unstable();
        masters.dedup();
        Ok(masters)
    }
}
