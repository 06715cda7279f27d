//! A holder of a lock whose whole process is stopped beyond its lease, as by a long swap, a debugger or a sleeping machine.
//!
//! The holder must be a process of its own: a test's program starts itself anew, with only the test that calls [`hold`], which is
//! ignored otherwise. Stopped by SIGSTOP, it runs nothing, not even a timer; the monotonic clock goes on.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use infra_core::coordination::{LockOptions, Locks};
use infra_core::{Error, ErrorKind, Result};
use tokio::time::{Instant, sleep};

use super::{Verdict, Violation};

/// How often the holder looks at its guard.
const LOOK: Duration = Duration::from_millis(5);

/// How long anything may take beyond what it must.
const SLACK: Duration = Duration::from_secs(20);

/// The holder's part: acquires the lock, says so on the standard output, and looks at its guard until it is lost; then says whether its
/// first look after a gap saw the loss.
///
/// # Errors
/// The lock cannot be acquired, or nobody reads the standard output.
pub async fn hold(locks: &dyn Locks, key: &str, ttl: Duration) -> Result<()> {
    let guard = locks.acquire(key, LockOptions::new(ttl)).await?;
    // Before anybody hears of it: who does may stop us at once.
    let mut last = Instant::now();
    say(&format!("held {}", guard.fencing_token()))?;
    loop {
        sleep(LOOK).await;
        let valid = guard.check().is_ok();
        let now = Instant::now();
        if now - last > ttl {
            // We may have been stopped after that look; nothing else has run since.
            let valid = guard.check().is_ok();
            return say(if valid { "woke valid" } else { "woke lost" });
        }
        if !valid {
            return say("lost while awake");
        }
        last = now;
    }
}

/// Says something in a line of its own that a test's program does not print.
fn say(text: &str) -> Result<()> {
    let mut output = std::io::stdout();
    writeln!(output, "\nholder: {text}")
        .and_then(|()| output.flush())
        .map_err(|error| {
            Error::new(
                ErrorKind::Internal,
                format!("cannot tell the other process: {error}"),
            )
        })
}

/// Starts the holder, stops its process as soon as it holds the lock, takes the lock over, wakes the holder, and hears what it believes.
///
/// Returns how long the lock was without an owner who could act.
///
/// # Errors
/// The [`Violation`]: the lock is never free, its token does not increase, or the woken holder believes that it still holds the lock.
pub async fn outlive(holder: Command, locks: &dyn Locks, key: &str, ttl: Duration) -> Verdict<Duration> {
    let mut process = Process::start(holder)?;
    let token = process.hear("held ").await?;
    let token: u64 = token
        .parse()
        .map_err(|_| Violation::new(format!("the holder's token is {token:?}")))?;
    process.signal("-STOP")?;
    let stopped = Instant::now();
    let options = LockOptions::new(ttl).with_wait(ttl * 3 + SLACK);
    let guard = locks.acquire(key, options).await;
    let waited = stopped.elapsed();
    // It must have slept longer than its lease, however early the server gave the lock away.
    sleep((ttl + LOOK * 20).saturating_sub(waited)).await;
    let guard = guard.map_err(|error| {
        Violation::new(format!(
            "the lock of a stopped process is not free {waited:?} later: {error}"
        ))
    })?;
    if guard.fencing_token().0 <= token {
        return Err(Violation::new(format!(
            "the token {} follows {token} and does not exceed it",
            guard.fencing_token()
        )));
    }
    process.signal("-CONT")?;
    let woken = process.hear("woke ").await?;
    if woken != "lost" {
        return Err(Violation::new(format!(
            "a holder that was stopped for {waited:?} believes in its lease of {ttl:?}, and another one has the lock"
        )));
    }
    if guard.check().is_err() {
        return Err(Violation::new(
            "the new holder lost the lock when the old one woke up",
        ));
    }
    let released = guard.release().await;
    released.map_err(|error| Violation::new(format!("the new holder cannot release the lock: {error}")))?;
    Ok(waited)
}

/// The holder's process, killed at the end, and the lines it says.
struct Process {
    child: Child,
    lines: Option<Receiver<String>>,
}

impl Process {
    fn start(mut command: Command) -> Verdict<Self> {
        let failed = |problem: &str| Violation::new(format!("the holder could not be started: {problem}"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = child.map_err(|error| failed(&error.to_string()))?;
        let output = child.stdout.take().ok_or_else(|| failed("no standard output"))?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(std::io::Result::ok) {
                if let Some(said) = line.strip_prefix("holder: ")
                    && sender.send(said.to_owned()).is_err()
                {
                    return;
                }
            }
        });
        Ok(Self {
            child,
            lines: Some(lines),
        })
    }

    /// What the holder says after this beginning; anything else is not as it should be.
    async fn hear(&mut self, beginning: &'static str) -> Verdict<String> {
        let missing = |why: &str| Violation::new(format!("the holder was to say {beginning:?} and {why}"));
        let lines = self.lines.take().ok_or_else(|| missing("is not heard"))?;
        let heard = tokio::task::spawn_blocking(move || (lines.recv_timeout(SLACK), lines)).await;
        let (said, lines) = heard.map_err(|_| missing("the listener panicked"))?;
        self.lines = Some(lines);
        let said = said.map_err(|_| missing("said nothing"))?;
        match said.strip_prefix(beginning) {
            Some(rest) => Ok(rest.to_owned()),
            None => Err(missing(&format!("said {said:?}"))),
        }
    }

    fn signal(&self, signal: &str) -> Verdict<()> {
        let number = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &number]).status();
        match sent {
            Ok(status) if status.success() => Ok(()),
            other => Err(Violation::new(format!(
                "`kill {signal} {number}` failed: {other:?}"
            ))),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, and a stopped process is killed as any other.
        if self.child.kill().is_ok() {
            let _status = self.child.wait();
        }
    }
}
