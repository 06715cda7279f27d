//! A set of servers and what can be done to it: up, down, and faults.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::problem::{Problem, Result};
use super::process::{self, Signal};
use super::recipe::{Recipe, find_recipe};
use super::session::{Session, state_file};
use super::source;
use super::state::{Server, State};
use super::{docker, packages, start};

/// A set of servers, whose state is in one folder; sets in different folders know nothing of each other.
///
/// Every change is written down before and after it is made, so that another process can go on from there: `cargo servers` works on
/// the same set as [`control`](super::control()) in a test. Changes wait for each other.
#[derive(Debug, Clone)]
pub struct Set {
    folder: PathBuf,
}

/// What [`Set::up`] starts, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Up {
    /// The servers to start; none means all.
    pub names: Vec<String>,
    /// Whether missing programs are installed from the system's packages.
    pub install: bool,
    /// Whether Docker runs the servers.
    pub docker: bool,
}

impl Up {
    /// Starts these servers, or all when there are none, and installs what they need.
    #[must_use]
    pub fn new<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Self {
        Self {
            names: names.into_iter().map(Into::into).collect(),
            install: true,
            docker: false,
        }
    }

    /// Whether missing programs are installed from the system's packages.
    #[must_use]
    pub fn with_install(mut self, install: bool) -> Self {
        self.install = install;
        self
    }

    /// Whether Docker runs the servers.
    #[must_use]
    pub fn with_docker(mut self, docker: bool) -> Self {
        self.docker = docker;
        self
    }
}

/// How one server of a set is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// As on the command line.
    pub name: String,
    /// What the server says about itself; empty when it is missing.
    pub version: String,
    /// `running`, `paused`, `dead`, `partly dead`, `not ready`, or `missing`.
    pub state: String,
    /// Why it is missing; empty when it is not.
    pub reason: String,
    /// Its URL; empty when it is missing.
    pub url: String,
}

impl Set {
    /// The set of the folder that `INFRA_SERVERS_DIR` names, else the user's own.
    #[must_use]
    pub fn here() -> Self {
        Self::at(user_folder("INFRA_SERVERS_DIR", "XDG_STATE_HOME", ".local/state"))
    }

    /// The set of this folder.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// Starts what is not running yet and waits until it answers; `say` hears of each step and each failure.
    ///
    /// A server that cannot be had is no error: [`Set::status`] has its reason. When the process ends half-way, [`Set::down`]
    /// cleans up.
    ///
    /// # Errors
    /// An unknown name, a state that cannot be read or written, or (with Docker) a daemon that does not answer.
    pub fn up(&self, up: &Up, say: &(dyn Fn(&str) + Sync)) -> Result<()> {
        let names: Vec<&str> = match up.names.as_slice() {
            [] => super::NAMES.to_vec(),
            names => names.iter().map(String::as_str).collect(),
        };
        let recipes = names.into_iter().map(find_recipe).collect::<Result<Vec<_>>>()?;
        let session = Session::begin(&self.folder, say)?;
        let names: Vec<&str> = recipes.iter().map(|recipe| recipe.name()).collect();
        session.update(|state| state.missing.retain(|name, _| !names.contains(&name.as_str())))?;
        let state = session.snapshot();
        if state.docker != up.docker && !state.servers.is_empty() {
            return Err(Problem::new(
                "this set runs in the other way (with Docker or without); end it with `cargo servers down` first",
            ));
        }
        if up.docker {
            return docker::up(&self.folder, &session, &names);
        }
        let outcome = all_up(&session, &recipes, up.install, say);
        for (name, reason) in &session.snapshot().missing {
            if names.contains(&name.as_str()) {
                say(&format!("{name} cannot be had: {reason}"));
            }
        }
        outcome
    }

