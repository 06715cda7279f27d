//! What it is for: a client of a real protocol meets a broken network.

use std::time::Duration;

use infra_testkit::tcp_proxy::{Cut, TcpProxy};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::servers::{connect, http};

/// One request on a connection that is kept; the body, or why there is none.
async fn get(stream: &mut TcpStream, path: &str) -> Result<String, String> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let text = |error: std::io::Error| error.kind().to_string();
    stream.write_all(request.as_bytes()).await.map_err(text)?;
    let mut answer = Vec::new();
    loop {
        let mut piece = [0; 256];
        let count = stream.read(&mut piece).await.map_err(text)?;
        if count == 0 {
            return Err(format!("the answer ended after {} bytes", answer.len()));
        }
        answer.extend_from_slice(&piece[..count]);
        let so_far = String::from_utf8_lossy(&answer);
        if let Some((head, body)) = so_far.split_once("\r\n\r\n")
            && let Some(length) = head.split("content-length: ").nth(1)
            && body.len() >= length.trim().parse().unwrap_or(usize::MAX)
        {
            return Ok(body.to_owned());
        }
    }
}

#[tokio::test]
async fn an_http_client_meets_every_way_to_fail() {
    let proxy = TcpProxy::start(http().await).expect("started");
    let mut kept = connect(&proxy).await;
    assert_eq!(get(&mut kept, "/1").await.as_deref(), Ok("/1"));

    // A kept connection dies between two requests: the classic race of a connection pool.
    proxy.cut(Cut::Reset).expect("cut");
    assert!(get(&mut kept, "/2").await.is_err());

    // The answer breaks off in the middle: the request was served, and nobody knows.
    let mut stream = connect(&proxy).await;
    proxy.to_client().cut_after(20, Cut::Close);
    assert_eq!(
        get(&mut stream, "/3").await.expect_err("no whole answer"),
        "the answer ended after 20 bytes"
    );

    // A host that vanished: only a timeout ends it.
    let mut stream = connect(&proxy).await;
    proxy.both().stall();
    assert!(
        timeout(Duration::from_millis(50), get(&mut stream, "/4"))
            .await
            .is_err()
    );
    proxy.heal().expect("healed");
    assert_eq!(get(&mut connect(&proxy).await, "/5").await.as_deref(), Ok("/5"));
}
