//! The port: listened on or refusing, and never let go of in between. It may touch sockets.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// How many clients may wait to be accepted.
const BACKLOG: u32 = 128;

/// A port that is open or shut.
///
/// A socket that is bound to the port and does not listen keeps it taken, and clients are refused by the system. There is
/// always such a spare one: the next listener. Two sockets may share a port as long as both say so and none listens; while
/// the door is shut the spare one says no, so that nobody else can join it.
#[derive(Debug)]
pub(super) struct Door {
    address: SocketAddr,
    spare: TcpSocket,
    listener: Option<TcpListener>,
}

impl Door {
    pub(super) fn open() -> io::Result<Self> {
        let first = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let mut door = Self {
            address: first.local_addr()?,
            spare: first,
            listener: None,
        };
        door.unlock()?;
        Ok(door)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Those who are connected as far as they know, and wait to be accepted.
    pub(super) fn waiting(&mut self) -> io::Result<Vec<TcpStream>> {
        let mut waiting = Vec::new();
        let Some(listener) = self.listener.take() else {
            return Ok(waiting);
        };
        // The system is asked itself: the runtime may not have heard of them yet.
        let listener = listener.into_std()?;
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(true)?;
                    waiting.push(TcpStream::from_std(stream)?);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.listener = Some(TcpListener::from_std(listener)?);
        Ok(waiting)
    }

    /// Refuses from now on; whoever was not accepted yet is reset.
    pub(super) fn lock(&mut self) -> io::Result<()> {
        self.listener = None;
        self.spare.set_reuseaddr(false)
    }

    /// Accepts from now on.
    pub(super) fn unlock(&mut self) -> io::Result<()> {
        if self.listener.is_none() {
            // Before anybody listens: afterwards the system would not let the port be bound twice.
            self.spare.set_reuseaddr(true)?;
            let next = bind(self.address)?;
            let spare = std::mem::replace(&mut self.spare, next);
            self.listener = Some(spare.listen(BACKLOG)?);
        }
        Ok(())
    }

    /// The next client; never, while it is shut.
    pub(super) async fn accept(&self) -> io::Result<TcpStream> {
        match &self.listener {
            Some(listener) => listener.accept().await.map(|(stream, _)| stream),
            None => std::future::pending().await,
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}
