//! A set of servers of a test's own, and a few words of Redis' protocol.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use infra_testkit::servers::Set;
use infra_testkit::skipped;

/// The command, with a set of its own, which is ended with the test however that ends.
pub(crate) struct Ground {
    pub(crate) folder: tempfile::TempDir,
}

impl Ground {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn set(&self) -> Set {
        Set::at(self.folder.path())
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_infra-servers"));
        command
            .args(arguments)
            .env("INFRA_SERVERS_DIR", self.folder.path())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs the command, which must succeed, and returns what it printed.
    pub(crate) fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", errors(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts servers; where they are not installed, lists the test as skipped and returns `None`.
    pub(crate) fn up(&self, test: &str, names: &[&str]) -> Option<String> {
        let arguments = [&["up", "--no-install"], names].concat();
        let output = self.run(&arguments);
        if output.status.success() {
            return Some(String::from_utf8(output.stdout).unwrap());
        }
        let errors = errors(&output);
        assert!(errors.contains("is not installed"), "{errors}");
        skipped::record(
            &format!("servers::{test}"),
            errors.lines().last().unwrap_or_default(),
        );
        None
    }

    pub(crate) fn state(&self) -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(self.state_file()).unwrap()).unwrap()
    }

    pub(crate) fn state_file(&self) -> PathBuf {
        self.folder.path().join("state.json")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.state()["data"].as_str().unwrap().into()
    }

    /// The number of the server's first process.
    pub(crate) fn pid(&self, server: &str) -> u64 {
        self.state()["servers"][server]["nodes"][0]["processes"][0]["identity"]["pid"]
            .as_u64()
            .unwrap()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let output = self.run(&["down"]);
        assert!(
            output.status.success() || std::thread::panicking(),
            "{}",
            errors(&output)
        );
    }
}

pub(crate) fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The value of an environment variable that `up` printed.
pub(crate) fn value<'a>(printed: &'a str, variable: &str) -> &'a str {
    let prefix = format!("export {variable}='");
    let line = printed
        .lines()
        .find_map(|line| line.strip_prefix(&prefix)?.strip_suffix('\''));
    line.unwrap_or_else(|| panic!("no {variable} in {printed}"))
}

/// The processes that work in this folder.
pub(crate) fn living_in(folder: &Path) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let living = processes.filter(|entry| {
        std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder))
    });
    living
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Sends a command to the Redis server of this URL and returns the first bytes of its answer, if one comes in time.
pub(crate) fn redis(url: &str, command: &str, patience: Duration) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(url.strip_prefix("redis://").unwrap())?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(format!("{command}\r\n").as_bytes())?;
    let mut answer = [0; 64];
    let length = stream.read(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

/// Long enough for a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
