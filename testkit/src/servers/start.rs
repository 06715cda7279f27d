//! The life of one server: its folders and ports, its processes, waiting until it answers, its end.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use super::ports;
use super::problem::{Attempt, Problem, Result};
use super::process::{self, is_alive};
use super::recipe::{Place, Recipe};
use super::session::Session;
use super::state::{Node, Process, Server, State};

/// How often a server is asked whether it is there yet.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a server may take to end in order before it is killed, when its data is wanted afterwards.
pub(super) const FAREWELL: Duration = Duration::from_secs(15);

/// The same when its data is not wanted: enough for one that would leave something outside of its folder.
pub(super) const SHORT_FAREWELL: Duration = Duration::from_secs(3);

/// Starts a server that the set does not have, from nothing.
///
/// What a failure leaves behind is for the caller to [`discard`].
pub(super) fn create(session: &Session, recipe: &dyn Recipe, supply: &Path) -> Result<()> {
    let name = recipe.name();
    let version = recipe.version(supply)?;
    session.update(|state| {
        let mut taken: BTreeSet<u16> = state
            .servers
            .values()
            .flat_map(|server| &server.nodes)
            .flat_map(|node| node.ports.clone())
            .collect();
        let count = recipe.ports() * recipe.nodes();
        let chosen = ports::choose(count, recipe.bus(), &mut taken)?;
        let node = |(index, ports): (usize, &[u16])| Node {
            folder: state.data.join(format!("{name}-{}", index + 1)),
            ports: ports.to_vec(),
            processes: Vec::new(),
        };
        let nodes: Vec<Node> = chosen.chunks(recipe.ports()).enumerate().map(node).collect();
        let server = Server {
            version,
            nodes,
            ..Server::default()
        };
        state.servers.insert(name.to_owned(), server);
        Ok(())
    })??;
    let places = places(&session.snapshot(), name, supply);
    for place in &places {
        lay_out(session, recipe, place)?;
    }
    start(session, recipe, None)?;
    let variables = recipe.variables(&places);
    session.update(|state| {
        if let Some(server) = state.servers.get_mut(name) {
            server.variables = variables;
        }
    })
}

/// Makes a node's folder and data, and notes which processes it will have.
fn lay_out(session: &Session, recipe: &dyn Recipe, place: &Place) -> Result<()> {
    own_folder(recipe, place)?;
    let launches = recipe.prepare(place)?;
    session.update(|state| {
        if let Some(node) = node_mut(state, recipe.name(), place.index) {
            node.processes = launches
                .into_iter()
                .map(|launch| Process {
                    launch,
                    identity: None,
                })
                .collect();
        }
    })
}

/// Kills all nodes of a known server, removes their data, and starts them on the same ports from nothing.
pub(super) fn reset(session: &Session, recipe: &dyn Recipe, supply: &Path) -> Result<()> {
    let (state, name) = (session.snapshot(), recipe.name());
    each(&state, name, None, process::kill)?;
    for place in places(&state, name, supply) {
        let folder = &place.folder;
        std::fs::remove_dir_all(folder).attempt(|| format!("remove {}", folder.display()))?;
        lay_out(session, recipe, &place)?;
    }
    start(session, recipe, None)
}

/// Starts the processes of a known server that are not alive, of all its nodes or of one, and waits until they answer.
pub(super) fn start(session: &Session, recipe: &dyn Recipe, only: Option<usize>) -> Result<()> {
    let name = recipe.name();
    let state = session.snapshot();
    let server = state.servers.get(name).ok_or_else(|| absent(name))?;
    let places = places(&state, name, Path::new(""));
    let chosen = |place: &&Place| only.is_none_or(|index| index == place.index);
    for place in places.iter().filter(chosen) {
        let node = &server.nodes[place.index];
        let mark = state.mark(name, place.index);
        if !node
            .processes
            .iter()
            .all(|process| process.identity.is_some_and(is_alive))
        {
            // A part of it may be left: a child without its parent, a port mapper without its broker.
            process::kill(node, &mark)?;
            recipe.clear(place)?;
            for (number, process) in node.processes.iter().enumerate() {
                let identity = process::start(&process.launch, &place.folder, &mark)?;
                session.update(|state| {
                    if let Some(process) =
                        node_mut(state, name, place.index).and_then(|node| node.processes.get_mut(number))
                    {
                        process.identity = Some(identity);
                    }
                })?;
            }
        }
    }
    for place in places.iter().filter(chosen) {
        wait(session, recipe, place)?;
    }
    if only.is_none() {
        recipe.assemble(&places)?;
    }
    session.update(|state| {
        if let Some(server) = state.servers.get_mut(name) {
            server.ready = true;
        }
    })
}

