//! Every control, switched while connections are open.

use std::io::ErrorKind;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use infra_testkit::tcp_proxy::{Cut, TcpProxy};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::servers::{connect, echo, exchange, is_silent, receive};

const MS: Duration = Duration::from_millis(1);

#[tokio::test]
async fn it_hands_everything_on_in_both_directions_and_counts_it() {
    let proxy = TcpProxy::start(echo().await).expect("started");
    let mut stream = connect(&proxy).await;
    let sent: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    let (mut from, mut to) = stream.split();
    let (written, received) = tokio::join!(
        async {
            to.write_all(&sent).await?;
            to.shutdown().await
        },
        async {
            let mut received = Vec::new();
            from.read_to_end(&mut received).await.map(|_| received)
        }
    );
    written.expect("sent");
    assert!(
        received.expect("received, and its end") == sent,
        "every byte, in order"
    );
    let stats = proxy.stats();
    assert_eq!((stats.accepted, stats.cut, stats.unreachable), (1, 0, 0));
    assert_eq!(
        (stats.bytes_to_server, stats.bytes_to_client),
        (3_000_000, 3_000_000)
    );
}

#[tokio::test]
async fn a_reset_and_an_orderly_end_look_as_they_do_in_life() {
    let proxy = TcpProxy::start(echo().await).expect("started");
    for how in [Cut::Reset, Cut::Close] {
        let (mut first, mut second) = (connect(&proxy).await, connect(&proxy).await);
        for stream in [&mut first, &mut second] {
            exchange(stream, b"hello").await.expect("well");
        }
        proxy.cut(how).expect("cut");
        assert_eq!(proxy.stats().open, 0);
        for stream in [&mut first, &mut second] {
            let read = stream.read(&mut [0; 8]).await.map_err(|error| error.kind());
            let expected = if how == Cut::Reset {
                Err(ErrorKind::ConnectionReset)
            } else {
                Ok(0)
            };
            assert_eq!(read, expected, "{how:?}");
        }
        let mut anew = connect(&proxy).await;
        assert_eq!(exchange(&mut anew, b"again").await.expect("well"), b"again");
        drop(anew);
    }
    assert_eq!(proxy.stats().cut, 4);
}

#[tokio::test]
async fn refusing_spares_open_connections_and_keeps_the_port() {
    let proxy = TcpProxy::start(echo().await).expect("started");
    let mut open = connect(&proxy).await;
    for round in 0..3 {
        proxy.refuse().expect("the port is ours");
        let refused = TcpStream::connect(proxy.address()).await.expect_err("refused");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "round {round}");
        assert_eq!(
            exchange(&mut open, b"still here").await.expect("well"),
            b"still here"
        );
        proxy.accept().expect("the port is ours");
        proxy.accept().expect("asking twice is asking once");
        exchange(&mut connect(&proxy).await, b"back").await.expect("well");
    }
}

#[tokio::test]
async fn each_direction_is_delayed_by_itself_and_healed_at_once() {
    let proxy = TcpProxy::start(echo().await).expect("started");
    let mut stream = connect(&proxy).await;
    proxy.to_server().delay(40 * MS);
    proxy.to_client().delay_with_jitter(20 * MS, 10 * MS);
    let began = Instant::now();
    exchange(&mut stream, b"slow").await.expect("well");
    assert!(began.elapsed() >= 60 * MS, "{:?}", began.elapsed());

    // Pieces travel at the same time: a hundred of them are not a hundred times as late.
    let began = Instant::now();
    for _ in 0..100 {
        stream.write_all(b"x").await.expect("sent");
    }
    receive(&mut stream, 100).await.expect("well");
    assert!(began.elapsed() < 2000 * MS, "{:?}", began.elapsed());

    proxy.both().delay(Duration::MAX);
    stream.write_all(b"stuck").await.expect("sent");
    assert!(is_silent(&mut stream).await);
    proxy.both().heal();
    assert_eq!(receive(&mut stream, 5).await.expect("freed"), b"stuck");
}

