//! A TCP proxy that stands in front of a real server and breaks connections on command.
//!
//! It knows nothing of what is sent: every server that speaks TCP can be put behind it. It runs on a thread and a runtime
//! of its own, with the real clock, so that neither a paused clock nor a busy test disturbs it.
//!
//! ```
//! # fn server() -> std::net::SocketAddr {
//! #     let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
//! #     let address = listener.local_addr().unwrap();
//! #     std::thread::spawn(move || {
//! #         for stream in listener.incoming() {
//! #             let mut stream = stream.unwrap();
//! #             std::thread::spawn(move || std::io::copy(&mut stream.try_clone().unwrap(), &mut stream));
//! #         }
//! #     });
//! #     address
//! # }
//! use std::io::{Read as _, Write as _};
//! use std::net::TcpStream;
//! use infra_testkit::tcp_proxy::{Cut, TcpProxy};
//!
//! // `server()` is where a real server listens: here one that sends back what it gets.
//! let proxy = TcpProxy::start(server())?;
//! let mut client = TcpStream::connect(proxy.address())?;
//! client.write_all(b"ping")?;
//! client.read_exact(&mut [0; 4])?;
//!
//! proxy.cut(Cut::Reset)?;
//! assert!(client.read(&mut [0; 4]).is_err(), "connection reset by peer");
//!
//! proxy.refuse()?;
//! assert!(TcpStream::connect(proxy.address()).is_err(), "connection refused");
//! proxy.accept()?;
//! assert!(TcpStream::connect(proxy.address()).is_ok());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod connection;
mod door;
mod pump;
mod settings;
mod thread;

pub use settings::{Cut, TcpProxyStats};

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use infra_core::Result;

use self::settings::{CutAfter, Direction, FlowSettings, Shared};
use self::thread::{Command, ProxyThread};

/// Longer delays are cut to this: as good as never, and far from what a clock cannot say.
const LONGEST_DELAY: Duration = Duration::from_secs(365 * 24 * 3600);

/// A proxy in front of one server, on a free port of the loopback interface.
///
/// Every control may be used while connections are open. Controls take effect before they return; they block for
/// microseconds, not for the network. What is in effect holds for open connections and for new ones.
///
/// Bounds: 1024 connections at once (further ones wait to be accepted), and one mebibyte on the way in each direction of
/// each. Dropping the proxy ends its connections, its tasks and its thread before `drop` returns.
pub struct TcpProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: ProxyThread,
}

impl TcpProxy {
    /// Starts a proxy to `upstream`, `"host:port"` or a socket address; it is connected to anew for every client.
    ///
    /// # Errors
    /// [`Internal`](infra_core::ErrorKind::Internal) when no port or no thread can be had. That nothing listens at `upstream`
    /// is no error: its clients get a reset.
    pub fn start(upstream: impl fmt::Display) -> Result<Self> {
        Self::seeded(upstream, fastrand::u64(..))
    }

    /// The same, whose jitter is drawn from `seed`.
    ///
    /// # Errors
    /// As [`TcpProxy::start`].
    pub fn seeded(upstream: impl fmt::Display, seed: u64) -> Result<Self> {
        let shared = Arc::new(Shared::new(upstream.to_string(), seed));
        let (thread, address) = ProxyThread::start(Arc::clone(&shared))?;
        Ok(Self {
            address,
            shared,
            thread,
        })
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The seed of the jitter, to be printed when a test fails.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.shared.seed
    }

