//! Instance ids: the next free number, leased, and rested before it is given again.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use infra_core::coordination::{InstanceId, InstanceIds};
use infra_core::lease::{Lease, LeaseKeeper, LeaseOptions};
use infra_core::{Error, ErrorKind, Result, Retry, async_trait};
use tokio::time::Instant;

use super::{MemoryCoordinator, MemoryCoordinatorConfig, Server, locked};
use crate::link::Link;

/// Who has which number.
#[derive(Debug)]
pub(super) struct Numbers {
    max_entries: usize,
    ttl: Duration,
    quarantine: Duration,
    last_token: u64,
    services: HashMap<String, Service>,
}

#[derive(Debug, Default)]
struct Service {
    /// Where the next search begins, so that numbers are reused as late as possible.
    cursor: u16,
    slots: HashMap<u16, Slot>,
}

#[derive(Debug, Clone, Copy)]
enum Slot {
    Leased {
        token: u64,
        client: u64,
        ends_at: Instant,
    },
    Resting {
        until: Instant,
    },
}

impl Numbers {
    pub(super) fn new(config: &MemoryCoordinatorConfig) -> Self {
        Self {
            max_entries: config.max_entries,
            ttl: config.instance_id_ttl,
            quarantine: config.instance_id_quarantine,
            last_token: 0,
            services: HashMap::new(),
        }
    }

    fn acquire(
        &mut self,
        service: &str,
        range: &RangeInclusive<u16>,
        client: u64,
    ) -> Result<(u16, u64, Instant)> {
        let now = Instant::now();
        self.make_room(service, now)?;
        let quarantine = self.quarantine;
        let numbers = self.services.entry(service.to_owned()).or_default();
        let from = numbers.cursor.clamp(*range.start(), *range.end());
        let mut soonest: Option<Instant> = None;
        let free = (from..=*range.end()).chain(*range.start()..from).find(|number| {
            let free_at = match numbers.slots.get(number) {
                None => return true,
                Some(Slot::Leased { ends_at, .. }) => *ends_at + quarantine,
                Some(Slot::Resting { until }) => *until,
            };
            soonest = Some(soonest.map_or(free_at, |soonest| soonest.min(free_at)));
            free_at <= now
        });
        let Some(number) = free else {
            return Err(all_taken(service, range, soonest.map(|at| at - now)));
        };
        self.last_token += 1;
        let slot = Slot::Leased {
            token: self.last_token,
            client,
            ends_at: now + self.ttl,
        };
        numbers.cursor = if number == *range.end() {
            *range.start()
        } else {
            number + 1
        };
        numbers.slots.insert(number, slot);
        Ok((number, self.last_token, now))
    }

