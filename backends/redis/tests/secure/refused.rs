//! What is refused: by us, because the server is not to be trusted, and by the server, because we are not.

use std::time::{Duration, Instant};

use infra_core::cache::KeyValue;
use infra_core::config::{Secret, TlsConfig};
use infra_core::error::Retry;
use infra_core::{Error, ErrorKind, Ttl};
use infra_redis::{RedisCache, RedisConfig};
use infra_testkit::tcp_proxy::TcpProxy;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use crate::ground::{self, PASSWORD};

fn shows_nothing(shown: &str) {
    assert!(!shown.contains(PASSWORD) && !shown.contains("staple"), "{shown}");
}

/// Connects through a proxy and returns the error, and how many connections it took.
async fn refused(config: RedisConfig) -> (Error, u64) {
    let proxy = TcpProxy::start(ground::address(&config)).unwrap();
    let config = ground::through(config, &proxy);
    let began = Instant::now();
    let error = RedisCache::connect(config).await.expect_err("refused");
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{error} took {:?}",
        began.elapsed()
    );
    for shown in [format!("{error}"), format!("{error:?}"), format!("{error:#?}")] {
        shows_nothing(&shown);
    }
    (error, proxy.stats().accepted)
}

fn never_again(refused: (Error, u64), kind: ErrorKind, words: &str) {
    let (error, connections) = refused;
    assert_eq!((error.kind(), error.retry()), (kind, Retry::Never), "{error}");
    assert!(error.message().contains(words), "{error}");
    assert_eq!(connections, 1, "{error}");
}

#[tokio::test]
async fn a_server_of_another_authority_is_not_spoken_to() {
    let Some(config) = ground::secure("other-authority") else {
        return;
    };
    let other = config.clone().with_tls(ground::tls("OTHER_CA"));
    never_again(refused(other).await, ErrorKind::Unauthenticated, "tls.ca_file");
    // Neither do the system's authorities vouch for it.
    let (certificate, key) = (ground::detail("CERTIFICATE"), ground::detail("KEY"));
    let system = config.with_tls(TlsConfig::new().with_identity(certificate, key));
    never_again(refused(system).await, ErrorKind::Unauthenticated, "tls.ca_file");
}

#[tokio::test]
async fn a_server_of_another_name_is_not_spoken_to() {
    let Some(config) = ground::secure("name") else {
        return;
    };
    let named = |name: &str| {
        let tls = ground::tls("CA").with_server_name(name);
        config.clone().with_tls(tls)
    };
    never_again(
        refused(named("elsewhere.infra.test")).await,
        ErrorKind::Unauthenticated,
        "tls.server_name",
    );
    let cache = RedisCache::connect(named("server.infra.test"))
        .await
        .expect("the certificate has this name");
    cache.set("a", "b".into(), Ttl::secs(60)).await.unwrap();
}

#[tokio::test]
async fn a_certificate_is_wanted_of_us() {
    let Some(config) = ground::secure("certificate") else {
        return;
    };
    let without = config.with_tls(TlsConfig::new().with_ca_file(ground::detail("CA")));
    let (error, connections) = refused(without).await;
    // The server says so and goes; whether that is heard before our first command fails is a race.
    assert!(
        matches!(error.kind(), ErrorKind::Unauthenticated | ErrorKind::Unavailable),
        "{error}"
    );
    assert!(error.message().contains("tls.certificate_file"), "{error}");
    assert_eq!(connections, 1);
}

#[tokio::test]
async fn a_server_without_tls_gets_no_password() {
    let Some(mut config) = ground::secure("plaintext") else {
        return;
    };
    let plain = ground::config(&ground::detail("PLAIN_URL"), "plaintext").unwrap();
    config.connect_timeout = Duration::from_secs(1);
    let asked = config
        .clone()
        .with_hosts(plain.hosts.clone(), plain.topology.clone());
    // It waits for the rest of a long command, so nobody can tell it from one that is busy.
    let (error, connections) = refused(asked).await;
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.message().contains("may not speak TLS"), "{error}");
    assert_eq!(connections, 1);

    // What such a server sees is the beginning of a handshake and nothing of ours.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = ground::at(config, listener.local_addr().unwrap());
    let seeing = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = vec![0; 64 * 1024];
        let length = stream.read(&mut seen).await.unwrap();
        seen.truncate(length);
        seen
    });
    RedisCache::connect(config).await.expect_err("no handshake");
    let seen = seeing.await.unwrap();
    assert_eq!(seen.first(), Some(&22), "the first byte of a handshake");
    shows_nothing(&String::from_utf8_lossy(&seen));

    // Asked for without TLS, it is spoken to without.
    RedisCache::connect(plain).await.expect("as it was asked for");
}

