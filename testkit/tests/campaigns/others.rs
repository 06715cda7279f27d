//! The other campaigns, on a coordinator in memory that keeps its contracts, and behind wrappers that do not.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use infra_core::coordination::{
    ConfigCenter, ConfigEntry, ConfigWrite, Instance, InstanceId, InstanceIds, Registration, Registry,
    ServiceSnapshot, Version, WatchScope,
};
use infra_core::watch::{self, Watch, WatchEvent};
use infra_core::{Backend, Result, async_trait};
use infra_memory::MemoryCoordinator;
use infra_testkit::campaigns::{Fault, Verdict, ids, registrations, watches};

const TTL: Duration = Duration::from_secs(3);

/// Something that is done to the server, and undone a moment later.
fn fault(
    name: &str,
    server: &MemoryCoordinator,
    begin: fn(&MemoryCoordinator),
    end: fn(&MemoryCoordinator),
) -> Fault {
    let (beginning, ending) = (server.clone(), server.clone());
    Fault::new(
        name,
        Duration::from_millis(500),
        move || {
            begin(&beginning);
            async { Ok::<(), String>(()) }
        },
        move || {
            end(&ending);
            async { Ok::<(), String>(()) }
        },
    )
}

fn faults(server: &MemoryCoordinator) -> Vec<Fault> {
    let nothing: fn(&MemoryCoordinator) = |_| {};
    vec![
        fault(
            "away",
            server,
            |server| server.faults().go_away(),
            |server| server.faults().come_back(),
        ),
        fault(
            "sessions lost",
            server,
            |server| server.faults().lose_sessions(),
            nothing,
        ),
    ]
}

/// A client that does one thing wrong, where `wrong` says so.
#[derive(Debug)]
struct Wrong {
    inner: MemoryCoordinator,
    wrong: bool,
}

fn client(server: &MemoryCoordinator, wrong: bool) -> Arc<Wrong> {
    Arc::new(Wrong {
        inner: server.connect(),
        wrong,
    })
}

#[async_trait]
impl Backend for Wrong {
    fn backend(&self) -> &'static str {
        self.inner.backend()
    }

    fn capabilities(&self) -> &infra_core::capability::Capabilities {
        self.inner.capabilities()
    }

    async fn health(&self) -> Result<()> {
        self.inner.health().await
    }

    async fn shutdown(&self, deadline: Duration) -> Result<()> {
        self.inner.shutdown(deadline).await
    }
}

/// Wrong: its watches lose every fifth event.
#[async_trait]
impl ConfigCenter for Wrong {
    async fn read(&self, scope: &WatchScope) -> Result<(Vec<ConfigEntry>, u64)> {
        self.inner.read(scope).await
    }

    async fn write(&self, writes: Vec<ConfigWrite>) -> Result<Version> {
        self.inner.write(writes).await
    }

    async fn watch(&self, scope: &WatchScope, revision: u64) -> Result<Watch<ConfigEntry>> {
        let mut events = self.inner.watch(scope, revision).await?;
        if !self.wrong {
            return Ok(events);
        }
        let (sink, watch) = watch::channel(1_000);
        tokio::spawn(async move {
            let mut told = 0_usize;
            while let Some(event) = events.next().await {
                told += 1;
                let change = matches!(event, WatchEvent::Put(_) | WatchEvent::Delete(_));
                if change && told.is_multiple_of(5) {
                    continue;
                }
                if !sink.push(event) {
                    return;
                }
            }
        });
        Ok(watch)
    }
}

/// Wrong: it draws the number by itself.
#[async_trait]
impl InstanceIds for Wrong {
    async fn acquire_instance_id(&self, service: &str, range: RangeInclusive<u16>) -> Result<InstanceId> {
        if !self.wrong {
            return self.inner.acquire_instance_id(service, range).await;
        }
        let drawn = fastrand::u16(range);
        let alone = format!("{service}-{}", fastrand::u64(..));
        self.inner.acquire_instance_id(&alone, drawn..=drawn).await
    }
}

