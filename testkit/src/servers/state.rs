//! What is written down about a set of servers, so that another process can stop exactly what one process started.
//!
//! Reads and writes one JSON file. It is replaced, never changed in place: whoever reads it sees one state or the next.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::problem::{Attempt, Problem, Result};

/// A set of servers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    /// Marks the processes of this set, in their environment.
    pub(super) id: String,
    /// The machine's boot: after another one no process of this file is alive, whatever has its number.
    pub(super) boot: String,
    /// The folder of all data, removed with the set.
    pub(super) data: PathBuf,
    /// Whether Docker runs the servers.
    pub(super) docker: bool,
    pub(super) servers: BTreeMap<String, Server>,
    /// The servers that this machine cannot have, each with the reason.
    pub(super) missing: BTreeMap<String, String>,
}

/// One server, of one node or several.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Server {
    pub(super) version: String,
    /// Whether it has answered; a start that was cut short leaves `false`.
    pub(super) ready: bool,
    /// Environment variables for its users, the URL first.
    pub(super) variables: Vec<(String, String)>,
    pub(super) nodes: Vec<Node>,
}

/// One node of a server.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Node {
    pub(super) folder: PathBuf,
    pub(super) ports: Vec<u16>,
    /// In the order of their start.
    pub(super) processes: Vec<Process>,
}

/// How a process was started, and which it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Process {
    pub(super) launch: Launch,
    /// Empty from before the start until after it.
    pub(super) identity: Option<Identity>,
}

/// A process, distinguished from a later one that has the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) pid: u32,
    /// When it started, in the kernel's ticks since the boot.
    pub(super) since: u64,
}

/// All it takes to start a process, once more if need be.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Launch {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) environment: BTreeMap<String, String>,
    /// Who it runs as, where that is not who starts it.
    pub(super) user: Option<String>,
}

impl Launch {
    pub(super) fn new<A: Into<String>>(program: PathBuf, arguments: impl IntoIterator<Item = A>) -> Self {
        Self {
            program,
            arguments: arguments.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    pub(super) fn with_environment<V: Into<String>>(mut self, name: &str, value: V) -> Self {
        self.environment.insert(name.to_owned(), value.into());
        self
    }

    pub(super) fn with_user(mut self, user: Option<&str>) -> Self {
        self.user = user.map(str::to_owned);
        self
    }
}

impl State {
    /// The state of a new set. Its data folder is created after it is written down, so that none is forgotten.
    pub(super) fn new() -> Self {
        let id = format!("{}_{}", crate::unique("infra-servers"), std::process::id());
        Self {
            data: std::env::temp_dir().join(&id),
            id,
            boot: boot(),
            docker: false,
            servers: BTreeMap::new(),
            missing: BTreeMap::new(),
        }
    }

    /// Marks the processes of one node, counted from 0.
    pub(super) fn mark(&self, server: &str, node: usize) -> String {
        format!("{}/{server}/{}", self.id, node + 1)
    }

    /// What the file says, or `None` when there is no set.
    pub(super) fn load(file: &Path) -> Result<Option<Self>> {
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Problem::new(format!("cannot read {}: {error}", file.display()))),
        };
        let mut state: Self = serde_json::from_str(&text).attempt(|| {
            format!(
                "read {} (was it written by another version? remove it after stopping its servers)",
                file.display()
            )
        })?;
        if state.boot != boot() {
            state.forget_processes();
        }
        Ok(Some(state))
    }

    pub(super) fn save(&self, file: &Path) -> Result<()> {
        let new = file.with_extension("new");
        let write = || -> std::io::Result<()> {
            std::fs::write(&new, serde_json::to_vec_pretty(self)?)?;
            std::fs::rename(&new, file)
        };
        write().attempt(|| format!("write {}", file.display()))
    }

    fn forget_processes(&mut self) {
        let nodes = self.servers.values_mut().flat_map(|server| &mut server.nodes);
        for process in nodes.flat_map(|node| &mut node.processes) {
            process.identity = None;
        }
        self.boot = boot();
    }
}

/// The kernel's name for the running boot; empty where there is none.
fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_or_else(|_| String::new(), |id| id.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(boot: String) -> State {
        let launch = Launch::new("/usr/bin/redis-server".into(), ["--port", "1"])
            .with_environment("HOME", "/nowhere")
            .with_user(Some("redis"));
        let process = Process {
            launch,
            identity: Some(Identity { pid: 7, since: 11 }),
        };
        let node = Node {
            folder: "/nowhere/redis".into(),
            ports: vec![1],
            processes: vec![process],
        };
        let server = Server {
            version: "7".to_owned(),
            ready: true,
            variables: vec![("INFRA_REDIS_URL".to_owned(), "redis://127.0.0.1:1".to_owned())],
            nodes: vec![node],
        };
        State {
            id: "infra-servers-1".to_owned(),
            boot,
            data: "/nowhere".into(),
            docker: false,
            servers: BTreeMap::from([("redis".to_owned(), server)]),
            missing: BTreeMap::from([("kafka".to_owned(), "no java".to_owned())]),
        }
    }

    fn file() -> PathBuf {
        std::env::temp_dir().join(crate::unique("infra-servers-state"))
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let file = file();
        assert_eq!(State::load(&file).expect("no file"), None);
        example(boot()).save(&file).expect("saved");
        assert_eq!(State::load(&file).expect("loaded"), Some(example(boot())));
        std::fs::remove_file(&file).expect("removed");
    }

    #[test]
    fn after_another_boot_no_process_is_known() {
        let file = file();
        example("an earlier boot".to_owned()).save(&file).expect("saved");
        let state = State::load(&file).expect("loaded").expect("a state");
        assert_eq!(state.servers["redis"].nodes[0].processes[0].identity, None);
        std::fs::remove_file(&file).expect("removed");
    }

    #[test]
    fn a_file_that_is_no_state_is_refused_by_name() {
        let file = file();
        std::fs::write(&file, "{}").expect("written");
        let problem = State::load(&file).expect_err("no state").to_string();
        assert!(problem.contains(&file.display().to_string()), "{problem}");
        std::fs::remove_file(&file).expect("removed");
    }
}
