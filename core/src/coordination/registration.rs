//! Registrations: kept alive, made again after whatever ended them, until they are given up.
//!
//! A backend implements [`Registrar`] and registers through [`Registrations`], or implements [`RegistrationKeeper`] itself. This
//! module may touch tokio's clock and tasks, nothing else.

use std::fmt;
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::{Instance, InstanceState};
use crate::error::{Error, ErrorKind, Result};
use crate::lease::jittered;

/// How many instances are removed at once at the end of a client: servers refuse thousands.
const AT_ONCE: usize = 64;

/// The pause before a confirmation that failed is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// What a backend does for one registration that it keeps alive.
#[async_trait]
pub trait RegistrationKeeper: fmt::Debug + Send + Sync + 'static {
    /// Replaces what is registered, now and at every later re-registration.
    async fn update(&self, instance: Instance) -> Result<()>;

    /// Stops renewing and removes the instance if it is still ours.
    async fn deregister(&self) -> Result<()>;

    /// Stops renewing without blocking; removes the instance in the background, best effort.
    fn abandon(&self);
}

/// A registration that is kept alive. Dropping it deregisters in the background, best effort.
#[derive(Debug)]
pub struct Registration {
    instance: Instance,
    keeper: Option<Arc<dyn RegistrationKeeper>>,
}

impl Registration {
    /// Puts a registration together, for backends.
    #[must_use]
    pub fn new(instance: Instance, keeper: Arc<dyn RegistrationKeeper>) -> Self {
        Self {
            instance,
            keeper: Some(keeper),
        }
    }

    /// What is registered.
    #[must_use]
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Changes the state, so that callers see that this instance drains before it goes.
    ///
    /// # Errors
    /// The backend's; the old state stays registered.
    ///
    /// # Cancellation
    /// The old state or the new one is registered; set it again.
    pub async fn set_state(&mut self, state: InstanceState) -> Result<()> {
        let mut instance = self.instance.clone();
        instance.state = state;
        if let Some(keeper) = &self.keeper {
            keeper.update(instance.clone()).await?;
        }
        self.instance = instance;
        Ok(())
    }

    /// Removes the instance from the registry now.
    ///
    /// # Errors
    /// The backend's; the instance then goes when its time to live has passed.
    ///
    /// # Cancellation
    /// Dropping the future, at whatever point, removes the instance in the background, as dropping the registration does.
    pub async fn deregister(mut self) -> Result<()> {
        let Some(keeper) = self.keeper.clone() else {
            return Ok(());
        };
        let answer = keeper.deregister().await;
        // Until there is an answer, `drop` abandons the instance.
        self.keeper = None;
        answer
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper.take() {
            keeper.abandon();
        }
    }
}

/// What a backend does for one instance, in the name of one registration.
#[async_trait]
pub trait Registrar: fmt::Debug + Send + Sync + 'static {
    /// Registers the instance, in the place of whatever has its id. When this is given up, [`remove`](Self::remove) follows.
    async fn register(&self, instance: &Instance) -> Result<()>;

    /// Extends the registration to its full time to live from now; makes it again if it is gone.
    async fn confirm(&self, instance: &Instance) -> Result<Standing>;

    /// Writes this in the place of what we registered, or where nothing is registered.
    async fn replace(&self, instance: &Instance) -> Result<Standing>;

    /// Removes the instance if it is still ours; that it is gone already is no error.
    async fn remove(&self, instance: &Instance) -> Result<()>;

    /// Completes when the registration is known to be gone, so that it is made again at once; never where nobody can know.
    async fn gone(&self);
}

/// Whose registration stands under an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The one that asked.
    Ours,
    /// Another one, made later: the one that asked has ended.
    Replaced,
}

/// The registrations of one client of a server: each is confirmed every third of its time to live, until it is deregistered,
/// dropped, replaced by another one of the same id, or the client ends. Clones are one.
#[derive(Debug, Clone, Default)]
pub struct Registrations {
    all: Arc<StdMutex<Vec<Weak<Kept>>>>,
}

impl Registrations {
    /// Registers an instance, and keeps it registered. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// Those of [`Registrar::register`].
    ///
    /// # Cancellation
    /// An instance that was registered meanwhile is removed in the background.
    pub async fn register(
        &self,
        instance: Instance,
        ttl: Duration,
        registrar: Arc<dyn Registrar>,
    ) -> Result<Registration> {
        let kept = Arc::new(Kept {
            registrar,
            ttl,
            state: Mutex::new(State::Registered(instance.clone())),
            stop: CancellationToken::new(),
        });
        self.note(&kept);
        // Whoever gives up while it is being registered drops it.
        let registration = Registration::new(
            instance,
            Arc::new(Keeper {
                kept: Arc::clone(&kept),
            }),
        );
        kept.registrar.register(registration.instance()).await?;
        tokio::spawn(kept.keep());
        Ok(registration)
    }

