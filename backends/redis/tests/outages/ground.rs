//! Servers of a test's own, another program that disturbs them, and clients that count what they were told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use infra_core::assembly::BackendOptions;
use infra_core::cache::KeyValue;
use infra_core::config::{BackendUrl, Host};
use infra_core::{Error, ErrorKind};
use infra_redis::redis::aio::MultiplexedConnection;
use infra_redis::redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue};
use infra_redis::{RedisCache, RedisConfig};
use infra_testkit::servers::{self, Control, Set, Up};
use infra_testkit::tcp_proxy::TcpProxy;
use infra_testkit::time::eventually;
use tokio::task::JoinHandle;

/// How long one operation may take here.
pub(crate) const DEADLINE: Duration = Duration::from_secs(2);
/// How much later than its deadline an operation may end on a busy machine.
const SLACK: Duration = Duration::from_secs(2);
/// How long recovery may take.
pub(crate) const RECOVERY: Duration = Duration::from_secs(60);

/// A server of the test's own, ended with it.
pub(crate) struct Own {
    set: Set,
    pub(crate) config: RedisConfig,
    name: &'static str,
    _folder: tempfile::TempDir,
}

impl Own {
    /// Starts it; `None`, and the test listed as skipped, where the shared Redis is missing as well.
    pub(crate) async fn start(name: &'static str) -> Option<Self> {
        servers::require("redis")?;
        let folder = tempfile::tempdir().unwrap();
        let set = Set::at(folder.path());
        let starting = set.clone();
        let said = Arc::new(Mutex::new(Vec::new()));
        let saying = Arc::clone(&said);
        let up = move || {
            let say = |line: &str| saying.lock().unwrap().push(line.to_owned());
            starting.up(&Up::new([name]).with_install(false), &say)
        };
        tokio::task::spawn_blocking(up).await.unwrap().unwrap();
        let variables = set.variables().unwrap();
        let (_, url) = variables
            .first()
            .unwrap_or_else(|| panic!("{name} did not start: {said:?}"));
        let mut config = RedisConfig::development();
        config.take_url(&BackendUrl::parse(url).unwrap()).unwrap();
        Some(Self {
            config: config.with_request_timeout(DEADLINE),
            set,
            name,
            _folder: folder,
        })
    }

    pub(crate) fn control(&self) -> Control {
        self.set.control(self.name)
    }

    /// One node, counted from 1.
    pub(crate) fn node(&self, number: usize) -> Control {
        self.set.control(&format!("{}/{number}", self.name))
    }

    pub(crate) async fn cache(&self) -> Arc<RedisCache> {
        Arc::new(RedisCache::connect(self.config.clone()).await.unwrap())
    }

    /// Another program's connection to the host of this number, counted from 0.
    pub(crate) async fn other(&self, host: usize) -> Other {
        Other::to(&self.config.hosts[host]).await
    }

    /// A way to a single server that can be broken, and the configuration of those who take it.
    pub(crate) fn way(&self) -> (TcpProxy, RedisConfig) {
        let proxy = TcpProxy::start(self.config.hosts[0].or_port(6379)).unwrap();
        let address = proxy.address();
        let host = Host::new(address.ip().to_string(), Some(address.port()));
        let topology = self.config.topology.clone();
        (proxy, self.config.clone().with_hosts([host], topology))
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let down = self.set.down(&|_| ());
        assert!(down.is_ok() || std::thread::panicking(), "{down:?}");
    }
}

/// Another program on the same server.
#[derive(Clone)]
pub(crate) struct Other(MultiplexedConnection);

impl Other {
    pub(crate) async fn to(host: &Host) -> Self {
        let client = Client::open(format!("redis://{}", host.or_port(6379))).unwrap();
        // The driver's own patience is half a second.
        let patient = AsyncConnectionConfig::new().set_response_timeout(Some(RECOVERY));
        let connecting = client.get_multiplexed_async_connection_with_config(&patient);
        Self(connecting.await.unwrap())
    }

    pub(crate) async fn run<T: FromRedisValue>(&mut self, command: &str) -> T {
        self.try_run(command).await.unwrap()
    }

