//! Starting, ending, servers that are not there, and a clock that stands still.

use std::io::ErrorKind;
use std::time::Duration;

use infra_testkit::tcp_proxy::TcpProxy;
use infra_testkit::time::eventually;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::servers::{BOUND, connect, echo, exchange};

/// How many threads this process has that belong to a proxy.
#[cfg(target_os = "linux")]
fn proxy_threads(name: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|comm| comm.trim() == name)
        .count()
}

#[tokio::test]
async fn dropping_it_ends_its_connections_before_it_returns() {
    let server = echo().await;
    let proxy = TcpProxy::start(server).expect("started");
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = connect(&proxy).await;
        exchange(&mut stream, b"hello").await.expect("well");
        streams.push(stream);
    }
    assert_eq!(proxy.stats().open, 20);
    drop(proxy);
    for mut stream in streams {
        let read = tokio::time::timeout(BOUND, stream.read(&mut [0; 8])).await;
        assert!(matches!(read.expect("told already"), Ok(0) | Err(_)));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_hundred_proxies_leave_no_thread_behind() {
    for _ in 0..100 {
        drop(TcpProxy::start("127.0.0.1:9").expect("started"));
    }
    // Other tests of this process have proxies of their own, a handful.
    assert!(proxy_threads("tcp-proxy") < 50, "{}", proxy_threads("tcp-proxy"));
}

#[tokio::test]
async fn a_server_that_is_not_there_resets_and_may_come_later() {
    // Bound and not listening: refused by the system, and not to be had by another test.
    let place = TcpSocket::new_v4().expect("a socket");
    place
        .bind("127.0.0.1:0".parse().expect("an address"))
        .expect("a free port");
    let address = place.local_addr().expect("bound");
    let proxy = TcpProxy::start(address).expect("no error yet");
    // The reset may be there before the client has noticed that it was connected.
    let read = async {
        let mut stream = TcpStream::connect(proxy.address()).await?;
        stream.read(&mut [0; 8]).await
    };
    assert_eq!(
        read.await.map_err(|error| error.kind()),
        Err(ErrorKind::ConnectionReset)
    );
    assert!(eventually(BOUND, async || proxy.stats().open == 0).await);
    assert_eq!(proxy.stats().unreachable, 1);
    let _server = place.listen(1).expect("its port");
    let _stream = connect(&proxy).await;
    assert!(eventually(BOUND, async || proxy.stats().open == 1).await);
    assert_eq!(proxy.stats().unreachable, 1);
}

#[tokio::test]
async fn a_peer_that_resets_is_passed_on_as_a_reset() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let proxy = TcpProxy::start(listener.local_addr().expect("bound")).expect("started");
    let mut client = connect(&proxy).await;
    let (server, _) = listener.accept().await.expect("the proxy connects");
    server.set_zero_linger().expect("a socket");
    drop(server);
    assert_eq!(
        client.read(&mut [0; 8]).await.map_err(|error| error.kind()),
        Err(ErrorKind::ConnectionReset)
    );
}

#[tokio::test(start_paused = true)]
async fn a_paused_clock_does_not_hurry_it() {
    let proxy = TcpProxy::start(echo().await).expect("started");
    let mut stream = connect(&proxy).await;
    proxy.to_server().delay(Duration::from_millis(50));
    let began = std::time::Instant::now();
    // Without a timer of its own, this test waits for the sockets alone.
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"real")
        .await
        .expect("sent");
    stream.read_exact(&mut [0; 4]).await.expect("well");
    assert!(began.elapsed() >= Duration::from_millis(50));
}

#[test]
fn the_seed_can_be_read_and_given() {
    let proxy = TcpProxy::seeded("127.0.0.1:9", 42).expect("started");
    assert_eq!(proxy.seed(), 42);
    let shown = format!("{proxy:?} {:?}", proxy.both());
    assert!(
        shown.contains("seed: 42") && shown.contains("ToServer"),
        "{shown}"
    );
}
