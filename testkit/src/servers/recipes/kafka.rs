//! Apache Kafka, one broker that is its own controller (KRaft).
//!
//! Kafka is in no distribution, but its server is a library: Maven fetches it with what it needs (45 archives, 40 MB, 8 s), and
//! `java -cp` starts its main class. Java 17 is enough for Kafka 4. Formatting the storage takes a second and a half, the start two
//! to three; 180 MB with a heap of at most 384 MB. The archives bring a logging interface without a backend, so `slf4j-simple` is
//! added. A broker that was killed is let in again when its session ends, after 3 s instead of 9. Groups begin without the usual delay of three seconds; inner topics have one replica and few partitions.

use std::path::Path;
use std::time::Duration;

use crate::servers::probe;
use crate::servers::problem::Result;
use crate::servers::recipe::{Place, Recipe, url};
use crate::servers::source::{Source, find};
use crate::servers::state::Launch;
use crate::servers::variable;

const VERSION: &str = "4.2.0";
/// 128 bits in URL-safe base64, as Kafka wants them; one cluster in one folder needs no other.
const CLUSTER: &str = "aW5mcmEtc2VydmVycy0wMQ";

const CLIENTS: usize = 0;
const CONTROLLER: usize = 1;

pub(in crate::servers) struct Kafka;

impl Recipe for Kafka {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn source(&self) -> Source {
        Source::Jars {
            artifacts: &[
                "org.apache.kafka:kafka_2.13:4.2.0",
                "org.slf4j:slf4j-simple:1.7.36",
            ],
        }
    }

    fn ports(&self) -> usize {
        2
    }

    fn version(&self, _supply: &Path) -> Result<String> {
        Ok(VERSION.to_owned())
    }

    fn prepare(&self, place: &Place) -> Result<Vec<Launch>> {
        let (clients, controller) = (place.address(CLIENTS), place.address(CONTROLLER));
        let properties = format!(
            "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@{controller}\n\
             listeners=PLAINTEXT://{clients},CONTROLLER://{controller}\nadvertised.listeners=PLAINTEXT://{clients}\n\
             controller.listener.names=CONTROLLER\ninter.broker.listener.name=PLAINTEXT\nlog.dirs={}\n\
             offsets.topic.replication.factor=1\noffsets.topic.num.partitions=4\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\ntransaction.state.log.num.partitions=4\n\
             share.coordinator.state.topic.replication.factor=1\nshare.coordinator.state.topic.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\n\
             broker.session.timeout.ms=3000\nbroker.heartbeat.interval.ms=500\nlog.cleaner.dedupe.buffer.size=8388608\n",
            place.path("data")
        );
        let properties = place.write("server.properties", &properties)?;
        let java = find("java")?;
        let classes = place.supply.join("*").display().to_string();
        let format = [
            "-Xmx256m",
            "-cp",
            &classes,
            "kafka.tools.StorageTool",
            "format",
            "-t",
            CLUSTER,
            "-c",
            &properties,
        ];
        place.run(Launch::new(java.clone(), format), "")?;
        let server = [
            "-Xmx384m",
            "-XX:+UseSerialGC",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-cp",
            &classes,
            "kafka.Kafka",
            &properties,
        ];
        Ok(vec![Launch::new(java, server)])
    }

    fn answers(&self, place: &Place) -> Result<()> {
        probe::kafka(place.ports[CLIENTS])
    }

    fn variables(&self, places: &[Place]) -> Vec<(String, String)> {
        vec![(variable(self.name()), url("kafka", places, CLIENTS))]
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(180)
    }
}
