//! The steps of `cargo xtask test` and `cargo xtask bench`, nearly each a cargo command that must succeed.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::servers::{Servers, Variable};
use crate::{dependencies, interleave, summary};

/// The corpus that the example's replay runs on.
const SAMPLE: &str = "examples/message-service/sample.jsonl";

pub(crate) type Outcome = Result<(), String>;

/// Runs everything that has to pass before a change lands; stops at the first step that fails, and the servers in any case.
pub(crate) fn test(options: &[&str]) -> Outcome {
    let scratch = Scratch::new()?;
    let mut servers = None;
    step("starting the servers in the background", || {
        servers = Some(Servers::begin(&scratch.0.join("servers"), options)?);
        Ok(())
    })?;
    let Some(mut servers) = servers else {
        return Err("the servers were not started".to_owned());
    };
    let skipped = scratch.0.join("skipped");
    let outcome = checks().and_then(|()| tests(&mut servers, &scratch.0, &skipped));
    summary::print(&servers.status()?, &skipped);
    drop(servers);
    outcome?;
    println!("\nall steps passed");
    Ok(())
}

/// The steps that need no server; meanwhile they come up.
fn checks() -> Outcome {
    step("formatting", || cargo(&["fmt", "--all", "--check"], &[]))?;
    step("lints", || {
        cargo(
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--all-features",
                "--quiet",
                "--",
                "-D",
                "warnings",
            ],
            &[],
        )
    })?;
    step("documentation", || {
        let deny = [("RUSTDOCFLAGS".to_owned(), "-D warnings".to_owned())];
        cargo(
            &[
                "doc",
                "--workspace",
                "--all-features",
                "--no-deps",
                "--document-private-items",
                "--quiet",
            ],
            &deny,
        )
    })?;
    step("dependency rule", dependencies::check)
}

/// The module of suites that spend their time in waiting: sixteen of them run at once, on however few cores.
const WAITING: &str = "on_the_server::";

/// The tests on all servers, and the example's replay.
fn tests(servers: &mut Servers, scratch: &Path, skipped: &Path) -> Outcome {
    let mut environment = Vec::new();
    step("waiting for the servers", || {
        environment = servers.wait()?;
        Ok(())
    })?;
    environment.push(("INFRA_SKIPPED".to_owned(), skipped.display().to_string()));
    // The same selection of packages and features for both, so that nothing is built twice.
    let all = ["test", "--workspace", "--all-features", "--no-fail-fast"];
    step("tests and documentation examples", || {
        cargo(&[&all[..], &["--", "--skip", WAITING]].concat(), &environment)
    })?;
    step("suites that wait for the clocks of servers", || {
        let waiting = ["--test", "conformance", "--", WAITING, "--test-threads", "16"];
        cargo(&[&all[..], &waiting].concat(), &environment)
    })?;
    step("interleavings of the lock-free parts", || interleave::run(false))?;
    let data = scratch.join("replay").display().to_string();
    let replay = [
        "run",
        "--quiet",
        "--package",
        "message-service",
        "--",
        "--data",
        &data,
        "replay",
        SAMPLE,
    ];
    step("replay of the sample", || cargo(&replay, &[]))?;
    step("second replay adds nothing", || cargo(&replay, &[]))
}

/// Runs every benchmark.
pub(crate) fn bench() -> Outcome {
    cargo(&["bench", "--workspace", "--benches"], &[])
}

/// Runs cargo with the terminal of this process.
fn cargo(arguments: &[&str], environment: &[Variable]) -> Outcome {
    let status = Command::new(cargo_path())
        .args(arguments)
        .envs(environment.iter().cloned())
        .status()
        .map_err(|error| format!("cargo could not be started: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("`cargo {}` failed: {status}", arguments.join(" ")))
    }
}

/// The cargo that runs this program.
pub(crate) fn cargo_path() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

fn step(name: &str, run: impl FnOnce() -> Outcome) -> Outcome {
    println!("== {name}");
    let began = Instant::now();
    run().map_err(|problem| format!("{name}: {problem}"))?;
    println!("== {name}: passed in {:.1} s", began.elapsed().as_secs_f64());
    Ok(())
}

/// A folder of this process's own, removed when it ends.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new() -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("infra-xtask-{}", std::process::id()));
        std::fs::create_dir_all(&path)
            .map_err(|error| format!("cannot create {}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("xtask: {} stays behind: {error}", self.0.display());
        }
    }
}
