//! The service registry: registrations that make themselves again, and the task that ends those that are not kept alive.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use infra_core::coordination::{
    Instance, Registration, RegistrationKeeper, Registry, ServiceSnapshot, WatchScope,
};
use infra_core::watch::Watch;
use infra_core::{Error, ErrorKind, Result, async_trait};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::registrations::{Beat, Owner, size};
use super::{MemoryCoordinator, Server, locked};
use crate::link::Link;

/// For how many services a client remembers the last list it saw.
const REMEMBERED_SERVICES: usize = 1024;

fn at(operation: &'static str) -> impl Fn(Error) -> Error {
    move |error| error.at("registry", crate::BACKEND, operation)
}

#[async_trait]
impl Registry for MemoryCoordinator {
    async fn register(&self, instance: Instance, ttl: Duration) -> Result<Registration> {
        let register = || {
            instance.validate()?;
            self.limits().check_key("service name", &instance.service)?;
            self.limits().check_key("instance id", &instance.id)?;
            self.limits().check_value("instance", size(&instance))?;
            self.limits().check_ttl(ttl)?;
            let mut registrations = locked(&self.client.server.registrations);
            // Under the lock, so that a shutdown at this moment also removes what is registered here.
            self.reach()?;
            let owner = Owner {
                token: registrations.new_token(),
                client: self.client.id,
                ttl,
            };
            registrations.put(&instance, owner)?;
            Ok(owner)
        };
        let owner = register().map_err(at("register"))?;
        self.client.server.reaper.wake(&self.client.server);
        let keeper = Arc::new(Keeper {
            server: Arc::clone(&self.client.server),
            link: Arc::clone(&self.client.link),
            owner,
            instance: Mutex::new(instance.clone()),
            stop: CancellationToken::new(),
        });
        tokio::spawn(keep_registered(Arc::clone(&keeper)));
        Ok(Registration::new(instance, keeper))
    }

    async fn discover(&self, service: &str) -> Result<ServiceSnapshot> {
        self.limits()
            .check_key("service name", service)
            .map_err(at("discover"))?;
        let remembered = &self.client.last_seen;
        if let Err(error) = self.reach() {
            let last = locked(remembered).get(service).cloned();
            return match last {
                Some(last) if error.kind() == ErrorKind::Unavailable => {
                    tracing::warn!(%error, service, "serving the last list of instances that was seen");
                    Ok(last)
                }
                _ => Err(at("discover")(error)),
            };
        }
        let snapshot = locked(&self.client.server.registrations).snapshot(service);
        let mut remembered = locked(remembered);
        if remembered.len() < REMEMBERED_SERVICES || remembered.contains_key(service) {
            remembered.insert(service.to_owned(), snapshot.clone());
        }
        Ok(snapshot)
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

/// Keeps one registration alive.
#[derive(Debug)]
struct Keeper {
    server: Arc<Server>,
    link: Arc<Link>,
    owner: Owner,
    instance: Mutex<Instance>,
    stop: CancellationToken,
}

impl Keeper {
    fn remove(&self) {
        let instance = locked(&self.instance).clone();
        locked(&self.server.registrations).remove(&instance.service, &instance.id, Some(self.owner.token));
    }

    /// Extends the registration, or makes it again; `false` when it belongs to another now.
    fn beat(&self) -> Result<bool> {
        self.link.reach()?;
        let instance = locked(&self.instance).clone();
        let mut registrations = locked(&self.server.registrations);
        // Looked at under the lock, so that an abandoned registration is not made again.
        if self.stop.is_cancelled() || self.link.closed().is_cancelled() {
            return Ok(false);
        }
        match registrations.beat(&instance.service, &instance.id, self.owner.token) {
            Beat::Kept => Ok(true),
            Beat::Replaced => Ok(false),
            Beat::Gone => {
                tracing::warn!(
                    service = instance.service,
                    id = instance.id,
                    "a registration had expired and is made again"
                );
                registrations.put(&instance, self.owner)?;
                drop(registrations);
                self.server.reaper.wake(&self.server);
                Ok(true)
            }
        }
    }
}

#[async_trait]
impl RegistrationKeeper for Keeper {
    async fn update(&self, instance: Instance) -> Result<()> {
        let update = || {
            self.link.check("this coordinator")?;
            let mut registered = locked(&self.instance);
            if (&registered.service, &registered.id) != (&instance.service, &instance.id) {
                return Err(Error::invalid_argument(
                    "an update cannot move a registration to another service or id; register that one",
                ));
            }
            let mut registrations = locked(&self.server.registrations);
            if registrations.beat(&instance.service, &instance.id, self.owner.token) == Beat::Replaced {
                return Err(Error::new(
                    ErrorKind::LeaseLost,
                    format!(
                        "instance {:?} of {:?} was registered by another; this registration cannot change it",
                        instance.id, instance.service
                    ),
                ));
            }
            registrations.put(&instance, self.owner)?;
            *registered = instance;
            Ok(())
        };
        update().map_err(at("update"))
    }

    async fn deregister(&self) -> Result<()> {
        self.stop.cancel();
        self.link.reach().map_err(at("deregister"))?;
        self.remove();
        Ok(())
    }

    fn abandon(&self) {
        self.stop.cancel();
        if self.link.reach().is_ok() {
            self.remove();
        }
    }
}

async fn keep_registered(keeper: Arc<Keeper>) {
    let every = keeper.owner.ttl / 3;
    loop {
        tokio::select! {
            () = keeper.stop.cancelled() => return,
            () = keeper.link.closed().cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
        match keeper.beat() {
            Ok(true) => {}
            Ok(false) => {
                tracing::debug!("a registration ended: its id was registered by another, or it was given up");
                return;
            }
            Err(error) => tracing::warn!(%error, "a registration could not be renewed; trying again"),
        }
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
