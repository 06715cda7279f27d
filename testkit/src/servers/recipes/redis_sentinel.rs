//! Redis watched by sentinels: three of them, nodes 1 to 3, and a master and its replica, nodes 4 and 5 at the beginning.
//!
//! A dead master is replaced about three seconds later. Who is what is kept in the configuration files of the nodes, which Redis
//! itself rewrites, so a node that comes back is what the others made of it.

use std::path::Path;
use std::time::Duration;

use super::redis::{self, Redis};
use crate::servers::probe;
use crate::servers::problem::{Problem, Result};
use crate::servers::process::wait_until;
use crate::servers::recipe::{Place, Recipe, url};
use crate::servers::source::{Source, find};
use crate::servers::state::Launch;
use crate::servers::variable;

const NAME: &str = "redis-sentinel";

/// The name under which the master is watched.
const MASTER: &str = "mymaster";

const SENTINELS: usize = 3;

pub(in crate::servers) struct RedisSentinel;

impl RedisSentinel {
    fn configuration(place: &Place) -> String {
        let (port, folder) = (place.ports[0], place.folder.display());
        let common = format!("port {port}\nbind 127.0.0.1\ndir {folder}\n");
        let stored = "appendonly yes\nappendfsync no\nrepl-diskless-sync-delay 0\n";
        let first = place.all_ports[SENTINELS][0];
        match place.index {
            index if index < SENTINELS => format!(
                "{common}sentinel monitor {MASTER} 127.0.0.1 {first} 2\nsentinel down-after-milliseconds {MASTER} 2000\n\
                 sentinel failover-timeout {MASTER} 4000\n"
            ),
            SENTINELS => format!("{common}{stored}"),
            _ => format!("{common}{stored}replicaof 127.0.0.1 {first}\n"),
        }
    }

    /// Whether this sentinel knows the others and the replica.
    fn knows_all(place: &Place) -> bool {
        let ask = |command: &str| probe::redis(place.ports[0], &format!("SENTINEL {command} {MASTER}"));
        ask("CKQUORUM").is_ok_and(|answer| answer.starts_with("+OK 3 usable"))
            && ask("MASTER").is_ok_and(|answer| answer.contains("num-slaves\r\n$1\r\n1\r\n"))
    }
}

impl Recipe for RedisSentinel {
    fn name(&self) -> &'static str {
        NAME
    }

    fn source(&self) -> Source {
        redis::packages()
    }

    fn nodes(&self) -> usize {
        SENTINELS + 2
    }

    fn version(&self, supply: &Path) -> Result<String> {
        Redis::version(&redis::SINGLE, supply)
    }

    fn prepare(&self, place: &Place) -> Result<Vec<Launch>> {
        let file = place.write("redis.conf", &Self::configuration(place))?;
        let mut arguments = vec![file];
        if place.index < SENTINELS {
            arguments.push("--sentinel".to_owned());
        }
        Ok(vec![Launch::new(find("redis-server")?, arguments)])
    }

    fn answers(&self, place: &Place) -> Result<()> {
        probe::redis_ping(place.ports[0])
    }

    fn assemble(&self, places: &[Place]) -> Result<()> {
        let agreed = || places[..SENTINELS].iter().all(Self::knows_all) && places.iter().all(redis::follows);
        if wait_until(Duration::from_secs(60), agreed) {
            return Ok(());
        }
        Err(Problem::new(
            "the sentinels of Redis do not know each other and the replica within 60 s",
        ))
    }

    fn variables(&self, places: &[Place]) -> Vec<(String, String)> {
        let sentinels = url("redis", &places[..SENTINELS], 0);
        vec![(variable(NAME), format!("{sentinels}?sentinel={MASTER}"))]
    }
}
