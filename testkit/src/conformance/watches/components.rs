//! Everything in a service that follows a configuration centre, through one mechanism: log levels, breaker policies, rate-limit
//! rules, retry policies, the concurrency of consumers.
//!
//! What follows one key is proved by the scenarios of reloading, and only a premise here; three of the five follow a prefix.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use infra_core::breaker::{BreakerConfig, BreakerProvider, Breakers};
use infra_core::config::{Follow, Following, HotReload, ReloadStatus, Reloads, Source};
use infra_core::coordination::{ConfigCenter, ConfigCenterExt};
use infra_core::error::Result;
use infra_core::log::{Level, Levels};
use infra_core::queue::{Concurrency, SubscriptionHandle, SubscriptionKeeper};
use infra_core::rate_limit::{Limiter, LimiterDependencies, RateLimitConfig, RateLimiter, Rule};
use infra_core::retry::{Policies, Policy, RetryConfig};

use crate::conformance::config_centers::steps::put;
use crate::conformance::{Disturbance, Failure, Harness, Outcome, Premise, SLACK, check, check_eq};

/// How long a change may take from the centre to a component.
const REACTION: Duration = Duration::from_secs(1);

/// How many follow a prefix; they come first.
const BELOW_PREFIXES: usize = 3;

const COMPONENTS: usize = 5;

