//! Registrations that are kept, ended or changed in a wrong way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use infra_core::coordination::{Instance, Registration, RegistrationKeeper, Registry, RegistryExt};
use infra_core::watch::{Watch, WatchEvent};
use infra_core::{Backend, Error, ErrorKind, Result, async_trait};
use infra_memory::MemoryCoordinator;

use super::{Client, Common, Defect};
use crate::support::locked;

/// Keeps a registration that keeps the contract, and does one thing wrong with it.
#[derive(Debug)]
pub(super) struct Keeper {
    client: MemoryCoordinator,
    common: Arc<Common>,
    defect: Defect,
    instance: Instance,
    ttl: Duration,
    /// Gone once it was deregistered or dropped.
    inner: Mutex<Option<Registration>>,
    leaving: AtomicBool,
}

impl Keeper {
    pub(super) async fn new(client: &Client, inner: Registration, ttl: Duration) -> Result<Arc<Self>> {
        let keeper = Arc::new(Self {
            client: client.inner.clone(),
            common: Arc::clone(&client.common),
            defect: client.defect,
            instance: inner.instance().clone(),
            ttl,
            inner: Mutex::new(Some(inner)),
            leaving: AtomicBool::new(false),
        });
        match client.defect {
            Defect::EndsInTheThirdLease => {
                drop(tokio::spawn(end_in_the_third_lease(Arc::downgrade(&keeper), ttl)))
            }
            Defect::GivesUpAtOnce => drop(tokio::spawn(end_when_cut(Arc::downgrade(&keeper), ttl / 10))),
            Defect::KeepsTheDead | Defect::GivesUpItsSession | Defect::GivesUpInAnOutage => {
                let service = &keeper.instance.service;
                let (_, events) = keeper.common.spare.discover_and_watch(service).await?;
                drop(tokio::spawn(watch_over(Arc::clone(&keeper), events)));
            }
            _ => {}
        }
        Ok(keeper)
    }

    fn is(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    /// Removes the instance behind the back of its registration, which makes itself again with its next renewal.
    fn expire(&self) {
        let (service, id) = (&self.instance.service, &self.instance.id);
        self.common.spare.faults().expire_instance(service, id);
    }

    fn leave(&self) -> Option<Registration> {
        self.leaving.store(true, Ordering::SeqCst);
        let place = (self.instance.service.clone(), self.instance.id.clone());
        locked(&self.common.left).insert(place);
        locked(&self.inner).take()
    }

    /// Registers the instance by a client that lives.
    async fn register_again(&self, instance: Instance) -> Result<()> {
        let kept = self.common.spare.register(instance, self.ttl).await?;
        locked(&self.common.kept).push(kept);
        Ok(())
    }

    async fn remove_similar(&self) {
        let (service, own) = (&self.instance.service, &self.instance.id);
        for other in self.common.present(service).await.instances {
            if other.id.starts_with(own.as_str()) && other.id != *own {
                self.common.spare.faults().expire_instance(service, &other.id);
            }
        }
    }
}

/// Ends the registration, and once more whenever a renewal has made it again, for a fifth of a lease.
async fn end_in_the_third_lease(keeper: Weak<Keeper>, ttl: Duration) {
    tokio::time::sleep(ttl * 12 / 5).await;
    for _ in 0..20 {
        let Some(keeper) = keeper.upgrade() else { return };
        keeper.expire();
        tokio::time::sleep(ttl / 100).await;
    }
}

async fn end_when_cut(keeper: Weak<Keeper>, look: Duration) {
    loop {
        tokio::time::sleep(look).await;
        let Some(keeper) = keeper.upgrade() else { return };
        if keeper.client.health().await.is_err() {
            return keeper.expire();
        }
    }
}

/// Does the wrong thing when the instance ends without having left.
async fn watch_over(keeper: Arc<Keeper>, mut events: Watch<Instance>) {
    while let Some(event) = events.next().await {
        let ended = matches!(event, WatchEvent::Delete(id) if id == keeper.instance.id);
        if keeper.leaving.load(Ordering::SeqCst) {
            return;
        }
        let cut = keeper.client.health().await.is_err();
        match keeper.defect {
            Defect::GivesUpItsSession if ended && !cut => drop(locked(&keeper.inner).take()),
            Defect::GivesUpInAnOutage if ended && cut => drop(locked(&keeper.inner).take()),
            Defect::KeepsTheDead if ended && cut => {
                // While the server is away it makes nothing again.
                keeper.register_again(keeper.instance.clone()).await.ok();
            }
            _ => {}
        }
    }
}

#[async_trait]
impl RegistrationKeeper for Keeper {
    async fn update(&self, instance: Instance) -> Result<()> {
        let Some(mut inner) = locked(&self.inner).take() else {
            return Err(Error::new(ErrorKind::LeaseLost, "the registration is over"));
        };
        let changed = inner.set_state(instance.state).await;
        locked(&self.inner).replace(inner);
        match changed {
            Err(error) if error.kind() == ErrorKind::LeaseLost && self.is(Defect::ChangesForeign) => {
                self.register_again(instance).await
            }
            changed => changed,
        }
    }

    async fn deregister(&self) -> Result<()> {
        let Some(inner) = self.leave() else {
            return Ok(());
        };
        match self.defect {
            Defect::LeavesItToTheLease => {
                let ttl = self.ttl;
                tokio::spawn(async move {
                    tokio::time::sleep(ttl).await;
                    inner.deregister().await
                });
                return Ok(());
            }
            Defect::ForgetsOnCancellation => {
                locked(&self.common.kept).push(inner);
                tokio::task::yield_now().await;
                let kept = locked(&self.common.kept).pop();
                return match kept {
                    Some(inner) => inner.deregister().await,
                    None => Ok(()),
                };
            }
            Defect::RemovesByPrefix => self.remove_similar().await,
            _ => {}
        }
        inner.deregister().await?;
        if self.is(Defect::RemovesForeign) {
            self.expire();
        }
        Ok(())
    }

    fn abandon(&self) {
        let given_up = self.leaving.load(Ordering::SeqCst);
        let inner = self.leave();
        if self.is(Defect::KeepsTheDropped) && !given_up {
            locked(&self.common.kept).extend(inner);
        }
    }
}
