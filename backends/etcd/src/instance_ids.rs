//! Instance ids: one key for each number that is taken, under a lease of its own that outlives the holder's belief in it by the
//! quarantine.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use etcd_client::{Compare, CompareOp, GetOptions, KeyValue, Txn, TxnOp, TxnOpResponse};
use infra_core::config::Compat;
use infra_core::coordination::{InstanceId, InstanceIds};
use infra_core::lease::{Lease, LeaseKeeper, LeaseOptions};
use infra_core::{Error, ErrorKind, Result, async_trait};
use tokio::time::Instant;

use crate::BACKEND;
use crate::client::Client;
use crate::coordinator::EtcdCoordinator;
use crate::leases::{LeaseId, attached_to, grant, renew, revoke};

#[async_trait]
impl InstanceIds for EtcdCoordinator {
    async fn acquire_instance_id(&self, service: &str, range: RangeInclusive<u16>) -> Result<InstanceId> {
        let acquire = async {
            self.client.check_open()?;
            self.limits().check_key("service name", service)?;
            self.client.keys().check_part("service name", service)?;
            // GoChat counts from 1.
            let first = match self.client.keys().compat() {
                Compat::GoChat => 1.max(*range.start()),
                _ => *range.start(),
            };
            let range = first..=*range.end();
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

impl EtcdCoordinator {
    /// Two round trips where nobody is faster: one for the lease, one that takes a number at random; a third and more where that
    /// number was taken, by what the answer says of all others.
    async fn take_number(&self, service: &str, range: &RangeInclusive<u16>) -> Result<InstanceId> {
        let folder = self.client.keys().instance_ids(service);
        let mut attempt = self.new_lease().await?;
        let mut taken = BTreeSet::new();
        while let Some(number) = choose(range, &taken) {
            if attempt.asked_at.elapsed() > attempt.ttl / 2 {
                // Long in the making: the holder must not believe in a lease that is half over.
                attempt = self.new_lease().await?;
            }
            let key = format!("{folder}{number}");
            let transaction = Txn::new()
                .when([Compare::create_revision(key.as_str(), CompareOp::Equal, 0)])
                .and_then([TxnOp::put(
                    key.as_str(),
                    self.client.keys().taken(number),
                    attached_to(attempt.keeper.lease),
                )])
                .or_else([TxnOp::get(
                    folder.as_str(),
                    Some(GetOptions::new().with_prefix().with_keys_only()),
                )]);
            let answer = self.client.txn(transaction).await?;
            if answer.succeeded() {
                attempt.keeper.takes(key, number);
                self.client.check_open()?;
                return Ok(InstanceId::new(number, attempt.lease));
            }
            for response in answer.op_responses() {
                if let TxnOpResponse::Get(found) = response {
                    taken = numbers(&folder, found.kvs());
                }
            }
        }
        Err(Error::new(
            ErrorKind::ResourceExhausted,
            format!(
                "all of the instance ids {} to {} of service {service:?} are taken or in quarantine; widen the range, or wait",
                range.start(),
                range.end()
            ),
        )
        .without_effect())
    }

    /// A lease with nothing on it yet, that is given back when it is dropped.
    async fn new_lease(&self) -> Result<Attempt> {
        let config = self.client.config();
        let asked_at = Instant::now();
        let lease = grant(
            &self.client,
            config.instance_id_ttl + config.instance_id_quarantine,
        )
        .await?;
        let keeper = Arc::new(Keeper {
            client: self.client.clone(),
            lease,
            key: OnceLock::new(),
        });
        self.numbers.note(&keeper);
        let ttl = config.instance_id_ttl;
        Ok(Attempt {
            lease: Lease::keep(
                Arc::clone(&keeper) as Arc<dyn LeaseKeeper>,
                LeaseOptions::new(ttl),
                asked_at,
            ),
            keeper,
            asked_at,
            ttl,
        })
    }
}

/// A lease for a number that is still to be found.
struct Attempt {
    keeper: Arc<Keeper>,
    lease: Lease,
    asked_at: Instant,
    ttl: Duration,
}

/// Keeps one number. Its lease carries nothing else: a number that was asked for, with no answer to tell, ends with it.
#[derive(Debug)]
pub(crate) struct Keeper {
    client: Client,
    lease: LeaseId,
    /// Where the number is taken, once it is.
    key: OnceLock<(String, u16)>,
}

impl Keeper {
    fn takes(&self, key: String, number: u16) {
        // Set once: a number is looked for until one is found.
        let _ = self.key.set((key, number));
    }

    /// Does this to the key if it is still under our lease.
    async fn if_ours(&self, key: &str, then: Vec<TxnOp>) -> Result<()> {
        let ours = Compare::lease(key, CompareOp::Equal, self.lease);
        let transaction = Txn::new().when([ours]).and_then(then);
        let answer = self.client.txn(transaction).await?;
        if answer.succeeded() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::LeaseLost,
            format!("{key:?} is not ours any more: it expired, or somebody removed it"),
        ))
    }
}

#[async_trait]
impl LeaseKeeper for Keeper {
    async fn renew(&self) -> Result<()> {
        renew(&self.client, self.lease).await?;
        match self.key.get() {
            Some((key, _)) => self.if_ours(key, Vec::new()).await,
            None => Ok(()),
        }
    }

    /// The number stays taken, by nobody, for the time of the quarantine.
    async fn release(&self) -> Result<()> {
        if let Some((key, number)) = self.key.get() {
            let rest = grant(&self.client, self.client.config().instance_id_quarantine).await?;
            let quarantined = TxnOp::put(
                key.as_str(),
                self.client.keys().resting(*number),
                attached_to(rest),
            );
            self.if_ours(key, vec![quarantined]).await?;
        }
        revoke(&self.client, self.lease).await
    }
}

fn numbers(folder: &str, kvs: &[KeyValue]) -> BTreeSet<u16> {
    kvs.iter()
        .filter_map(|kv| {
            std::str::from_utf8(kv.key())
                .ok()?
                .strip_prefix(folder)?
                .parse()
                .ok()
        })
        .collect()
}

/// A free number, at random: those who start together do not ask for the same one.
fn choose(range: &RangeInclusive<u16>, taken: &BTreeSet<u16>) -> Option<u16> {
    let free: Vec<u16> = range.clone().filter(|number| !taken.contains(number)).collect();
    fastrand::choice(free)
}
