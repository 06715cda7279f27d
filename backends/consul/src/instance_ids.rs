//! Instance ids: one key for each number that is taken, on a session that outlives its holder's belief in it by the quarantine.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use infra_core::coordination::{InstanceId, InstanceIds};
use infra_core::{Error, ErrorKind, Result, async_trait};

use crate::BACKEND;
use crate::client::Request;
use crate::coordinator::ConsulCoordinator;
use crate::held::{Held, Made};
use crate::keys::in_path;

#[async_trait]
impl InstanceIds for ConsulCoordinator {
    async fn acquire_instance_id(&self, service: &str, range: RangeInclusive<u16>) -> Result<InstanceId> {
        let acquire = async {
            self.client.check_open()?;
            self.limits().check_key("service name", service)?;
            if range.is_empty() {
                return Err(Error::invalid_argument(
                    "the range of instance ids is empty; give at least one number",
                ));
            }
            self.take_number(service, &range).await
        };
        acquire
            .await
            .map_err(|error| error.at("instance_ids", BACKEND, "acquire_instance_id"))
    }
}

impl ConsulCoordinator {
    async fn take_number(&self, service: &str, range: &RangeInclusive<u16>) -> Result<InstanceId> {
        let folder = self.client.keys().instance_ids(service);
        let config = self.client.config();
        let mut refused = BTreeSet::new();
        loop {
            let mut taken = self.taken(&folder).await?;
            taken.extend(&refused);
            let Some(number) = choose(range, &taken) else {
                return Err(Error::new(
                    ErrorKind::ResourceExhausted,
                    format!(
                        "all of the instance ids {} to {} of service {service:?} are taken or in quarantine; widen the range, or wait",
                        range.start(),
                        range.end()
                    ),
                )
                .without_effect());
            };
            let (ttl, rest) = (config.instance_id_ttl, Some(config.rest()));
            let key = format!("{folder}{number}");
            match Held::stand(&self.client, &self.id_sessions, ttl, &key, rest, None).await? {
                Made::Kept(kept) => {
                    self.ids.note(&kept.held);
                    return Ok(InstanceId::new(number, kept.lease));
                }
                Made::Taken => {
                    tracing::debug!(
                        service,
                        number,
                        "a number was taken meanwhile, or its session ended a moment ago; trying another one"
                    );
                    refused.insert(number);
                }
            }
        }
    }

    /// The numbers that are taken, or rest.
    async fn taken(&self, folder: &str) -> Result<BTreeSet<u16>> {
        let answer = self
            .client
            .send(&Request::get(format!("kv/{}?keys&consistent", in_path(folder))))
            .await?;
        if answer.status == 404 {
            return Ok(BTreeSet::new());
        }
        let keys: Vec<String> = answer.success()?.json("a list of keys")?;
        let numbers = keys
            .iter()
            .filter_map(|key| key.strip_prefix(folder)?.parse().ok());
        Ok(numbers.collect())
    }
}

/// The numbers that a client holds, to be given back at its shutdown, each with its rest. It keeps none of them.
#[derive(Debug, Default)]
pub(crate) struct HeldIds {
    all: Mutex<Vec<Weak<Held>>>,
}

impl HeldIds {
    fn note(&self, held: &Arc<Held>) {
        let mut all = self.locked();
        if all.len() == all.capacity() {
            all.retain(|held| held.strong_count() > 0);
        }
        all.push(Arc::downgrade(held));
    }

    /// Gives all of them back; one that cannot be ends by its time to live.
    pub(crate) async fn end(&self) {
        let held: Vec<Arc<Held>> = self
            .locked()
            .drain(..)
            .filter_map(|held| held.upgrade())
            .collect();
        for held in held {
            if let Err(error) = held.remove().await {
                tracing::debug!(%error, "an instance id was not given back; it ends by its time to live");
            }
        }
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Weak<Held>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A free number, at random: those who start together do not ask for the same one.
fn choose(range: &RangeInclusive<u16>, taken: &BTreeSet<u16>) -> Option<u16> {
    let free: Vec<u16> = range.clone().filter(|number| !taken.contains(number)).collect();
    fastrand::choice(free)
}
