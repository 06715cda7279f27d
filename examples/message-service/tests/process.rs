//! The program as its users start it: exit codes, signals, crashes. Every process is ended by its own id.
#![allow(clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use infra_testkit::time::eventually;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// Longer than any of these should take on a busy machine; a bound, not a wait.
const BOUND: Duration = Duration::from_secs(60);

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sample.jsonl")
}

/// The program with its data in this folder, listening on a port that the system chooses.
fn program(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_message-service"));
    command
        .arg("--data")
        .arg(data)
        .args(arguments)
        .env("MESSAGE_SERVICE__HTTP__ADDRESS", "127.0.0.1:0")
        .kill_on_drop(true);
    command
}

async fn run(data: &Path, arguments: &[&str]) -> Output {
    timeout(BOUND, program(data, arguments).output())
        .await
        .expect("it ends")
        .expect("it starts")
}

async fn replay(data: &Path, file: &Path) -> (Option<i32>, String) {
    let output = run(data, &["replay", file.to_str().expect("a path")]).await;
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    (output.status.code(), said)
}

/// The number that stands after `label` in a report.
fn number(report: &str, label: &str) -> u64 {
    let line = report
        .lines()
        .find(|line| line.starts_with(label))
        .unwrap_or_else(|| panic!("no {label} in {report}"));
    line.rsplit(' ')
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("no number in {line}"))
}

#[tokio::test]
async fn a_replay_adds_every_message_once_and_a_second_one_nothing() {
    let data = tempfile::tempdir().expect("a folder");
    let (code, first) = replay(data.path(), &sample()).await;
    assert_eq!(code, Some(0), "{first}");
    let messages = number(&first, "messages in the file");
    assert!(messages > 100);
    for label in ["sent", "stored", "delivered", "indexed"] {
        assert_eq!(number(&first, label), messages, "{label}");
    }
    let (code, second) = replay(data.path(), &sample()).await;
    assert_eq!(code, Some(0), "{second}");
    assert_eq!(number(&second, "duplicates refused"), messages);
    for label in ["sent", "stored", "delivered", "indexed"] {
        assert_eq!(number(&second, label), 0, "{label}");
    }
}

#[tokio::test]
async fn broken_lines_are_named_and_the_exit_code_tells() {
    let data = tempfile::tempdir().expect("a folder");
    let file = data.path().join("corpus.jsonl");
    let good =
        |seq| format!(r#"{{"session_id":"s","sender_id":"a","lang":"en","seq":{seq},"content":"hi"}}"#);
    std::fs::write(
        &file,
        format!("{}\nnot json\n{}\n{{\"seq\":3}}\n", good(0), good(1)),
    )
    .expect("written");
    let (code, said) = replay(data.path(), &file).await;
    assert_eq!(code, Some(2), "{said}");
    assert_eq!(
        (number(&said, "sent"), number(&said, "broken lines skipped")),
        (2, 2),
        "{said}"
    );
    assert!(
        said.contains("line 2: it is not JSON") && said.contains("line 4: it lacks a field"),
        "{said}"
    );

    let (code, said) = replay(data.path(), Path::new("no/such/corpus.jsonl")).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("no/such/corpus.jsonl"), "{said}");
}

#[tokio::test]
async fn every_problem_of_a_configuration_is_told_at_once() {
    let data = tempfile::tempdir().expect("a folder");
    let file = data.path().join("bad.toml");
    let bad = "service = \"\"\nhttp = { colour = 1 }\n[infra]\nshutdown_deadline = \"5 parsecs\"\n[infra.cache]\nurl = \"memcached://x\"\n\
               [infra.rate_limit.rules.x]\nrate = -1.0\ncapacity = 0\n";
    std::fs::write(&file, bad).expect("written");
    let output = run(
        data.path(),
        &["--config", file.to_str().expect("a path"), "check"],
    )
    .await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in [
        "service:",
        "infra.shutdown_deadline:",
        "http.colour:",
        "infra.cache.url:",
        "memory://",
        "rules.x.rate:",
        "rules.x.capacity:",
    ] {
        assert!(said.contains(part), "{part} is missing in {said}");
    }
    assert_eq!(
        run(data.path(), &["check"]).await.status.code(),
        Some(0),
        "the default configuration is good"
    );
    assert_ne!(
        run(data.path(), &["--profile", "holiday", "check"])
            .await
            .status
            .code(),
        Some(0)
    );
}

