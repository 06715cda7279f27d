//! What a newcomer does with the program: pastes what it prints, mistypes, starts it twice, kills it.
#![allow(clippy::expect_used, clippy::panic, reason = "tests")]
#![cfg(unix)]

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Longer than any of these should take, on a busy machine too; a bound, not a wait.
const BOUND: Duration = Duration::from_secs(90);

/// A process of this test, ended when the test ends.
struct Running {
    child: Child,
    out: Receiver<String>,
    err: Receiver<String>,
}

/// A process that ended.
#[derive(Debug)]
struct Ended {
    status: ExitStatus,
    out: String,
    err: String,
}

impl Running {
    /// Starts the program in a folder of its own; without arguments it serves, on whatever port is free.
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_message-service"));
        if arguments.is_empty() {
            command.env("MESSAGE_SERVICE__HTTP__ADDRESS", "127.0.0.1:0");
        }
        let mut child = command
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let out = lines(child.stdout.take().expect("a pipe"));
        let err = lines(child.stderr.take().expect("a pipe"));
        Self { child, out, err }
    }

    /// Starts to serve; returns the banner too.
    fn serve(folder: &Path) -> (Self, String) {
        let running = Self::start(folder, &[]);
        let banner = until(&running.out, "Ctrl-C");
        (running, banner)
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([format!("-{name}"), self.child.id().to_string()])
            .status();
        assert!(status.expect("kill starts").success(), "no such process");
    }

    fn wait(mut self) -> Ended {
        let deadline = Instant::now() + BOUND;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                break status;
            }
            assert!(Instant::now() < deadline, "still running after {BOUND:?}");
            sleep(Duration::from_millis(10));
        };
        Ended {
            status,
            out: rest(&self.out),
            err: rest(&self.err),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Ended already, when the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    #[track_caller]
    fn expect(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{self:?}");
        self
    }

    /// The number on the line of the report that begins with `name`.
    #[track_caller]
    fn number(&self, name: &str) -> u64 {
        let line = self.out.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|number| number.trim().parse().ok())
            .unwrap_or_else(|| panic!("no number {name:?} in {self:?}"))
    }
}