    /// Ends exactly what was started, and removes its data. Nothing to do is no error.
    ///
    /// # Errors
    /// A process that cannot be ended, or data that cannot be removed: what is left is still written down.
    pub fn down(&self, say: &dyn Fn(&str)) -> Result<()> {
        let Some(session) = Session::resume(&self.folder, say)? else {
            return Ok(());
        };
        let state = session.snapshot();
        if state.docker {
            docker::down(&self.folder, &state)?;
            return session.end();
        }
        let mut problems = Vec::new();
        std::thread::scope(|scope| {
            let stop = |name: &String| {
                find_recipe(name).and_then(|recipe| start::stop(&state, recipe, None, start::SHORT_FAREWELL))
            };
            let running: Vec<_> = state
                .servers
                .keys()
                .map(|name| (name, scope.spawn(move || stop(name))))
                .collect();
            for (name, stopping) in running {
                match stopping.join() {
                    Ok(Ok(())) => say(&format!("{name} is down")),
                    Ok(Err(problem)) => problems.push(format!("{name}: {problem}")),
                    Err(_) => problems.push(format!("{name}: the thread that stopped it panicked")),
                }
            }
        });
        if problems.is_empty() {
            session.end()
        } else {
            Err(Problem::new(problems.join("\n")))
        }
    }

    /// The environment variables of all servers that have answered, in the order of their names.
    ///
    /// # Errors
    /// A state that cannot be read.
    pub fn variables(&self) -> Result<Vec<(String, String)>> {
        let state = self.state()?;
        let ready = state
            .iter()
            .flat_map(|state| state.servers.values())
            .filter(|server| server.ready);
        Ok(ready.flat_map(|server| server.variables.clone()).collect())
    }

    /// How each server is, those that cannot be had included.
    ///
    /// # Errors
    /// A state that cannot be read.
    pub fn status(&self) -> Result<Vec<Status>> {
        let Some(state) = self.state()? else {
            return Ok(Vec::new());
        };
        let status = |name: &&str| {
            let server = state.servers.get(*name);
            let reason = state.missing.get(*name);
            (server.is_some() || reason.is_some()).then(|| Status {
                name: (*name).to_owned(),
                version: server.map(|server| server.version.clone()).unwrap_or_default(),
                state: server
                    .map_or("missing", |server| condition(&state, server))
                    .to_owned(),
                reason: reason.cloned().unwrap_or_default(),
                url: server
                    .and_then(|server| server.variables.first())
                    .map(|(_, url)| url.clone())
                    .unwrap_or_default(),
            })
        };
        Ok(super::NAMES.iter().filter_map(status).collect())
    }

    /// Ends a server, or one node (`redis-cluster/2`), in order, and starts it again on the same port with the same data.
    ///
    /// # Errors
    /// It was not started, or it does not answer again.
    pub fn restart(&self, target: &str) -> Result<()> {
        self.fault(target, "restart", |session, recipe, only| {
            start::stop(&session.snapshot(), recipe, only, start::FAREWELL)?;
            start::start(session, recipe, only)
        })
    }

    /// Freezes all processes of a server, or of one node: its connections stay open and nothing answers.
    ///
    /// # Errors
    /// It was not started, or is dead.
    pub fn pause(&self, target: &str) -> Result<()> {
        self.fault(target, "pause", |session, recipe, only| {
            signal(session, recipe, only, Signal::STOP)
        })
    }

    /// Lets a paused server, or node, go on.
    ///
    /// # Errors
    /// It was not started, or is dead.
    pub fn resume(&self, target: &str) -> Result<()> {
        self.fault(target, "unpause", |session, recipe, only| {
            signal(session, recipe, only, Signal::CONT)
        })
    }

    /// Ends a server, or one node, as a loss of power would; its data stays.
    ///
    /// # Errors
    /// It was not started.
    pub fn kill(&self, target: &str) -> Result<()> {
        self.fault(target, "kill", |session, recipe, only| {
            start::each(&session.snapshot(), recipe.name(), only, process::kill)
        })
    }

    /// Starts a server, or one node, that was killed, on the same port with the same data.
    ///
    /// # Errors
    /// It was never started, or it does not answer again.
    pub fn start(&self, target: &str) -> Result<()> {
        self.fault(target, "start", start::start)
    }