    /// Forgets numbers that have rested; refuses when there is still no room for one more.
    fn make_room(&mut self, service: &str, now: Instant) -> Result<()> {
        let used: usize = self
            .services
            .values()
            .map(|service| service.slots.len().max(1))
            .sum();
        if used < self.max_entries {
            return Ok(());
        }
        let quarantine = self.quarantine;
        self.services.retain(|_, service| {
            service.slots.retain(|_, slot| match slot {
                Slot::Leased { ends_at, .. } => *ends_at + quarantine > now,
                Slot::Resting { until } => *until > now,
            });
            !service.slots.is_empty()
        });
        let used: usize = self.services.values().map(|service| service.slots.len()).sum();
        if used < self.max_entries {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::ResourceExhausted,
            format!(
                "{} instance ids are leased over all services, as many as configured; none is left for {service:?}",
                self.max_entries
            ),
        )
        .without_effect())
    }

    fn slot(&mut self, service: &str, number: u16, token: u64) -> Option<&mut Slot> {
        let now = Instant::now();
        let slot = self.services.get_mut(service)?.slots.get_mut(&number)?;
        let ours =
            matches!(slot, Slot::Leased { token: held, ends_at, .. } if *held == token && *ends_at > now);
        ours.then_some(slot)
    }

    fn renew(&mut self, service: &str, number: u16, token: u64) -> bool {
        let until = Instant::now() + self.ttl;
        match self.slot(service, number, token) {
            Some(Slot::Leased { ends_at, .. }) => {
                *ends_at = until;
                true
            }
            _ => false,
        }
    }

    fn release(&mut self, service: &str, number: u16, token: u64) -> bool {
        let until = Instant::now() + self.quarantine;
        match self.slot(service, number, token) {
            Some(slot) => {
                *slot = Slot::Resting { until };
                true
            }
            None => false,
        }
    }

    /// Gives back all numbers of a client that shuts down.
    pub(super) fn remove_client(&mut self, leaving: u64) {
        let until = Instant::now() + self.quarantine;
        for slot in self
            .services
            .values_mut()
            .flat_map(|service| service.slots.values_mut())
        {
            if matches!(slot, Slot::Leased { client, .. } if *client == leaving) {
                *slot = Slot::Resting { until };
            }
        }
    }

    /// Ends a lease against its holder's will. The number rests until the holder must have noticed.
    pub(super) fn revoke(&mut self, service: &str, number: u16) -> bool {
        let until = Instant::now() + self.ttl + self.quarantine;
        let slot = self
            .services
            .get_mut(service)
            .and_then(|service| service.slots.get_mut(&number));
        match slot {
            Some(slot @ Slot::Leased { .. }) => {
                *slot = Slot::Resting { until };
                true
            }
            _ => false,
        }
    }

    /// Ends every lease, as [`Numbers::revoke`] does.
    pub(super) fn revoke_all(&mut self) {
        let until = Instant::now() + self.ttl + self.quarantine;
        for slot in self
            .services
            .values_mut()
            .flat_map(|service| service.slots.values_mut())
        {
            if matches!(slot, Slot::Leased { .. }) {
                *slot = Slot::Resting { until };
            }
        }
    }
}

fn all_taken(service: &str, range: &RangeInclusive<u16>, wait: Option<Duration>) -> Error {
    let wait = wait.unwrap_or_default();
    Error::new(
        ErrorKind::ResourceExhausted,
        format!(
            "every instance id of {service:?} in {}..={} is taken or rests after use; the first may be free in {wait:?}: run fewer instances or allow more ids",
            range.start(),
            range.end()
        ),
    )
    .with_retry(Retry::After(wait))
    .without_effect()
}

#[async_trait]
impl InstanceIds for MemoryCoordinator {
    async fn acquire_instance_id(&self, service: &str, range: RangeInclusive<u16>) -> Result<InstanceId> {
        let acquire = || {
            self.limits().check_key("service name", service)?;
            if range.is_empty() {
                return Err(Error::invalid_argument(format!(
                    "the range {}..={} of instance ids is empty; its end must not be below its start",
                    range.start(),
                    range.end()
                )));
            }
            let mut numbers = locked(&self.client.server.numbers);
            self.reach()?;
            numbers.acquire(service, &range, self.client.id)
        };
        let (number, token, granted_at) =
            acquire().map_err(|error| error.at("instance_ids", crate::BACKEND, "acquire_instance_id"))?;
        let keeper = Arc::new(Keeper {
            server: Arc::clone(&self.client.server),
            link: Arc::clone(&self.client.link),
            service: service.to_owned(),
            number,
            token,
        });
        let options = LeaseOptions::new(self.client.server.config.instance_id_ttl);
        Ok(InstanceId::new(number, Lease::keep(keeper, options, granted_at)))
    }
}

/// Renews and releases one leased number.
#[derive(Debug)]
struct Keeper {
    server: Arc<Server>,
    link: Arc<Link>,
    service: String,
    number: u16,
    token: u64,
}

impl Keeper {
    fn answer(&self, held: bool, operation: &'static str) -> Result<()> {
        if held {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::LeaseLost,
            format!(
                "instance id {} of {:?} is not leased to us any more; stop what depends on it and acquire another",
                self.number, self.service
            ),
        )
        .at("instance_ids", crate::BACKEND, operation))
    }
}

#[async_trait]
impl LeaseKeeper for Keeper {
    async fn renew(&self) -> Result<()> {
        self.link.reach()?;
        let held = locked(&self.server.numbers).renew(&self.service, self.number, self.token);
        self.answer(held, "renew")
    }

    async fn release(&self) -> Result<()> {
        self.link.reach()?;
        let held = locked(&self.server.numbers).release(&self.service, self.number, self.token);
        self.answer(held, "release")
    }
}