fn lines(pipe: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Everything up to the line with `mark`.
fn until(lines: &Receiver<String>, mark: &str) -> String {
    let mut text = String::new();
    while !text.contains(mark) {
        match lines.recv_timeout(BOUND) {
            Ok(line) => writeln!(text, "{line}").expect("a string"),
            Err(_) => panic!("no line with {mark:?} came, only {text:?}"),
        }
    }
    text
}

fn rest(lines: &Receiver<String>) -> String {
    let mut text = String::new();
    while let Ok(line) = lines.recv_timeout(BOUND) {
        writeln!(text, "{line}").expect("a string");
    }
    text
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn run(folder: &Path, arguments: &[&str]) -> Ended {
    Running::start(folder, arguments).wait()
}

fn corpus(messages: u32) -> String {
    (0..messages)
        .map(|n| {
            let (session, seq) = (n % 40, n / 40);
            format!(
                r#"{{"session_id":"session-{session}","sender_id":"ann","content":"message {n} of many","lang":"en","seq":{seq}}}"#
            ) + "\n"
        })
        .collect()
}

fn address(banner: &str) -> &str {
    let rest = banner.split_once("http://").expect("an address").1;
    rest.split_whitespace().next().expect("an address")
}

#[test]
fn a_corpus_that_cannot_be_read_costs_nothing() {
    let folder = folder();
    for (file, reason) in [
        ("missing.jsonl", "missing.jsonl"),
        (".", "a directory, not a file"),
    ] {
        let ended = run(folder.path(), &["replay", file]).expect(1);
        assert!(ended.err.contains(reason), "{ended:?}");
        let left = fs::read_dir(folder.path()).expect("readable").count();
        assert_eq!(left, 0, "nothing was opened for {file}");
    }
}

#[test]
fn every_problem_of_a_configuration_is_told_at_once_with_its_path() {
    let folder = folder();
    let text = r#"
        service = ""
        bogus = 1
        [http]
        address = "nowhere"
        [infra.cache]
        url = "memcached://localhost"
        [infra.database]
        url = "sqlite://x.db"
        max_connections = "many"
        [infra.queue]
        url = "memory://"
        nonsense = 3
        [infra.rate_limit.rules.a]
        rate = 0.0
        capacity = 0
    "#;
    fs::write(folder.path().join("bad.toml"), text).expect("written");
    for arguments in [&["--config", "bad.toml", "check"][..], &["--config", "bad.toml"]] {
        let ended = run(folder.path(), arguments).expect(1);
        for problem in [
            "bogus: unknown key",
            "http.address: ",
            "service: ",
            "infra.cache.url: ",
            "memory://, redis://",
            "infra.database.max_connections: ",
            "infra.queue.nonsense: ",
            "infra.rate_limit.rules.a.rate: ",
            "infra.rate_limit.rules.a.capacity: ",
            "(from bad.toml)",
        ] {
            assert!(ended.err.contains(problem), "{problem} is missing: {}", ended.err);
        }
    }
    let left = fs::read_dir(folder.path()).expect("readable").count();
    assert_eq!(left, 1, "nothing was opened");
}

#[test]
fn the_configuration_in_the_readme_is_good() {
    let folder = folder();
    let readme = include_str!("../../../README.md");
    let block = readme
        .split("```toml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let text = format!(
        "service = 'x'\nhttp.address = '127.0.0.1:0'\n{}",
        block.expect("a block")
    );
    fs::write(folder.path().join("readme.toml"), text).expect("written");
    run(folder.path(), &["--config", "readme.toml", "check"]).expect(0);
}

#[test]
fn files_that_are_no_configuration_are_named() {
    let folder = folder();
    fs::write(folder.path().join("torn.toml"), "service = \n").expect("written");
    let torn = run(folder.path(), &["--config", "torn.toml", "check"]).expect(1);
    assert!(
        torn.err.contains("torn.toml") && torn.err.contains("line 1"),
        "{torn:?}"
    );
    let missing = run(folder.path(), &["--config", "none.toml", "check"]).expect(1);
    assert!(
        missing.err.contains("none.toml: there is no such file"),
        "{missing:?}"
    );
}

#[test]
fn the_lines_of_the_banner_work_when_pasted() {
    if Command::new("curl").arg("--version").output().is_err() {
        return;
    }
    let folder = folder();
    let (running, banner) = Running::serve(folder.path());
    let commands: Vec<_> = banner
        .lines()
        .filter(|line| line.trim_start().starts_with("curl"))
        .collect();
    let paste = |command: &str| {
        let answer = Command::new("sh")
            .args(["-c", command])
            .output()
            .expect("a shell");
        assert!(answer.status.success(), "{command}");
        String::from_utf8(answer.stdout).expect("text")
    };
    let [send, list, search] = commands.as_slice() else {
        panic!("three commands: {banner}");
    };
    assert!(paste(send).contains("\"replayed\":false"));
    assert!(paste(list).contains("今天天气很好"));
    let deadline = Instant::now() + BOUND;
    while !paste(search).contains("<em>天气</em>") {
        assert!(Instant::now() < deadline, "found in time");
        sleep(Duration::from_millis(50));
    }
    running.signal("INT");
    running.wait().expect(0);
}

#[test]
fn what_is_taken_is_named_and_the_program_ends() {
    let folder = folder();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let text = include_str!("../message-service.toml").replace("127.0.0.1:8080", &address);
    fs::write(folder.path().join("service.toml"), text).expect("written");
    let port = Command::new(env!("CARGO_BIN_EXE_message-service"))
        .args(["--config", "service.toml"])
        .current_dir(folder.path())
        .output()
        .expect("the program runs");
    assert_eq!(port.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&port.stderr).contains(&format!("cannot listen on {address}")));

    let (_first, _) = Running::serve(folder.path());
    let second = run(folder.path(), &[]).expect(1);
    assert!(second.err.contains("is open already"), "{second:?}");
}

#[test]
fn sigterm_ends_it_in_order_and_nothing_is_lost() {
    let folder = folder();
    let (running, banner) = Running::serve(folder.path());
    let body = r#"{"sender_id":"ann","content":"hello"}"#;
    let mut stream = TcpStream::connect(address(&banner)).expect("connected");
    write!(
        stream,
        "POST /sessions/s1/messages HTTP/1.1\r\nHost: x\r\nConnection: close\r\nIdempotency-Key: k1\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    running.signal("TERM");
    let ended = running.wait().expect(0);
    assert!(ended.err.contains("stopped step=database"), "{ended:?}");

    // What the first process sent is still known to the next one.
    let (again, banner) = Running::serve(folder.path());
    let mut stream = TcpStream::connect(address(&banner)).expect("connected");
    write!(
        stream,
        "GET /sessions/s1/messages HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .expect("written");
    let mut listed = String::new();
    stream.read_to_string(&mut listed).expect("an answer");
    assert!(listed.contains("\"content\":\"hello\""), "{listed}");
    drop(again);
}

#[test]
fn a_crash_in_the_middle_of_a_replay_loses_nothing_and_doubles_nothing() {
    const WHOLE: u32 = 4000;
    const WRITTEN: usize = 3000;
    let folder = folder();
    let text = corpus(WHOLE);
    fs::write(folder.path().join("whole.jsonl"), &text).expect("written");
    // The pipe stays open, so the replay cannot end; it holds less than was written, so the replay has begun.
    let pipe = folder.path().join("pipe.jsonl");
    let made = Command::new("mkfifo").arg(&pipe).status().expect("mkfifo starts");
    assert!(made.success());
    let mut writer = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&pipe)
        .expect("open");
    let running = Running::start(folder.path(), &["replay", "pipe.jsonl"]);
    let part: String = text.split_inclusive('\n').take(WRITTEN).collect();
    writer.write_all(part.as_bytes()).expect("written");
    running.signal("KILL");
    let killed = running.wait();
    assert_eq!(killed.status.code(), None, "{killed:?}");
    drop(writer);

    let second = run(folder.path(), &["replay", "whole.jsonl"]).expect(0);
    let (sent, duplicates) = (second.number("sent"), second.number("duplicates refused"));
    assert_eq!(sent + duplicates, u64::from(WHOLE));
    assert!(
        sent >= u64::from(WHOLE) - WRITTEN as u64,
        "what was never written was not sent: {sent}"
    );
    assert!(
        duplicates > 1000,
        "the crash came in the middle: {duplicates} were stored"
    );
    let all =
        format!("of the file's {WHOLE} messages, {WHOLE} are in the database once, {WHOLE} in the index");
    assert!(second.out.contains(&all), "{second:?}");

    let third = run(folder.path(), &["replay", "whole.jsonl"]).expect(0);
    assert_eq!(
        (third.number("stored"), third.number("duplicates refused")),
        (0, u64::from(WHOLE))
    );
    assert!(third.out.contains(&all), "{third:?}");
}