    /// What clients send.
    #[must_use]
    pub fn to_server(&self) -> Flow<'_> {
        self.flow(&[Direction::ToServer])
    }

    /// What the server sends.
    #[must_use]
    pub fn to_client(&self) -> Flow<'_> {
        self.flow(&[Direction::ToClient])
    }

    /// Both directions alike.
    #[must_use]
    pub fn both(&self) -> Flow<'_> {
        self.flow(&[Direction::ToServer, Direction::ToClient])
    }

    fn flow(&self, directions: &'static [Direction]) -> Flow<'_> {
        Flow {
            shared: &self.shared,
            directions,
        }
    }

    /// Ends every open connection; new ones are still accepted. What is on the way is lost.
    ///
    /// # Errors
    /// [`Internal`](infra_core::ErrorKind::Internal) when the system could not say who else waits to be accepted; those that
    /// were accepted are ended all the same.
    pub fn cut(&self, how: Cut) -> Result<()> {
        self.thread.ask(|done| Command::Cut(how, done)).unwrap_or(Ok(()))
    }

    /// Refuses new connections as a server does that is not running ("connection refused"); open ones go on. The port stays
    /// taken, so that nobody else gets it.
    ///
    /// # Errors
    /// [`Internal`](infra_core::ErrorKind::Internal) when the system does not let the port be kept; then it refuses all the same.
    pub fn refuse(&self) -> Result<()> {
        self.thread.ask(Command::Refuse).unwrap_or(Ok(()))
    }

    /// Accepts new connections again.
    ///
    /// # Errors
    /// [`Internal`](infra_core::ErrorKind::Internal) when the system does not let the port be listened on again.
    pub fn accept(&self) -> Result<()> {
        self.thread.ask(Command::Accept).unwrap_or(Ok(()))
    }

    /// Takes everything back that was asked of both directions, and accepts connections again. What was cut stays cut.
    ///
    /// # Errors
    /// As [`TcpProxy::accept`].
    pub fn heal(&self) -> Result<()> {
        self.both().heal();
        self.accept()
    }

    /// What went through so far.
    #[must_use]
    pub fn stats(&self) -> TcpProxyStats {
        self.shared.stats()
    }
}

impl fmt::Debug for TcpProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpProxy")
            .field("address", &self.address)
            .field("upstream", &self.shared.upstream)
            .field("seed", &self.shared.seed)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// The controls of what flows in one direction, or in both.
#[derive(Clone, Copy)]
pub struct Flow<'a> {
    shared: &'a Shared,
    directions: &'static [Direction],
}

impl Flow<'_> {
    /// Lets everything arrive this much later; the throughput stays, up to one mebibyte on the way.
    pub fn delay(&self, delay: Duration) {
        self.delay_with_jitter(delay, Duration::ZERO);
    }

    /// Lets everything arrive later by `delay` and a part of `jitter` that is drawn from the seed; order is kept.
    pub fn delay_with_jitter(&self, delay: Duration, jitter: Duration) {
        let (delay, jitter) = (delay.min(LONGEST_DELAY), jitter.min(LONGEST_DELAY));
        self.modify(|flow| (flow.delay, flow.jitter) = (delay, jitter));
    }

    /// Lets at most so many bytes per second through, on each connection.
    pub fn throttle(&self, bytes_per_second: NonZeroU64) {
        self.modify(|flow| flow.bytes_per_second = Some(bytes_per_second));
    }

    /// Forwards nothing, not even the end of a connection: connections are accepted and seem well, as behind a firewall
    /// that drops packets. What was sent meanwhile arrives after [`Flow::heal`].
    pub fn stall(&self) {
        self.modify(|flow| flow.stalled = true);
    }

    /// Ends this direction of every open connection, as `shutdown` does: the receiver reads the end, the sender's bytes
    /// go nowhere, the other direction goes on. New connections are whole.
    pub fn half_close(&self) {
        self.modify(|flow| flow.half_closes += 1);
    }

    /// Lets so many more bytes through, over all connections and in each direction of this flow, then cuts the connection
    /// that carried the last of them. Once; again after it was asked for again.
    pub fn cut_after(&self, bytes: u64, how: Cut) {
        for direction in self.directions {
            self.shared
                .set_cut_after(*direction, Some(CutAfter { left: bytes, how }));
        }
    }

    /// Takes back delay, throttle, stall and a pending [`Flow::cut_after`].
    pub fn heal(&self) {
        self.modify(|flow| {
            *flow = FlowSettings {
                half_closes: flow.half_closes,
                ..FlowSettings::default()
            };
        });
        for direction in self.directions {
            self.shared.set_cut_after(*direction, None);
        }
    }

    fn modify(&self, mut change: impl FnMut(&mut FlowSettings)) {
        self.shared.settings.send_modify(|settings| {
            for direction in self.directions {
                change(settings.flow_mut(*direction));
            }
        });
    }
}

impl fmt::Debug for Flow<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = self.shared.settings.borrow();
        let flows = self
            .directions
            .iter()
            .map(|direction| (direction, settings.flow(*direction)));
        f.debug_map().entries(flows).finish()
    }
}
