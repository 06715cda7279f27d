//! Handles whose last operation is given up half-way: what they stand for must not go on without an owner.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::poll;
use infra_core::coordination::{Instance, Registration, RegistrationKeeper};
use infra_core::queue::{SubscriptionHandle, SubscriptionKeeper};
use infra_core::{Result, async_trait};

/// Answers late, and counts how often it was abandoned.
#[derive(Debug, Default)]
struct Slow {
    abandoned: AtomicUsize,
}

impl Slow {
    async fn answer(&self) -> Result<()> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(())
    }

    fn abandoned(&self) -> usize {
        self.abandoned.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl SubscriptionKeeper for Slow {
    async fn drain(&self, _: Duration) -> Result<()> {
        self.answer().await
    }

    fn abandon(&self) {
        self.abandoned.fetch_add(1, Ordering::SeqCst);
    }

    fn set_max_in_flight(&self, _: std::num::NonZeroU32) {}

    fn in_flight(&self) -> usize {
        0
    }
}

#[async_trait]
impl RegistrationKeeper for Slow {
    async fn update(&self, _: Instance) -> Result<()> {
        self.answer().await
    }

    async fn deregister(&self) -> Result<()> {
        self.answer().await
    }

    fn abandon(&self) {
        self.abandoned.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_is_given_up_ends_the_subscription() {
    for polls in 0..2 {
        let keeper = Arc::new(Slow::default());
        let mut drain = Box::pin(SubscriptionHandle::new(keeper.clone()).drain(Duration::from_secs(60)));
        for _ in 0..polls {
            assert!(poll!(&mut drain).is_pending());
        }
        drop(drain);
        assert_eq!(keeper.abandoned(), 1, "after {polls} polls");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deregistration_that_is_given_up_ends_the_registration() {
    for polls in 0..2 {
        let keeper = Arc::new(Slow::default());
        let instance = Instance::new("users", "1", "localhost", 1);
        let mut deregistering = Box::pin(Registration::new(instance, keeper.clone()).deregister());
        for _ in 0..polls {
            assert!(poll!(&mut deregistering).is_pending());
        }
        drop(deregistering);
        assert_eq!(keeper.abandoned(), 1, "after {polls} polls");
    }
}

#[tokio::test(start_paused = true)]
async fn a_registration_that_was_removed_is_not_removed_again() {
    let keeper = Arc::new(Slow::default());
    let instance = Instance::new("users", "1", "localhost", 1);
    Registration::new(instance, keeper.clone())
        .deregister()
        .await
        .expect("removed");
    assert_eq!(keeper.abandoned(), 0);
}
