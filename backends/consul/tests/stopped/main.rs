//! The holder of a lock on a real Consul, as a process of its own that is stopped beyond its lease.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helper functions of tests fail like tests, and say what they saw"
)]

use std::process::Command;
use std::time::Duration;

use infra_consul::{ConsulConfig, ConsulCoordinator};
use infra_core::assembly::BackendOptions;
use infra_core::config::BackendUrl;
use infra_testkit::campaigns::holders::{hold, outlive};
use infra_testkit::{servers, unique};

/// The shortest that Consul grants.
const TTL: Duration = Duration::from_secs(10);

/// The variables that tell the holder's process what to hold.
const URL: &str = "INFRA_TEST_HOLDER_URL";
const KEY: &str = "INFRA_TEST_HOLDER_KEY";

async fn connect(url: &str) -> ConsulCoordinator {
    let mut config = ConsulConfig::development();
    config.take_url(&BackendUrl::parse(url).unwrap()).unwrap();
    ConsulCoordinator::connect(config).await.unwrap()
}

#[tokio::test]
#[ignore = "the next test starts it, as a process of its own"]
async fn holder() {
    let (url, key) = (std::env::var(URL).unwrap(), std::env::var(KEY).unwrap());
    hold(&connect(&url).await, &key, TTL).await.unwrap();
}

#[tokio::test]
async fn a_holder_that_is_stopped_beyond_its_lease_finds_out_before_it_acts() {
    let Some(url) = servers::require("consul") else {
        return;
    };
    let (locks, key) = (connect(&url).await, unique("stopped"));
    let mut holder = Command::new(std::env::current_exe().unwrap());
    holder.args(["--exact", "holder", "--ignored", "--nocapture"]);
    holder.env(URL, &url).env(KEY, &key);
    let waited = outlive(holder, &locks, &key, TTL).await.unwrap();
    println!("taken over after {waited:?}");
}
