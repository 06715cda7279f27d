//! The instances of one service as this process knows them, and the choice among them that requests read without a lock.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use infra_core::coordination::{Instance, InstanceState};
use infra_core::watch::WatchEvent;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::transport::Endpoint;

use super::connection::{Connection, Reach};
use super::metrics::Metrics;
use super::options::ChannelOptions;
use super::pick::Weighted;

/// How the address of an instance becomes an endpoint; refuses one that is no address.
pub(super) type MakeEndpoint = Arc<dyn Fn(&str) -> Result<Endpoint, tonic::transport::Error> + Send + Sync>;

/// Everything that is known of one service.
pub(super) struct Fleet {
    service: String,
    zone: Option<String>,
    max_reconnect_delay: Duration,
    forget_after: Duration,
    make_endpoint: MakeEndpoint,
    metrics: Metrics,
    members: Mutex<BTreeMap<String, Member>>,
    choice: ArcSwap<Choice>,
    /// Tells requests that wait that the choice is another now.
    changes: watch::Sender<()>,
}

#[derive(Debug)]
struct Member {
    instance: Instance,
    connection: Arc<Connection>,
    /// Since when it is missing in the registry, though nobody said that it left.
    missing_since: Option<Instant>,
}

/// The choice that requests make, as of now.
#[derive(Debug, Default)]
pub(super) struct Choice {
    /// Those that take traffic, of the preferred zone if any of it can be reached, and may be reachable.
    pub(super) any: Weighted,
    /// Those of them that a connection is open to.
    pub(super) open: Weighted,
    /// How many instances are known, those that take nothing and cannot be reached included.
    pub(super) known: usize,
    /// How many of them are ready and have a weight.
    pub(super) takers: usize,
}

impl Member {
    fn takes_traffic(&self) -> bool {
        self.instance.state == InstanceState::Ready && self.instance.weight > 0
    }
}

impl Fleet {
    pub(super) fn new(
        service: String,
        options: &ChannelOptions,
        make_endpoint: MakeEndpoint,
        metrics: Metrics,
    ) -> Arc<Self> {
        Arc::new(Self {
            service,
            zone: options.zone.clone(),
            max_reconnect_delay: options.max_reconnect_delay,
            forget_after: options.forget_after,
            make_endpoint,
            metrics,
            members: Mutex::new(BTreeMap::new()),
            choice: ArcSwap::default(),
            changes: watch::Sender::new(()),
        })
    }

