//! `cargo servers`: every real server that this machine can have, with one command.
//!
//! Reads the command line and prints; the work is in `infra_testkit::servers`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line program talks to its user"
)]

use std::io::Read;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use infra_testkit::servers::{NAMES, Problem, Set, Up};

/// Starts real servers for tests on private loopback ports, with their data in a temporary folder.
#[derive(Debug, Parser)]
#[command(name = "cargo servers", bin_name = "cargo servers", after_help = after_help())]
struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Start servers, all or these, install what they need, wait until they answer, and print their URLs for the shell's `eval`
    Up(Start),
    /// End what was started and remove its data
    Down,
    /// Show each server's version, state and URL, and why the missing ones are missing
    Status,
    /// Print the URLs of the running servers for the shell's `eval`
    Env,
    /// End a server in order and start it again, on the same port with the same data
    Restart(Target),
    /// Freeze a server: its connections stay open and nothing answers
    Pause(Target),
    /// Let a paused server go on
    Resume(Target),
    /// Kill a server; its data stays
    Kill(Target),
    /// Start a server that was killed, on the same port with the same data
    Start(Target),
    /// Kill a server, remove its data and start it on the same ports from nothing
    Reset(Target),
    /// Like `up`, then wait until the standard input closes, then `down`: for a program whose end, however it comes, ends the servers
    Run(Start),
}

#[derive(Debug, Args)]
struct Start {
    /// The servers; none means all
    names: Vec<String>,
    /// Do not install anything from the system's packages
    #[arg(long)]
    no_install: bool,
    /// Let Docker run them, as compose.yaml says
    #[arg(long)]
    docker: bool,
}

#[derive(Debug, Args)]
struct Target {
    /// A server, or one node of it: etcd-cluster/2
    name: String,
}

fn after_help() -> String {
    format!(
        "Servers: {}\n\n\
         INFRA_SERVERS_DIR    the folder of this set's state (default: in your state folder); another folder is another set\n\
         INFRA_SERVERS_CACHE  the folder of what was downloaded (default: in your cache folder)\n\
         CI=true              a server that is missing makes `up` fail",
        NAMES.join(", ")
    )
}

fn main() -> ExitCode {
    match perform(&Options::parse().action) {
        Ok(code) => code,
        Err(problem) => {
            eprintln!("servers: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn perform(action: &Action) -> Result<ExitCode, Problem> {
    let set = Set::here();
    let done = match action {
        Action::Up(start) => return up(&set, start),
        Action::Run(start) => return run(&set, start),
        Action::Down => set.down(&say),
        Action::Status => print_status(&set),
        Action::Env => print_variables(&set),
        Action::Restart(target) => set.restart(&target.name),
        Action::Pause(target) => set.pause(&target.name),
        Action::Resume(target) => set.resume(&target.name),
        Action::Kill(target) => set.kill(&target.name),
        Action::Start(target) => set.start(&target.name),
        Action::Reset(target) => set.reset(&target.name),
    };
    done.map(|()| ExitCode::SUCCESS)
}

fn up(set: &Set, start: &Start) -> Result<ExitCode, Problem> {
    let up = Up::new(start.names.iter().cloned())
        .with_install(!start.no_install)
        .with_docker(start.docker);
    set.up(&up, &say)?;
    print_variables(set)?;
    let missing = set.status()?.iter().any(|status| {
        status.state == "missing" && (start.names.is_empty() || start.names.contains(&status.name))
    });
    let must_be_there = !start.names.is_empty() || std::env::var("CI").is_ok_and(|value| value == "true");
    Ok(if missing && must_be_there {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Ends the set whatever comes of `up`, when whoever started this program closes its standard input or is gone.
fn run(set: &Set, start: &Start) -> Result<ExitCode, Problem> {
    let code = up(set, start);
    if let Err(problem) = &code {
        say(&problem.to_string());
    }
    // An end of the list, for a reader that waits for it.
    println!("#");
    let mut input = std::io::stdin();
    let mut buffer = [0; 256];
    // Zero bytes and an error both mean that nobody is there.
    while input.read(&mut buffer).unwrap_or(0) > 0 {}
    set.down(&say)?;
    code
}

fn say(text: &str) {
    eprintln!("servers: {text}");
}

fn print_variables(set: &Set) -> Result<(), Problem> {
    for (name, value) in set.variables()? {
        println!("export {name}='{value}'");
    }
    Ok(())
}

fn print_status(set: &Set) -> Result<(), Problem> {
    let servers = set.status()?;
    if servers.is_empty() {
        println!("no servers; start them with `cargo servers up`");
    }
    for status in servers {
        let what = if status.state == "missing" {
            &status.reason
        } else {
            &status.url
        };
        println!(
            "{:<15} {:<11} {:<28} {what}",
            status.name, status.state, status.version
        );
    }
    Ok(())
}