#[tokio::test]
async fn a_throttle_holds_and_can_be_lifted() {
    let proxy = TcpProxy::start(echo().await).expect("started");
    let mut stream = connect(&proxy).await;
    proxy
        .to_server()
        .throttle(NonZeroU64::new(50_000).expect("positive"));
    let began = Instant::now();
    exchange(&mut stream, &[7; 10_000]).await.expect("well");
    let elapsed = began.elapsed();
    assert!(elapsed >= 160 * MS, "10 kB at 50 kB/s took {elapsed:?}");

    proxy.to_server().throttle(NonZeroU64::new(1).expect("positive"));
    let began = Instant::now();
    stream.write_all(&[7; 10_000]).await.expect("sent");
    assert_eq!(receive(&mut stream, 1).await.expect("the first").len(), 1);
    proxy.both().heal();
    receive(&mut stream, 9_999).await.expect("the rest");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_stalled_connection_is_a_black_hole_until_it_is_healed() {
    let proxy = TcpProxy::start(echo().await).expect("started");
    let mut before = connect(&proxy).await;
    exchange(&mut before, b"well").await.expect("well");
    proxy.to_client().stall();
    let mut after = connect(&proxy).await;
    for stream in [&mut before, &mut after] {
        stream.write_all(b"lost?").await.expect("sent");
        assert!(is_silent(stream).await);
    }
    proxy.to_client().heal();
    for stream in [&mut before, &mut after] {
        assert_eq!(receive(stream, 5).await.expect("late"), b"lost?");
    }
}

#[tokio::test]
async fn what_is_on_the_way_is_bounded() {
    let proxy = TcpProxy::start(echo().await).expect("started");
    let mut stream = connect(&proxy).await;
    proxy.to_server().stall();
    let piece = vec![0; 64 * 1024];
    let mut sent = 0_usize;
    // Until the buffers of the system and of the proxy are full.
    while let Ok(written) = tokio::time::timeout(500 * MS, stream.write(&piece)).await {
        sent += written.expect("open");
        assert!(sent < 256 * 1024 * 1024, "it takes and takes");
    }
    assert_eq!(proxy.stats().bytes_to_server, 0);
}

#[tokio::test]
async fn one_direction_ends_and_the_other_goes_on() {
    let proxy = TcpProxy::start(echo().await).expect("started");
    let mut stream = connect(&proxy).await;
    exchange(&mut stream, b"both").await.expect("well");

    // The server reads the end, and ends its own side as it sends back nothing more.
    proxy.to_server().half_close();
    assert_eq!(stream.read(&mut [0; 8]).await.expect("the end"), 0);

    let mut stream = connect(&proxy).await;
    exchange(&mut stream, b"new connections are whole")
        .await
        .expect("well");
    proxy.to_client().half_close();
    assert_eq!(stream.read(&mut [0; 8]).await.expect("the end"), 0);
    let before = proxy.stats().bytes_to_server;
    stream
        .write_all(b"still sent")
        .await
        .expect("the other direction is open");
    assert!(
        infra_testkit::time::eventually(crate::servers::BOUND, async || {
            proxy.stats().bytes_to_server == before + 10
        })
        .await
    );
}

#[tokio::test]
async fn a_connection_is_cut_after_so_many_bytes_once() {
    let proxy = TcpProxy::start(echo().await).expect("started");
    let mut stream = connect(&proxy).await;
    proxy.to_client().cut_after(7, Cut::Close);
    assert_eq!(exchange(&mut stream, b"four").await.expect("within"), b"four");
    stream.write_all(b"four").await.expect("sent");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.expect("an orderly end");
    assert_eq!(rest, b"fou", "in the middle of an answer");
    exchange(&mut connect(&proxy).await, b"once only")
        .await
        .expect("well");

    let mut stream = connect(&proxy).await;
    proxy.to_server().cut_after(0, Cut::Reset);
    let error = exchange(&mut stream, b"nothing passes").await.expect_err("reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(proxy.stats().cut, 2);

    proxy.both().cut_after(3, Cut::Reset);
    proxy.heal().expect("healed");
    exchange(&mut connect(&proxy).await, b"taken back")
        .await
        .expect("well");
}
