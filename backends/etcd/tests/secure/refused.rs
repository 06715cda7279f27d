//! What is refused: by us, because the server is not to be trusted, and by the server, because we are not.

use std::time::{Duration, Instant};

use infra_core::config::{Secret, TlsConfig};
use infra_core::coordination::{ConfigCenterExt, LocksExt};
use infra_core::error::Retry;
use infra_core::{Error, ErrorKind};
use infra_etcd::{EtcdConfig, EtcdCoordinator};
use infra_testkit::tcp_proxy::TcpProxy;

use crate::ground::{self, PASSWORD};

/// Connects through a proxy and returns the error, and how many connections it took.
async fn refused(config: EtcdConfig) -> (Error, u64) {
    let proxy = TcpProxy::start(ground::address(&config)).unwrap();
    let config = ground::through(config, &proxy);
    let began = Instant::now();
    let error = EtcdCoordinator::connect(config).await.expect_err("refused");
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{error} took {:?}",
        began.elapsed()
    );
    for shown in [format!("{error}"), format!("{error:?}"), format!("{error:#?}")] {
        assert!(!shown.contains(PASSWORD) && !shown.contains("staple"), "{shown}");
    }
    (error, proxy.stats().accepted)
}

fn never_again(error: &Error, kind: ErrorKind, words: &str) {
    assert_eq!((error.kind(), error.retry()), (kind, Retry::Never), "{error}");
    assert!(error.message().contains(words), "{error}");
}

#[tokio::test]
async fn a_server_of_another_authority_is_not_spoken_to() {
    let Some(config) = ground::secure("other-authority") else {
        return;
    };
    let (error, connections) = refused(config.clone().with_tls(ground::authority("OTHER_CA"))).await;
    never_again(&error, ErrorKind::Unauthenticated, "tls.ca_file");
    assert!(connections <= 3, "{connections} connections");
    // Neither do the system's authorities vouch for it.
    let (error, connections) = refused(config.with_tls(TlsConfig::new())).await;
    never_again(&error, ErrorKind::Unauthenticated, "tls.ca_file");
    assert!(connections <= 3, "{connections} connections");
}

#[tokio::test]
async fn a_server_of_another_name_is_not_spoken_to() {
    let Some(config) = ground::secure("name") else {
        return;
    };
    let named = |name: &str| {
        config
            .clone()
            .with_tls(ground::authority("CA").with_server_name(name))
    };
    let (error, _) = refused(named("elsewhere.infra.test")).await;
    never_again(&error, ErrorKind::Unauthenticated, "tls.server_name");
    EtcdCoordinator::connect(named("server.infra.test"))
        .await
        .expect("the certificate has this name");
}

#[tokio::test]
async fn a_server_without_tls_gets_no_password() {
    let Some(config) = ground::secure("plaintext") else {
        return;
    };
    let plain = ground::config(&ground::detail("PLAIN_URL"), "plaintext").unwrap();
    let asked = config.with_endpoints(plain.endpoints.clone());
    let (error, connections) = refused(asked).await;
    // It may be going down as well: both look the same.
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.message().contains("does not speak TLS"), "{error}");
    assert!(connections <= 3, "{connections} connections");
    // Asked for without TLS, it is spoken to without.
    EtcdCoordinator::connect(plain)
        .await
        .expect("as it was asked for");
}

#[tokio::test]
async fn a_server_that_wants_tls_is_not_reached_without() {
    let Some(mut config) = ground::secure("without") else {
        return;
    };
    config.tls = None;
    let began = Instant::now();
    let error = EtcdCoordinator::connect(config).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.message().contains("wants TLS"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_file_that_is_missing_is_named() {
    let Some(config) = ground::secure("file") else {
        return;
    };
    let tls = TlsConfig::new().with_ca_file("/nowhere/ca.pem");
    let error = EtcdCoordinator::connect(config.with_tls(tls))
        .await
        .expect_err("no file");
    never_again(
        &error,
        ErrorKind::InvalidConfig,
        "`ca_file`: cannot read /nowhere/ca.pem",
    );
}

#[tokio::test]
async fn a_wrong_password_is_told_at_once_and_not_tried_again() {
    let Some(mut config) = ground::secure("password") else {
        return;
    };
    config.password = Some(Secret::from("wrong"));
    let (error, connections) = refused(config.clone()).await;
    never_again(&error, ErrorKind::Unauthenticated, "user and password");
    assert_eq!(connections, 1);
    config.user = Some("nobody".to_owned());
    let (error, connections) = refused(config.clone()).await;
    never_again(&error, ErrorKind::Unauthenticated, "user and password");
    assert_eq!(connections, 1);
    (config.user, config.password) = (None, None);
    let (error, connections) = refused(config).await;
    never_again(&error, ErrorKind::Unauthenticated, "user and password");
    assert_eq!(connections, 1);
}

#[tokio::test]
async fn what_the_role_does_not_cover_is_forbidden() {
    let Some(config) = ground::secure("role") else {
        return;
    };
    let allowed = EtcdCoordinator::connect(config.clone()).await.unwrap();
    allowed.set("a", "b").await.unwrap();
    let error = EtcdCoordinator::connect(config.with_key_prefix("other/"))
        .await
        .expect_err("another prefix");
    never_again(
        &error,
        ErrorKind::PermissionDenied,
        "grant its role the key prefix",
    );
    let mut root = ground::config(&ground::detail("ROOT_URL"), "role").unwrap();
    root = root.with_key_prefix("other/").with_tls(ground::authority("CA"));
    let root = EtcdCoordinator::connect(root).await.unwrap();
    root.set("a", "b").await.unwrap();
}

#[tokio::test]
async fn nothing_shows_the_password() {
    let Some(config) = ground::secure("shown") else {
        return;
    };
    let client = EtcdCoordinator::connect(config.clone()).await.unwrap();
    let written = serde_json::to_string(&config).unwrap();
    for shown in [format!("{config:?}"), format!("{client:#?}"), written] {
        assert!(!shown.contains("staple"), "{shown}");
    }
    client
        .with_lock(
            "a",
            infra_core::coordination::LockOptions::new(Duration::from_secs(5)),
            async |held| {
                let shown = format!("{held:?}");
                assert!(!shown.contains("staple"), "{shown}");
                Ok(())
            },
        )
        .await
        .unwrap();
}
