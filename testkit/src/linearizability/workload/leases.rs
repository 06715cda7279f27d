//! Calls on locks and instance ids: what is leased, held for a while, and given back.

use infra_core::ErrorKind;
use infra_core::coordination::{InstanceId, InstanceIds, LockOptions, Locks};

use super::{NUMBERS, Worker, fail};
use crate::linearizability::history::Call;
use crate::linearizability::lock::{LockAnswer, LockOperation};
use crate::linearizability::number::{NumberAnswer, NumberOperation};

impl Worker<dyn Locks, LockOperation, LockAnswer> {
    pub(super) async fn lock_call(&mut self) {
        let (key, holder, client) = (self.key(), self.fresh(), self.number);
        // What is lost was lost at some time after this, whenever its holder hears of it.
        let lapse = self
            .recorder
            .begin(client, key.clone(), LockOperation::Release(holder));
        let call = self
            .recorder
            .begin(client, key.clone(), LockOperation::Acquire(holder));
        let acquired = if self.random.bool() {
            self.client.try_acquire(&key, self.options.ttl).await
        } else {
            let options = LockOptions::new(self.options.ttl).with_wait(self.options.wait);
            self.client.acquire(&key, options).await.map(Some)
        };
        let guard = match acquired {
            Ok(Some(guard)) => guard,
            Ok(None) => {
                call.answered(LockAnswer::Taken);
                return lapse.without_effect();
            }
            Err(error) => {
                fail(call, &error);
                return lapse.without_effect();
            }
        };
        call.answered(LockAnswer::Granted(guard.fencing_token().0));
        self.linger().await;
        let release = self.recorder.begin(client, key, LockOperation::Release(holder));
        if self.random.u8(..8) == 0 {
            drop(guard); // released in the background, at some time
            release.unknown();
            lapse.without_effect();
        } else if guard.release().await.is_ok() {
            release.answered(LockAnswer::Released);
            lapse.without_effect();
        } else {
            release.without_effect();
            lapse.unknown();
        }
    }
}

/// A number that a worker holds, and the call that stands for its loss.
pub(super) struct HeldNumber {
    id: InstanceId,
    key: String,
    holder: u64,
    lapse: Call<NumberOperation, NumberAnswer>,
}

impl Worker<dyn InstanceIds, NumberOperation, NumberAnswer> {
    pub(super) async fn lease_number(&mut self) -> Option<HeldNumber> {
        let (key, holder, client) = (self.key(), self.fresh(), self.number);
        // What is lost was lost at some time after this, whenever its holder hears of it.
        let lapse = self
            .recorder
            .begin(client, key.clone(), NumberOperation::Release(holder));
        let call = self
            .recorder
            .begin(client, key.clone(), NumberOperation::Acquire(holder));
        match self.client.acquire_instance_id(&key, 0..=NUMBERS - 1).await {
            Ok(id) => {
                call.answered(NumberAnswer::Leased(id.id()));
                return Some(HeldNumber {
                    id,
                    key,
                    holder,
                    lapse,
                });
            }
            Err(error) if error.kind() == ErrorKind::ResourceExhausted => {
                call.answered(NumberAnswer::Exhausted)
            }
            Err(error) => fail(call, &error),
        }
        lapse.without_effect();
        None
    }

    pub(super) async fn release_number(&mut self, held: HeldNumber) {
        let HeldNumber {
            id,
            key,
            holder,
            lapse,
        } = held;
        let release = self
            .recorder
            .begin(self.number, key, NumberOperation::Release(holder));
        if id.release().await.is_ok() {
            release.answered(NumberAnswer::Released);
            lapse.without_effect();
        } else {
            release.without_effect();
            lapse.unknown();
        }
    }
}