/// Waits until a node answers; fails at once when one of its processes ends instead.
fn wait(session: &Session, recipe: &dyn Recipe, place: &Place) -> Result<()> {
    let began = Instant::now();
    loop {
        let problem = match recipe.answers(place) {
            Ok(()) => return Ok(()),
            Err(problem) => problem,
        };
        let state = session.snapshot();
        let node = state
            .servers
            .get(recipe.name())
            .and_then(|server| server.nodes.get(place.index));
        let alive = node.is_some_and(|node| {
            node.processes
                .iter()
                .all(|process| process.identity.is_some_and(is_alive))
        });
        let tail = || process::log_tail(&place.folder);
        if !alive {
            return Err(Problem::new(format!(
                "it ended before it answered; the end of its log:\n    {}",
                tail()
            )));
        }
        if began.elapsed() > recipe.patience() {
            return Err(Problem::new(format!(
                "it does not answer within {} s ({problem}); the end of its log:\n    {}",
                recipe.patience().as_secs(),
                tail()
            )));
        }
        std::thread::sleep(PAUSE);
    }
}

/// Creates the node's folder and gives it to whoever the server runs as.
fn own_folder(recipe: &dyn Recipe, place: &Place) -> Result<()> {
    let folder = &place.folder;
    let what = || format!("create {}", folder.display());
    std::fs::create_dir_all(folder).attempt(what)?;
    if let Some(user) = super::recipes::user_if_root(recipe) {
        let (user, group) = process::ids_of(user)?;
        std::os::unix::fs::chown(folder, Some(user), Some(group)).attempt(what)?;
    }
    Ok(())
}

/// Ends a server's nodes, all or one, in order; their data stays.
pub(super) fn stop(
    state: &State,
    recipe: &dyn Recipe,
    only: Option<usize>,
    patience: Duration,
) -> Result<()> {
    each(state, recipe.name(), only, |node, mark| {
        process::stop(node, mark, recipe.stop_signal(), patience)
    })
}

/// Does something to each node of a server, or to one, with its mark.
pub(super) fn each(
    state: &State,
    name: &str,
    only: Option<usize>,
    mut act: impl FnMut(&Node, &str) -> Result<()>,
) -> Result<()> {
    let server = state.servers.get(name).ok_or_else(|| absent(name))?;
    for (index, node) in server.nodes.iter().enumerate() {
        if only.is_none_or(|only| only == index) {
            act(node, &state.mark(name, index))?;
        }
    }
    Ok(())
}

/// Ends a server that did not come to be, removes its data, and forgets it.
pub(super) fn discard(session: &Session, name: &str) -> Result<()> {
    let state = session.snapshot();
    let Some(server) = state.servers.get(name) else {
        return Ok(());
    };
    each(&state, name, None, process::kill)?;
    for node in &server.nodes {
        if node.folder.exists() {
            std::fs::remove_dir_all(&node.folder).attempt(|| format!("remove {}", node.folder.display()))?;
        }
    }
    session.update(|state| state.servers.remove(name)).map(drop)
}

pub(super) fn absent(name: &str) -> Problem {
    Problem::new(format!(
        "{name} was not started; start it with `cargo servers up {name}`"
    ))
}

fn places(state: &State, name: &str, supply: &Path) -> Vec<Place> {
    let nodes = state.servers.get(name).map_or(&[][..], |server| &server.nodes);
    let all_ports: Vec<Vec<u16>> = nodes.iter().map(|node| node.ports.clone()).collect();
    let place = |(index, node): (usize, &Node)| Place {
        folder: node.folder.clone(),
        ports: node.ports.clone(),
        index,
        all_ports: all_ports.clone(),
        supply: supply.to_owned(),
        mark: state.mark(name, index),
    };
    nodes.iter().enumerate().map(place).collect()
}

fn node_mut<'a>(state: &'a mut State, name: &str, index: usize) -> Option<&'a mut Node> {
    state.servers.get_mut(name)?.nodes.get_mut(index)
}
