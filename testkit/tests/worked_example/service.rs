//! A service as a team writes it: orders are paid at a bank. Nothing of the test kit is in it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use infra_core::config::{HotReload, Problems, Validate};
use infra_core::coordination::{FencingToken, LockOptions, Locks, LocksExt as _};
use infra_core::once::{Once, OnceExt as _, OnceOptions};
use infra_core::queue::{Delivery, Disposition};
use infra_core::{Error, ErrorKind, Result, async_trait, intercept};
use serde::Deserialize;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// What takes the money. The attribute lets a stack stand in front of it: retry, breaker, timeout; and, in tests, faults.
#[intercept(component = "payments")]
#[async_trait]
pub trait Payments: Send + Sync {
    /// Asking twice is asking once, so it may be repeated.
    #[call(idempotent)]
    async fn balance(&self, account: &str) -> Result<u64>;

    /// Not marked: repeated by itself only after a failure that certainly had no effect.
    async fn charge(&self, account: &str, order: &str, cents: u64) -> Result<u64>;
}

/// The other side: it takes the money for each order once, and answers with what is left.
#[derive(Debug)]
pub struct Bank {
    once: Arc<dyn Once>,
    taken: Mutex<Vec<String>>,
    left: Mutex<u64>,
}

impl Bank {
    pub fn new(once: Arc<dyn Once>, balance: u64) -> Self {
        Self {
            once,
            taken: Mutex::default(),
            left: Mutex::new(balance),
        }
    }

    /// The orders for which money was taken.
    pub fn taken(&self) -> Vec<String> {
        locked(&self.taken).clone()
    }
}

#[async_trait]
impl Payments for Bank {
    async fn balance(&self, _: &str) -> Result<u64> {
        Ok(*locked(&self.left))
    }

    async fn charge(&self, _: &str, order: &str, cents: u64) -> Result<u64> {
        let work = async {
            let mut left = locked(&self.left);
            *left = left
                .checked_sub(cents)
                .ok_or_else(|| Error::new(ErrorKind::Conflict, "the account holds less than that"))?;
            locked(&self.taken).push(order.to_owned());
            Ok(*left)
        };
        let done = self.once.execute(order, OnceOptions::new(DAY), work).await?;
        Ok(done.into_inner())
    }
}

/// What every payment costs; followed in the configuration centre while the service runs.
#[derive(Debug, Clone, Deserialize)]
pub struct Fee {
    pub cents: u64,
}

impl Validate for Fee {
    fn validate(&self, problems: &mut Problems) {
        problems.ensure(self.cents < 100, "cents", "must be less than a hundred");
    }
}

/// A table that refuses a writer who has lost the lock without noticing.
#[derive(Debug, Default)]
pub struct Reports(Mutex<BTreeMap<String, (FencingToken, u64)>>);

impl Reports {
    /// Writes a row, unless a later holder of the lock has written it.
    pub fn write(&self, day: &str, token: FencingToken, total: u64) -> Result<()> {
        let mut rows = locked(&self.0);
        if rows.get(day).is_some_and(|(latest, _)| *latest > token) {
            let problem = "somebody with a later fencing token has written this day";
            return Err(Error::new(ErrorKind::Conflict, problem));
        }
        rows.insert(day.to_owned(), (token, total));
        Ok(())
    }

    pub fn total(&self, day: &str) -> Option<u64> {
        locked(&self.0).get(day).map(|(_, total)| *total)
    }
}

/// The service.
pub struct Orders {
    pub payments: Arc<dyn Payments>,
    pub locks: Arc<dyn Locks>,
    pub reports: Arc<Reports>,
    pub fee: HotReload<Fee>,
}

impl Orders {
    pub async fn can_pay(&self, account: &str, cents: u64) -> Result<bool> {
        Ok(self.payments.balance(account).await? >= cents + self.fee.current().cents)
    }

    pub async fn pay(&self, account: &str, order: &str, cents: u64) -> Result<u64> {
        let cents = cents + self.fee.current().cents;
        match self.payments.charge(account, order, cents).await {
            // Nobody knows whether the money was taken. The bank takes it once for each order, so asking again is safe.
            Err(error) if error.kind() == ErrorKind::OutcomeUnknown => {
                self.payments.charge(account, order, cents).await
            }
            answer => answer,
        }
    }

    /// A message asks for an order to be paid; its key is the order.
    pub async fn handle(&self, delivery: &Delivery) -> Result<Disposition> {
        let order = delivery.message.key.as_deref().unwrap_or_default();
        self.pay("ann", &String::from_utf8_lossy(order), 10).await?;
        Ok(Disposition::Ack)
    }

    /// Writes the day's report, one instance of the service alone.
    pub async fn close_day(&self, day: &str) -> Result<()> {
        let options = LockOptions::new(Duration::from_secs(5));
        let work = |held: infra_core::coordination::HeldLock| async move {
            let total = self.payments.balance("ann").await?;
            self.reports.write(day, held.fencing_token(), total)
        };
        self.locks.with_lock(day, options, work).await
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
