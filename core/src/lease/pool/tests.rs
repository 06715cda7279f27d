//! Leases that are shared: granted once, lost together, given back when idle.

use std::sync::atomic::AtomicUsize;

use super::*;
use crate::error::ErrorKind;

/// A server that counts, and forgets or refuses on command.
#[derive(Debug, Default)]
struct Server {
    granted: AtomicUsize,
    renewed: AtomicUsize,
    revoked: AtomicUsize,
    failing: StdMutex<Option<ErrorKind>>,
}

#[derive(Debug, Clone, Default)]
struct Grantor(Arc<Server>);

impl Grantor {
    fn fail(&self, kind: impl Into<Option<ErrorKind>>) {
        *self.0.failing.lock().expect("not poisoned") = kind.into();
    }

    fn answer(&self) -> Result<()> {
        match *self.0.failing.lock().expect("not poisoned") {
            Some(kind) => Err(Error::new(kind, "scripted")),
            None => Ok(()),
        }
    }

    fn counts(&self) -> (usize, usize) {
        (
            self.0.granted.load(Ordering::SeqCst),
            self.0.revoked.load(Ordering::SeqCst),
        )
    }
}

#[async_trait]
impl LeaseGrantor for Grantor {
    type Id = usize;

    async fn grant(&self, _: Duration) -> Result<usize> {
        tokio::task::yield_now().await;
        self.answer()?;
        Ok(self.0.granted.fetch_add(1, Ordering::SeqCst))
    }

    async fn renew(&self, _: &usize) -> Result<()> {
        self.0.renewed.fetch_add(1, Ordering::SeqCst);
        self.answer()
    }

    async fn revoke(&self, _: &usize) -> Result<()> {
        self.0.revoked.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// What stands on a lease: still ours until told otherwise.
#[derive(Debug, Default)]
struct Key {
    taken: AtomicBool,
}

#[async_trait]
impl LeaseKeeper for Key {
    async fn renew(&self) -> Result<()> {
        if self.taken.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::LeaseLost, "somebody took it"));
        }
        Ok(())
    }

    async fn release(&self) -> Result<()> {
        Ok(())
    }
}

const TTL: Duration = Duration::from_secs(9);

fn pool() -> (Grantor, LeasePool<Grantor>) {
    let grantor = Grantor::default();
    (grantor.clone(), LeasePool::new(grantor))
}

#[tokio::test(start_paused = true)]
async fn a_hundred_holders_at_once_share_one_lease_that_is_renewed_once() {
    let (grantor, pool) = pool();
    let leases = futures_util::future::try_join_all((0..100).map(|_| pool.lease(TTL))).await;
    let leases = leases.expect("granted");
    assert_eq!(grantor.counts(), (1, 0));
    tokio::time::sleep(Duration::from_secs(90)).await;
    let renewed = grantor.0.renewed.load(Ordering::SeqCst);
    assert!((29..=39).contains(&renewed), "{renewed} renewals in 90 s");
    assert!(leases.iter().all(|lease| !lease.is_lost()));
    let other = pool.lease(TTL * 2).await.expect("granted");
    assert_eq!(*other.id(), 1, "another time to live is another lease");
}

#[tokio::test(start_paused = true)]
async fn an_idle_lease_is_given_back_and_a_used_one_is_not() {
    let (grantor, pool) = pool();
    let held = pool.lease(TTL).await.expect("granted");
    tokio::time::sleep(TTL * 5).await;
    assert_eq!(grantor.counts(), (1, 0));
    drop(held);
    drop(pool.lease(TTL).await.expect("the same"));
    assert_eq!(grantor.counts(), (1, 0));
    tokio::time::sleep(TTL * 3).await;
    assert_eq!(grantor.counts(), (1, 1));
    pool.lease(TTL).await.expect("a new one");
    assert_eq!(grantor.counts(), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn all_holders_learn_of_the_loss_in_time_and_the_next_one_gets_a_new_lease() {
    let (grantor, pool) = pool();
    let shared = pool.lease(TTL).await.expect("granted");
    let parts: Vec<Lease> = (0..3)
        .map(|_| Lease::share(&shared, Arc::new(Key::default())))
        .collect();
    grantor.fail(ErrorKind::Unavailable);
    let begun = Instant::now();
    for part in &parts {
        part.lost().await;
    }
    assert_eq!(begun.elapsed(), TTL);
    assert!(parts.iter().all(Lease::is_lost) && shared.is_lost());
    assert!(pool.lease(TTL).await.is_err());
    grantor.fail(None);
    assert_eq!(*pool.lease(TTL).await.expect("a new one").id(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_stands_on_a_lease_is_lost_alone() {
    let (_, pool) = pool();
    let shared = pool.lease(TTL).await.expect("granted");
    let key = Arc::new(Key::default());
    let ours = Lease::share(&shared, Arc::clone(&key) as Arc<dyn LeaseKeeper>);
    let other = Lease::share(&shared, Arc::new(Key::default()));
    key.taken.store(true, Ordering::SeqCst);
    let begun = Instant::now();
    ours.lost().await;
    assert!(begun.elapsed() <= TTL / 3);
    assert!(ours.is_lost() && !other.is_lost() && !shared.is_lost());
}

/// A suspended process: time passes, and nothing of it ran.
#[tokio::test(start_paused = true)]
async fn the_end_of_a_shared_lease_is_known_before_any_task_has_run() {
    let (grantor, pool) = pool();
    let shared = pool.lease(TTL).await.expect("granted");
    let part = Lease::share(&shared, Arc::new(Key::default()));
    grantor.fail(ErrorKind::Unavailable);
    tokio::time::advance(TTL).await;
    assert!(part.is_lost() && part.check().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_lease_whose_renewals_fail_is_not_given_to_another_holder() {
    let (grantor, pool) = pool();
    let first = pool.lease(TTL).await.expect("granted");
    grantor.fail(ErrorKind::Unavailable);
    tokio::time::sleep(TTL * 3 / 4).await;
    assert!(!first.is_lost());
    assert_eq!(
        pool.lease(TTL).await.expect_err("no new one").kind(),
        ErrorKind::Unavailable
    );
    grantor.fail(None);
    assert_eq!(*pool.lease(TTL).await.expect("a new one").id(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_pool_ends_every_lease_and_gives_no_more() {
    let (grantor, pool) = pool();
    let shared = pool.lease(TTL).await.expect("granted");
    let part = Lease::share(&shared, Arc::new(Key::default()));
    pool.lease(TTL * 2).await.expect("granted");
    pool.end().await.expect("given back");
    assert_eq!(grantor.counts(), (2, 2));
    assert!(part.is_lost());
    assert_eq!(
        pool.lease(TTL).await.expect_err("closed").kind(),
        ErrorKind::Closed
    );
    drop((shared, part));
    tokio::time::sleep(TTL).await;
    assert_eq!(grantor.counts(), (2, 2), "given back once");
}
