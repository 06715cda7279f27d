//! Consul.
//!
//! Debian 12 has no package of it, but the one of Debian 11 (1.8) is a program without shared libraries: it is fetched from the
//! machine's own mirror and unpacked into the cache. A `consul` that is installed already is preferred. One server that keeps
//! its data (not `-dev`), answering as soon as it has elected itself, 50 MB. Sessions live at least 10 s and are freed up to
//! twice their time to live later; name a lock delay of 0 s where a test waits for a lock.

use std::path::Path;

use crate::servers::probe;
use crate::servers::problem::{Problem, Result};
use crate::servers::process::run;
use crate::servers::recipe::{Place, Recipe, first_version, url};
use crate::servers::source::Source;
use crate::servers::state::Launch;
use crate::servers::variable;

pub(in crate::servers) struct Consul;

/// Elections at the pace of production, and no farewell when the process is told to end: it comes back with its data. Tests play
/// whole fleets from one address, of which Consul would take 200 connections.
const CONFIGURATION: &str = r#"{
    "performance": { "raft_multiplier": 1 },
    "limits": { "http_max_conns_per_client": 5000 },
    "leave_on_terminate": false,
    "disable_update_check": true
}"#;

impl Recipe for Consul {
    fn name(&self) -> &'static str {
        "consul"
    }

    fn source(&self) -> Source {
        Source::Archive {
            suite: "bullseye",
            package: "consul",
            program: "usr/bin/consul",
        }
    }

    fn ports(&self) -> usize {
        3
    }

    fn version(&self, supply: &Path) -> Result<String> {
        let text = run(&Launch::new(supply.to_owned(), ["version"]), Path::new("/"), "")?;
        first_version(&text).ok_or_else(|| Problem::new(format!("no version in {text:?}")))
    }

    fn prepare(&self, place: &Place) -> Result<Vec<Launch>> {
        let [http, server, serf] = [0, 1, 2].map(|index| place.ports[index]);
        launch(place, CONFIGURATION, [http, server, serf]).map(|launch| vec![launch])
    }

    fn answers(&self, place: &Place) -> Result<()> {
        has_leader(place.ports[0])
    }

    fn variables(&self, places: &[Place]) -> Vec<(String, String)> {
        vec![(variable(self.name()), url("consul", places, 0))]
    }
}

/// One server with this configuration, and these ports for HTTP, for the other servers and for the gossip of the nodes.
pub(super) fn launch(place: &Place, configuration: &str, ports: [u16; 3]) -> Result<Launch> {
    let (configuration, data) = (place.write("consul.json", configuration)?, place.path("data"));
    let [http, server, serf] = ports;
    let arguments = [
        "agent".to_owned(),
        "-server".to_owned(),
        "-bootstrap-expect=1".to_owned(),
        "-bind=127.0.0.1".to_owned(),
        "-client=127.0.0.1".to_owned(),
        "-node=infra".to_owned(),
        format!("-data-dir={data}"),
        format!("-config-file={configuration}"),
        format!("-http-port={http}"),
        format!("-server-port={server}"),
        format!("-serf-lan-port={serf}"),
        "-serf-wan-port=-1".to_owned(),
        "-grpc-port=-1".to_owned(),
        "-dns-port=-1".to_owned(),
    ];
    Ok(Launch::new(place.supply.clone(), arguments))
}

/// Asks for the leader on a port where it speaks without TLS.
pub(super) fn has_leader(port: u16) -> Result<()> {
    let leader = probe::http_get(port, "/v1/status/leader", "")?;
    if leader.contains(':') {
        Ok(())
    } else {
        Err(Problem::new("Consul has no leader yet"))
    }
}
