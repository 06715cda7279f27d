//! Hot reload against a config centre that fails on command.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::Deserialize;

use super::*;
use crate::backend::Backend;
use crate::capability::{Capabilities, Limits};
use crate::config::Problems;
use crate::coordination::{ConfigCenter, ConfigEntry, ConfigWrite, Version, WatchScope};
use crate::error::ErrorKind;
use crate::intercept::{Retrying, Stack};
use crate::retry::Policy;
use crate::watch::{self as watches, Watch, WatchEvent, WatchSink};

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    rate: u32,
}

impl Validate for Rule {
    fn validate(&self, problems: &mut Problems) {
        problems.ensure(self.rate > 0, "rate", "must be positive");
    }
}

#[derive(Debug)]
struct Center {
    capabilities: Capabilities,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<String, ConfigEntry>,
    revision: u64,
    down: bool,
    sinks: Vec<(WatchScope, WatchSink<ConfigEntry>)>,
    reads: usize,
}

impl Center {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            capabilities: Capabilities::new(Limits::DEFAULT),
            state: Mutex::default(),
        })
    }

    fn with<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        work(&mut self.state.lock().expect("not poisoned"))
    }

    /// Changes a key without telling the watches.
    fn set_silently(&self, key: &str, value: &str) -> ConfigEntry {
        self.with(|state| {
            state.revision += 1;
            let value = Bytes::copy_from_slice(value.as_bytes());
            let entry = ConfigEntry::new(key, value, Version(state.revision));
            state.entries.insert(key.to_owned(), entry.clone());
            entry
        })
    }

    fn set(&self, key: &str, value: &str) {
        let entry = self.set_silently(key, value);
        self.tell(|| WatchEvent::Put(entry.clone()));
    }

    fn delete(&self, key: &str) {
        self.with(|state| {
            state.revision += 1;
            state.entries.remove(key);
        });
        self.tell(|| WatchEvent::Delete(key.to_owned()));
    }

    fn tell(&self, event: impl Fn() -> WatchEvent<ConfigEntry>) {
        self.with(|state| {
            for (_, sink) in &state.sinks {
                sink.push(event());
            }
        });
    }

    fn disconnect(&self) {
        self.with(|state| {
            state.down = true;
            state.sinks.clear();
        });
    }

    fn reconnect(&self) {
        self.with(|state| state.down = false);
    }

    fn watching(&self) -> usize {
        self.with(|state| {
            state.sinks.retain(|(_, sink)| !sink.is_abandoned());
            state.sinks.len()
        })
    }
}

#[async_trait]
impl Backend for Center {
    fn backend(&self) -> &'static str {
        "scripted"
    }
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    async fn health(&self) -> Result<()> {
        Ok(())
    }
    async fn shutdown(&self, _: Duration) -> Result<()> {
        Ok(())
    }
}

fn down() -> Error {
    Error::new(ErrorKind::Unavailable, "scripted to be down")
}

#[async_trait]
impl ConfigCenter for Center {
    async fn read(&self, scope: &WatchScope) -> Result<(Vec<ConfigEntry>, u64)> {
        self.with(|state| {
            state.reads += 1;
            if state.down {
                return Err(down());
            }
            let found = state.entries.values().filter(|entry| scope.contains(&entry.key));
            Ok((found.cloned().collect(), state.revision))
        })
    }

    async fn write(&self, _: Vec<ConfigWrite>) -> Result<Version> {
        Err(Error::unsupported("writing"))
    }

    async fn watch(&self, scope: &WatchScope, revision: u64) -> Result<Watch<ConfigEntry>> {
        self.with(|state| {
            if state.down {
                return Err(down());
            }
            let (sink, watch) = watches::channel(8);
            for entry in state.entries.values() {
                if scope.contains(&entry.key) && entry.version.0 > revision {
                    sink.push(WatchEvent::Put(entry.clone()));
                }
            }
            state.sinks.push((scope.clone(), sink));
            Ok(watch)
        })
    }
}