    /// Removes every instance that is still registered, for the end of the client.
    ///
    /// # Errors
    /// The first of [`Registrar::remove`]; that instance goes when its time to live has passed.
    pub async fn end(&self) -> Result<()> {
        let kept: Vec<_> = self
            .locked()
            .drain(..)
            .filter_map(|weak| weak.upgrade())
            .collect();
        let mut removals = stream::iter(kept)
            .map(|kept| async move { kept.remove(State::Closed).await })
            .buffer_unordered(AT_ONCE);
        let mut answer = Ok(());
        while let Some(removed) = removals.next().await {
            answer = answer.and(removed);
        }
        answer
    }

    fn note(&self, kept: &Arc<Kept>) {
        let mut all = self.locked();
        if all.len() == all.capacity() {
            all.retain(|weak| weak.strong_count() > 0);
        }
        all.push(Arc::downgrade(kept));
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Weak<Kept>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps one instance registered.
#[derive(Debug)]
struct Kept {
    registrar: Arc<dyn Registrar>,
    ttl: Duration,
    /// Locked while the server is asked, so that a confirmation never makes again what was just removed.
    state: Mutex<State>,
    stop: CancellationToken,
}

/// What became of a registration.
#[derive(Debug)]
enum State {
    /// This is registered.
    Registered(Instance),
    /// It was removed here, or replaced by another one.
    Over,
    /// Its client was shut down.
    Closed,
}

impl Kept {
    async fn keep(self: Arc<Self>) {
        let mut pause = self.ttl / 3;
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.registrar.gone() => {}
                () = tokio::time::sleep(jittered(pause)) => {}
            }
            // Not given up half-way: a removal must come after whatever this sends.
            match self.confirm().await {
                Ok(Standing::Ours) => pause = self.ttl / 3,
                Ok(Standing::Replaced) => return,
                Err(error) if error.kind() == ErrorKind::Closed => return,
                Err(error) => {
                    tracing::warn!(%error, "a registration could not be renewed; trying again");
                    pause = PAUSE.min(self.ttl / 6);
                    // What is known to be gone stays known: without this the server would be asked in a tight loop.
                    tokio::select! {
                        () = self.stop.cancelled() => return,
                        () = tokio::time::sleep(jittered(pause)) => {}
                    }
                }
            }
        }
    }

    async fn confirm(&self) -> Result<Standing> {
        let mut state = self.state.lock().await;
        let State::Registered(instance) = &*state else {
            return Ok(Standing::Replaced);
        };
        let standing = self.registrar.confirm(instance).await?;
        if standing == Standing::Replaced {
            tracing::warn!(
                service = instance.service,
                id = instance.id,
                "a registration was replaced by another one of the same id, and is not renewed any more"
            );
            *state = State::Over;
        }
        Ok(standing)
    }

    async fn update(&self, instance: Instance) -> Result<()> {
        let mut state = self.state.lock().await;
        let standing = match &*state {
            State::Registered(old) if (&old.service, &old.id) != (&instance.service, &instance.id) => {
                return Err(Error::invalid_argument(
                    "an update cannot move a registration to another service or id; register that one",
                ));
            }
            State::Registered(_) => self.registrar.replace(&instance).await?,
            State::Over => Standing::Replaced,
            State::Closed => return Err(Error::closed("the client of this registration")),
        };
        if standing == Standing::Ours {
            *state = State::Registered(instance);
            return Ok(());
        }
        *state = State::Over;
        Err(Error::new(
            ErrorKind::LeaseLost,
            format!(
                "instance {:?} of {:?} was registered by another, or removed; this registration cannot change it",
                instance.id, instance.service
            ),
        ))
    }

    /// Removes the instance if it is registered; then it is registered no more, and `after` holds.
    async fn remove(&self, after: State) -> Result<()> {
        self.stop.cancel();
        let mut state = self.state.lock().await;
        if let State::Registered(instance) = &*state {
            self.registrar.remove(instance).await?;
        }
        if !matches!(*state, State::Closed) {
            *state = after;
        }
        Ok(())
    }
}

/// The keeper of a registration, which outlives it by no more than its last request.
#[derive(Debug)]
struct Keeper {
    kept: Arc<Kept>,
}

#[async_trait]
impl RegistrationKeeper for Keeper {
    async fn update(&self, instance: Instance) -> Result<()> {
        self.kept.update(instance).await
    }

    async fn deregister(&self) -> Result<()> {
        self.kept.remove(State::Over).await
    }

    fn abandon(&self) {
        self.kept.stop.cancel();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let kept = Arc::clone(&self.kept);
            runtime.spawn(async move {
                if let Err(error) = kept.remove(State::Over).await {
                    tracing::debug!(%error, "a dropped registration was not removed; it ends by its time to live");
                }
            });
        }
    }
}

#[cfg(test)]
mod tests;
