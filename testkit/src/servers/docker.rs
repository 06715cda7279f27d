//! The same servers by Docker, where a daemon answers: `compose.yaml` of this repository, on its own fixed ports.

use std::path::Path;

use super::certificates::Certificates;
use super::problem::{Problem, Result};
use super::process::run;
use super::recipe::{Place, find_recipe, write};
use super::session::Session;
use super::source::find;
use super::state::{Launch, Server, State};

const COMPOSE: &str = include_str!("../../../compose.yaml");

/// The environment variables of each server as `compose.yaml` publishes it.
const VARIABLES: [(&str, &str); 16] = [
    ("INFRA_REDIS_URL", "redis://127.0.0.1:16379"),
    (
        "INFRA_REDIS_CLUSTER_URL",
        "redis://127.0.0.1:17001,127.0.0.1:17002,127.0.0.1:17003",
    ),
    (
        "INFRA_REDIS_REPLICAS_URL",
        "redis://127.0.0.1:17011,127.0.0.1:17012,127.0.0.1:17013,127.0.0.1:17014,127.0.0.1:17015,127.0.0.1:17016",
    ),
    (
        "INFRA_REDIS_SENTINEL_URL",
        "redis://127.0.0.1:17021,127.0.0.1:17022,127.0.0.1:17023?sentinel=mymaster",
    ),
    ("INFRA_ETCD_URL", "etcd://127.0.0.1:12379"),
    (
        "INFRA_ETCD_CLUSTER_URL",
        "etcd://127.0.0.1:12381,127.0.0.1:12382,127.0.0.1:12383",
    ),
    ("INFRA_CONSUL_URL", "consul://127.0.0.1:18500"),
    ("INFRA_RABBITMQ_URL", "amqp://infra:infra@127.0.0.1:15673/%2F"),
    (
        "INFRA_RABBITMQ_MANAGEMENT_URL",
        "http://infra:infra@127.0.0.1:15674",
    ),
    (
        "INFRA_RABBITMQ_STREAM_URL",
        "rabbitmq-stream://infra:infra@127.0.0.1:15552/%2F",
    ),
    (
        "INFRA_POSTGRES_URL",
        "postgres://infra:infra@127.0.0.1:15432/infra",
    ),
    ("INFRA_MARIADB_URL", "mysql://infra:infra@127.0.0.1:13306/infra"),
    ("INFRA_KAFKA_URL", "kafka://127.0.0.1:19092"),
    ("INFRA_OPENSEARCH_URL", "opensearch://127.0.0.1:19200"),
    ("INFRA_OTLP_URL", "http://127.0.0.1:14317"),
    ("INFRA_OTLP_HTTP_URL", "http://127.0.0.1:14318"),
];

/// The ports of the servers that speak TLS, as `compose.yaml` publishes them and their recipes count them.
const SECURE: [(&str, [u16; 2]); 3] = [
    ("redis-secure", [16479, 16480]),
    ("etcd-secure", [12479, 12480]),
    ("consul-secure", [18501, 18502]),
];

/// The place of a server that speaks TLS: its recipe finishes it and knows its variables, as without Docker.
fn secure_place(name: &str, folder: &Path) -> Option<Place> {
    let (_, ports) = SECURE.iter().find(|(secure, _)| *secure == name)?;
    Some(Place {
        folder: folder.to_owned(),
        ports: ports.to_vec(),
        index: 0,
        all_ports: vec![ports.to_vec()],
        supply: Path::new("").to_owned(),
        mark: String::new(),
    })
}

/// Makes the certificates that `compose.yaml` expects beside it, once.
fn certificates(folder: &Path) -> Result<()> {
    let certificates = Certificates::below(folder);
    if Path::new(&certificates.authority()).exists() {
        return Ok(());
    }
    certificates.generate()
}

/// Starts the servers and waits until Docker calls them healthy.
pub(super) fn up(folder: &Path, session: &Session, names: &[&str]) -> Result<()> {
    let state = session.update(|state| {
        state.docker = true;
        for name in names {
            state.servers.insert((*name).to_owned(), Server::default());
        }
        state.clone()
    })?;
    let services: Vec<String> = names
        .iter()
        .map(|name| services(name, None))
        .collect::<Result<Vec<_>>>()?
        .concat();
    let mut arguments = vec!["up", "--detach", "--wait"];
    arguments.extend(services.iter().map(String::as_str));
    if names.iter().any(|name| secure_place(name, folder).is_some()) {
        certificates(folder)?;
    }
    compose(folder, &state, &arguments)?;
    for name in names {
        if let Some(place) = secure_place(name, folder) {
            find_recipe(name)?.assemble(&[place])?;
        }
    }
    session.update(|state| {
        for name in names {
            let server = Server {
                version: "see compose.yaml".to_owned(),
                ready: true,
                variables: variables(name, folder),
                nodes: Vec::new(),
            };
            state.servers.insert((*name).to_owned(), server);
        }
    })
}

