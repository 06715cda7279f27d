//! What is refused: by us, because the agent is not to be trusted, and by the agent, because we are not.

use std::time::Duration;

use infra_consul::{ConsulConfig, ConsulCoordinator};
use infra_core::config::TlsConfig;
use infra_core::coordination::{ConfigCenterExt, Instance, InstanceIds, LockOptions, Locks, Registry};
use infra_core::error::Retry;
use infra_core::{Error, ErrorKind};
use infra_testkit::unique;

use crate::ground;

/// Connects through a proxy and returns the error; it takes one connection.
async fn refused(config: &ConsulConfig) -> Error {
    let (config, proxy) = ground::through(config);
    let error = ConsulCoordinator::connect(config).await.expect_err("refused");
    assert_eq!(proxy.stats().accepted, 1, "{error}");
    let token = ground::detail("TOKEN");
    for shown in [format!("{error}"), format!("{error:#?}")] {
        assert!(!shown.contains(&token), "{shown}");
    }
    error
}

fn never_again(error: &Error, kind: ErrorKind, words: &str) {
    assert_eq!((error.kind(), error.retry()), (kind, Retry::Never), "{error:?}");
    assert!(error.message().contains(words), "{error:?}");
}

#[tokio::test]
async fn an_agent_that_is_not_to_be_trusted_is_not_spoken_to() {
    let Some(config) = ground::secure("trust") else {
        return;
    };
    let with = |tls: TlsConfig| config.clone().with_tls(tls);
    let error = refused(&with(ground::authority("OTHER_CA"))).await;
    never_again(&error, ErrorKind::Unauthenticated, "tls.ca_file");
    let named = |name: &str| with(ground::authority("CA").with_server_name(name));
    let error = refused(&named("elsewhere.infra.test")).await;
    never_again(&error, ErrorKind::Unauthenticated, "tls.server_name");
    let connected = ConsulCoordinator::connect(named("server.infra.test")).await;
    connected.expect("the certificate has this name");
}

#[tokio::test]
async fn an_agent_that_wants_our_certificate_gets_it_or_says_so() {
    let Some(config) = ground::secure("identity") else {
        return;
    };
    let anonymous = TlsConfig::new().with_ca_file(ground::detail("CA"));
    let error = refused(&config.clone().with_tls(anonymous)).await;
    never_again(&error, ErrorKind::Unauthenticated, "tls.key_file");
    let mixed = TlsConfig::new()
        .with_ca_file(ground::detail("CA"))
        .with_identity(ground::detail("CA"), ground::detail("KEY"));
    let error = ConsulCoordinator::connect(config.with_tls(mixed))
        .await
        .expect_err("another key");
    never_again(&error, ErrorKind::InvalidConfig, "do not belong together");
}

#[tokio::test]
async fn an_agent_without_tls_gets_no_token() {
    let Some(config) = ground::secure("plaintext") else {
        return;
    };
    let plain = ground::config(&ground::detail("PLAIN_URL"), "plaintext").unwrap();
    let error = refused(&config.clone().with_hosts(plain.hosts.clone())).await;
    never_again(&error, ErrorKind::InvalidConfig, "does not speak TLS");
    ConsulCoordinator::connect(plain)
        .await
        .expect("as it was asked for");
    let mut without = config;
    without.tls = None;
    let error = ConsulCoordinator::connect(without)
        .await
        .expect_err("it wants TLS");
    assert!(!matches!(error.kind(), ErrorKind::Internal), "{error:?}");
}

#[tokio::test]
async fn a_wrong_token_is_told_at_once_and_none_is_not_enough() {
    let Some(mut config) = ground::secure("token") else {
        return;
    };
    let wrong = config.clone().with_token("7d0c1d9e-2b51-4b0e-8f0f-5a1e6f5cffff");
    never_again(
        &refused(&wrong).await,
        ErrorKind::Unauthenticated,
        "does not know the ACL token",
    );
    // Nobody may look, and sees nothing; and may not write.
    config.token = None;
    let nobody = ConsulCoordinator::connect(config).await.unwrap();
    let error = nobody.set("a", "b").await.expect_err("no token");
    never_again(&error, ErrorKind::PermissionDenied, "may not do this");
}

#[tokio::test]
async fn a_token_is_good_for_what_it_was_granted() {
    let Some(config) = ground::secure(&unique("granted")) else {
        return;
    };
    let client = ConsulCoordinator::connect(config.clone()).await.unwrap();
    client.set("a", "b").await.unwrap();
    let ttl = Duration::from_secs(10);
    let guard = client.acquire("lock", LockOptions::new(ttl)).await.unwrap();
    guard.release().await.unwrap();
    let id = client.acquire_instance_id("orders", 0..=9).await.unwrap();
    id.release().await.unwrap();
    let service = unique("infra-orders");
    let instance = |service: &str| Instance::new(service, unique("one"), "127.0.0.1", 4000);
    let registration = client.register(instance(&service), ttl).await.unwrap();
    assert_eq!(client.discover(&service).await.unwrap().instances.len(), 1);
    registration.deregister().await.unwrap();

    let error = client
        .register(instance("other-orders"), ttl)
        .await
        .expect_err("another service");
    never_again(&error, ErrorKind::PermissionDenied, "may not do this");
    let elsewhere = ConsulCoordinator::connect(config.with_key_prefix("other/")).await;
    if let Ok(elsewhere) = elsewhere {
        let error = elsewhere.set("a", "b").await.expect_err("another prefix");
        never_again(&error, ErrorKind::PermissionDenied, "may not do this");
    }
}