/// Starts to serve and waits for the banner.
async fn serve(data: &Path) -> (Child, BufReader<ChildStdout>, String) {
    let mut child = program(data, &["serve"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    let mut banner = String::new();
    while !banner.contains("Ctrl-C") {
        let read = timeout(BOUND, output.read_line(&mut banner))
            .await
            .expect("it speaks")
            .expect("readable");
        assert_ne!(read, 0, "it ended early: {banner}");
    }
    (child, output, banner)
}

fn signal(child: &Child, name: &str) {
    let id = child.id().expect("it runs").to_string();
    let status = std::process::Command::new("kill")
        .args(["-s", name, &id])
        .status()
        .expect("kill is there");
    assert!(status.success());
}

#[tokio::test]
async fn the_banner_tells_what_a_newcomer_needs_and_a_signal_ends_in_order() {
    let data = tempfile::tempdir().expect("a folder");
    let (mut child, mut output, banner) = serve(data.path()).await;
    assert!(
        banner.starts_with("message-service listens on http://127.0.0.1:"),
        "{banner}"
    );
    for backend in [
        "database      sqlite",
        "search        tantivy",
        "cache         memory",
    ] {
        assert!(banner.contains(backend), "{banner}");
    }
    assert_eq!(banner.matches("curl ").count(), 3, "{banner}");
    signal(&child, "TERM");
    let status = timeout(BOUND, child.wait())
        .await
        .expect("it ends")
        .expect("its status");
    assert_eq!(status.code(), Some(0));
    let mut rest = String::new();
    output.read_to_string(&mut rest).await.expect("readable");
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let data = tempfile::tempdir().expect("a folder");
    let (mut child, _output, banner) = serve(data.path()).await;
    // A request that never ends keeps an orderly end waiting.
    let address = banner
        .split_whitespace()
        .find_map(|word| word.strip_prefix("http://"))
        .expect("an address");
    let mut socket = tokio::net::TcpStream::connect(address).await.expect("connected");
    let head = "POST /sessions/s/messages HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\
                expect: 100-continue\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut socket, head.as_bytes())
        .await
        .expect("sent");
    // "Continue" says that the request has begun; a signal before that would end an idle connection.
    let mut begun = [0; 12];
    timeout(BOUND, socket.read_exact(&mut begun))
        .await
        .expect("an answer in time")
        .expect("readable");
    assert_eq!(&begun, b"HTTP/1.1 100");
    signal(&child, "INT");
    assert!(
        timeout(Duration::from_millis(500), child.wait()).await.is_err(),
        "it waits for the request"
    );
    signal(&child, "INT");
    let status = timeout(Duration::from_secs(5), child.wait())
        .await
        .expect("it ends at once")
        .expect("its status");
    assert_eq!(status.code(), Some(130));
}

/// How much was written to the journals of the search index.
fn journal_bytes(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let sizes = entries
        .filter_map(Result::ok)
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => journal_bytes(&entry.path()),
            Ok(data) if entry.file_name().to_string_lossy().contains("journal") => data.len(),
            _ => 0,
        });
    sizes.sum()
}

#[tokio::test]
async fn a_replay_that_was_killed_is_made_whole_by_the_next() {
    let data = tempfile::tempdir().expect("a folder");
    let file = sample();
    let mut child = program(data.path(), &["replay", file.to_str().expect("a path")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let begun = async || journal_bytes(&data.path().join("search")) > 3_000;
    assert!(eventually(BOUND, begun).await, "it has taken something in");
    child.kill().await.expect("killed");

    let (code, said) = replay(data.path(), &file).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(
        number(&said, "messages in the file"),
        number(&said, "sent") + number(&said, "duplicates refused")
    );
    let (code, said) = replay(data.path(), &file).await;
    assert_eq!((code, number(&said, "sent")), (Some(0), 0), "{said}");
}
