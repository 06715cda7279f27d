//! The channels of a process: one per service, made when it is first asked for and shared from then on.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use infra_core::config::Validate;
use infra_core::coordination::Registry;
use infra_core::telemetry::{Meter, NoMeter};
use infra_core::{Error, ErrorKind, Result};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tonic::transport::Endpoint;

use super::fleet::{Fleet, MakeEndpoint};
use super::follower::{Progress, follow};
use super::metrics::Metrics;
use super::options::ChannelOptions;
use super::service::{Followed, ServiceChannel};

/// Gives a balanced channel to each service of a registry. Clones share the channels.
///
/// One watch is kept per service that was asked for, until both this value, with its clones, and the service's channels are
/// dropped.
#[derive(Clone)]
pub struct Channels {
    registry: Arc<dyn Registry>,
    options: ChannelOptions,
    meter: Arc<dyn Meter>,
    scheme: &'static str,
    prepare: Prepare,
    services: Services,
}

type Services = Arc<Mutex<HashMap<String, Known>>>;

type Prepare = Arc<dyn Fn(Endpoint) -> Result<Endpoint, tonic::transport::Error> + Send + Sync>;

/// A service that was asked for.
struct Known {
    followed: Arc<Followed>,
    /// How many wait for its first instance.
    waiting: usize,
    /// Whether it ever had one.
    found: bool,
}

impl fmt::Debug for Channels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut services: Vec<_> = self.lock().keys().cloned().collect();
        services.sort();
        f.debug_struct("Channels")
            .field("registry", &self.registry)
            .field("options", &self.options)
            .field("services", &services)
            .finish_non_exhaustive()
    }
}

impl Channels {
    /// Channels to the services of `registry`, in plaintext, without metrics.
    ///
    /// # Errors
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) that lists every problem of the options.
    pub fn new(registry: Arc<dyn Registry>, options: ChannelOptions) -> Result<Self> {
        options.check()?;
        Ok(Self {
            registry,
            options,
            meter: Arc::new(NoMeter),
            scheme: "http",
            prepare: Arc::new(Ok),
            services: Arc::default(),
        })
    }

    /// Records `grpc.channel.instances` and `grpc.channel.redirected`, each by service. Begins with no channel.
    #[must_use]
    pub fn with_meter(mut self, meter: Arc<dyn Meter>) -> Self {
        self.meter = meter;
        self.services = Arc::default();
        self
    }

    /// Sets whatever else tonic can set on the endpoint of each instance: windows, user agent, timeouts of requests.
    /// Begins with no channel.
    ///
    /// The address and the connector are not to be changed; the connection timeout and keep-alive of the options are set
    /// before this is called.
    #[must_use]
    pub fn with_endpoint(mut self, set: impl Fn(Endpoint) -> Endpoint + Send + Sync + 'static) -> Self {
        let before = self.prepare;
        self.prepare = Arc::new(move |endpoint| before(endpoint).map(&set));
        self.services = Arc::default();
        self
    }

    /// Connects by TLS, and never without. Begins with no channel.
    ///
    /// The certificate is checked against the address that the instance is registered with, unless `tls` names a domain.
    ///
    /// # Errors
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) for certificates or a key that cannot be used.
    #[cfg(feature = "grpc-tls")]
    pub fn with_tls(mut self, tls: tonic::transport::ClientTlsConfig) -> Result<Self> {
        Endpoint::from_static("https://localhost")
            .tls_config(tls.clone())
            .map_err(|error| {
                Error::invalid_config("the TLS configuration of channels cannot be used").with_source(error)
            })?;
        let before = self.prepare;
        self.prepare = Arc::new(move |endpoint| before(endpoint)?.tls_config(tls.clone()));
        self.scheme = "https";
        self.services = Arc::default();
        Ok(self)
    }

    /// The channel that is balanced over the live instances of `service`: the same for everybody who asks.
    ///
    /// It waits until the first instance is known, at most as long as
    /// [`first_instance_timeout`](ChannelOptions::first_instance_timeout), and opens no connection yet. Once a service had an
    /// instance it returns at once. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// - [`NotFound`](ErrorKind::NotFound), worth repeating later, when no instance of the service is registered.
    /// - [`Unavailable`](ErrorKind::Unavailable) when those that are registered drain or have weight 0, or when the registry
    ///   could not be read.
    /// - What the registry says of a name that it does not accept, without waiting.
    ///
    /// # Cancellation
    /// Dropping the future leaves nothing behind, or a channel for the next who asks.
    pub async fn channel(&self, service: &str) -> Result<ServiceChannel> {
        let (followed, _waiting) = match self.enter(service) {
            Entered::Known(channel) => return Ok(channel),
            Entered::Waiting(followed, waiting) => (followed, waiting),
        };
        let deadline = Instant::now() + self.options.first_instance_timeout;
        match first_instance(&followed, deadline).await {
            Ok(()) => {
                if let Some(known) = self.lock().get_mut(service) {
                    known.found = true;
                }
                Ok(ServiceChannel::new(followed))
            }
            Err(error) => Err(error.at("channel", self.registry.backend(), "channel")),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, service: &str) -> Entered {
        let mut services = self.lock();
        let known = services.entry(service.to_owned()).or_insert_with(|| Known {
            followed: self.follow(service),
            waiting: 0,
            found: false,
        });
        let followed = Arc::clone(&known.followed);
        if known.found {
            return Entered::Known(ServiceChannel::new(followed));
        }
        known.waiting += 1;
        let waiting = Waiting {
            services: Arc::clone(&self.services),
            service: service.to_owned(),
        };
        Entered::Waiting(followed, waiting)
    }

    fn follow(&self, service: &str) -> Arc<Followed> {
        let metrics = Metrics::new(self.meter.as_ref(), service);
        let fleet = Fleet::new(service.to_owned(), &self.options, self.make_endpoint(), metrics);
        let (sender, progress) = watch::channel(Progress::Waiting);
        let task = tokio::spawn(follow(Arc::clone(&self.registry), Arc::clone(&fleet), sender));
        Arc::new(Followed::new(fleet, &self.options, progress, task))
    }

    fn make_endpoint(&self) -> MakeEndpoint {
        let (scheme, options, prepare) = (self.scheme, self.options.clone(), Arc::clone(&self.prepare));
        Arc::new(move |authority| {
            let mut endpoint = Endpoint::from_shared(format!("{scheme}://{authority}"))?
                .connect_timeout(options.connect_timeout)
                .keep_alive_timeout(options.keep_alive_timeout);
            if let Some(interval) = options.keep_alive_interval {
                endpoint = endpoint.http2_keep_alive_interval(interval);
            }
            prepare(endpoint)
        })
    }
}

