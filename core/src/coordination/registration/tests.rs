//! Registrations that are kept: confirmed, made again, replaced, given up.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::*;

/// A server with one place for an instance.
#[derive(Debug, Default)]
struct Place {
    registered: StdMutex<Option<Instance>>,
    owned_by_another: std::sync::atomic::AtomicBool,
    away: std::sync::atomic::AtomicBool,
    confirmations: AtomicUsize,
    wiped: Notify,
}

impl Place {
    fn reach(&self) -> Result<()> {
        if self.away.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Unavailable, "scripted"));
        }
        Ok(())
    }

    fn is_registered(&self) -> bool {
        self.registered.lock().expect("not poisoned").is_some()
    }

    fn put(&self, instance: Option<&Instance>) {
        *self.registered.lock().expect("not poisoned") = instance.cloned();
    }
}

#[async_trait]
impl Registrar for Place {
    async fn register(&self, instance: &Instance) -> Result<()> {
        self.reach()?;
        self.put(Some(instance));
        Ok(())
    }

    async fn confirm(&self, instance: &Instance) -> Result<Standing> {
        self.confirmations.fetch_add(1, Ordering::SeqCst);
        self.replace(instance).await
    }

    async fn replace(&self, instance: &Instance) -> Result<Standing> {
        self.reach()?;
        if self.owned_by_another.load(Ordering::SeqCst) {
            return Ok(Standing::Replaced);
        }
        self.put(Some(instance));
        Ok(Standing::Ours)
    }

    async fn remove(&self, _: &Instance) -> Result<()> {
        self.reach()?;
        if !self.owned_by_another.load(Ordering::SeqCst) {
            self.put(None);
        }
        Ok(())
    }

    async fn gone(&self) {
        self.wiped.notified().await;
    }
}

const TTL: Duration = Duration::from_secs(9);

async fn registered() -> (Arc<Place>, Registrations, Registration) {
    let (place, all) = (Arc::new(Place::default()), Registrations::default());
    let instance = Instance::new("users", "users-1", "127.0.0.1", 9000);
    let registrar = Arc::clone(&place) as Arc<dyn Registrar>;
    let registration = all.register(instance, TTL, registrar).await.expect("registered");
    (place, all, registration)
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_is_made_again_at_the_next_confirmation_or_at_once_when_that_is_known() {
    let (place, _all, _registration) = registered().await;
    place.put(None);
    tokio::time::sleep(TTL / 3 + Duration::from_millis(1)).await;
    assert!(place.is_registered());
    place.put(None);
    place.wiped.notify_one();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(place.is_registered());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_away_is_asked_again_with_pauses() {
    let (place, _all, _registration) = registered().await;
    place.away.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(30)).await;
    let asked = place.confirmations.load(Ordering::SeqCst);
    assert!((20..=80).contains(&asked), "asked {asked} times in 30 s");
    place.put(None);
    place.away.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(place.is_registered());
}

#[tokio::test(start_paused = true)]
async fn a_replaced_registration_asks_no_more_and_changes_and_removes_nothing() {
    let (place, _all, mut registration) = registered().await;
    place.owned_by_another.store(true, Ordering::SeqCst);
    tokio::time::sleep(TTL * 3).await;
    assert_eq!(place.confirmations.load(Ordering::SeqCst), 1);
    let refused = registration.set_state(InstanceState::Draining).await;
    assert_eq!(refused.expect_err("replaced").kind(), ErrorKind::LeaseLost);
    registration.deregister().await.expect("nothing to do");
    assert!(place.is_registered());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_registration_and_the_end_of_the_client_remove_the_instance() {
    let (place, _all, registration) = registered().await;
    drop(registration);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(!place.is_registered());

    let (place, all, mut registration) = registered().await;
    all.end().await.expect("removed");
    assert!(!place.is_registered());
    tokio::time::sleep(TTL * 3).await;
    assert!(!place.is_registered(), "it is not made again");
    let refused = registration.set_state(InstanceState::Draining).await;
    assert_eq!(refused.expect_err("shut down").kind(), ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_change_is_what_is_made_again() {
    let (place, _all, mut registration) = registered().await;
    registration
        .set_state(InstanceState::Draining)
        .await
        .expect("ours");
    place.put(None);
    tokio::time::sleep(TTL / 3 + Duration::from_millis(1)).await;
    let made = place.registered.lock().expect("not poisoned").clone();
    assert_eq!(made.expect("made again").state, InstanceState::Draining);
}
