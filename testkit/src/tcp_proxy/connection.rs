//! One client's connection and the one to the server that belongs to it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::pump::{End, Pump};
use super::settings::{Cut, Direction, Settings, Shared};

/// How long the two peers get to answer an orderly end; without their bytes being read, the system would reset them.
const FAREWELL: Duration = Duration::from_secs(1);

/// A connection that counts as open until it is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    client: Option<TcpStream>,
    shared: Arc<Shared>,
    settings: watch::Receiver<Settings>,
    /// How often all connections had been cut when this one began.
    cuts: u64,
}

impl Connection {
    pub(super) fn new(client: TcpStream, shared: Arc<Shared>) -> Self {
        shared.counters.open.fetch_add(1, Ordering::SeqCst);
        let settings = shared.settings.subscribe();
        let cuts = settings.borrow().cuts;
        Self {
            client: Some(client),
            shared,
            settings,
            cuts,
        }
    }

    pub(super) async fn run(mut self) {
        let Some(client) = self.client.take() else {
            return;
        };
        let shared = Arc::clone(&self.shared);
        let connected = tokio::select! {
            biased;
            how = self.cut() => Err(Some(how)),
            connected = TcpStream::connect(&shared.upstream) => connected.map_err(|_| None),
        };
        match connected {
            Ok(server) => self.forward(client, server).await,
            Err(cut) => {
                let counters = &shared.counters;
                let counter = cut.map_or(&counters.unreachable, |_| &counters.cut);
                counter.fetch_add(1, Ordering::SeqCst);
                end(cut.unwrap_or(Cut::Reset), [Some(client), None]).await;
            }
        }
    }

    async fn forward(mut self, mut client: TcpStream, mut server: TcpStream) {
        // Small writes are to arrive as they were made; a socket that cannot be told so works all the same.
        let _ = client.set_nodelay(true).and(server.set_nodelay(true));
        let shared = Arc::clone(&self.shared);
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let there = Pump::new(&shared, Direction::ToServer).run(from_client, to_server);
        let back = Pump::new(&shared, Direction::ToClient).run(from_server, to_client);
        let ended = tokio::select! {
            biased;
            how = self.cut() => Err(End::Cut(how)),
            ended = async { tokio::try_join!(there, back) } => ended.map(drop),
        };
        match ended {
            Ok(()) => {}
            // The other side gets to know as its peer was told.
            Err(End::Broken) => end(Cut::Reset, [Some(client), Some(server)]).await,
            Err(End::Cut(how)) => {
                self.shared.counters.cut.fetch_add(1, Ordering::SeqCst);
                end(how, [Some(client), Some(server)]).await;
            }
        }
    }

    /// Waits until all connections are cut.
    async fn cut(&mut self) -> Cut {
        let cuts = self.cuts;
        match self.settings.wait_for(|settings| settings.cuts != cuts).await {
            Ok(settings) => settings.how,
            // The sender is in `shared`, which this connection holds.
            Err(_) => Cut::Reset,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.counters.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Ends both sides.
async fn end(how: Cut, sides: [Option<TcpStream>; 2]) {
    for mut side in sides.into_iter().flatten() {
        match how {
            // On a socket that is gone already there is nothing left to reset.
            Cut::Reset => drop(side.set_zero_linger()),
            Cut::Close => {
                let _ = side.shutdown().await;
                tokio::spawn(timeout(FAREWELL, say_farewell(side)));
            }
        }
    }
}

/// Reads until the peer has ended its side as well.
async fn say_farewell(mut side: TcpStream) {
    let mut unread = [0; 1024];
    while side.read(&mut unread).await.is_ok_and(|bytes| bytes > 0) {}
}