enum Entered {
    Known(ServiceChannel),
    Waiting(Arc<Followed>, Waiting),
}

/// Somebody who waits for the first instance; the last who leaves without one takes the service away again, so that names
/// that do not exist leave nothing behind.
struct Waiting {
    services: Services,
    service: String,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = services.get_mut(&self.service) {
            known.waiting -= 1;
            if known.waiting == 0 && !known.found {
                services.remove(&self.service);
            }
        }
    }
}

/// Waits until an instance takes traffic.
async fn first_instance(followed: &Followed, deadline: Instant) -> Result<()> {
    let fleet = followed.fleet();
    let mut changes = fleet.subscribe();
    let mut progress = followed.progress();
    // With no time to wait, the registry is still asked once.
    loop {
        if fleet.choice().takers > 0 {
            return Ok(());
        }
        let state = progress.borrow_and_update().clone();
        let patient = match &state {
            Progress::Waiting => true,
            Progress::Read => Instant::now() < deadline,
            Progress::Failed(error) if !error.may_pass() => return Err(error.clone()),
            Progress::Failed(_) => Instant::now() < deadline,
        };
        if !patient {
            return Err(none_yet(fleet, state));
        }
        let changed = async {
            tokio::select! {
                _ = changes.changed() => {}
                // The sender lives as long as the task, which ends only when this service is dropped.
                _ = progress.changed() => {}
            }
        };
        if matches!(state, Progress::Waiting) {
            changed.await;
        } else if timeout_at(deadline, changed).await.is_err() && fleet.choice().takers == 0 {
            return Err(none_yet(fleet, progress.borrow().clone()));
        }
    }
}

/// Why there is still no instance.
fn none_yet(fleet: &Fleet, progress: Progress) -> Error {
    let service = fleet.service();
    if let Progress::Failed(error) = progress {
        return error.context(format!("finding the first instance of {service:?}"));
    }
    match fleet.choice().known {
        0 => Error::new(
            ErrorKind::NotFound,
            format!("no instance of {service:?} is registered; check its name, start one, or repeat later"),
        )
        .with_retry(infra_core::Retry::Backoff),
        known => Error::new(
            ErrorKind::Unavailable,
            format!(
                "none of the {known} instances of {service:?} takes requests: they drain or have weight 0"
            ),
        ),
    }
    .without_effect()
}
