//! The proxy's thread: a runtime of its own that accepts clients and obeys commands.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc as blocking};
use std::thread::JoinHandle;
use std::time::Duration;

use infra_core::{Error, ErrorKind, Result};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::connection::Connection;
use super::door::Door;
use super::settings::{Cut, Shared};

/// So many connections are open at once; further clients wait.
const MAX_CONNECTIONS: usize = 1024;

/// How long to wait after the system refused to give a client, as it does when it is out of file descriptors.
const PAUSE: Duration = Duration::from_millis(10);

/// What the thread is told to do; it answers when it is done.
#[derive(Debug)]
pub(super) enum Command {
    Cut(Cut, blocking::Sender<Result<()>>),
    Refuse(blocking::Sender<Result<()>>),
    Accept(blocking::Sender<Result<()>>),
}

/// The thread; dropping it ends it, with all its tasks, and waits for the end.
#[derive(Debug)]
pub(super) struct ProxyThread {
    /// Taken by `drop`: a closed channel is the command to stop.
    commands: Option<mpsc::UnboundedSender<Command>>,
    thread: Option<JoinHandle<()>>,
}

impl ProxyThread {
    /// Starts the thread, which listens when this returns.
    pub(super) fn start(shared: Arc<Shared>) -> Result<(Self, SocketAddr)> {
        let (commands, orders) = mpsc::unbounded_channel();
        let (ready, started) = blocking::channel();
        let thread = std::thread::Builder::new()
            .name("tcp-proxy".to_owned())
            .spawn(move || run(&shared, orders, &ready))
            .map_err(|error| failed("starting its thread", error))?;
        let proxy = Self {
            commands: Some(commands),
            thread: Some(thread),
        };
        let address = started
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("its thread ended")))
            .map_err(|error| failed("listening on a free port", error))?;
        Ok((proxy, address))
    }

    /// Has something done and waits for the answer; `None` when the thread is gone.
    pub(super) fn ask<T>(&self, command: impl FnOnce(blocking::Sender<T>) -> Command) -> Option<T> {
        let (answer, answered) = blocking::channel();
        self.commands.as_ref()?.send(command(answer)).ok()?;
        answered.recv().ok()
    }
}

impl Drop for ProxyThread {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed when it happened; here there is nobody to tell.
            let _ = thread.join();
        }
    }
}

fn failed(attempt: &str, error: io::Error) -> Error {
    Error::new(ErrorKind::Internal, format!("the TCP proxy failed at {attempt}")).with_source(error)
}

fn run(
    shared: &Arc<Shared>,
    orders: mpsc::UnboundedReceiver<Command>,
    ready: &blocking::Sender<io::Result<SocketAddr>>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let started = runtime.and_then(|runtime| {
        let door = runtime.block_on(async { Door::open() })?;
        Ok((runtime, door))
    });
    match started {
        Ok((runtime, door)) => {
            // Nobody waits for it any more only if the start was given up; then the orders are closed as well.
            let _ = ready.send(Ok(door.address()));
            // Ends when nobody can give orders; dropping the runtime then drops every task and closes every socket.
            runtime.block_on(serve(shared, door, orders));
        }
        Err(error) => {
            let _ = ready.send(Err(error));
        }
    }
}

async fn serve(shared: &Arc<Shared>, mut door: Door, mut orders: mpsc::UnboundedReceiver<Command>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            order = orders.recv() => match order {
                None => return,
                Some(order) => obey(order, shared, &mut door, &mut connections).await,
            },
            Some(_) = connections.join_next() => {}
            client = door.accept(), if connections.len() < MAX_CONNECTIONS => match client {
                Ok(client) => admit(client, shared, &mut connections),
                Err(_) => sleep(PAUSE).await,
            },
        }
    }
}

fn admit(client: TcpStream, shared: &Arc<Shared>, connections: &mut JoinSet<()>) {
    shared.counters.accepted.fetch_add(1, Ordering::SeqCst);
    connections.spawn(Connection::new(client, Arc::clone(shared)).run());
}

/// Does it and answers; whoever asked may have given up, which is theirs to do.
async fn obey(order: Command, shared: &Arc<Shared>, door: &mut Door, connections: &mut JoinSet<()>) {
    // Clients take themselves for connected before they are accepted, and whoever gives orders does as well.
    let admitted = door
        .waiting()
        .map(|waiting| {
            let clients = waiting.into_iter();
            clients.for_each(|client| admit(client, shared, connections));
        })
        .map_err(|error| failed("accepting those who wait", error));
    match order {
        Command::Cut(how, done) => {
            shared.settings.send_modify(|settings| {
                settings.cuts += 1;
                settings.how = how;
            });
            while connections.join_next().await.is_some() {}
            let _ = done.send(admitted);
        }
        Command::Refuse(done) => {
            let locked = door.lock().map_err(|error| failed("keeping its port", error));
            let _ = done.send(admitted.and(locked));
        }
        Command::Accept(done) => {
            let unlocked = door.unlock().map_err(|error| failed("listening again", error));
            let _ = done.send(admitted.and(unlocked));
        }
    }
}
