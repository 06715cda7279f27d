//! Services that others registered over plain HTTP, with a health check of their own.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking"
)]

use std::time::Duration;

use futures_util::StreamExt;
use infra_consul::{ConsulConfig, ConsulCoordinator};
use infra_core::assembly::BackendOptions;
use infra_core::config::BackendUrl;
use infra_core::coordination::{Instance, Registry};
use infra_core::watch::{Watch, WatchEvent};
use infra_testkit::{servers, unique};
use serde_json::json;
use tokio::time::timeout;

use crate::server::http;

const BOUND: Duration = Duration::from_secs(10);

/// An agent that is used by hand.
struct Agent {
    http: reqwest::Client,
    address: String,
}

impl Agent {
    async fn put(&self, path: &str, body: String) {
        let url = format!("http://{}/v1/agent/{path}", self.address);
        let answer = self.http.put(url).body(body).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
    }
}

async fn next(watch: &mut Watch<Instance>) -> WatchEvent<Instance> {
    timeout(BOUND, watch.next()).await.unwrap().unwrap()
}

#[tokio::test]
async fn an_instance_whose_foreign_check_fails_is_left_out_until_it_passes() {
    let Some(url) = servers::require("consul") else {
        return;
    };
    let url = BackendUrl::parse(&url).unwrap();
    let mut config = ConsulConfig::development();
    config.take_url(&url).unwrap();
    let client = ConsulCoordinator::connect(config).await.unwrap();
    let agent = Agent {
        http: http().unwrap(),
        address: url.hosts()[0].or_port(8500),
    };
    let service = unique("foreign");
    for id in ["well", "sick"] {
        let id = format!("{service}-{id}");
        let wanted = json!({
            "ID": id, "Name": service, "Address": "10.0.0.1", "Port": 9000, "Meta": {"version": "7"},
            "Check": {"CheckID": format!("{id}-check"), "TTL": "10m", "Status": "passing"},
        });
        agent.put("service/register", wanted.to_string()).await;
    }
    let found = async || {
        let snapshot = client.discover(&service).await.unwrap();
        let mut ids: Vec<String> = snapshot
            .instances
            .into_iter()
            .map(|instance| instance.id)
            .collect();
        ids.sort();
        (ids, snapshot.revision)
    };
    let (well, sick) = (format!("{service}-well"), format!("{service}-sick"));
    let (ids, revision) = found().await;
    assert_eq!(ids, [sick.clone(), well.clone()]);
    let mut watch = client.watch_service(&service, revision).await.unwrap();

    agent
        .put(&format!("check/fail/{sick}-check"), String::new())
        .await;
    let gone = next(&mut watch).await;
    assert!(matches!(&gone, WatchEvent::Delete(id) if *id == sick), "{gone:?}");
    assert_eq!(found().await.0, std::slice::from_ref(&well));

    agent
        .put(&format!("check/pass/{sick}-check"), String::new())
        .await;
    let back = next(&mut watch).await;
    let WatchEvent::Put(instance) = back else {
        panic!("{back:?}")
    };
    let expected = Instance::new(service.as_str(), sick.as_str(), "10.0.0.1", 9000);
    assert_eq!(instance, expected.with_metadata("version", "7"));
    assert_eq!(found().await.0, [sick.clone(), well.clone()]);

    for id in [well, sick] {
        agent
            .put(&format!("service/deregister/{id}"), String::new())
            .await;
    }
}