/// For each component: the key below the root, the documents that set its two states, one that is bad, what the reason says,
/// and what it shows by default and in the two states.
const TABLE: [Component; COMPONENTS] = [
    Component {
        key: "breakers/users.json",
        documents: [r#"{"force": "open"}"#, r#"{"force": "closed"}"#],
        bad: (r#"{"failureThreshold": -1}"#, "failureThreshold"),
        shows: ["Closed", "Open", "Closed"],
    },
    Component {
        key: "limits/send.json",
        documents: [r#"{"rate": 1, "capacity": 10}"#, r#"{"rate": 1, "capacity": 20}"#],
        bad: (r#"{"rate": -1, "capacity": 5}"#, "rate"),
        shows: ["5", "10", "20"],
    },
    Component {
        key: "retry/users.json",
        documents: [r#"{"max_attempts": 2}"#, r#"{"max_attempts": 7}"#],
        bad: (r#"{"max_attempts": -1}"#, "max_attempts"),
        shows: ["4", "2", "7"],
    },
    Component {
        key: "log-levels",
        documents: [r#"{"level": "debug"}"#, r#"{"level": "trace"}"#],
        bad: (r#"{"level": "loud"}"#, "level"),
        shows: ["Info", "Debug", "Trace"],
    },
    Component {
        key: "consumers/billing.json",
        documents: [r#"{"max_in_flight": 2}"#, r#"{"max_in_flight": 7}"#],
        bad: (r#"{"max_in_flight": -1}"#, "max_in_flight"),
        shows: ["4", "2", "7"],
    },
];

struct Component {
    key: &'static str,
    documents: [&'static str; 2],
    bad: (&'static str, &'static str),
    shows: [&'static str; 3],
}

/// What a component is to show.
#[derive(Clone, Copy)]
enum State {
    Default,
    First,
    Second,
}

/// A change reaches every component within a second, and takes effect there.
pub async fn watch_020_a_change_reaches_every_component_within_a_second(
    harness: &Harness<dyn ConfigCenter>,
) -> Outcome {
    let theirs = harness.client().await?;
    let root = harness.name("app/");
    set(&*theirs, &root, State::First).await?;
    let service = Service::following(harness, &clients(harness).await?, &root, None).await?;
    check_eq!(service.state().await?, shown(State::First), "what was read first");
    for (place, component) in TABLE.iter().enumerate() {
        put(
            &*theirs,
            &format!("{root}{}", component.key),
            component.documents[1],
        )
        .await?;
        let what = format!("the change of {}", component.key);
        let expected = component.shows[State::Second as usize];
        harness
            .eventually(REACTION, &what, async || {
                service.state().await.is_ok_and(|state| state[place] == expected)
            })
            .await?;
    }
    Ok(())
}

/// A bad value is refused by every component, which says which key it was and why, and keeps the last good one until a good
/// one comes.
pub async fn watch_021_a_bad_value_is_refused_by_every_component_with_key_and_reason(
    harness: &Harness<dyn ConfigCenter>,
) -> Outcome {
    let theirs = harness.client().await?;
    let root = harness.name("app/");
    set(&*theirs, &root, State::First).await?;
    let service = Service::following(harness, &clients(harness).await?, &root, None).await?;
    for component in &TABLE {
        put(&*theirs, &format!("{root}{}", component.key), component.bad.0).await?;
    }
    for (place, component) in TABLE.iter().enumerate() {
        let key = Source::ConfigCenter(format!("{root}{}", component.key));
        let refused = |status: &ReloadStatus| {
            let mut rejections = status.rejections.iter();
            rejections.any(|rejection| {
                rejection.source == key && rejection.error.message().contains(component.bad.1)
            })
        };
        let what = format!(
            "the refusal of a bad {}, with its key and its reason",
            component.key
        );
        let learnt = harness
            .eventually(SLACK * 5, &what, async || {
                service.reloads.status().iter().any(refused)
            })
            .await;
        proved_or_premise(place, learnt)?;
    }
    check_eq!(service.state().await?, shown(State::First), "after bad values");
    set(&*theirs, &root, State::Second).await?;
    service
        .shows(harness, SLACK * 20, State::Second, "good values after bad ones")
        .await
        .premise("a change is told")?;
    let corrected = async || {
        let status = service.reloads.status();
        status.iter().all(|status| status.rejections.is_empty())
    };
    check!(corrected().await, "after good values: {:?}", service.reloads);
    Ok(())
}

/// A deletion takes every component back to its default.
pub async fn watch_022_deletion_takes_every_component_back_to_its_default(
    harness: &Harness<dyn ConfigCenter>,
) -> Outcome {
    let theirs = harness.client().await?;
    let root = harness.name("app/");
    set(&*theirs, &root, State::First).await?;
    let service = Service::following(harness, &clients(harness).await?, &root, None).await?;
    for component in &TABLE {
        let key = format!("{root}{}", component.key);
        theirs.delete(&key).await.premise("a key is deleted")?;
    }
    for (place, component) in TABLE.iter().enumerate() {
        let what = format!("the default after the deletion of {}", component.key);
        let expected = component.shows[State::Default as usize];
        let back = harness
            .eventually(SLACK * 5, &what, async || {
                service.state().await.is_ok_and(|state| state[place] == expected)
            })
            .await;
        proved_or_premise(place, back)?;
    }
    Ok(())
}

/// While the centre is away every component starts with the last good value of its snapshot, and takes what changed when the
/// centre is back.
pub async fn watch_023_every_component_starts_from_its_snapshot_while_the_centre_is_away(
    harness: &Harness<dyn ConfigCenter>,
) -> Outcome {
    let (ours, theirs) = (clients(harness).await?, harness.client().await?);
    let root = harness.name("app/");
    let name = format!("{}-{}", std::process::id(), harness.name("snapshots"));
    let folder = Folder(std::env::temp_dir().join(name));
    std::fs::create_dir_all(&folder.0)
        .is_ok()
        .premise("a temporary folder is made")?;
    set(&*theirs, &root, State::First).await?;
    let before = Service::following(harness, &ours, &root, Some(&folder.0)).await?;
    drop(before);

    harness.disturb(Disturbance::GoAway).await?;
    let (service, failures) = Service::open(&ours, &root, Some(&folder.0)).await?;
    harness.disturb(Disturbance::ComeBack).await?;
    for (place, failure) in failures {
        let started = Err(Failure::broken(format!(
            "starting {} while the centre was away failed: {failure}",
            TABLE[place].key
        )));
        proved_or_premise(place, started)?;
    }
    check_eq!(
        service.state().await?,
        shown(State::First),
        "what a service that started while the centre was away works with"
    );
    harness
        .eventually(SLACK * 20, "writing after the centre came back", async || {
            set(&*theirs, &root, State::Second).await.is_ok()
        })
        .await
        .premise("the centre is back")?;
    service
        .shows(
            harness,
            SLACK * 20,
            State::Second,
            "what changed since the snapshots",
        )
        .await
}

/// What follows one key is another scenario's to prove.
fn proved_or_premise(place: usize, outcome: Outcome) -> Outcome {
    if place < BELOW_PREFIXES {
        return outcome;
    }
    outcome.premise("a component that follows one key does so")
}

type Clients = [Arc<dyn ConfigCenter>; COMPONENTS];

/// A client for each component: one breaker before all of them would open when five calls fail at once.
async fn clients(harness: &Harness<dyn ConfigCenter>) -> Result<Clients, Failure> {
    Ok([
        harness.client().await?,
        harness.client().await?,
        harness.client().await?,
        harness.client().await?,
        harness.client().await?,
    ])
}

fn shown(state: State) -> [String; COMPONENTS] {
    TABLE.map(|component| component.shows[state as usize].to_owned())
}

async fn set(center: &dyn ConfigCenter, root: &str, state: State) -> Outcome {
    for component in &TABLE {
        let document = component.documents[state as usize - 1];
        put(center, &format!("{root}{}", component.key), document).await?;
    }
    Ok(())
}

/// A folder of this run that is removed with it.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // Where nothing was written there is nothing to remove.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// One of each component, following.
struct Service {
    breakers: Breakers,
    limiter: Limiter,
    retries: Policies,
    levels: HotReload<Levels>,
    in_flight: Arc<AtomicU32>,
    reloads: Reloads,
    following: Vec<Following>,
    /// The subscription whose concurrency follows.
    _subscription: SubscriptionHandle,
}

impl Service {
    /// Follows, and waits until everything does.
    async fn following(
        harness: &Harness<dyn ConfigCenter>,
        centers: &Clients,
        root: &str,
        snapshots: Option<&Path>,
    ) -> Result<Self, Failure> {
        let (service, failures) = Self::open(centers, root, snapshots).await?;
        failures.is_empty().premise("every component follows its keys")?;
        harness
            .eventually(SLACK * 5, "following", async || {
                service.following.iter().all(Following::is_connected)
            })
            .await
            .premise("every component's keys are watched")?;
        Ok(service)
    }

    /// Begins to follow; also gives which components could not, and why.
    async fn open(
        centers: &Clients,
        root: &str,
        snapshots: Option<&Path>,
    ) -> Result<(Self, Vec<(usize, infra_core::Error)>), Failure> {
        let snapshot = |place: usize| snapshots.map(|folder| folder.join(format!("{place}.json")));
        let mut breaking = BreakerConfig::development().with_policies_path(format!("{root}breakers/"));
        breaking.policies_snapshot = snapshot(0);
        let mut limiting = RateLimitConfig::development().with_rule("send", Rule::new(1.0, 5));
        limiting.rules_path = format!("{root}limits/");
        limiting.rules_snapshot = snapshot(1);
        let mut retrying = RetryConfig::default().with_policies_path(format!("{root}retry/"));
        retrying.policies_snapshot = snapshot(2);
        let key = |place: usize| {
            let what = Follow::new(format!("{root}{}", TABLE[place].key));
            match snapshot(place) {
                Some(path) => what.with_snapshot(path),
                None => what,
            }
        };
        let default = Concurrency::new(const { std::num::NonZeroU32::new(4).unwrap() });
        let in_flight = Arc::new(AtomicU32::new(default.max_in_flight.get()));
        let subscription = SubscriptionHandle::new(Arc::new(Window(Arc::clone(&in_flight))));
        let consumers = subscription.hot_reload(default).premise("a default is valid")?;
        let mut service = Self {
            breakers: Breakers::new(breaking).premise("breakers are made")?,
            limiter: Limiter::new(limiting, LimiterDependencies::new()).premise("a limiter is made")?,
            retries: Policies::new(retrying, Policy::development().with_max_attempts(4))
                .premise("policies are made")?,
            levels: HotReload::new(Levels::new(Level::Info)).premise("a default is valid")?,
            in_flight,
            reloads: Reloads::new(),
            following: Vec::new(),
            _subscription: subscription,
        };
        let (breakers, limits, retries, levels, concurrency) = futures_util::join!(
            service.breakers.follow(Arc::clone(&centers[0])),
            service.limiter.follow(Arc::clone(&centers[1])),
            service.retries.follow(Arc::clone(&centers[2])),
            service.levels.follow(Arc::clone(&centers[3]), key(3)),
            consumers.follow(Arc::clone(&centers[4]), key(4)),
        );
        let mut failures = Vec::new();
        service.take(0, breakers, &mut failures);
        service.take(1, limits, &mut failures);
        service.take(2, retries, &mut failures);
        let levels = levels.map(|following| (service.levels.clone(), following));
        service.take(3, levels, &mut failures);
        service.take(
            4,
            concurrency.map(|following| (consumers, following)),
            &mut failures,
        );
        Ok((service, failures))
    }

    fn take<C: Send + Sync + 'static>(
        &mut self,
        place: usize,
        followed: Result<(HotReload<C>, Following)>,
        failures: &mut Vec<(usize, infra_core::Error)>,
    ) {
        match followed {
            Ok((reload, following)) => {
                self.reloads.add(TABLE[place].key, &reload);
                self.following.push(following);
            }
            Err(error) => failures.push((place, error)),
        }
    }

    /// What each component works with.
    async fn state(&self) -> Result<[String; COMPONENTS], Failure> {
        let decision = self.limiter.check_n("somebody", "send", 1).await;
        let limit = decision.premise("a limiter decides")?.limit;
        let attempts = self.retries.policy("users").read(|policy, _| policy.max_attempts);
        Ok([
            format!("{:?}", self.breakers.breaker("users").state()),
            limit.to_string(),
            attempts.to_string(),
            self.levels.read(|levels| format!("{:?}", levels.level)),
            self.in_flight.load(Ordering::SeqCst).to_string(),
        ])
    }

    async fn shows(
        &self,
        harness: &Harness<dyn ConfigCenter>,
        bound: Duration,
        state: State,
        what: &str,
    ) -> Outcome {
        harness
            .eventually(bound, what, async || {
                self.state().await.is_ok_and(|now| now == shown(state))
            })
            .await
    }
}

/// A subscription of which only the window is of interest.
#[derive(Debug)]
struct Window(Arc<AtomicU32>);

#[async_trait::async_trait]
impl SubscriptionKeeper for Window {
    async fn drain(&self, _: Duration) -> Result<()> {
        Ok(())
    }

    fn abandon(&self) {}

    fn set_max_in_flight(&self, messages: std::num::NonZeroU32) {
        self.0.store(messages.get(), Ordering::SeqCst);
    }

    fn in_flight(&self) -> usize {
        0
    }
}
