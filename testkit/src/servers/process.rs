//! Processes of a server: starting them, finding all that belong to it, signals, the end.
//!
//! Linux only: what runs is read from `/proc`. A process belongs to a server when it is the recorded one (number *and* start
//! time), carries the server's mark in its environment, lives in the server's folder as the server's program, or descends from
//! one that does. No other is ever signalled.

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, kill_process};

pub(super) use rustix::process::Signal;

use super::problem::{Attempt, Problem, Result};
use super::state::{Identity, Launch, Node};

/// The environment variable that marks the processes of a server.
pub(super) const MARK: &str = "INFRA_SERVERS_MARK";

/// How often a change that has no event is looked for.
const PAUSE: Duration = Duration::from_millis(20);

/// What the kernel says about a process.
#[derive(Debug, Clone, Copy)]
struct Seen {
    identity: Identity,
    parent: u32,
    group: u32,
    state: u8,
}

/// Starts a process in a group of its own, so that the terminal's Ctrl-C does not reach it; its output is appended to `log`.
pub(super) fn start(launch: &Launch, folder: &Path, mark: &str) -> Result<Identity> {
    let log = log_file(folder);
    let program = launch.program.display();
    let output = std::fs::File::options()
        .create(true)
        .append(true)
        .open(&log)
        .attempt(|| format!("write {}", log.display()))?;
    let errors = output
        .try_clone()
        .attempt(|| format!("write {}", log.display()))?;
    let mut command = command(launch)?;
    let mut child = command
        .env(MARK, mark)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .process_group(0)
        .spawn()
        .attempt(|| format!("start {program}"))?;
    let pid = child.id();
    let identity = see(pid).map(|seen| seen.identity);
    // Takes the exit status when it ends, or its number would stay taken for as long as this program lives.
    std::thread::spawn(move || child.wait().is_ok());
    identity.ok_or_else(|| Problem::new(format!("{program} ended at once, or /proc cannot be read")))
}

/// Runs a program to its end and returns what it printed.
pub(super) fn run(launch: &Launch, folder: &Path, input: &str) -> Result<String> {
    use std::io::Write;

    let program = launch.program.display().to_string();
    let mut child = command(launch)?
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .attempt(|| format!("start {program}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that reads nothing closes the pipe; its exit status says whether that mattered.
        if let Err(error) = stdin.write_all(input.as_bytes())
            && error.kind() != std::io::ErrorKind::BrokenPipe
        {
            return Err(Problem::new(format!("cannot write to {program}: {error}")));
        }
    }
    let output = child
        .wait_with_output()
        .attempt(|| format!("wait for {program}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Problem::new(format!(
        "{program} {} failed ({}): {}",
        launch.arguments.first().map_or("", String::as_str),
        output.status,
        last_lines(&format!("{text}\n{errors}"), 12)
    )))
}

fn command(launch: &Launch) -> Result<Command> {
    let mut command = Command::new(&launch.program);
    command.args(&launch.arguments).envs(&launch.environment);
    if let Some(name) = &launch.user {
        let (user, group) = ids_of(name)?;
        command.uid(user).gid(group);
    }
    Ok(command)
}

/// The numbers of a user and its group.
pub(super) fn ids_of(name: &str) -> Result<(u32, u32)> {
    let users = std::fs::read_to_string("/etc/passwd").attempt(|| "read /etc/passwd".to_owned())?;
    let ids = users.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.first() == Some(&name))
            .then(|| Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?)))?
    });
    ids.ok_or_else(|| {
        Problem::new(format!(
            "there is no user {name} on this machine; its package creates it"
        ))
    })
}

/// Where the output of a node's processes goes.
pub(super) fn log_file(folder: &Path) -> std::path::PathBuf {
    folder.join("log")
}

/// The end of a node's log, to show why it does not answer.
pub(super) fn log_tail(folder: &Path) -> String {
    let log = log_file(folder);
    match std::fs::read(&log) {
        Ok(bytes) => last_lines(&String::from_utf8_lossy(&bytes), 15),
        Err(error) => format!("(cannot read {}: {error})", log.display()),
    }
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("\n    ")
}

/// Whether this very process is alive (one that only waits for its parent to ask for its status is not).
pub(super) fn is_alive(identity: Identity) -> bool {
    see(identity.pid).is_some_and(|seen| seen.identity == identity && !seen.is_dead())
}

