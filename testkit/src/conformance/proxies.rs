//! A real server that can be cut off: one TCP proxy for each client that a scenario connects.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use infra_core::Result;

use super::disturbance::Disturbance;
use crate::tcp_proxy::{Cut, TcpProxy};

/// The proxies between a server and the clients of one scenario, in the order in which they connected. Clones are one.
///
/// ```no_run
/// # use infra_testkit::conformance::{Disturbance, Fixture, Proxies, Setup};
/// # use std::sync::Arc;
/// # struct Client;
/// # impl Client { async fn connect(_: std::net::SocketAddr) -> infra_core::Result<Self> { Ok(Client) } }
/// async fn make_backend(_setup: Setup) -> infra_core::Result<Fixture<Client>> {
///     let proxies = Proxies::to("127.0.0.1:2379");
///     let clients = proxies.clone();
///     Ok(Fixture::server(move || {
///         let address = clients.connect();
///         async move { Client::connect(address?).await.map(Arc::new) }
///     })
///     .on_disturbance(move |disturbance| {
///         let done = proxies.disturb(&disturbance);
///         async move { done }
///     }))
/// }
/// ```
#[derive(Clone)]
pub struct Proxies {
    shared: Arc<Shared>,
}

struct Shared {
    upstream: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    clients: Vec<Client>,
    away: bool,
}

struct Client {
    proxy: TcpProxy,
    disconnected: bool,
    crashed: bool,
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Proxies")
            .field("upstream", &self.shared.upstream)
            .field("clients", &state.clients.len())
            .field("away", &state.away)
            .finish()
    }
}

impl Proxies {
    /// To the server at this address.
    #[must_use]
    pub fn to(upstream: impl fmt::Display) -> Self {
        Self {
            shared: Arc::new(Shared {
                upstream: upstream.to_string(),
                state: Mutex::default(),
            }),
        }
    }

    /// Where the next client finds the server.
    ///
    /// # Errors
    /// As [`TcpProxy::start`].
    pub fn connect(&self) -> Result<SocketAddr> {
        let client = Client {
            proxy: TcpProxy::start(&self.shared.upstream)?,
            disconnected: false,
            crashed: false,
        };
        let address = client.proxy.address();
        let mut state = self.state();
        client.settle(state.away)?;
        state.clients.push(client);
        Ok(address)
    }

    /// Does what a network can do: the server goes away or comes back, a client is disconnected or connects again, or crashes:
    /// nothing of it reaches the server any more. `Ok(false)` for everything else.
    ///
    /// # Errors
    /// As [`TcpProxy::refuse`].
    pub fn disturb(&self, disturbance: &Disturbance) -> Result<bool> {
        let mut state = self.state();
        match disturbance {
            Disturbance::GoAway => state.away = true,
            Disturbance::ComeBack => state.away = false,
            Disturbance::Disconnect { client } => state.client(*client, |client| client.disconnected = true),
            Disturbance::Reconnect { client } => state.client(*client, |client| client.disconnected = false),
            Disturbance::Crash { client } => state.client(*client, |client| client.crashed = true),
            _ => return Ok(false),
        }
        let away = state.away;
        state.clients.iter().try_for_each(|client| client.settle(away))?;
        Ok(true)
    }

    /// Breaks every connection; clients may connect again at once.
    ///
    /// # Errors
    /// As [`TcpProxy::cut`].
    pub fn reset_all(&self) -> Result<()> {
        self.state()
            .clients
            .iter()
            .try_for_each(|client| client.proxy.cut(Cut::Reset))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn client(&mut self, index: usize, change: impl FnOnce(&mut Client)) {
        if let Some(client) = self.clients.get_mut(index) {
            change(client);
        }
    }
}

impl Client {
    fn settle(&self, away: bool) -> Result<()> {
        if away || self.disconnected || self.crashed {
            self.proxy.refuse()?;
            self.proxy.cut(Cut::Reset)
        } else {
            self.proxy.accept()
        }
    }
}
