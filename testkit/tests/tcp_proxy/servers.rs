//! Real servers on the loopback interface: one that sends back what it gets, one that speaks a little HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use infra_testkit::tcp_proxy::TcpProxy;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// No step of these tests takes longer on a machine that works at all.
pub(crate) const BOUND: Duration = Duration::from_secs(10);

/// A server that sends back what it gets, until its client ends its side.
pub(crate) async fn echo() -> SocketAddr {
    serve(|mut stream| async move {
        let (mut from, mut to) = stream.split();
        let _ = tokio::io::copy(&mut from, &mut to).await;
    })
    .await
}

/// A server that answers every request with its path, and keeps connections open.
pub(crate) async fn http() -> SocketAddr {
    serve(|stream| async move {
        let mut stream = BufReader::new(stream);
        loop {
            let mut request = String::new();
            while !request.ends_with("\r\n\r\n") {
                if stream.read_line(&mut request).await.unwrap_or(0) == 0 {
                    return;
                }
            }
            let path = request.split(' ').nth(1).unwrap_or("/").to_owned();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}", path.len());
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await
}

async fn serve<F, R>(handle: F) -> SocketAddr
where
    F: Fn(TcpStream) -> R + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(handle(stream));
        }
    });
    address
}

pub(crate) async fn connect(proxy: &TcpProxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address()).await.expect("accepted");
    stream.set_nodelay(true).expect("a socket");
    stream
}

/// Sends it and reads as much back.
pub(crate) async fn exchange(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(bytes).await?;
    receive(stream, bytes.len()).await
}

pub(crate) async fn receive(stream: &mut TcpStream, bytes: usize) -> std::io::Result<Vec<u8>> {
    let mut received = vec![0; bytes];
    timeout(BOUND, stream.read_exact(&mut received))
        .await
        .expect("something happens within the bound")?;
    Ok(received)
}

/// Whether nothing comes for a while.
pub(crate) async fn is_silent(stream: &mut TcpStream) -> bool {
    timeout(Duration::from_millis(60), stream.read(&mut [0; 64]))
        .await
        .is_err()
}
