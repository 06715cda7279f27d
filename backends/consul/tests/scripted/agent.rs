//! An agent that answers as it is told, and keeps what it was asked.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What is answered to one request.
pub(crate) struct Answer {
    status: u16,
    index: Option<u64>,
    body: String,
    /// `None`: never.
    after: Option<Duration>,
}

impl Answer {
    pub(crate) fn new(status: u16, body: &str) -> Self {
        Self {
            status,
            index: None,
            body: body.to_owned(),
            after: Some(Duration::ZERO),
        }
    }

    pub(crate) fn json(index: u64, body: &str) -> Self {
        Self {
            index: Some(index),
            ..Self::new(200, body)
        }
    }

    /// There is no such key.
    pub(crate) fn nothing(index: u64) -> Self {
        Self {
            index: Some(index),
            ..Self::new(404, "")
        }
    }

    pub(crate) fn never() -> Self {
        Self {
            after: None,
            ..Self::new(200, "")
        }
    }

    pub(crate) fn after(mut self, delay: Duration) -> Self {
        self.after = Some(delay);
        self
    }
}

/// One configuration key, as the key-value store gives it.
pub(crate) fn pair(key: &str, value: &str, index: u64) -> String {
    use base64::Engine;
    let value = base64::engine::general_purpose::STANDARD.encode(value);
    format!(
        r#"[{{"LockIndex":0,"Key":"infra/config/{key}","Flags":0,"Value":"{value}","CreateIndex":1,"ModifyIndex":{index}}}]"#
    )
}

type Script = dyn Fn(&str, usize) -> Answer + Send + Sync;

struct Shared {
    script: Box<Script>,
    requests: Mutex<Vec<String>>,
    /// Requests that have no answer yet.
    waiting: AtomicUsize,
    connections: AtomicUsize,
    most_connections: AtomicUsize,
}

pub(crate) struct Agent {
    port: u16,
    shared: Arc<Shared>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Agent {
    pub(crate) async fn start(script: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_counting(move |request, _| script(request)).await
    }

    /// The script is also told the number of the request; the first one is 1.
    pub(crate) async fn start_counting(
        script: impl Fn(&str, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            script: Box::new(script),
            requests: Mutex::default(),
            waiting: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            most_connections: AtomicUsize::new(0),
        });
        let serving = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&serving);
                tokio::spawn(async move {
                    let now = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
                    shared.most_connections.fetch_max(now, Ordering::SeqCst);
                    // A client that goes away ends its connection.
                    drop(serve(stream, &shared).await);
                    shared.connections.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            port,
            shared,
            accepting,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What it was asked, each with its headers.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::SeqCst)
    }

    pub(crate) fn most_connections(&self) -> usize {
        self.shared.most_connections.load(Ordering::SeqCst)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut unread = Vec::new();
    loop {
        let Some(request) = request(&mut stream, &mut unread).await? else {
            return Ok(());
        };
        let number = {
            let mut requests = shared.requests.lock().unwrap();
            requests.push(request.clone());
            requests.len()
        };
        let answer = (shared.script)(&request, number);
        shared.waiting.fetch_add(1, Ordering::SeqCst);
        let delay = answer.after.unwrap_or(Duration::from_secs(3600));
        let gone = tokio::select! {
            () = tokio::time::sleep(delay) => false,
            end = stream.readable() => end.is_ok(),
        };
        shared.waiting.fetch_sub(1, Ordering::SeqCst);
        if gone {
            return Ok(());
        }
        let index = answer.index.map(|index| format!("X-Consul-Index: {index}\r\n"));
        let text = format!(
            "HTTP/1.1 {} Scripted\r\n{}Content-Length: {}\r\n\r\n{}",
            answer.status,
            index.unwrap_or_default(),
            answer.body.len(),
            answer.body
        );
        stream.write_all(text.as_bytes()).await?;
    }
}

/// The next request with its body; `None` at the end of the connection.
async fn request(stream: &mut TcpStream, unread: &mut Vec<u8>) -> std::io::Result<Option<String>> {
    loop {
        let text = String::from_utf8_lossy(unread).into_owned();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            let whole = head.len() + 4 + length.unwrap_or(0);
            if unread.len() >= whole {
                unread.drain(..whole);
                return Ok(Some(text[..whole].to_owned()));
            }
        }
        if stream.read_buf(unread).await? == 0 {
            return Ok(None);
        }
    }
}