/// Whether this very process is stopped by a signal.
pub(super) fn is_paused(identity: Identity) -> bool {
    see(identity.pid).is_some_and(|seen| seen.identity == identity && seen.state == b'T')
}

/// All processes that belong to the node.
pub(super) fn family(node: &Node, mark: &str) -> Vec<Identity> {
    let all: Vec<Seen> = everything().into_iter().filter(|seen| !seen.is_dead()).collect();
    let roots: Vec<Identity> = node
        .processes
        .iter()
        .filter_map(|process| process.identity)
        .collect();
    let programs: BTreeSet<_> = node
        .processes
        .iter()
        .filter_map(|process| std::fs::canonicalize(&process.launch.program).ok())
        .collect();
    let belongs = |seen: &Seen| {
        let pid = seen.identity.pid;
        let at_home = || link(pid, "cwd").is_some_and(|path| path.starts_with(&node.folder));
        roots.contains(&seen.identity)
            || is_marked(pid, mark)
            || at_home()
                && (roots.iter().any(|root| root.pid == seen.group)
                    || link(pid, "exe").is_some_and(|program| programs.contains(&program)))
    };
    let mut members: BTreeSet<u32> = all
        .iter()
        .filter(|seen| belongs(seen))
        .map(|seen| seen.identity.pid)
        .collect();
    loop {
        let children = all
            .iter()
            .filter(|seen| members.contains(&seen.parent))
            .map(|seen| seen.identity.pid);
        let grown: BTreeSet<u32> = members.iter().copied().chain(children).collect();
        if grown.len() == members.len() {
            break;
        }
        members = grown;
    }
    // Whoever runs this program may itself have been started by a server of the set; it is not one.
    members.remove(&std::process::id());
    let member = |seen: &&Seen| members.contains(&seen.identity.pid);
    all.iter().filter(member).map(|seen| seen.identity).collect()
}

fn is_marked(pid: u32, mark: &str) -> bool {
    let expected = format!("{MARK}={mark}");
    std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
        environment
            .split(|byte| *byte == 0)
            .any(|entry| entry == expected.as_bytes())
    })
}

fn link(pid: u32, name: &str) -> Option<std::path::PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/{name}")).ok()
}

/// Sends a signal to this very process; one that is gone already is no problem.
pub(super) fn signal(identity: Identity, signal: Signal) -> Result<()> {
    let pid = i32::try_from(identity.pid).ok().and_then(Pid::from_raw);
    let Some(pid) = pid.filter(|_| is_alive(identity)) else {
        return Ok(());
    };
    match kill_process(pid, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(Problem::new(format!(
            "cannot signal process {}: {error}",
            identity.pid
        ))),
    }
}

/// Sends a signal to the node's whole family, its youngest members included.
pub(super) fn signal_family(node: &Node, mark: &str, which: Signal) -> Result<usize> {
    let mut reached = BTreeSet::new();
    loop {
        let new: Vec<Identity> = family(node, mark)
            .into_iter()
            .filter(|member| !reached.contains(&(member.pid, member.since)))
            .collect();
        if new.is_empty() {
            return Ok(reached.len());
        }
        for member in new {
            signal(member, which)?;
            reached.insert((member.pid, member.since));
        }
    }
}

/// Ends a node: each process by `gently`, latest first, and what is left after `patience` by SIGKILL.
pub(super) fn stop(node: &Node, mark: &str, gently: Signal, patience: Duration) -> Result<()> {
    for process in node.processes.iter().rev() {
        let Some(identity) = process.identity.filter(|identity| is_alive(*identity)) else {
            continue;
        };
        signal(identity, gently)?;
        // One that is paused hears nothing else.
        signal_family(node, mark, Signal::CONT)?;
        wait_until(patience, || !is_alive(identity));
    }
    kill(node, mark)
}

/// Ends all of the node's family by SIGKILL and waits until it is gone.
pub(super) fn kill(node: &Node, mark: &str) -> Result<()> {
    signal_family(node, mark, Signal::KILL)?;
    let mut left = Vec::new();
    let gone = wait_until(Duration::from_secs(10), || {
        left = family(node, mark);
        left.is_empty()
    });
    if gone {
        return Ok(());
    }
    let left: Vec<String> = left.iter().map(|member| member.pid.to_string()).collect();
    Err(Problem::new(format!(
        "processes {} do not end, even by SIGKILL",
        left.join(", ")
    )))
}

