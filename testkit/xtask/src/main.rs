//! The project's own commands: `cargo xtask test` is everything that has to pass before a change lands.
//!
//! It may run cargo and read the repository; it depends on nothing, so that it is built in a second.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line program talks to its user"
)]

mod dependencies;
mod interleave;
mod servers;
mod steps;
mod summary;

use std::process::ExitCode;

const USAGE: &str = "cargo xtask COMMAND

  test           starts the real servers, then formatting, lints, documentation, the dependency rule, every test, the
                 example's replay; stops the servers. As root it installs the servers' packages: --no-install does not.
                 --docker lets Docker run them.
  dependencies   only the dependency rule: core has no driver, backends do not depend on each other
  interleave     the lock-free parts in every interleaving of their threads, as in `test`; with --long in many more of them
                 (half an hour)
  bench          every benchmark, with its ratios (release build, several minutes)
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["test", options @ ..]
            if options
                .iter()
                .all(|option| ["--no-install", "--docker"].contains(option)) =>
        {
            steps::test(options)
        }
        ["dependencies"] => dependencies::check(),
        ["interleave"] => interleave::run(false),
        ["interleave", "--long"] => interleave::run(true),
        ["bench"] => steps::bench(),
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => Err(format!("unknown command {:?}\n\n{USAGE}", words.join(" "))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("xtask: {problem}");
            ExitCode::FAILURE
        }
    }
}