    /// Kills a server, all its nodes, removes its data, and starts it on the same ports from nothing.
    ///
    /// # Errors
    /// It was never started, one node alone is named, or it does not answer again.
    pub fn reset(&self, target: &str) -> Result<()> {
        self.fault(target, "reset", |session, recipe, only| {
            if only.is_some() {
                return Err(Problem::new("name the whole server: its nodes share their data"));
            }
            let supply = recipe.source().fetch(&source::cache())?;
            start::reset(session, recipe, &supply)
        })
    }

    fn state(&self) -> Result<Option<State>> {
        State::load(&state_file(&self.folder))
    }

    fn fault(
        &self,
        target: &str,
        docker_verb: &str,
        act: impl FnOnce(&Session, &dyn Recipe, Option<usize>) -> Result<()>,
    ) -> Result<()> {
        let (recipe, only) = parse_target(target)?;
        let session = Session::resume(&self.folder, &|_| ())?.ok_or_else(|| start::absent(recipe.name()))?;
        let state = session.snapshot();
        if !state.servers.contains_key(recipe.name()) {
            return Err(start::absent(recipe.name()));
        }
        let outcome = if state.docker {
            docker::fault(&self.folder, &state, docker_verb, recipe.name(), only)
        } else {
            act(&session, recipe, only)
        };
        outcome.map_err(|problem| Problem::new(format!("{docker_verb} {target}: {problem}")))
    }
}

/// Starts all recipes' servers, each in its own thread; those whose programs must be installed wait for one installation.
fn all_up(
    session: &Session,
    recipes: &[&'static dyn Recipe],
    install: bool,
    say: &(dyn Fn(&str) + Sync),
) -> Result<()> {
    let cache = source::cache();
    let needy: Vec<&&dyn Recipe> = recipes
        .iter()
        .filter(|recipe| !recipe.source().absent(&cache).is_empty())
        .collect();
    let mut wanted: Vec<&str> = needy
        .iter()
        .flat_map(|recipe| recipe.source().packages())
        .copied()
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    let installed = OnceLock::new();
    let installation = || {
        installed.get_or_init(|| {
            if !install {
                return Err(Problem::new(format!(
                    "not installed, as asked; it needs the packages {}",
                    wanted.join(" ")
                )));
            }
            packages::install(&wanted, say)
        })
    };
    let up = |recipe: &dyn Recipe| {
        if !recipe.source().absent(&cache).is_empty() {
            // Alone, a server may still have what all together could not.
            if let Err(problem) = installation().clone() {
                if !install {
                    return Err(missing_programs(recipe, &cache, &problem));
                }
                packages::install(recipe.source().packages(), say)
                    .map_err(|problem| missing_programs(recipe, &cache, &problem))?;
            }
        }
        one_up(session, recipe, &cache, say)
    };
    let mut fatal = None;
    std::thread::scope(|scope| {
        let up = &up;
        let starting: Vec<_> = recipes
            .iter()
            .map(|recipe| (recipe.name(), scope.spawn(move || up(*recipe))))
            .collect();
        for (name, thread) in starting {
            let outcome = thread
                .join()
                .unwrap_or_else(|_| Err(Problem::new("the thread that started it panicked")));
            if let Err(problem) = outcome {
                let noted = start::discard(session, name).and_then(|()| {
                    session.update(|state| state.missing.insert(name.to_owned(), problem.to_string()))
                });
                fatal = fatal.take().or(noted.err());
            }
        }
    });
    fatal.map_or(Ok(()), Err)
}

fn missing_programs(recipe: &dyn Recipe, cache: &Path, problem: &Problem) -> Problem {
    Problem::new(format!(
        "the program {} is not installed (package {}), and: {problem}",
        recipe.source().absent(cache).join(", "),
        recipe.source().packages().join(" ")
    ))
}

/// Starts one server, or what of it is not alive.
fn one_up(session: &Session, recipe: &dyn Recipe, cache: &Path, say: &(dyn Fn(&str) + Sync)) -> Result<()> {
    let (name, began) = (recipe.name(), std::time::Instant::now());
    let known = session
        .snapshot()
        .servers
        .get(name)
        .is_some_and(|server| server.ready);
    if known {
        start::start(session, recipe, None)?;
    } else {
        start::discard(session, name)?;
        let supply = recipe.source().fetch(cache)?;
        start::create(session, recipe, &supply)?;
    }
    say(&format!(
        "{name} answers after {:.1} s",
        began.elapsed().as_secs_f64()
    ));
    Ok(())
}

fn signal(session: &Session, recipe: &dyn Recipe, only: Option<usize>, which: Signal) -> Result<()> {
    start::each(&session.snapshot(), recipe.name(), only, |node, mark| {
        if process::signal_family(node, mark, which)? > 0 {
            return Ok(());
        }
        Err(Problem::new(format!(
            "it is dead; start it with `cargo servers start {}`",
            recipe.name()
        )))
    })
}

fn condition(state: &State, server: &Server) -> &'static str {
    if state.docker {
        return "in Docker";
    }
    let processes = || {
        server
            .nodes
            .iter()
            .flat_map(|node| &node.processes)
            .map(|process| process.identity)
    };
    let alive = processes()
        .filter(|identity| identity.is_some_and(process::is_alive))
        .count();
    if !server.ready {
        "not ready"
    } else if alive == 0 {
        "dead"
    } else if alive < processes().count() {
        "partly dead"
    } else if processes().any(|identity| identity.is_some_and(process::is_paused)) {
        "paused"
    } else {
        "running"
    }
}