#[tokio::test]
async fn a_server_that_wants_tls_is_not_reached_without() {
    let Some(mut config) = ground::secure("without") else {
        return;
    };
    config.tls = None;
    let (error, connections) = refused(config).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.message().contains("wants TLS"), "{error}");
    assert_eq!(connections, 1);
}

#[tokio::test]
async fn a_file_that_is_missing_is_named() {
    let Some(config) = ground::secure("file") else {
        return;
    };
    let tls = TlsConfig::new().with_ca_file("/nowhere/ca.pem");
    let error = RedisCache::connect(config.with_tls(tls))
        .await
        .expect_err("no file");
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(
        error.message().contains("`ca_file`: cannot read /nowhere/ca.pem"),
        "{error}"
    );
}

#[tokio::test]
async fn a_wrong_password_is_told_at_once_and_not_tried_again() {
    let Some(mut config) = ground::secure("password") else {
        return;
    };
    let words = "user and password";
    config.password = Some(Secret::from("wrong"));
    never_again(refused(config.clone()).await, ErrorKind::Unauthenticated, words);
    config.user = Some("nobody".to_owned());
    never_again(refused(config.clone()).await, ErrorKind::Unauthenticated, words);
    // The default user, who is off.
    config.user = None;
    never_again(refused(config.clone()).await, ErrorKind::Unauthenticated, words);
    config.password = None;
    never_again(refused(config).await, ErrorKind::Unauthenticated, words);
}

#[tokio::test]
async fn what_the_user_may_not_touch_is_forbidden() {
    let Some(config) = ground::secure("user") else {
        return;
    };
    let allowed = RedisCache::connect(config.clone()).await.unwrap();
    allowed.set("a", "b".into(), Ttl::secs(60)).await.unwrap();
    let forbidden = RedisCache::connect(config.clone().with_key_prefix("other:"))
        .await
        .unwrap();
    for refused in [
        forbidden.get("a").await.map(drop),
        forbidden.set("a", "b".into(), Ttl::secs(60)).await,
        forbidden.incr_by("a", 1).await.map(drop),
        forbidden.compare_and_delete("a", "b".into()).await.map(drop),
    ] {
        let error = refused.expect_err("forbidden");
        assert_eq!(
            (error.kind(), error.retry(), error.had_no_effect()),
            (ErrorKind::PermissionDenied, Retry::Never, true),
            "{error}"
        );
        assert!(error.message().contains("access control list"), "{error}");
        shows_nothing(&format!("{error:?}"));
    }
    let mut root = ground::config(&ground::detail("ROOT_URL"), "user").unwrap();
    root = root.with_key_prefix("other:").with_tls(ground::tls("CA"));
    let root = RedisCache::connect(root).await.unwrap();
    root.set("a", "b".into(), Ttl::secs(60)).await.unwrap();
}

#[tokio::test]
async fn nothing_shows_the_password() {
    let Some(config) = ground::secure("shown") else {
        return;
    };
    let client = RedisCache::connect(config.clone()).await.unwrap();
    shows_nothing(&format!("{config:?}"));
    shows_nothing(&format!("{client:#?}"));
}

#[test]
fn a_cluster_refuses_one_name_for_all_its_servers() {
    use infra_core::config::Validate;
    let tls = TlsConfig::new().with_server_name("server.infra.test");
    let config = RedisConfig::development().with_tls(tls);
    assert!(config.check().is_ok());
    let hosts = config.hosts.clone();
    let error = config
        .with_hosts(hosts, infra_redis::Topology::Cluster)
        .check()
        .expect_err("refused");
    assert!(error.message().contains("tls.server_name"), "{error}");
}
