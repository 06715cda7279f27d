//! Redis: one server, a cluster of three masters, and one of three masters with a replica each.
//!
//! From the system's packages (7.0 in Debian 12), answering in 50 ms with 12 MB. Everything is appended to a file before it is
//! answered, so a killed server comes back with its data. `DEBUG` is allowed from this machine, for fault tests. The cluster
//! finds a dead node after 2 s; without replicas, the keys of a dead node are gone until it is back. TLS and users are off;
//! `redis_secure` has them.

use std::path::Path;
use std::time::Duration;

use crate::servers::probe;
use crate::servers::problem::{Problem, Result};
use crate::servers::process::wait_until;
use crate::servers::recipe::{Place, Recipe, printed_version, url};
use crate::servers::source::{Source, find};
use crate::servers::state::Launch;
use crate::servers::variable;

pub(in crate::servers) const SINGLE: Redis = Redis {
    name: "redis",
    nodes: 1,
    replicas: 0,
};
pub(in crate::servers) const CLUSTER: Redis = Redis {
    name: "redis-cluster",
    nodes: 3,
    replicas: 0,
};
pub(in crate::servers) const REPLICAS: Redis = Redis {
    name: "redis-replicas",
    nodes: 6,
    replicas: 1,
};

pub(in crate::servers) struct Redis {
    name: &'static str,
    nodes: usize,
    /// Of each master.
    replicas: usize,
}

impl Redis {
    fn is_cluster(&self) -> bool {
        self.nodes > 1
    }
}

impl Recipe for Redis {
    fn name(&self) -> &'static str {
        self.name
    }

    fn source(&self) -> Source {
        packages()
    }

    fn nodes(&self) -> usize {
        self.nodes
    }

    fn bus(&self) -> bool {
        self.is_cluster()
    }

    fn version(&self, _supply: &Path) -> Result<String> {
        printed_version("redis-server", "--version")
    }

    fn prepare(&self, place: &Place) -> Result<Vec<Launch>> {
        let (port, folder) = (place.ports[0].to_string(), place.folder.display().to_string());
        let mut arguments = vec!["--port", &port, "--bind", "127.0.0.1", "--dir", &folder];
        arguments.extend(["--save", "", "--appendonly", "yes", "--appendfsync", "no"]);
        arguments.extend(["--enable-debug-command", "local"]);
        if self.is_cluster() {
            arguments.extend(["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"]);
            arguments.extend(["--repl-diskless-sync-delay", "0"]);
        }
        Ok(vec![Launch::new(find("redis-server")?, arguments)])
    }

    fn answers(&self, place: &Place) -> Result<()> {
        probe::redis_ping(place.ports[0])
    }

    fn assemble(&self, places: &[Place]) -> Result<()> {
        if !self.is_cluster() || places.iter().all(is_in_order) {
            return Ok(());
        }
        let all = format!("cluster_known_nodes:{}\r", self.nodes);
        let known = |place: &Place| {
            probe::redis(place.ports[0], "CLUSTER INFO").is_ok_and(|info| info.contains(&all))
        };
        if !places.iter().all(known) {
            let mut arguments = vec!["--cluster".to_owned(), "create".to_owned()];
            arguments.extend(places.iter().map(|place| place.address(0)));
            arguments.push("--cluster-replicas".to_owned());
            arguments.push(self.replicas.to_string());
            arguments.push("--cluster-yes".to_owned());
            places[0].run(Launch::new(find("redis-cli")?, arguments), "")?;
        }
        if wait_until(Duration::from_secs(30), || places.iter().all(is_in_order)) {
            Ok(())
        } else {
            Err(Problem::new(
                "the nodes of the Redis cluster do not agree on its slots within 30 s",
            ))
        }
    }

    fn variables(&self, places: &[Place]) -> Vec<(String, String)> {
        vec![(variable(self.name), url("redis", places, 0))]
    }
}

/// Where the programs come from.
pub(super) fn packages() -> Source {
    Source::Packages {
        programs: &["redis-server", "redis-cli"],
        packages: &["redis-server", "redis-tools"],
    }
}

fn is_in_order(place: &Place) -> bool {
    probe::redis(place.ports[0], "CLUSTER INFO").is_ok_and(|info| info.contains("cluster_state:ok"))
        && follows(place)
}

/// Whether this has what its master has, if it has one.
pub(super) fn follows(place: &Place) -> bool {
    probe::redis(place.ports[0], "INFO replication")
        .is_ok_and(|info| !info.contains("master_link_status:down"))
}
