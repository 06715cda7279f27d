//! etcd: one server, and a cluster of three.
//!
//! From the system's packages (3.4 in Debian 12, where the package is `etcd-server`), answering in a second with 30 MB. Without
//! fsync: a killed process loses nothing by that, only a machine that loses its power. With three nodes a killed leader is
//! replaced in about two seconds. Authentication and TLS are off; `etcd_secure` has them.

use std::path::Path;

use crate::servers::probe;
use crate::servers::problem::{Problem, Result};
use crate::servers::recipe::{Place, Recipe, printed_version, url};
use crate::servers::source::{Source, find};
use crate::servers::state::Launch;
use crate::servers::variable;

pub(in crate::servers) const SINGLE: Etcd = Etcd {
    name: "etcd",
    nodes: 1,
};
pub(in crate::servers) const CLUSTER: Etcd = Etcd {
    name: "etcd-cluster",
    nodes: 3,
};

const CLIENTS: usize = 0;
const PEERS: usize = 1;

pub(in crate::servers) struct Etcd {
    name: &'static str,
    nodes: usize,
}

impl Recipe for Etcd {
    fn name(&self) -> &'static str {
        self.name
    }

    fn source(&self) -> Source {
        Source::Packages {
            programs: &["etcd", "etcdctl"],
            packages: &["etcd-server", "etcd-client"],
        }
    }

    fn nodes(&self) -> usize {
        self.nodes
    }

    fn ports(&self) -> usize {
        2
    }

    fn version(&self, _supply: &Path) -> Result<String> {
        printed_version("etcd", "--version")
    }

    fn prepare(&self, place: &Place) -> Result<Vec<Launch>> {
        let clients = format!("http://{}", place.address(CLIENTS));
        node(place, PEERS, &clients, &clients, &[]).map(|launch| vec![launch])
    }

    fn answers(&self, place: &Place) -> Result<()> {
        healthy(place.ports[CLIENTS])
    }

    fn variables(&self, places: &[Place]) -> Vec<(String, String)> {
        vec![(variable(self.name), url("etcd", places, CLIENTS))]
    }
}

/// One node: where it listens for clients, what it tells them of that, and what else it is told.
pub(super) fn node(
    place: &Place,
    peers: usize,
    listen: &str,
    advertise: &str,
    more: &[&str],
) -> Result<Launch> {
    let name = |index: usize| format!("node-{}", index + 1);
    let members: Vec<String> = place
        .all_ports
        .iter()
        .enumerate()
        .map(|(index, ports)| format!("{}=http://127.0.0.1:{}", name(index), ports[peers]))
        .collect();
    let peers = format!("http://{}", place.address(peers));
    let (own, members, data) = (name(place.index), members.join(","), place.path("data"));
    let arguments = [
        "--name",
        &own,
        "--data-dir",
        &data,
        "--listen-client-urls",
        listen,
        "--advertise-client-urls",
        advertise,
        "--listen-peer-urls",
        &peers,
        "--initial-advertise-peer-urls",
        &peers,
        "--initial-cluster",
        &members,
        "--initial-cluster-state",
        "new",
        "--unsafe-no-fsync",
    ];
    let launch = Launch::new(find("etcd")?, arguments.iter().chain(more).copied());
    // Version 3.4 speaks the third API to clients, but wants to be told so by its tools.
    Ok(launch.with_environment("ETCDCTL_API", "3"))
}

/// Asks for its health on a port where it speaks without TLS.
pub(super) fn healthy(port: u16) -> Result<()> {
    let health = probe::http_get(port, "/health", "")?;
    if health.contains("true") {
        Ok(())
    } else {
        Err(Problem::new(format!("etcd says of its health: {health}")))
    }
}
