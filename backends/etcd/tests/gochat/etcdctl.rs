//! etcd's own command, as an operator and as the other holder of a lock.

use std::process::Stdio;
use std::time::Duration;

use infra_core::config::Host;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

/// The command with the addresses of a server.
pub(crate) struct Etcdctl {
    endpoints: String,
}

impl Etcdctl {
    pub(crate) fn to(hosts: &[Host]) -> Self {
        let endpoints: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        Self {
            endpoints: endpoints.join(","),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("etcdctl");
        command
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &self.endpoints])
            .args(arguments)
            .kill_on_drop(true);
        command
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> String {
        let output = self
            .command(arguments)
            .output()
            .await
            .expect("etcdctl can be started");
        assert!(
            output.status.success(),
            "etcdctl {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("text")
    }

    pub(crate) async fn put(&self, key: &str, value: &str) {
        self.run(&["put", key, value]).await;
    }

    pub(crate) async fn get(&self, key: &str) -> Option<String> {
        let printed = self.run(&["get", key, "--print-value-only"]).await;
        let value = printed.trim_end_matches('\n');
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// Waits for a lock and holds it, in a process of its own.
    pub(crate) fn lock(&self, place: &str) -> TheirLock {
        let mut process = self
            .command(&["lock", place])
            .stdout(Stdio::piped())
            .spawn()
            .expect("etcdctl can be started");
        let printed = process.stdout.take().expect("its output is piped");
        TheirLock {
            process,
            printed: BufReader::new(printed),
            key: String::new(),
        }
    }
}

/// A lock that etcdctl waits for or holds.
pub(crate) struct TheirLock {
    process: Child,
    printed: BufReader<ChildStdout>,
    /// What it prints when it holds the lock: the key.
    key: String,
}

impl TheirLock {
    pub(crate) async fn is_held_within(&mut self, bound: Duration) -> bool {
        let line = tokio::time::timeout(bound, self.printed.read_line(&mut self.key)).await;
        matches!(line, Ok(Ok(read)) if read > 0)
    }

    /// Asks it to end, as an operator does: it gives the lock back.
    pub(crate) async fn release(mut self) {
        let id = self.process.id().expect("it runs").to_string();
        let told = Command::new("kill").args(["-INT", &id]).status().await;
        assert!(
            told.is_ok_and(|status| status.success()),
            "etcdctl is asked to end"
        );
        self.process.wait().await.expect("etcdctl ends");
    }
}
