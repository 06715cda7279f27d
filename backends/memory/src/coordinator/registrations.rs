//! The state of the registry: which instances are registered, by whom, until when.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use infra_core::coordination::{Instance, ServiceSnapshot};
use infra_core::watch::WatchEvent;
use infra_core::{Error, ErrorKind, Result};
use tokio::time::Instant;

use super::feed::{Feed, FeedLimits};

/// The registered instances and their history.
#[derive(Debug)]
pub(super) struct Registrations {
    max_entries: usize,
    last_token: u64,
    services: HashMap<String, BTreeMap<String, Registered>>,
    /// The leases in the order in which they end.
    ends: BTreeMap<(Instant, u64), Place>,
    pub(super) feed: Feed<Instance>,
}

/// One registration object: whose it is and how long it lasts without a heartbeat.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    pub(super) token: u64,
    pub(super) client: u64,
    pub(super) ttl: Duration,
}

#[derive(Debug, Clone)]
struct Place {
    service: String,
    id: String,
}

#[derive(Debug)]
struct Registered {
    instance: Instance,
    owner: Owner,
    ends_at: Instant,
}

/// What a heartbeat finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beat {
    /// The registration is kept for another time to live.
    Kept,
    /// It had expired: register again.
    Gone,
    /// The same id was registered by somebody else: stop.
    Replaced,
}

impl Registrations {
    pub(super) fn new(max_entries: usize, limits: FeedLimits) -> Self {
        Self {
            max_entries,
            last_token: 0,
            services: HashMap::new(),
            ends: BTreeMap::new(),
            feed: Feed::new(limits),
        }
    }

    pub(super) fn new_token(&mut self) -> u64 {
        self.last_token += 1;
        self.last_token
    }

    /// Registers an instance, in the place of whatever had its id.
    pub(super) fn put(&mut self, instance: &Instance, owner: Owner) -> Result<()> {
        self.expire();
        let is_new = self.get(&instance.service, &instance.id).is_none();
        // Every live registration has exactly one end.
        if is_new && self.ends.len() >= self.max_entries {
            return Err(Error::new(
                ErrorKind::ResourceExhausted,
                format!(
                    "{} instances are registered, as many as configured; deregister some, or configure more room",
                    self.max_entries
                ),
            )
            .without_effect());
        }
        let ends_at = Instant::now() + owner.ttl;
        let place = Place {
            service: instance.service.clone(),
            id: instance.id.clone(),
        };
        let instances = self.services.entry(place.service.clone()).or_default();
        let before = instances.insert(
            place.id.clone(),
            Registered {
                instance: instance.clone(),
                owner,
                ends_at,
            },
        );
        if let Some(before) = before {
            self.ends.remove(&(before.ends_at, before.owner.token));
        }
        self.ends.insert((ends_at, owner.token), place);
        self.feed.advance();
        self.feed.publish(
            &instance.service,
            WatchEvent::Put(instance.clone()),
            instance.size(),
        );
        Ok(())
    }

    pub(super) fn beat(&mut self, service: &str, id: &str, token: u64) -> Beat {
        self.expire();
        let Some(registered) = self
            .services
            .get_mut(service)
            .and_then(|instances| instances.get_mut(id))
        else {
            return Beat::Gone;
        };
        if registered.owner.token != token {
            return Beat::Replaced;
        }
        let before = (registered.ends_at, token);
        registered.ends_at = Instant::now() + registered.owner.ttl;
        let after = (registered.ends_at, token);
        if let Some(place) = self.ends.remove(&before) {
            self.ends.insert(after, place);
        }
        Beat::Kept
    }

    /// Removes an instance if `token` registered it, or whoever did if no token is given; whether it was there.
    pub(super) fn remove(&mut self, service: &str, id: &str, token: Option<u64>) -> bool {
        let Some(instances) = self.services.get_mut(service) else {
            return false;
        };
        let ours = |registered: &Registered| token.is_none_or(|token| registered.owner.token == token);
        if !instances.get(id).is_some_and(ours) {
            return false;
        }
        if let Some(removed) = instances.remove(id) {
            self.ends.remove(&(removed.ends_at, removed.owner.token));
        }
        if instances.is_empty() {
            self.services.remove(service);
        }
        self.feed.advance();
        self.feed
            .publish(service, WatchEvent::Delete(id.to_owned()), id.len());
        true
    }

    pub(super) fn snapshot(&mut self, service: &str) -> ServiceSnapshot {
        self.expire();
        let instances = self.services.get(service);
        ServiceSnapshot::new(
            instances
                .into_iter()
                .flat_map(BTreeMap::values)
                .map(|registered| registered.instance.clone())
                .collect(),
            self.feed.revision(),
        )
    }

    /// Removes what was not kept alive; returns when the next registration ends unless it is.
    pub(super) fn expire(&mut self) -> Option<Instant> {
        let now = Instant::now();
        loop {
            let (ends_at, place) = match self.ends.first_key_value() {
                Some(((ends_at, _), place)) => (*ends_at, place),
                None => return None,
            };
            if ends_at > now {
                return Some(ends_at);
            }
            let place = place.clone();
            self.remove(&place.service, &place.id, None);
        }
    }

    /// Removes everything that `which` chooses by its client.
    pub(super) fn remove_clients(&mut self, which: impl Fn(u64) -> bool) {
        let places: Vec<_> = self
            .ends
            .values()
            .filter(|place| {
                self.get(&place.service, &place.id)
                    .is_some_and(|registered| which(registered.owner.client))
            })
            .cloned()
            .collect();
        for place in places {
            self.remove(&place.service, &place.id, None);
        }
    }

    fn get(&self, service: &str, id: &str) -> Option<&Registered> {
        self.services.get(service)?.get(id)
    }
}
