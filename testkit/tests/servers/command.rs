//! What the command prints, and what it says of wrong words.

use std::process::{Command, Output};

use infra_testkit::servers::{NAMES, require};

use crate::ground::{Ground, errors};

#[test]
fn an_unknown_name_is_answered_with_the_known_ones() {
    let ground = Ground::new();
    for arguments in [
        ["up", "memcached"],
        ["restart", "memcached"],
        ["kill", "memcached/1"],
    ] {
        let output = ground.run(&arguments);
        assert_eq!(output.status.code(), Some(1));
        let errors = errors(&output);
        assert!(
            errors.contains("memcached") && errors.contains(&NAMES.join(", ")),
            "{errors}"
        );
    }
    assert!(
        !ground.state_file().exists(),
        "a wrong word leaves nothing behind"
    );
}

#[test]
fn the_help_names_the_servers_and_the_variables() {
    let help = Ground::new().succeed(&["--help"]);
    for word in NAMES.iter().chain(&[
        "INFRA_SERVERS_DIR",
        "INFRA_SERVERS_CACHE",
        "CI=true",
        "restart",
        "pause",
    ]) {
        assert!(help.contains(word), "{word} is not in {help}");
    }
}

#[test]
fn a_shell_can_evaluate_what_up_and_env_print() {
    let ground = Ground::new();
    let Some(printed) = ground.up("evaluate", &["redis"]) else {
        return;
    };
    assert_eq!(ground.succeed(&["env"]), printed);
    let script = "eval \"$1\" && printf %s \"$INFRA_REDIS_URL\"";
    let output = Command::new("sh")
        .args(["-c", script, "sh", &printed])
        .output()
        .unwrap();
    let url = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed, format!("export INFRA_REDIS_URL='{url}'\n"));
    assert!(url.starts_with("redis://127.0.0.1:"));

    let status = ground.succeed(&["status"]);
    assert!(
        status.starts_with("redis ") && status.contains("running") && status.contains(&url),
        "{status}"
    );
}

#[test]
fn without_servers_the_status_says_how_to_start_them() {
    assert!(Ground::new().succeed(&["status"]).contains("cargo servers up"));
}

#[test]
#[ignore = "the next test runs it, in other environments"]
fn wants_kafka() {
    assert_ne!(require("kafka").as_deref(), Some(""));
}

/// Runs the test above, alone, with this environment and a list of skipped tests; returns what it printed and the list.
fn wanting_kafka(environment: &[(&str, &str)]) -> (Output, String) {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("skipped");
    let mut test = Command::new(std::env::current_exe().unwrap());
    test.args(["--exact", "command::wants_kafka", "--ignored"]);
    test.env_remove("CI")
        .env_remove("INFRA_KAFKA_URL")
        .env("INFRA_SKIPPED", &list);
    let output = test.envs(environment.iter().copied()).output().unwrap();
    (output, std::fs::read_to_string(list).unwrap_or_default())
}

#[test]
fn a_test_without_its_server_is_listed_by_name_and_fails_under_ci() {
    let (output, list) = wanting_kafka(&[]);
    assert!(output.status.success());
    assert!(
        list.starts_with("servers::command::wants_kafka\tno kafka server: INFRA_KAFKA_URL is not set"),
        "{list}"
    );

    let (output, list) = wanting_kafka(&[("CI", "true")]);
    assert!(!output.status.success() && list.is_empty());
    let printed = String::from_utf8_lossy(&output.stdout).into_owned() + &errors(&output);
    assert!(printed.contains("cargo servers up kafka"), "{printed}");

    let (output, list) = wanting_kafka(&[("CI", "true"), ("INFRA_KAFKA_URL", "kafka://127.0.0.1:1")]);
    assert!(output.status.success() && list.is_empty());
}