    pub(super) fn service(&self) -> &str {
        &self.service
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(super) fn choice(&self) -> arc_swap::Guard<Arc<Choice>> {
        self.choice.load()
    }

    /// Tells of every new choice from now on.
    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// The instances that are known, those that take nothing included, by id.
    pub(super) fn instances(&self) -> Vec<Instance> {
        self.lock()
            .values()
            .map(|member| member.instance.clone())
            .collect()
    }

    /// Why instances that should take traffic cannot be reached.
    pub(super) fn last_error(&self) -> Option<String> {
        self.lock()
            .values()
            .filter(|member| member.takes_traffic())
            .find_map(|member| member.connection.last_error())
    }

    /// Takes the whole list of a registry. What is missing without having left is used for a while longer.
    pub(super) fn replace(self: &Arc<Self>, instances: Vec<Instance>) {
        let mut members = self.lock();
        let listed: BTreeSet<&str> = instances.iter().map(|instance| instance.id.as_str()).collect();
        let (now, forget_at_once) = (Instant::now(), self.forget_after.is_zero());
        members.retain(|id, member| {
            if listed.contains(id.as_str()) {
                return true;
            }
            tracing::warn!(
                service = self.service,
                id,
                "an instance is missing in the registry"
            );
            member.missing_since.get_or_insert(now);
            member.takes_traffic() && !forget_at_once
        });
        for instance in instances {
            self.put(&mut members, instance);
        }
        self.choose(&members);
    }

    /// Takes what a watch said; returns whether the watch has told everything so far.
    pub(super) fn apply(self: &Arc<Self>, events: Vec<WatchEvent<Instance>>) -> Applied {
        let mut members = self.lock();
        let mut applied = Applied::Everything;
        for event in events {
            match event {
                WatchEvent::Put(instance) => self.put(&mut members, instance),
                WatchEvent::Delete(id) => {
                    if members.remove(&id).is_some() {
                        tracing::info!(service = self.service, id, "an instance left");
                    }
                }
                WatchEvent::Closed(error) => {
                    applied = Applied::Closed(error);
                    break;
                }
                // Also what a later version of the contract may add: reading again is always right.
                _ => {
                    applied = Applied::HistoryLost;
                    break;
                }
            }
        }
        self.choose(&members);
        applied
    }

    /// Forgets who was missing for long enough; returns when to look again.
    pub(super) fn forget_missing(&self) -> Option<Instant> {
        let mut members = self.lock();
        let (before, now) = (members.len(), Instant::now());
        members.retain(|_, member| {
            member
                .missing_since
                .is_none_or(|since| now < since + self.forget_after)
        });
        if members.len() != before {
            self.choose(&members);
        }
        let since = members.values().filter_map(|member| member.missing_since).min();
        since.map(|since| since + self.forget_after)
    }

    /// Chooses again because a connection was opened or lost.
    pub(super) fn choose_again(&self) {
        let members = self.lock();
        self.choose(&members);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(self: &Arc<Self>, members: &mut BTreeMap<String, Member>, instance: Instance) {
        let service = &self.service;
        if let Some(member) = members.get_mut(&instance.id)
            && (&member.instance.address, member.instance.port) == (&instance.address, instance.port)
        {
            if member.instance.state != instance.state {
                tracing::info!(service, id = instance.id, state = ?instance.state, "an instance changed its state");
            }
            member.instance = instance;
            member.missing_since = None;
            return;
        }
        let endpoint = match (self.make_endpoint)(&authority(&instance)) {
            Ok(endpoint) => endpoint,
            Err(error) => {
                tracing::warn!(service, id = instance.id, address = instance.address, %error,
                    "an instance is ignored: its address cannot be used");
                members.remove(&instance.id);
                return;
            }
        };
        tracing::info!(service, id = instance.id, uri = %endpoint.uri(), "an instance joined");
        let connection = Connection::new(endpoint, self.max_reconnect_delay, Arc::downgrade(self));
        let member = Member {
            instance,
            connection,
            missing_since: None,
        };
        members.insert(member.instance.id.clone(), member);
    }

    /// Publishes the choice among `members`; under their lock, so that the latest one stays.
    fn choose(&self, members: &BTreeMap<String, Member>) {
        let takers: Vec<_> = members
            .values()
            .filter(|member| member.takes_traffic())
            .map(|member| (member, member.connection.reach()))
            .collect();
        let reachable = |(_, reach): &&(&Member, Reach)| *reach != Reach::Unreachable;
        let near = |(member, _): &&(&Member, Reach)| member.instance.zone == self.zone;
        let prefer_near = self.zone.is_some() && takers.iter().filter(reachable).any(|taker| near(&taker));
        let candidates: Vec<_> = takers
            .iter()
            .filter(reachable)
            .filter(|taker| !prefer_near || near(taker))
            .collect();
        let weigh = |(member, _): &(&Member, Reach)| (Arc::clone(&member.connection), member.instance.weight);
        let open = candidates.iter().filter(|(_, reach)| *reach == Reach::Open);
        let choice = Choice {
            any: Weighted::new(candidates.iter().map(|taker| weigh(taker))),
            open: Weighted::new(open.map(|taker| weigh(taker))),
            known: members.len(),
            takers: takers.len(),
        };
        let reachable = takers.iter().filter(reachable).count();
        self.metrics.instances.set(reachable as f64);
        self.choice.store(Arc::new(choice));
        self.changes.send_replace(());
    }
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet")
            .field("service", &self.service)
            .field("members", &*self.lock())
            .finish_non_exhaustive()
    }
}

/// What a batch of events came to.
#[derive(Debug)]
pub(super) enum Applied {
    Everything,
    /// Events were lost: read the list again.
    HistoryLost,
    Closed(infra_core::Error),
}

/// `host:port`, with an IPv6 address in brackets.
fn authority(instance: &Instance) -> String {
    if instance.address.parse::<Ipv6Addr>().is_ok() {
        format!("[{}]:{}", instance.address, instance.port)
    } else {
        format!("{}:{}", instance.address, instance.port)
    }
}

#[cfg(test)]
mod tests {
    use infra_core::telemetry::NoMeter;

