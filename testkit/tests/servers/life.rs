//! A server's life: up, used, disturbed, down.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use infra_testkit::servers::Up;

use crate::ground::{Ground, PATIENCE, living_in, redis, value};

#[test]
fn three_servers_live_through_every_fault_and_leave_nothing() {
    let ground = Ground::new();
    let Some(printed) = ground.up("three_servers", &["redis", "etcd", "postgres"]) else {
        return;
    };
    let url = value(&printed, "INFRA_REDIS_URL");
    for (variable, scheme) in [
        ("INFRA_ETCD_URL", "etcd://127.0.0.1:"),
        ("INFRA_POSTGRES_URL", "postgres://infra:infra@127.0.0.1:"),
    ] {
        assert!(value(&printed, variable).starts_with(scheme), "{printed}");
    }
    assert_eq!(redis(url, "SET k kept", PATIENCE).unwrap(), "+OK\r\n");

    ground.succeed(&["pause", "redis"]);
    let silence = redis(url, "PING", Duration::from_millis(300)).unwrap_err().kind();
    assert!(
        matches!(silence, ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "{silence:?}"
    );
    assert_eq!(state_of(&ground, "redis"), "paused");
    ground.succeed(&["resume", "redis"]);
    assert_eq!(redis(url, "PING", PATIENCE).unwrap(), "+PONG\r\n");

    ground.succeed(&["kill", "redis"]);
    assert_eq!(
        redis(url, "PING", PATIENCE).unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );
    assert_eq!(state_of(&ground, "redis"), "dead");
    assert!(
        !ground.run(&["pause", "redis"]).status.success(),
        "nothing is there to pause"
    );
    ground.succeed(&["start", "redis"]);
    assert_eq!(redis(url, "GET k", PATIENCE).unwrap(), "$4\r\nkept\r\n");

    for server in ["redis", "etcd", "postgres"] {
        let before = ground.pid(server);
        ground.succeed(&["restart", server]);
        assert_ne!(ground.pid(server), before);
        assert_eq!(state_of(&ground, server), "running");
    }
    assert_eq!(redis(url, "GET k", PATIENCE).unwrap(), "$4\r\nkept\r\n");
    // From nothing, on the same port.
    ground.succeed(&["reset", "redis"]);
    assert_eq!(redis(url, "GET k", PATIENCE).unwrap(), "$-1\r\n");
    ground.succeed(&["reset", "postgres"]);
    assert_eq!(state_of(&ground, "postgres"), "running");
    // PostgreSQL's children die with it, too.
    ground.succeed(&["kill", "postgres"]);
    ground.succeed(&["start", "postgres"]);

    let data = ground.data();
    ground.succeed(&["down"]);
    assert_eq!(living_in(&data), [""; 0]);
    assert!(!data.exists() && !ground.state_file().exists());
    ground.succeed(&["down"]);
}

fn state_of(ground: &Ground, server: &str) -> String {
    let status = ground.set().status().unwrap();
    status
        .into_iter()
        .find(|status| status.name == server)
        .unwrap()
        .state
}

#[test]
fn a_second_up_starts_only_what_is_not_alive() {
    let ground = Ground::new();
    let Some(printed) = ground.up("second_up", &["redis", "etcd"]) else {
        return;
    };
    let (redis_before, etcd_before) = (ground.pid("redis"), ground.pid("etcd"));
    ground.succeed(&["kill", "redis"]);
    assert_eq!(ground.up("second_up", &["redis", "etcd"]).unwrap(), printed);
    assert_ne!(ground.pid("redis"), redis_before);
    assert_eq!(ground.pid("etcd"), etcd_before);
}

#[test]
fn one_set_knows_nothing_of_another() {
    let (one, other) = (Ground::new(), Ground::new());
    let Some(printed) = one.up("two_sets", &["redis"]) else {
        return;
    };
    let other_printed = other.up("two_sets", &["redis"]).unwrap();
    let (url, other_url) = (
        value(&printed, "INFRA_REDIS_URL"),
        value(&other_printed, "INFRA_REDIS_URL"),
    );
    assert_ne!(url, other_url);
    other.succeed(&["down"]);
    assert_eq!(redis(url, "PING", PATIENCE).unwrap(), "+PONG\r\n");
    assert_eq!(
        redis(other_url, "PING", PATIENCE).unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );
}

#[tokio::test]
async fn a_test_controls_a_server_from_rust() {
    let ground = Ground::new();
    let Some(printed) = ground.up("control", &["redis"]) else {
        return;
    };
    let (url, control) = (value(&printed, "INFRA_REDIS_URL"), ground.set().control("redis"));
    control.pause().await.unwrap();
    redis(url, "PING", Duration::from_millis(300)).unwrap_err();
    control.resume().await.unwrap();
    control.restart().await.unwrap();
    control.kill().await.unwrap();
    redis(url, "PING", PATIENCE).unwrap_err();
    control.start().await.unwrap();
    assert_eq!(redis(url, "PING", PATIENCE).unwrap(), "+PONG\r\n");

    let problem = ground
        .set()
        .control("kafka")
        .kill()
        .await
        .unwrap_err()
        .to_string();
    assert!(problem.contains("cargo servers up kafka"), "{problem}");
}

#[test]
fn the_nodes_of_a_cluster_are_disturbed_alone() {
    let ground = Ground::new();
    let Some(printed) = ground.up("cluster", &["redis-cluster"]) else {
        return;
    };
    let urls = value(&printed, "INFRA_REDIS_CLUSTER_URL")
        .strip_prefix("redis://")
        .unwrap();
    let urls: Vec<String> = urls
        .split(',')
        .map(|address| format!("redis://{address}"))
        .collect();
    assert_eq!(urls.len(), 3);
    ground.succeed(&["kill", "redis-cluster/2"]);
    assert_eq!(redis(&urls[0], "PING", PATIENCE).unwrap(), "+PONG\r\n");
    redis(&urls[1], "PING", PATIENCE).unwrap_err();
    assert_eq!(state_of(&ground, "redis-cluster"), "partly dead");
    ground.succeed(&["start", "redis-cluster/2"]);
    assert_eq!(redis(&urls[1], "PING", PATIENCE).unwrap(), "+PONG\r\n");
}

/// Takes an address, as soon as the kernel lets go of it after the end of the server that had it.
fn take(address: &str) -> TcpListener {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match TcpListener::bind(address) {
            Ok(listener) => return listener,
            Err(error) => assert!(Instant::now() < deadline, "{address}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_server_whose_port_was_taken_meanwhile_says_so_with_its_log() {
    let ground = Ground::new();
    let Some(printed) = ground.up("port_taken", &["redis"]) else {
        return;
    };
    ground.succeed(&["kill", "redis"]);
    let address = value(&printed, "INFRA_REDIS_URL")
        .strip_prefix("redis://")
        .unwrap();
    let thief = take(address);
    let problem = ground.set().start("redis").unwrap_err().to_string();
    assert!(
        problem.contains("ended before it answered") && problem.contains("in use"),
        "{problem}"
    );
    drop(thief);
    ground
        .set()
        .up(&Up::new(["redis"]).with_install(false), &|_| ())
        .unwrap();
    assert_eq!(state_of(&ground, "redis"), "running");
}
