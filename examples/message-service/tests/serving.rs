//! The service on a real socket: what it prints, and what becomes of a request at its end.
#![allow(clippy::expect_used, clippy::panic, reason = "tests")]

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use infra_core::config::Profile;
use infra_core::lifecycle::Signals;
use message_service::assembly::serve;
use message_service::config::ServiceConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

const BOUND: Duration = Duration::from_secs(30);
const README: &str = include_str!("../../../README.md");

fn config(data: &Path, address: SocketAddr) -> ServiceConfig {
    let mut config = ServiceConfig::load(Profile::Development, None, Some(data)).expect("the defaults");
    config.http.address = address;
    config
}

/// Reads until `mark` has come.
async fn read_until(stream: &mut TcpStream, mark: &str) -> String {
    let mut text = String::new();
    while !text.contains(mark) {
        let mut buffer = [0; 1024];
        let read = timeout(BOUND, stream.read(&mut buffer))
            .await
            .expect("an answer in time")
            .expect("readable");
        assert!(read > 0, "the connection ended after {text:?}");
        text.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    text
}

#[tokio::test]
async fn a_request_that_is_under_way_when_the_signal_comes_is_finished() {
    let data = tempfile::tempdir().expect("a folder");
    let signals = Signals::manual();
    let (announce, announced) = oneshot::channel();
    let config = config(data.path(), "127.0.0.1:0".parse().expect("an address"));
    let serving = {
        let signals = signals.clone();
        tokio::spawn(async move {
            serve(config, &signals, |banner| {
                announce.send(banner.to_owned()).expect("a listener");
            })
            .await
        })
    };
    let banner = timeout(BOUND, announced)
        .await
        .expect("starts in time")
        .expect("starts");
    let address = banner
        .split_once("http://")
        .and_then(|(_, rest)| rest.split_whitespace().next())
        .expect("an address in the banner");
    let on_default_port = banner.replace(address, "127.0.0.1:8080");
    assert!(
        README.contains(&format!("```text\n{on_default_port}```\n")),
        "README.md does not show what the program prints:\n{on_default_port}"
    );

    // "Continue" says that the request has begun; its body has not come.
    let body = r#"{"sender_id":"ann","content":"the last one"}"#;
    let head = format!(
        "POST /sessions/s1/messages HTTP/1.1\r\nHost: {address}\r\nIdempotency-Key: k1\r\nContent-Type: application/json\r\n\
         Expect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(head.as_bytes()).await.expect("written");
    read_until(&mut stream, "100 Continue").await;
    signals.stop().cancel();
    stream.write_all(body.as_bytes()).await.expect("written");
    let answer = read_until(&mut stream, "\"replayed\":false").await;
    assert!(answer.starts_with("HTTP/1.1 201 Created"), "{answer}");
    assert!(answer.to_lowercase().contains("x-trace-id: "), "{answer}");

    timeout(BOUND, serving)
        .await
        .expect("ends in time")
        .expect("no panic")
        .expect("a clean end");
    assert!(
        TcpStream::connect(address).await.is_err(),
        "nobody listens any more"
    );
}
