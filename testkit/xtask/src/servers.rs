//! The real servers of one test run: started in the background, ended with this program however that ends.
//!
//! The work is done by `infra-servers run`, which stops everything when its standard input closes: that happens when this
//! program ends, be it by an error, Ctrl-C or SIGKILL.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;

use crate::steps::cargo_path;

/// An environment variable and its value.
pub(crate) type Variable = (String, String);

/// Servers that are coming up, or are there.
pub(crate) struct Servers {
    program: PathBuf,
    folder: PathBuf,
    child: Child,
    printed: Option<JoinHandle<Vec<Variable>>>,
}

impl Servers {
    /// Builds the program and starts it, with its state in this folder; does not wait until the servers answer.
    pub(crate) fn begin(folder: &Path, options: &[&str]) -> Result<Self, String> {
        let program = build()?;
        let mut command = Command::new(&program);
        command
            .arg("run")
            .args(options)
            .env("INFRA_SERVERS_DIR", folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        // The terminal's Ctrl-C is for this program; the other one hears of it by its standard input and then cleans up.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command
            .spawn()
            .map_err(|error| format!("{} could not be started: {error}", program.display()))?;
        let printed = child
            .stdout
            .take()
            .map(|output| std::thread::spawn(move || read(output)));
        Ok(Self {
            program,
            folder: folder.to_owned(),
            child,
            printed,
        })
    }

    /// Waits until the servers answer, and returns the environment of the tests.
    ///
    /// Under `CI=true` a server that is missing is an error; elsewhere its tests are listed as skipped.
    pub(crate) fn wait(&mut self) -> Result<Vec<Variable>, String> {
        let Some(printed) = self.printed.take() else {
            return Err("the servers were waited for twice".to_owned());
        };
        let mut variables = printed
            .join()
            .map_err(|_| "the thread that reads the servers' URLs panicked".to_owned())?;
        variables.push(("INFRA_SERVERS_DIR".to_owned(), self.folder.display().to_string()));
        let missing: Vec<String> = self
            .status()?
            .lines()
            .filter(|line| is_missing(line))
            .map(str::to_owned)
            .collect();
        if missing.is_empty() || !is_continuous_integration() {
            return Ok(variables);
        }
        Err(format!(
            "under CI=true every server must be there:\n{}",
            missing.join("\n")
        ))
    }

    /// A line for each server: its version, or why it is missing.
    pub(crate) fn status(&self) -> Result<String, String> {
        let output = Command::new(&self.program)
            .arg("status")
            .env("INFRA_SERVERS_DIR", &self.folder)
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| format!("{} could not be started: {error}", self.program.display()))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        match self.child.wait() {
            Ok(_) => {}
            Err(error) => eprintln!(
                "xtask: the servers may still run, see {}: {error}",
                self.folder.display()
            ),
        }
    }
}

/// Builds the program with the features of the tests, so that what it needs is not built twice.
fn build() -> Result<PathBuf, String> {
    let output = Command::new(cargo_path())
        .args([
            "build",
            "--quiet",
            "--workspace",
            "--all-features",
            "--bin",
            "infra-servers",
        ])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo could not be started: {error}"))?;
    if !output.status.success() {
        return Err(format!("infra-servers does not build: {}", output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    executable(&text).ok_or_else(|| "cargo does not say where infra-servers is".to_owned())
}

/// The path that cargo's messages name, one JSON object in each line.
fn executable(messages: &str) -> Option<PathBuf> {
    let found = messages
        .lines()
        .find_map(|line| line.split_once("\"executable\":\"")?.1.split_once('"'));
    found.map(|(path, _)| PathBuf::from(path.replace("\\\\", "\\")))
}

/// Reads variables up to the line that ends them, or to the end of the program.
fn read(output: ChildStdout) -> Vec<Variable> {
    let lines = BufReader::new(output)
        .lines()
        .map_while(Result::ok)
        .take_while(|line| line != "#");
    lines.filter_map(|line| variable(&line)).collect()
}

/// `NAME` and `value` of `export NAME='value'`.
fn variable(line: &str) -> Option<Variable> {
    let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
    let value = value.strip_prefix('\'')?.strip_suffix('\'')?;
    Some((name.to_owned(), value.to_owned()))
}

/// The second word of a line of the status is the server's state.
fn is_missing(line: &str) -> bool {
    line.split_whitespace().nth(1) == Some("missing")
}

fn is_continuous_integration() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_program_prints_is_read() {
        let expected = ("INFRA_REDIS_URL".to_owned(), "redis://127.0.0.1:1".to_owned());
        assert_eq!(
            variable("export INFRA_REDIS_URL='redis://127.0.0.1:1'"),
            Some(expected)
        );
        assert_eq!(variable("INFRA_REDIS_URL=x"), None);
        assert!(is_missing("kafka          missing     no java"));
        assert!(!is_missing("kafka          running     4.2.0 missing"));
    }

    #[test]
    fn the_program_is_found_in_the_messages_of_cargo() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
                        {\"reason\":\"compiler-artifact\",\"executable\":\"/a/infra-servers\",\"fresh\":true}\n";
        assert_eq!(executable(messages), Some(PathBuf::from("/a/infra-servers")));
        assert_eq!(executable("{\"reason\":\"build-finished\"}"), None);
    }
}