/// Waits until `condition` holds, and returns whether it did within `bound`.
pub(super) fn wait_until(bound: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if began.elapsed() >= bound {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
}

fn everything() -> Vec<Seen> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let numbers = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter_map(see).collect()
}

fn see(pid: u32) -> Option<Seen> {
    parse(pid, &std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Reads the line of `/proc/PID/stat`; the program's name, in brackets, may hold spaces and brackets.
fn parse(pid: u32, line: &str) -> Option<Seen> {
    let fields: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
    Some(Seen {
        state: *fields.first()?.as_bytes().first()?,
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        identity: Identity {
            pid,
            since: fields.get(19)?.parse().ok()?,
        },
    })
}

impl Seen {
    fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::servers::state::Process;

    fn folder() -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(crate::unique("infra-servers-process"));
        std::fs::create_dir(&folder).expect("a folder");
        folder
    }

    fn shell(script: &str) -> Launch {
        Launch::new("/bin/sh".into(), ["-c", script])
    }

    fn node(script: &str, mark: &str) -> Node {
        let (folder, launch) = (folder(), shell(script));
        let identity = Some(start(&launch, &folder, mark).expect("started"));
        Node {
            folder,
            ports: Vec::new(),
            processes: vec![Process { launch, identity }],
        }
    }

    #[test]
    fn a_name_with_brackets_and_spaces_is_read() {
        let line = "7 (a) b) S 3 5 5 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        let seen = parse(7, line).expect("a line");
        assert_eq!(
            (seen.parent, seen.group, seen.state, seen.identity.since),
            (3, 5, b'S', 4711)
        );
    }

    #[test]
    fn a_number_that_another_process_has_now_is_not_signalled() {
        let node = node("sleep 60", "mark-reused");
        let running = node.processes[0].identity.expect("an identity");
        let earlier = Identity {
            since: running.since + 1,
            ..running
        };
        assert!(is_alive(running) && !is_alive(earlier));
        signal(earlier, Signal::KILL).expect("nothing to do");
        let mut other = node.clone();
        other.processes[0].identity = Some(earlier);
        other.folder = "/nowhere".into();
        stop(&other, "another mark", Signal::TERM, Duration::from_secs(1)).expect("nothing to do");
        assert!(is_alive(running), "the process that has the number now was ended");
        kill(&node, "mark-reused").expect("killed");
        assert!(!is_alive(running));
        std::fs::remove_dir_all(&node.folder).expect("removed");
    }

    #[test]
    fn children_belong_to_the_family_also_when_their_parent_is_gone() {
        let node = node("sleep 61 & sleep 62 & echo two; wait", "mark-family");
        assert!(wait_until(Duration::from_secs(10), || family(
            &node,
            "mark-family"
        )
        .len()
            == 3));
        signal(node.processes[0].identity.expect("an identity"), Signal::KILL).expect("killed");
        assert!(wait_until(Duration::from_secs(10), || family(
            &node,
            "mark-family"
        )
        .len()
            == 2));
        kill(&node, "mark-family").expect("killed");
        assert!(family(&node, "mark-family").is_empty());
        assert_eq!(log_tail(&node.folder), "two");
        std::fs::remove_dir_all(&node.folder).expect("removed");
    }

    #[test]
    fn what_pauses_ignores_the_gentle_signal_until_it_is_resumed_and_is_killed_if_it_never_listens() {
        let node = node("trap '' TERM; while true; do sleep 1; done", "mark-stubborn");
        let identity = node.processes[0].identity.expect("an identity");
        signal_family(&node, "mark-stubborn", Signal::STOP).expect("paused");
        assert!(wait_until(Duration::from_secs(10), || is_paused(identity)));
        stop(&node, "mark-stubborn", Signal::TERM, Duration::from_millis(50)).expect("stopped");
        assert!(!is_alive(identity));
        std::fs::remove_dir_all(&node.folder).expect("removed");
    }

    #[test]
    fn a_program_that_fails_says_what_it_printed() {
        let problem = run(&shell("cat; echo why >&2; exit 3"), Path::new("/"), "what\n").expect_err("failed");
        let text = problem.to_string();
        assert!(
            text.contains("exit status: 3") && text.contains("what") && text.contains("why"),
            "{text}"
        );
    }
}