/// Wrong: it registers for the time of one lease.
#[async_trait]
impl Registry for Wrong {
    async fn register(&self, instance: Instance, ttl: Duration) -> Result<Registration> {
        let once = self.inner.connect();
        let registration = if self.wrong {
            let registration = once.register(instance, ttl).await?;
            once.faults().disconnect();
            registration
        } else {
            self.inner.register(instance, ttl).await?
        };
        Ok(registration)
    }

    async fn discover(&self, service: &str) -> Result<ServiceSnapshot> {
        self.inner.discover(service).await
    }

    async fn watch_service(&self, service: &str, revision: u64) -> Result<Watch<Instance>> {
        self.inner.watch_service(service, revision).await
    }
}

async fn watching(wrong: bool) -> Verdict<watches::Report> {
    let server = MemoryCoordinator::new();
    let writer: Arc<dyn ConfigCenter> = client(&server, false);
    let mut faults = faults(&server);
    let forget: fn(&MemoryCoordinator) = |server| server.faults().forget_history();
    // In the beginning, or a last reset would repair everything.
    faults.insert(0, fault("history lost", &server, |_| {}, forget));
    let readers: Vec<Arc<dyn ConfigCenter>> = vec![client(&server, false), client(&server, wrong)];
    let rounds = (200, Duration::from_millis(200));
    watches::follow(&writer, &readers, "limits/", &faults, rounds).await
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_is_not_told_everything_is_seen() {
    let report = watching(false).await.unwrap();
    assert!(
        report.writes >= 200 && report.resets > 0 && report.events > 0 && report.faults >= 3,
        "{report:?}"
    );
    let violation = watching(true).await.expect_err("a violation").to_string();
    assert!(
        violation.contains("reader 1 lost something in silence"),
        "{violation}"
    );
}

async fn starting(wrong: bool) -> Verdict<usize> {
    let server = MemoryCoordinator::new();
    let clients: Vec<_> = (0..200)
        .map(|_| client(&server, wrong) as Arc<dyn InstanceIds>)
        .collect();
    let ids = ids::start_at_once(&clients, "orders", 0..=1023, Duration::from_secs(10)).await?;
    Ok(ids.len())
}

#[tokio::test(start_paused = true)]
async fn numbers_that_are_given_twice_are_seen() {
    assert_eq!(starting(false).await, Ok(200));
    let violation = starting(true).await.expect_err("a violation").to_string();
    assert!(violation.contains("both have the number"), "{violation}");
}

#[tokio::test(start_paused = true)]
async fn a_number_that_comes_back_too_early_is_seen() {
    for (wrong, outcome) in [(false, true), (true, false)] {
        let server = MemoryCoordinator::new();
        let (holder, taker) = (client(&server, false), client(&server, wrong));
        let killed = holder.inner.clone();
        let kill = || async move { killed.faults().disconnect() };
        let lease = (Duration::from_secs(30), Duration::ZERO);
        let came = ids::comes_back(&*holder, &*taker, "orders", lease, kill).await;
        assert_eq!(came.is_ok(), outcome, "{came:?}");
    }
}

async fn registering(wrong: bool) -> Verdict<Duration> {
    let server = MemoryCoordinator::new();
    let clients: Vec<_> = (0..3)
        .map(|number| client(&server, wrong && number == 1) as Arc<dyn Registry>)
        .collect();
    let observer = client(&server, false);
    let mut faults = faults(&server);
    // Long enough for a lease that nobody renews to end.
    faults.push(Fault::new(
        "nothing",
        TTL * 2,
        || async { Ok::<(), String>(()) },
        || async { Ok::<(), String>(()) },
    ));
    registrations::come_back(&clients, &*observer, "orders", &faults, TTL).await
}

#[tokio::test(start_paused = true)]
async fn a_registration_that_does_not_come_back_is_seen() {
    registering(false).await.unwrap();
    let violation = registering(true).await.expect_err("a violation").to_string();
    assert!(violation.contains("not exactly the 3 registered"), "{violation}");
}
