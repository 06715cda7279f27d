//! RabbitMQ with its management, consistent hashing and streams.
//!
//! From the system's packages (3.10 in Debian 12), answering in 5 to 10 s with 150 MB. The script in the library folder is run,
//! not the one in the path, which insists on a user of its own. Everything that would lie in `/var` or the home folder is told to
//! lie in the node's. Erlang's port mapper, which RabbitMQ would leave behind, is started here first as a process of its own, on a
//! port of its own, and ended with the rest. A quorum queue younger than ten seconds can come back without a leader after a kill.

use std::path::Path;
use std::time::Duration;

use crate::servers::probe;
use crate::servers::problem::{Problem, Result};
use crate::servers::process::run;
use crate::servers::recipe::{Place, Recipe, first_version};
use crate::servers::source::{Source, find};
use crate::servers::state::Launch;
use crate::servers::variable;

const AMQP: usize = 0;
const MANAGEMENT: usize = 1;
const STREAM: usize = 2;
const NODES: usize = 3;
const MAPPER: usize = 4;

/// The administrator and its password.
const NAME: &str = "infra";
/// Both, as HTTP wants them.
const AUTHORIZATION: &str = "Authorization: Basic aW5mcmE6aW5mcmE=\r\n";

const SCRIPT: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const PLUGINS: &str = "[rabbitmq_management,rabbitmq_consistent_hash_exchange,rabbitmq_stream].\n";

pub(in crate::servers) struct RabbitMq;

impl Recipe for RabbitMq {
    fn name(&self) -> &'static str {
        "rabbitmq"
    }

    fn source(&self) -> Source {
        Source::Packages {
            programs: &[SCRIPT, "epmd"],
            packages: &["rabbitmq-server"],
        }
    }

    fn ports(&self) -> usize {
        5
    }

    fn version(&self, _supply: &Path) -> Result<String> {
        let folders = std::fs::read_dir("/usr/lib/rabbitmq/lib")
            .into_iter()
            .flatten()
            .flatten();
        let version = folders
            .filter_map(|entry| first_version(entry.file_name().to_str()?.strip_prefix("rabbitmq_server-")?))
            .max();
        match version {
            Some(version) => Ok(version),
            None => run(
                &Launch::new(find("rabbitmqctl")?, ["version"]),
                Path::new("/"),
                "",
            )
            .map(|text| text.trim().to_owned()),
        }
    }

    fn prepare(&self, place: &Place) -> Result<Vec<Launch>> {
        let configuration = format!(
            "listeners.tcp.1 = {}\nmanagement.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {}\nstream.listeners.tcp.1 = {}\n\
             loopback_users = none\ndefault_user = {NAME}\ndefault_pass = {NAME}\ndefault_user_tags.administrator = true\n\
             disk_free_limit.absolute = 50MB\n",
            place.address(AMQP),
            place.ports[MANAGEMENT],
            place.address(STREAM),
        );
        let home = place.folder.display().to_string();
        let mapper_port = place.ports[MAPPER].to_string();
        let mapper = Launch::new(find("epmd")?, ["-port", &mapper_port, "-address", "127.0.0.1"])
            .with_environment("HOME", &home);
        let broker = Launch::new(find(SCRIPT)?, [""; 0])
            .with_environment("HOME", &home)
            .with_environment("RABBITMQ_NODENAME", "rabbit@localhost")
            .with_environment("RABBITMQ_MNESIA_BASE", place.path("data"))
            .with_environment("RABBITMQ_LOG_BASE", place.path("logs"))
            .with_environment("RABBITMQ_LOGS", "-")
            .with_environment("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .with_environment(
                "RABBITMQ_CONFIG_FILE",
                place.write("rabbitmq.conf", &configuration)?,
            )
            .with_environment("RABBITMQ_ENABLED_PLUGINS_FILE", place.write("plugins", PLUGINS)?)
            .with_environment("RABBITMQ_DIST_PORT", place.ports[NODES].to_string())
            // Erlang's busy waiting takes a core that the tests need.
            .with_environment(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "+sbwt none +sbwtdcpu none +sbwtdio none -start_epmd false",
            )
            .with_environment("ERL_EPMD_PORT", &mapper_port)
            .with_environment("ERL_EPMD_ADDRESS", "127.0.0.1");
        Ok(vec![mapper, broker])
    }

    fn answers(&self, place: &Place) -> Result<()> {
        probe::amqp(place.ports[AMQP])?;
        let overview = probe::http_get(place.ports[MANAGEMENT], "/api/overview", AUTHORIZATION)?;
        if overview.contains("rabbitmq_version") {
            Ok(())
        } else {
            Err(Problem::new("RabbitMQ's management has no overview yet"))
        }
    }

    fn variables(&self, places: &[Place]) -> Vec<(String, String)> {
        let of =
            |scheme: &str, port, path| format!("{scheme}://{NAME}:{NAME}@{}{path}", places[0].address(port));
        vec![
            (variable(self.name()), of("amqp", AMQP, "/%2F")),
            (variable("rabbitmq-management"), of("http", MANAGEMENT, "")),
            (variable("rabbitmq-stream"), of("rabbitmq-stream", STREAM, "/%2F")),
        ]
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(180)
    }
}