/// Ends the containers and removes their data.
pub(super) fn down(folder: &Path, state: &State) -> Result<()> {
    compose(folder, state, &["down", "--volumes", "--timeout", "10"])
}

/// `docker compose VERB` for a server or one node of it.
pub(super) fn fault(folder: &Path, state: &State, verb: &str, name: &str, only: Option<usize>) -> Result<()> {
    let services = services(name, only)?;
    let mut arguments = match verb {
        "reset" => vec!["rm", "--stop", "--force", "--volumes"],
        verb => vec![verb],
    };
    arguments.extend(services.iter().map(String::as_str));
    compose(folder, state, &arguments)?;
    if matches!(verb, "start" | "restart" | "reset") {
        let mut arguments = vec!["up", "--detach", "--wait", "--no-recreate"];
        arguments.extend(services.iter().map(String::as_str));
        compose(folder, state, &arguments)?;
    }
    match secure_place(name, folder) {
        Some(place) if verb == "reset" => find_recipe(name)?.assemble(&[place]),
        _ => Ok(()),
    }
}

fn compose(folder: &Path, state: &State, arguments: &[&str]) -> Result<()> {
    let file = folder.join("compose.yaml");
    write(&file, COMPOSE)?;
    let (file, project) = (file.display().to_string(), state.id.to_lowercase());
    let mut all = vec!["compose", "--file", &file, "--project-name", &project];
    all.extend(arguments);
    run(&Launch::new(find("docker")?, all), folder, "")
        .map(drop)
        .map_err(|problem| {
            Problem::new(format!(
                "{problem}\nis the Docker daemon running, and may you use it? `docker info` tells"
            ))
        })
}

/// The services of a server: one with its name, or one for each node.
fn services(name: &str, only: Option<usize>) -> Result<Vec<String>> {
    let nodes = find_recipe(name)?.nodes();
    if nodes == 1 {
        return Ok(vec![name.to_owned()]);
    }
    let wanted = (0..nodes).filter(|index| only.is_none_or(|only| only == *index));
    Ok(wanted.map(|index| format!("{name}-{}", index + 1)).collect())
}

/// Those whose name begins as the server's does; `INFRA_REDIS_CLUSTER_URL` is not one of `redis`.
fn variables(name: &str, folder: &Path) -> Vec<(String, String)> {
    if let (Some(place), Ok(recipe)) = (secure_place(name, folder), find_recipe(name)) {
        return recipe.variables(&[place]);
    }
    let prefix = super::variable(name);
    let prefix = prefix.trim_end_matches("URL");
    let of_longer = |variable: &str| {
        super::NAMES.iter().any(|other| {
            let longer = super::variable(other);
            longer.len() > prefix.len() + 3
                && longer.starts_with(prefix)
                && variable.starts_with(longer.trim_end_matches("URL"))
        })
    };
    let own = VARIABLES
        .iter()
        .filter(|(variable, _)| variable.starts_with(prefix) && !of_longer(variable));
    own.map(|(variable, url)| ((*variable).to_owned(), (*url).to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_and_the_comment_in_the_file_say_the_same() {
        let documented = COMPOSE
            .lines()
            .filter_map(|line| line.strip_prefix("#   INFRA_")?.split_once(' '));
        let documented: Vec<_> = documented
            .map(|(name, url)| (format!("INFRA_{name}"), url.trim().to_owned()))
            .collect();
        let table: Vec<_> = super::super::NAMES
            .iter()
            .flat_map(|name| variables(name, Path::new("")))
            .collect();
        assert_eq!(documented, table);
    }

    #[test]
    fn every_variable_belongs_to_one_server() {
        let of = |name: &str| {
            variables(name, Path::new(""))
                .into_iter()
                .map(|(name, _)| name)
                .collect::<Vec<_>>()
        };
        assert_eq!(of("redis"), ["INFRA_REDIS_URL"]);
        assert_eq!(of("redis-cluster"), ["INFRA_REDIS_CLUSTER_URL"]);
        assert_eq!(of("otlp"), ["INFRA_OTLP_URL", "INFRA_OTLP_HTTP_URL"]);
        let plain = super::super::NAMES
            .iter()
            .filter(|name| secure_place(name, Path::new("")).is_none());
        assert_eq!(plain.map(|name| of(name).len()).sum::<usize>(), VARIABLES.len());
    }

    #[test]
    fn a_cluster_is_a_service_for_each_node() {
        assert_eq!(
            services("redis-cluster", None).expect("known"),
            ["redis-cluster-1", "redis-cluster-2", "redis-cluster-3"]
        );
        assert_eq!(
            services("redis-cluster", Some(1)).expect("known"),
            ["redis-cluster-2"]
        );
        assert_eq!(services("redis", None).expect("known"), ["redis"]);
    }
}