    pub(crate) async fn try_run<T: FromRedisValue>(
        &mut self,
        command: &str,
    ) -> infra_redis::redis::RedisResult<T> {
        let mut words = command.split(' ');
        let mut command: Cmd = infra_redis::redis::cmd(words.next().unwrap());
        for word in words {
            command.arg(word);
        }
        command.query_async(&mut self.0).await
    }
}

/// Waits until the replica of this master has all that the master has.
pub(crate) async fn replicated(master: &Host) {
    let other = Other::to(master).await;
    let has_all = || {
        let mut other = other.clone();
        async move {
            let told: String = other.run("INFO replication").await;
            let number_after = |name: &str| -> Option<u64> {
                let (_, rest) = told.split_once(name)?;
                rest.split(['\r', ',']).next()?.parse().ok()
            };
            let replica = number_after(",offset=");
            replica.is_some() && replica >= number_after("master_repl_offset:")
        }
    };
    assert!(eventually(RECOVERY, has_all).await, "no replica follows {master}");
}

/// Waits until the client works.
pub(crate) async fn recovered(cache: &RedisCache) {
    let works = || async {
        cache
            .set("recovered", "1".into(), infra_core::Ttl::secs(600))
            .await
            .is_ok()
    };
    assert!(
        eventually(RECOVERY, works).await,
        "the client did not recover: {:?}",
        cache.get("recovered").await
    );
}

/// What a counting client was told of one key.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Told {
    pub(crate) done: i64,
    /// Perhaps done.
    pub(crate) unknown: i64,
    /// Certainly not done.
    pub(crate) refused: i64,
}

/// Clients that add one to keys again and again, and believe what they are told.
pub(crate) struct Counting {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<BTreeMap<String, Told>>>,
}

impl Counting {
    pub(crate) fn start(cache: &Arc<RedisCache>, tasks: usize, keys: &[String]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let spawn = |task: usize| {
            let (cache, keys, stop) = (Arc::clone(cache), keys.to_vec(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut told = BTreeMap::<String, Told>::new();
                for turn in task.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let key = &keys[turn % keys.len()];
                    count(&cache, key, told.entry(key.clone()).or_default()).await;
                }
                told
            })
        };
        Self {
            tasks: (0..tasks).map(spawn).collect(),
            stop,
        }
    }

    /// What all of them were told.
    pub(crate) async fn stop(self) -> BTreeMap<String, Told> {
        self.stop.store(true, Ordering::Relaxed);
        let mut sums = BTreeMap::<String, Told>::new();
        for task in self.tasks {
            for (key, told) in task.await.unwrap() {
                let sum = sums.entry(key).or_default();
                sum.done += told.done;
                sum.unknown += told.unknown;
                sum.refused += told.refused;
            }
        }
        sums
    }
}

async fn count(cache: &RedisCache, key: &str, told: &mut Told) {
    let began = Instant::now();
    let answer = cache.incr_by(key, 1).await;
    in_time(began);
    match answer {
        Ok(_) => told.done += 1,
        Err(error) => {
            check_kind(&error);
            if error.had_no_effect() {
                told.refused += 1;
            } else {
                told.unknown += 1;
            }
            // What is refused at once would spin.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// That what began then has ended in time.
pub(crate) fn in_time(began: Instant) {
    let took = began.elapsed();
    assert!(took < DEADLINE + SLACK, "an operation took {took:?}");
}

/// That an outage was called one.
pub(crate) fn check_kind(error: &Error) {
    let expected = [
        ErrorKind::Unavailable,
        ErrorKind::Timeout,
        ErrorKind::OutcomeUnknown,
    ];
    assert!(expected.contains(&error.kind()), "{error}");
}

/// That nothing was lost that was reported done, and nothing was done twice. Returns how many were done.
pub(crate) async fn check_counts(cache: &RedisCache, sums: &BTreeMap<String, Told>) -> i64 {
    let mut done = 0;
    for (key, told) in sums {
        let there = cache.incr_by(key, 0).await.unwrap();
        assert!(
            (told.done..=told.done + told.unknown).contains(&there),
            "{key} is {there}, and its clients were told {told:?}"
        );
        done += told.done;
    }
    done
}