/// `redis-cluster` is the whole server, `redis-cluster/2` its second node.
fn parse_target(target: &str) -> Result<(&'static dyn Recipe, Option<usize>)> {
    let Some((name, node)) = target.split_once('/') else {
        return Ok((find_recipe(target)?, None));
    };
    let recipe = find_recipe(name)?;
    let index = node
        .parse::<usize>()
        .ok()
        .filter(|node| (1..=recipe.nodes()).contains(node));
    match index {
        Some(node) => Ok((recipe, Some(node - 1))),
        None => Err(Problem::new(format!(
            "{name} has the nodes 1 to {}, not {node:?}",
            recipe.nodes()
        ))),
    }
}

/// The folder that `variable` names, else `infra-servers` in the user's folder of this kind.
pub(super) fn user_folder(variable: &str, base: &str, under_home: &str) -> PathBuf {
    let folder = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    folder(variable).unwrap_or_else(|| {
        let base = folder(base).or_else(|| Some(folder("HOME")?.join(under_home)));
        base.unwrap_or_else(std::env::temp_dir).join("infra-servers")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_server_or_one_of_its_nodes() {
        let of = |target: &str| parse_target(target).map(|(recipe, node)| (recipe.name(), node));
        assert_eq!(of("etcd"), Ok(("etcd", None)));
        assert_eq!(of("etcd-cluster/3"), Ok(("etcd-cluster", Some(2))));
        for wrong in [
            "etcd-cluster/0",
            "etcd-cluster/4",
            "etcd/x",
            "etcd/",
            "memcached",
            "memcached/1",
            "",
        ] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
        assert!(
            of("etcd-cluster/4")
                .expect_err("no such node")
                .to_string()
                .contains("1 to 3")
        );
    }

    #[test]
    fn a_set_that_was_never_up_has_nothing_and_ends_well() {
        let set = Set::at(std::env::temp_dir().join(crate::unique("infra-servers-none")));
        assert_eq!(set.variables(), Ok(Vec::new()));
        assert_eq!(set.status(), Ok(Vec::new()));
        set.down(&|_| ()).expect("nothing to do");
        let problem = set.kill("redis").expect_err("not started").to_string();
        assert!(problem.contains("cargo servers up redis"), "{problem}");
    }
}
