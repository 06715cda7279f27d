//! The registry: instances as JSON under the lease of whoever registered them.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::KeyValue;
use infra_core::config::Compat;
use infra_core::coordination::{Instance, Registration, Registry, ServiceSnapshot};
use infra_core::watch::Watch;
use infra_core::{Error, Result, async_trait};

use crate::BACKEND;
use crate::coordinator::EtcdCoordinator;
use crate::instances;
use crate::registrations::Registered;
use crate::watching::{self, Range};

fn at(operation: &'static str) -> impl Fn(Error) -> Error {
    move |error| error.at("registry", BACKEND, operation)
}

/// The instance that a key holds. What cannot be read is told in the log, and left out: one bad entry must not hide the others.
fn instance(compat: Compat, kv: &KeyValue) -> Option<Instance> {
    match instances::read(compat, kv.value()) {
        Ok(instance) => Some(instance),
        Err(error) => {
            let key = String::from_utf8_lossy(kv.key());
            tracing::warn!(%key, line = error.line(), column = error.column(), "a registered instance cannot be read; it is left out");
            None
        }
    }
}

#[async_trait]
impl Registry for EtcdCoordinator {
    async fn register(&self, instance: Instance, ttl: Duration) -> Result<Registration> {
        let register = async {
            self.client.check_open()?;
            instance.check(self.limits())?;
            self.client.keys().check_part("service name", &instance.service)?;
            self.client.keys().check_part("instance id", &instance.id)?;
            self.limits().check_ttl(ttl)?;
            let key = self.client.keys().instance(&instance.service, &instance.id);
            let registered = Registered::new(&self.client, &self.leases, key, ttl).await?;
            self.registrations
                .register(instance, ttl, Arc::new(registered))
                .await
        };
        register.await.map_err(at("register"))
    }

    async fn discover(&self, service: &str) -> Result<ServiceSnapshot> {
        let discover = async {
            self.client.check_open()?;
            self.limits().check_key("service name", service)?;
            self.client.keys().check_part("service name", service)?;
            let range = Range::prefix(self.client.keys().service(service));
            let ask = async {
                let compat = self.client.keys().compat();
                let (found, revision) = watching::read(&self.client, &range).await?;
                let instances = found.iter().filter_map(|kv| instance(compat, kv)).collect();
                Ok(ServiceSnapshot::new(instances, revision))
            };
            self.last_known.or_last(service, ask).await
        };
        discover.await.map_err(at("discover"))
    }

    async fn watch_service(&self, service: &str, revision: u64) -> Result<Watch<Instance>> {
        let watch = async {
            self.client.check_open()?;
            self.limits().check_key("service name", service)?;
            self.client.keys().check_part("service name", service)?;
            let folder = self.client.keys().service(service);
            let keys = self.client.keys().clone();
            let compat = keys.compat();
            let gone = {
                let folder = folder.clone();
                move |kv: &KeyValue| {
                    let id = std::str::from_utf8(kv.key())
                        .ok()?
                        .strip_prefix(folder.as_str())?;
                    Some(keys.instance_id(id))
                }
            };
            let put = move |kv: &KeyValue| instance(compat, kv);
            watching::open(&self.client, Range::prefix(folder), revision, put, gone).await
        };
        watch.await.map_err(at("watch_service"))
    }
}
