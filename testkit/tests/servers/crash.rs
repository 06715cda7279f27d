//! What was started is ended, and nothing else is, also when the state is old or cut short.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::ground::{Ground, living_in};

#[test]
fn an_up_that_was_killed_half_way_is_cleaned_by_down() {
    let ground = Ground::new();
    if ground.up("half_way", &["redis", "etcd", "postgres"]).is_none() {
        return;
    }
    ground.succeed(&["down"]);
    // Killed at different moments: before the first process, among them, and when all have been started.
    for moment in [5, 40, 120, 400, 900].map(Duration::from_millis) {
        let mut up = ground.command(&["up", "--no-install", "redis", "etcd", "postgres"]);
        let mut up = up.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let began = Instant::now();
        while began.elapsed() < moment && up.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        up.kill().unwrap();
        up.wait().unwrap();
        if !ground.state_file().exists() {
            continue;
        }
        let data = ground.data();
        ground.succeed(&["down"]);
        assert!(!data.exists(), "after {moment:?}");
        let left = living_in(&data);
        assert!(left.is_empty(), "after {moment:?}: {left:?}");
    }
}

#[test]
fn a_process_that_has_the_number_of_a_server_now_is_left_alone() {
    let ground = Ground::new();
    if ground.up("reused_number", &["redis"]).is_none() {
        return;
    }
    let mut stranger = Command::new("sleep").arg("600").spawn().unwrap();
    let (mut state, data) = (ground.state(), ground.data());
    state["servers"]["redis"]["nodes"][0]["processes"][0]["identity"]["pid"] = stranger.id().into();
    std::fs::write(ground.state_file(), state.to_string()).unwrap();

    ground.succeed(&["down"]);
    assert!(stranger.try_wait().unwrap().is_none(), "a stranger was killed");
    // The server itself is known by more than its number.
    assert_eq!(living_in(&data), [""; 0]);
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[test]
fn a_shell_in_the_data_folder_is_left_alone() {
    let ground = Ground::new();
    if ground.up("shell_in_folder", &["redis"]).is_none() {
        return;
    }
    let mut shell = Command::new("sleep")
        .arg("600")
        .current_dir(ground.data().join("redis-1"))
        .spawn()
        .unwrap();
    ground.succeed(&["down"]);
    assert!(shell.try_wait().unwrap().is_none(), "somebody's shell was killed");
    shell.kill().unwrap();
    shell.wait().unwrap();
}

#[test]
fn run_ends_the_servers_when_whoever_started_it_is_gone() {
    let ground = Ground::new();
    if ground.up("run", &["redis"]).is_none() {
        return;
    }
    ground.succeed(&["down"]);
    let mut run = ground.command(&["run", "--no-install", "redis"]);
    let mut run = run
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(run.stdout.take().unwrap()));
    assert!(
        lines
            .next()
            .unwrap()
            .unwrap()
            .starts_with("export INFRA_REDIS_URL=")
    );
    assert_eq!(lines.next().unwrap().unwrap(), "#");
    let data = ground.data();
    assert!(!living_in(&data).is_empty());
    drop(run.stdin.take());
    assert!(run.wait().unwrap().success());
    assert!(!data.exists() && living_in(&data).is_empty());
}