fn hot() -> HotReload<Rule> {
    HotReload::new(Rule { rate: 1 }).expect("a valid default")
}

/// Waits, in paused time, until `holds`; ten minutes of it at most.
async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..60_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

/// Disk work happens on another thread, which paused time does not wait for.
async fn until_saved(path: &std::path::Path, part: &str) {
    for _ in 0..500 {
        if std::fs::read_to_string(path).is_ok_and(|text| text.contains(part)) {
            return;
        }
        tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(10)))
            .await
            .expect("sleeps");
    }
    panic!("{part} was never saved");
}

#[tokio::test(start_paused = true)]
async fn follows_a_key_and_keeps_the_last_good_value() {
    let center = Center::new();
    center.set("limit", r#"{"rate": 2}"#);
    let limit = hot();
    let mut changes = limit.subscribe();
    let _following = limit
        .follow(center.clone(), "limit")
        .await
        .expect("the centre answers");
    assert_eq!(
        (limit.read(|rule| rule.rate), limit.generation()),
        (2, 1),
        "in place before follow returns"
    );
    assert!(changes.has_changed().expect("alive"));

    until("watching", || center.watching() == 1).await;
    center.set("limit", r#"{"rate": 3}"#);
    changes.changed().await.expect("alive");
    until("applied", || limit.current().rate == 3).await;

    center.set("limit", r#"{"rate": 0, "raet": 1}"#);
    until("rejected", || limit.last_error().is_some()).await;
    let rejection = limit.last_error().expect("rejected");
    assert_eq!(rejection.source, Source::ConfigCenter("limit".to_owned()));
    let text = rejection.error.message().to_owned();
    assert!(
        text.contains("raet: unknown key") && text.contains("rate: must be positive"),
        "{text}"
    );
    assert_eq!((limit.current().rate, limit.generation()), (3, 2));

    center.set("limit", r#"{"rate": 4}"#);
    until("corrected", || limit.current().rate == 4).await;
    assert!(limit.last_error().is_none());

    center.delete("limit");
    until("the default", || limit.current().rate == 1).await;
    assert_eq!(limit.generation(), 4);
}

#[tokio::test(start_paused = true)]
async fn survives_whatever_ends_a_watch() {
    let center = Center::new();
    center.set("limit", r#"{"rate": 2}"#);
    let limit = hot();
    let following = limit
        .follow(center.clone(), "limit")
        .await
        .expect("the centre answers");
    until("connected", || following.is_connected()).await;

    center.set_silently("limit", r#"{"rate": 3}"#);
    center.tell(|| WatchEvent::Reset);
    until("read again after a reset", || limit.current().rate == 3).await;

    until("watching again", || center.watching() == 1).await;
    center.set_silently("limit", r#"{"rate": 4}"#);
    center.tell(|| WatchEvent::Lagged { missed: 9 });
    until("read again after a lag", || limit.current().rate == 4).await;

    until("watching again", || center.watching() == 1).await;
    center.disconnect();
    until("noticed", || !following.is_connected()).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(limit.current().rate, 4, "the last value stays");
    let reads = center.with(|state| state.reads);
    assert!(reads < 40, "{reads} reads: no storm while the centre is away");
    center.set_silently("limit", r#"{"rate": 5}"#);
    center.reconnect();
    until("read again after the outage", || limit.current().rate == 5).await;
    until("watching", || center.watching() == 1).await;
    let (generation, reads) = (limit.generation(), center.with(|state| state.reads));
    center.tell(|| WatchEvent::Reset);
    until("read again", || center.with(|state| state.reads) > reads).await;
    until("watching again", || following.is_connected()).await;
    assert_eq!(
        limit.generation(),
        generation,
        "an unchanged value is not applied again"
    );

    drop(following);
    until("unsubscribed", || center.watching() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn deletions_during_an_outage_are_noticed() {
    let center = Center::new();
    center.set("limit", r#"{"rate": 2}"#);
    let limit = hot();
    let _following = limit
        .follow(center.clone(), "limit")
        .await
        .expect("the centre answers");
    until("watching", || center.watching() == 1).await;
    center.disconnect();
    center.delete("limit");
    center.reconnect();
    until("the default", || limit.current().rate == 1).await;
}

#[tokio::test(start_paused = true)]
async fn the_hook_may_refuse() {
    let applied = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&applied);
    let limit = HotReload::applying(Rule { rate: 1 }, move |rule: &Rule| {
        if rule.rate > 100 {
            return Err(Error::new(
                ErrorKind::ResourceExhausted,
                "too fast for this machine",
            ));
        }
        count.fetch_add(1, Ordering::SeqCst);
        Ok(())
    })
    .expect("a valid default");
    assert_eq!(applied.load(Ordering::SeqCst), 0, "not called for the default");
    let error = limit.replace(Rule { rate: 101 }).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert_eq!(limit.current().rate, 1);
    assert_eq!(limit.replace(Rule { rate: 100 }).expect("accepted"), 1);
    assert!(limit.last_error().is_none());
    assert_eq!(limit.reset().expect("accepted"), 2);
    assert_eq!((limit.current().rate, applied.load(Ordering::SeqCst)), (1, 2));
    assert!(
        HotReload::new(Rule { rate: 0 }).is_err(),
        "a bad default is no default"
    );
}

#[tokio::test(start_paused = true)]
async fn a_panicking_hook_does_not_end_the_following() {
    let center = Center::new();
    let limit = HotReload::applying(Rule { rate: 1 }, |rule: &Rule| {
        assert!(rule.rate != 13, "a defect in the hook");
        Ok(())
    })
    .expect("a valid default");
    let _following = limit
        .follow(center.clone(), "limit")
        .await
        .expect("the centre answers");
    until("watching", || center.watching() == 1).await;
    center.set("limit", r#"{"rate": 13}"#);
    until("the watch ended", || center.watching() == 0).await;
    until("watching again", || center.watching() == 1).await;
    center.set("limit", r#"{"rate": 14}"#);
    until("applied", || limit.current().rate == 14).await;
}

#[tokio::test(start_paused = true)]
async fn each_key_below_a_prefix_stands_alone() {
    let center = Center::new();
    center.set("rules/login.json", r#"{"rate": 2}"#);
    center.set("rules/send.toml", "rate = 3");
    center.set("rules/bad.json", "not json");
    center.set("rules-other", r#"{"rate": 9}"#);
    let defaults = BTreeMap::from([("login".to_owned(), Rule { rate: 1 })]);
    let rules = HotReload::new(defaults).expect("valid");
    let _following = rules
        .follow_prefix(center.clone(), "rules/")
        .await
        .expect("the centre answers");
    let rates = |rules: &HotReload<BTreeMap<String, Rule>>| -> Vec<(String, u32)> {
        rules
            .current()
            .iter()
            .map(|(name, rule)| (name.clone(), rule.rate))
            .collect()
    };
    let pairs = |pairs: &[(&str, u32)]| -> Vec<(String, u32)> {
        pairs
            .iter()
            .map(|(name, rate)| ((*name).to_owned(), *rate))
            .collect()
    };
    assert_eq!(rates(&rules), pairs(&[("login", 2), ("send", 3)]));
    assert_eq!(rules.rejections().len(), 1);

    until("watching", || center.watching() == 1).await;
    center.set("rules/login.json", r#"{"rate": 0}"#);
    until("rejected", || rules.rejections().len() == 2).await;
    assert_eq!(
        rates(&rules),
        pairs(&[("login", 2), ("send", 3)]),
        "its last good one stays"
    );

    center.set("rules/new", r#"{"rate": 7}"#);
    center.delete("rules/bad.json");
    center.delete("rules/login.json");
    center.delete("rules/send.toml");
    until("settled", || rates(&rules) == pairs(&[("login", 1), ("new", 7)])).await;
    assert!(rules.rejections().is_empty(), "{rules:?}");

    center.set("rules/new.json", r#"{"rate": 8}"#);
    until("two keys, one name", || rules.last_error().is_some()).await;
    let rejection = rules.last_error().expect("rejected");
    assert!(rejection.error.message().contains("rules/new"), "{rejection:?}");
    assert_eq!(rules.current()["new"].rate, 7);
}

#[tokio::test]
async fn a_snapshot_stands_in_for_an_absent_centre() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("deep/limit.json");
    let follow = || Follow::new("limit").with_snapshot(&path);
    let center = Center::new();
    center.set("limit", r#"{"rate": 2}"#);
    let first = hot();
    let following = first
        .follow(center.clone(), follow())
        .await
        .expect("the centre answers");
    until_saved(&path, "\\\"rate\\\": 2").await;
    center.set("limit", r#"{"rate": 3}"#);
    until_saved(&path, "\\\"rate\\\": 3").await;
    center.set("limit", r#"{"rate": 0}"#);
    drop(following);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "others cannot read it");
    }

    center.disconnect();
    let second = hot();
    assert_eq!(
        second
            .follow(center.clone(), "limit")
            .await
            .expect_err("no snapshot")
            .kind(),
        ErrorKind::Unavailable
    );
    let following = second
        .follow(center.clone(), follow())
        .await
        .expect("from the snapshot");
    assert_eq!(second.current().rate, 3);
    // Before the centre is back, so that it writes no snapshot in between.
    drop(following);
    let stack = Stack::new().with(Retrying::new(Policy::development()));
    let behind: Arc<dyn ConfigCenter> = stack.wrap(center.clone());
    let following = hot().follow(behind, follow()).await;
    drop(following.expect("from the snapshot, also when a stack says that it tried enough"));

    center.reconnect();
    let third = hot();
    let _other = third
        .follow(center.clone(), follow())
        .await
        .expect("the centre answers");
    assert_eq!(
        third.current().rate,
        3,
        "a bad value in the centre leaves the last good one, across restarts"
    );
    assert!(third.last_error().is_some());

    center.disconnect();
    for broken in [
        "",
        "{",
        "[]",
        r#"{"format":1,"scope":"key other","entries":[]}"#,
        r#"{"format":9,"scope":"key limit","entries":[]}"#,
    ] {
        std::fs::write(&path, broken).expect("written");
        let fourth = hot();
        assert!(fourth.follow(center.clone(), follow()).await.is_err(), "{broken}");
        assert_eq!(fourth.current().rate, 1);
    }
    let leftovers = std::fs::read_dir(path.parent().expect("a parent"))
        .expect("readable")
        .count();
    assert_eq!(leftovers, 1, "no temporary file stays");
}

#[tokio::test(start_paused = true)]
async fn a_silent_centre_is_given_up_in_time() {
    #[derive(Debug)]
    struct Silent(Capabilities);
    #[async_trait]
    impl Backend for Silent {
        fn backend(&self) -> &'static str {
            "silent"
        }
        fn capabilities(&self) -> &Capabilities {
            &self.0
        }
        async fn health(&self) -> Result<()> {
            Ok(())
        }
        async fn shutdown(&self, _: Duration) -> Result<()> {
            Ok(())
        }
    }
    #[async_trait]
    impl ConfigCenter for Silent {
        async fn read(&self, _: &WatchScope) -> Result<(Vec<ConfigEntry>, u64)> {
            std::future::pending().await
        }
        async fn write(&self, _: Vec<ConfigWrite>) -> Result<Version> {
            std::future::pending().await
        }
        async fn watch(&self, _: &WatchScope, _: u64) -> Result<Watch<ConfigEntry>> {
            std::future::pending().await
        }
    }
    let begun = tokio::time::Instant::now();
    let center = Arc::new(Silent(Capabilities::new(Limits::DEFAULT)));
    let error = hot().follow(center, "limit").await.expect_err("silent");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
}
