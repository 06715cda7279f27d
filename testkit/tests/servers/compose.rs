//! `compose.yaml` and the command agree: the same servers, the same variables, loopback ports only.

use std::collections::BTreeSet;

use config::{Config, File, FileFormat};
use infra_testkit::servers::{NAMES, variable};
use serde_json::Value;

const TEXT: &str = include_str!("../../../compose.yaml");

fn services() -> serde_json::Map<String, Value> {
    let config = Config::builder()
        .add_source(File::from_str(TEXT, FileFormat::Yaml))
        .build()
        .unwrap();
    let value: Value = config.try_deserialize().unwrap();
    value["services"].as_object().unwrap().clone()
}

/// `NAME  URL` in the comment at the beginning.
fn documented() -> Vec<(&'static str, &'static str)> {
    let lines = TEXT.lines().filter_map(|line| line.strip_prefix("#   INFRA_"));
    lines
        .map(|line| line.split_once(' ').unwrap())
        .map(|(name, url)| (name, url.trim()))
        .collect()
}

fn published() -> BTreeSet<String> {
    let ports = services()
        .values()
        .filter_map(|service| service["ports"].as_array().cloned())
        .flatten()
        .collect::<Vec<_>>();
    let host = |port: Value| {
        let text = port.as_str().unwrap().to_owned();
        assert!(
            text.starts_with("127.0.0.1:"),
            "{text} is not bound to the loopback address"
        );
        text.split(':').nth(1).unwrap().to_owned()
    };
    ports.into_iter().map(host).collect()
}

fn numbered(name: &str, nodes: usize) -> Vec<String> {
    (1..=nodes).map(|node| format!("{name}-{node}")).collect()
}

/// The servers behind the sentinels, which tell of them: no URL names them.
const TOLD_OF: [&str; 2] = ["17024", "17025"];

#[test]
fn every_server_is_there_and_documented() {
    let services = services();
    for name in NAMES {
        let nodes = match name {
            "redis-replicas" => numbered(name, 6),
            "redis-sentinel" => numbered(name, 5),
            name if name.ends_with("-cluster") => numbered(name, 3),
            name => vec![name.to_owned()],
        };
        for node in nodes {
            assert!(services.contains_key(&node), "compose.yaml has no {node}");
        }
        let variable = variable(name);
        assert!(
            documented()
                .iter()
                .any(|(name, _)| format!("INFRA_{name}") == variable),
            "{variable} is not documented"
        );
    }
}

#[test]
fn documented_urls_and_published_ports_are_the_same() {
    let ports: BTreeSet<String> = documented()
        .iter()
        .filter(|(_, value)| value.contains("://"))
        .flat_map(|(_, url)| {
            url.split(',')
                .map(|part| part.rsplit_once("127.0.0.1:").unwrap().1)
        })
        .map(|rest| rest.split(['/', '?']).next().unwrap().to_owned())
        .chain(TOLD_OF.map(str::to_owned))
        .collect();
    assert_eq!(ports, published());
}
