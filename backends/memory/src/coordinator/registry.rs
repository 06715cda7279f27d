//! The service registry: registrations that make themselves again, and the task that ends those that are not kept alive.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use infra_core::coordination::{
    Instance, Registrar, Registration, Registry, ServiceSnapshot, Standing, WatchScope,
};
use infra_core::watch::Watch;
use infra_core::{Error, Result, async_trait};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::registrations::{Beat, Owner};
use super::{MemoryCoordinator, Server, locked};
use crate::link::Link;

fn at(operation: &'static str) -> impl Fn(Error) -> Error {
    move |error| error.at("registry", crate::BACKEND, operation)
}

#[async_trait]
impl Registry for MemoryCoordinator {
    async fn register(&self, instance: Instance, ttl: Duration) -> Result<Registration> {
        let register = async {
            instance.check(self.limits())?;
            self.limits().check_ttl(ttl)?;
            let owner = Owner {
                token: locked(&self.client.server.registrations).new_token(),
                client: self.client.id,
                ttl,
            };
            let registered = Arc::new(Registered {
                server: Arc::clone(&self.client.server),
                link: Arc::clone(&self.client.link),
                owner,
            });
            self.client.kept.register(instance, ttl, registered).await
        };
        register.await.map_err(at("register"))
    }

    async fn discover(&self, service: &str) -> Result<ServiceSnapshot> {
        let ask = async {
            self.reach()?;
            Ok(locked(&self.client.server.registrations).snapshot(service))
        };
        let discover = async {
            self.limits().check_key("service name", service)?;
            self.client.last_known.or_last(service, ask).await
        };
        discover.await.map_err(at("discover"))
    }

    async fn watch_service(&self, service: &str, revision: u64) -> Result<Watch<Instance>> {
        let watch = || {
            self.limits().check_key("service name", service)?;
            let mut registrations = locked(&self.client.server.registrations);
            self.reach()?;
            let scope = WatchScope::Key(service.to_owned());
            registrations.feed.watch(self.client.id, scope, revision)
        };
        watch().map_err(at("watch_service"))
    }
}

/// One instance in the name of one registration.
#[derive(Debug)]
struct Registered {
    server: Arc<Server>,
    link: Arc<Link>,
    owner: Owner,
}

impl Registered {
    /// Extends the registration, or makes it again; looked at under the lock, so that a client that was closed meanwhile makes
    /// nothing again.
    fn confirm(&self, instance: &Instance, change: bool) -> Result<Standing> {
        let mut registrations = locked(&self.server.registrations);
        self.link.check("this coordinator")?;
        let beat = registrations.beat(&instance.service, &instance.id, self.owner.token);
        if beat == Beat::Replaced {
            return Ok(Standing::Replaced);
        }
        if beat == Beat::Gone {
            tracing::warn!(
                service = instance.service,
                id = instance.id,
                "a registration had expired and is made again"
            );
        }
        if change || beat == Beat::Gone {
            registrations.put(instance, self.owner)?;
            drop(registrations);
            self.server.reaper.wake(&self.server);
        }
        Ok(Standing::Ours)
    }
}

#[async_trait]
impl Registrar for Registered {
    async fn register(&self, instance: &Instance) -> Result<()> {
        let mut registrations = locked(&self.server.registrations);
        // Under the lock, so that a shutdown at this moment also removes what is registered here.
        self.link.check("this coordinator")?;
        registrations.put(instance, self.owner)?;
        drop(registrations);
        self.server.reaper.wake(&self.server);
        Ok(())
    }

    async fn confirm(&self, instance: &Instance) -> Result<Standing> {
        Self::confirm(self, instance, false)
    }

    async fn replace(&self, instance: &Instance) -> Result<Standing> {
        Self::confirm(self, instance, true).map_err(at("update"))
    }

    async fn remove(&self, instance: &Instance) -> Result<()> {
        self.link.reach().map_err(at("deregister"))?;
        locked(&self.server.registrations).remove(&instance.service, &instance.id, Some(self.owner.token));
        Ok(())
    }

    async fn gone(&self) {
        // Nobody tells the owner of a registration, each confirmation looks; the last one finds the client closed.
        self.link.closed().cancelled().await;
    }
}

/// Ends registrations on time even when nobody asks, so that watches hear of it.
///
/// One task per server, started with the first registration and again if its runtime went away.
#[derive(Debug, Default)]
pub(super) struct Reaper {
    task: Mutex<Option<JoinHandle<()>>>,
    changed: Arc<Notify>,
}

impl Reaper {
    /// Lets the task look again at when the next registration ends. Needs a runtime.
    fn wake(&self, server: &Arc<Server>) {
        let mut task = locked(&self.task);
        if task.as_ref().is_none_or(JoinHandle::is_finished) {
            *task = Some(tokio::spawn(reap(
                Arc::downgrade(server),
                Arc::clone(&self.changed),
            )));
        }
        self.changed.notify_one();
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        if let Some(task) = locked(&self.task).take() {
            task.abort();
        }
    }
}

async fn reap(server: Weak<Server>, changed: Arc<Notify>) {
    loop {
        let next = match server.upgrade() {
            Some(server) => locked(&server.registrations).expire(),
            None => return,
        };
        match next {
            Some(at) => tokio::select! {
                () = changed.notified() => {}
                () = tokio::time::sleep_until(at) => {}
            },
            None => changed.notified().await,
        }
    }
}
