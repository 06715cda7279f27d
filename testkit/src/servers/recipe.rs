//! What has to be known about a server to have it: one [`Recipe`] for each, in `recipes/`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::problem::{Problem, Result};
use super::process::{MARK, Signal, run};
use super::source::{Source, find};
use super::state::Launch;

/// Where one node of a server lives.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Its own folder, also the working folder of its processes.
    pub(super) folder: PathBuf,
    /// Its ports, as many as the recipe asked for.
    pub(super) ports: Vec<u16>,
    /// Counted from 0.
    pub(super) index: usize,
    /// The ports of all nodes, its own included.
    pub(super) all_ports: Vec<Vec<u16>>,
    /// What the recipe's source fetched, if it fetches anything.
    pub(super) supply: PathBuf,
    /// Marks its processes.
    pub(super) mark: String,
}

impl Place {
    /// `127.0.0.1:` and the port.
    pub(super) fn address(&self, port: usize) -> String {
        format!("127.0.0.1:{}", self.ports[port])
    }

    /// Runs a program that prepares the node to its end, and returns what it printed; it belongs to the node meanwhile.
    pub(super) fn run(&self, launch: Launch, input: &str) -> Result<String> {
        run(&launch.with_environment(MARK, &self.mark), &self.folder, input)
    }

    pub(super) fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Writes a file into the node's folder and returns its path.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<String> {
        write(&self.folder.join(name), text)?;
        Ok(self.path(name))
    }
}

pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    use super::problem::Attempt;
    std::fs::write(path, text).attempt(|| format!("write {}", path.display()))
}

/// How to have one server.
pub(super) trait Recipe: Sync {
    /// As on the command line, one of [`NAMES`](super::NAMES).
    fn name(&self) -> &'static str;

    /// Where its programs come from.
    fn source(&self) -> Source;

    /// The user whom it must run as when the command runs as root; databases refuse to run as root.
    fn user(&self) -> Option<&'static str> {
        None
    }

    fn nodes(&self) -> usize {
        1
    }

    /// How many ports each node needs.
    fn ports(&self) -> usize {
        1
    }

    /// Whether a node also needs the port that is [`BUS`](super::ports::BUS) higher.
    fn bus(&self) -> bool {
        false
    }

    /// What it says about its version.
    fn version(&self, supply: &Path) -> Result<String>;

    /// Lays out a node's data, once in its life, and says which processes to start, in this order.
    fn prepare(&self, place: &Place) -> Result<Vec<Launch>>;

    /// Removes what a killed node left behind that would keep it from starting again; none of its processes is alive.
    fn clear(&self, _place: &Place) -> Result<()> {
        Ok(())
    }

    /// One short exchange in the server's own protocol; an error when it does not answer as a working server does.
    fn answers(&self, place: &Place) -> Result<()>;

    /// Makes one server of nodes that all answer. May be called again for a server that is one already.
    fn assemble(&self, _places: &[Place]) -> Result<()> {
        Ok(())
    }

    /// Environment variables for those who use it, the one with its URL first.
    fn variables(&self, places: &[Place]) -> Vec<(String, String)>;

    /// How it is told to end in order.
    fn stop_signal(&self) -> Signal {
        Signal::TERM
    }

    /// How long it may take to answer, on a machine that compiles at the same time.
    fn patience(&self) -> Duration {
        Duration::from_secs(90)
    }
}

/// The recipe for a server of this name.
pub(super) fn find_recipe(name: &str) -> Result<&'static dyn Recipe> {
    let found = super::recipes::ALL.iter().find(|recipe| recipe.name() == name);
    found.copied().ok_or_else(|| {
        Problem::new(format!(
            "there is no server called {name:?}; the servers are {}",
            super::NAMES.join(", ")
        ))
    })
}

/// `scheme://` and the addresses of all places' port number `port`.
pub(super) fn url(scheme: &str, places: &[Place], port: usize) -> String {
    let addresses: Vec<String> = places.iter().map(|place| place.address(port)).collect();
    format!("{scheme}://{}", addresses.join(","))
}

/// The first word of what a program prints that looks like a version.
pub(super) fn printed_version(program: &str, argument: &str) -> Result<String> {
    let program = find(program)?;
    let text = run(&Launch::new(program, [argument]), Path::new("/"), "")?;
    first_version(&text).ok_or_else(|| Problem::new(format!("no version in {text:?}")))
}

/// `7.0.15` in `Redis server v=7.0.15 sha=…`.
pub(super) fn first_version(text: &str) -> Option<String> {
    text.split(|character: char| !(character.is_ascii_alphanumeric() || ".-+~:".contains(character)))
        .find_map(|word| {
            let word = word.trim_start_matches('v').trim_end_matches(['.', ':', '-']);
            let numbers = word
                .split(['.', '-', '+', '~'])
                .take(2)
                .filter(|part| part.parse::<u32>().is_ok());
            (numbers.count() == 2).then(|| word.to_owned())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_print() {
        for (text, expected) in [
            (
                "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64",
                "7.0.15",
            ),
            ("etcd Version: 3.4.23\nGit SHA: x", "3.4.23"),
            ("Consul v1.8.7\nProtocol 2", "1.8.7"),
            ("postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)", "15.13"),
            (
                "mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian",
                "10.11.19-MariaDB-0+deb12u1",
            ),
        ] {
            assert_eq!(first_version(text).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(first_version("no version here"), None);
    }

    #[test]
    fn recipes_and_names_agree() {
        let names: Vec<&str> = crate::servers::recipes::ALL
            .iter()
            .map(|recipe| recipe.name())
            .collect();
        assert_eq!(names, crate::servers::NAMES);
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let problem = find_recipe("memcached").err().expect("unknown").to_string();
        assert!(
            problem.contains("memcached") && problem.contains("redis-secure, etcd"),
            "{problem}"
        );
    }

    #[test]
    fn every_recipe_names_its_url_by_the_rule() {
        for recipe in crate::servers::recipes::ALL {
            let ports: Vec<Vec<u16>> = (0..recipe.nodes())
                .map(|node| vec![node as u16 + 1; recipe.ports()])
                .collect();
            let place = |(index, ports_of): (usize, &Vec<u16>)| Place {
                folder: "/nowhere".into(),
                ports: ports_of.clone(),
                index,
                all_ports: ports.clone(),
                supply: "/nowhere".into(),
                mark: String::new(),
            };
            let places: Vec<Place> = ports.iter().enumerate().map(place).collect();
            let variables = recipe.variables(&places);
            assert_eq!(variables[0].0, crate::servers::variable(recipe.name()));
            assert!(variables[0].1.contains("127.0.0.1:1"), "{variables:?}");
            let prefix = variables[0].0.trim_end_matches("URL");
            for (name, value) in &variables {
                assert!(
                    name.starts_with(prefix) && !value.contains('\''),
                    "{name}={value}"
                );
            }
        }
    }
}