    use super::*;

    fn fleet(options: &ChannelOptions) -> Arc<Fleet> {
        let make_endpoint: MakeEndpoint =
            Arc::new(|authority| Endpoint::from_shared(format!("http://{authority}")));
        Fleet::new(
            "s".to_owned(),
            options,
            make_endpoint,
            Metrics::new(&NoMeter, "s"),
        )
    }

    fn instance(id: &str) -> Instance {
        Instance::new("s", id, "127.0.0.1", 9)
    }

    fn ids(fleet: &Fleet) -> Vec<String> {
        fleet
            .instances()
            .into_iter()
            .map(|instance| instance.id)
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_missing_without_having_left_is_used_until_the_grace_is_over() {
        let grace = Duration::from_secs(15);
        let fleet = fleet(&ChannelOptions::development().with_forget_after(grace));
        let mut draining = instance("draining");
        draining.state = InstanceState::Draining;
        fleet.replace(vec![
            draining,
            instance("returns"),
            instance("stays"),
            instance("vanishes"),
        ]);
        fleet.replace(vec![instance("stays")]);
        assert_eq!(
            ids(&fleet),
            ["returns", "stays", "vanishes"],
            "who drained has left"
        );
        assert_eq!(fleet.choice().takers, 3);

        tokio::time::advance(Duration::from_secs(14)).await;
        assert_eq!(
            fleet.forget_missing(),
            Some(Instant::now() + Duration::from_secs(1))
        );
        let events = vec![WatchEvent::Put(instance("returns"))];
        assert!(matches!(fleet.apply(events), Applied::Everything));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(fleet.forget_missing(), None);
        assert_eq!(ids(&fleet), ["returns", "stays"]);
        assert_eq!(fleet.choice().takers, 2);
    }

    #[tokio::test]
    async fn a_change_of_the_address_is_another_connection_and_any_other_change_is_not() {
        let fleet = fleet(&ChannelOptions::development());
        fleet.replace(vec![instance("1")]);
        let connection = || Arc::clone(&fleet.lock()["1"].connection);
        let first = connection();
        let heavier = instance("1").with_weight(7).with_zone("b");
        fleet.apply(vec![WatchEvent::Put(heavier.clone())]);
        assert!(Arc::ptr_eq(&first, &connection()));
        assert_eq!(fleet.instances(), [heavier]);
        let mut moved = instance("1");
        moved.port = 10;
        fleet.apply(vec![WatchEvent::Put(moved)]);
        assert!(!Arc::ptr_eq(&first, &connection()));
    }

    #[tokio::test]
    async fn events_after_a_gap_are_not_applied() {
        let fleet = fleet(&ChannelOptions::development());
        let gap = vec![
            WatchEvent::Put(instance("1")),
            WatchEvent::Lagged { missed: 1 },
            WatchEvent::Delete("1".to_owned()),
        ];
        assert!(matches!(fleet.apply(gap), Applied::HistoryLost));
        assert_eq!(ids(&fleet), ["1"]);
    }

    #[tokio::test]
    async fn an_ipv6_address_is_written_in_brackets() {
        let mut instance = instance("1");
        instance.address = "::1".to_owned();
        let fleet = fleet(&ChannelOptions::development());
        fleet.replace(vec![instance]);
        assert_eq!(fleet.lock()["1"].connection.uri().to_string(), "http://[::1]:9/");
    }
}
