//! The only place that knows backends: from a configuration to a running service, and back down again.

use std::fmt::Write as _;
use std::future::IntoFuture as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use infra_core::assembly::{Backends, Infra};
use infra_core::config::{HotReload, Profile, Validate};
use infra_core::coordination::{Instance, Registration};
use infra_core::error::{Error, ErrorKind, Result};
use infra_core::lifecycle::{HealthReport, Signals};
use infra_core::log::{self, LogGuard};
use infra_core::queue::Concurrency;
use infra_memory::MemoryMeter;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;

use crate::config::ServiceConfig;
use crate::fleet::Fleet;
use crate::http::{Http, router};
use crate::indexer::{DeliveryLog, GROUP, IN_FLIGHT, Indexer};
use crate::moderation::{self, WordList};
use crate::replay::{Replay, ReplayOptions};
use crate::service::{MessageService, Parts};
use crate::store::MessageStore;
use crate::timeline::Timeline;

/// What a service is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To serve people.
    Serve,
    /// To replay a corpus: senders are limited by a rule of its own, and every delivery is noted, in memory that grows with
    /// the corpus.
    Replay,
}

impl Purpose {
    /// The rule that limits senders.
    const fn rate_limit_rule(self) -> &'static str {
        match self {
            Self::Serve => "send_message",
            Self::Replay => "replay",
        }
    }
}

/// How long a crashed instance stays in the registry.
const REGISTRATION_TTL: Duration = Duration::from_secs(15);

/// The backends this program was compiled with.
#[must_use]
pub fn backends() -> Backends {
    let mut backends = Backends::new();
    infra_consul::register(&mut backends);
    infra_etcd::register(&mut backends);
    infra_memory::register(&mut backends);
    infra_redis::register(&mut backends);
    infra_sql::register(&mut backends);
    infra_tantivy::register(&mut backends);
    backends
}

/// The whole service, running: its consumer takes messages in; serving HTTP is up to the caller.
#[derive(Debug)]
pub struct MessageApp {
    infra: Infra,
    meter: Arc<MemoryMeter>,
    service: Arc<MessageService>,
    store: MessageStore,
    fleet: Fleet,
    deliveries: Arc<DeliveryLog>,
    _log: LogGuard,
}

impl MessageApp {
    /// Opens every component, brings the schema up to date, starts the consumer, and announces what an earlier process
    /// left unfinished.
    ///
    /// # Errors
    /// What kept a component from opening; everything opened before was closed.
    pub async fn open(config: ServiceConfig, purpose: Purpose) -> Result<Self> {
        let profile = config.profile;
        let log = log::init(config.infra.log.clone(), &config.service)?;
        tracing::info!(%profile, "starting");
        let meter = Arc::new(MemoryMeter::new());
        let mut infra = Infra::open_with_meter(
            &config.service,
            config.infra.clone(),
            &backends(),
            profile,
            meter.clone(),
        )
        .await?;
        let deliveries = Arc::new(DeliveryLog::default());
        match start(&config, &mut infra, purpose, &deliveries, &log).await {
            Ok((service, store, fleet)) => Ok(Self {
                infra,
                meter,
                service,
                store,
                fleet,
                deliveries,
                _log: log,
            }),
            Err(error) => {
                tracing::error!(%error, "the service could not start; closing what was opened");
                if let Err(unclean) = infra.shutdown().await {
                    tracing::error!(error = %unclean, "after a failed start");
                }
                Err(error)
            }
        }
    }

    /// The business logic.
    #[must_use]
    pub fn service(&self) -> &Arc<MessageService> {
        &self.service
    }

    /// The components.
    #[must_use]
    pub fn infra(&self) -> &Infra {
        &self.infra
    }

    /// A replay against this service.
    #[must_use]
    pub fn replay(&self) -> Replay {
        Replay {
            service: self.service.clone(),
            store: self.store.clone(),
            search: self.infra.search().clone(),
            deliveries: self.deliveries.clone(),
            options: ReplayOptions::default(),
        }
    }

    /// What the HTTP routes need.
    #[must_use]
    pub fn http(&self) -> Http {
        let backends = self.infra.backends();
        let meter = self.meter.clone();
        let (fleet, reloads) = (self.fleet.clone(), self.infra.reloads().clone());
        Http {
            service: self.service.clone(),
            health: Arc::new(move || {
                let backends = backends.clone();
                Box::pin(async move {
                    HealthReport::of(backends.iter().map(|(name, backend)| (name.as_str(), backend))).await
                })
            }),
            metrics: Arc::new(move || meter.render()),
            instance: Arc::new(move || {
                let (fleet, reloads) = (fleet.clone(), reloads.clone());
                Box::pin(async move { fleet.describe(&reloads).await })
            }),
        }
    }

    /// Makes this instance known to those who look for the service; `None` for one that listens on every address, which
    /// says nothing about where others reach it.
    ///
    /// # Errors
    /// The registry's.
    pub async fn register(&self, service: &str, address: SocketAddr) -> Result<Option<Registration>> {
        if address.ip().is_unspecified() {
            tracing::warn!(%address, "not registered: listen on the address by which others reach this instance");
            return Ok(None);
        }
        let instance = Instance::new(service, self.fleet.id(), address.ip().to_string(), address.port());
        self.infra
            .coordinator()
            .register(instance, REGISTRATION_TTL)
            .await
            .map(Some)
    }

    /// Drains the consumer, then closes every component in reverse order.
    ///
    /// # Errors
    /// One error that names whatever did not stop cleanly.
    pub async fn shutdown(self) -> Result<()> {
        self.infra.shutdown().await
    }
}

/// Puts the business logic together and starts its consumer.
async fn start(
    config: &ServiceConfig,
    infra: &mut Infra,
    purpose: Purpose,
    deliveries: &Arc<DeliveryLog>,
    log: &LogGuard,
) -> Result<(Arc<MessageService>, MessageStore, Fleet)> {
    let levels = log.handle().hot_reload()?;
    let key = format!("config/{}/log-levels", config.service);
    follow(infra, "log levels", levels, key).await?;

    let store = MessageStore::open(infra.database().clone()).await?;
    let timeline = Timeline::new(infra.cache().clone());
    let reviewer = Arc::new(WordList::new(&config.moderation.forbidden));
    let parts = Parts {
        limiter: infra.limiter().clone(),
        once: infra.once().clone(),
        ids: infra.ids().clone(),
        moderation: moderation::guarded(reviewer, "word_list", &infra.stack()?),
        store: store.clone(),
        producer: infra.producer().clone(),
        timeline: timeline.clone(),
        search: infra.search().clone(),
    };
    let service = Arc::new(MessageService::new(parts, purpose.rate_limit_rule()));

    let mut indexer = Indexer::new(infra.search().clone(), timeline, store.clone());
    if purpose == Purpose::Replay {
        indexer = indexer.with_log(deliveries.clone());
    }
    let consumer = infra.queue().consumer(GROUP).await?;
    let subscription = indexer.start(consumer.as_ref()).await?;
    let concurrency = subscription.hot_reload(Concurrency::new(IN_FLIGHT))?;
    let key = format!("config/{}/consumers/{GROUP}.json", config.service);
    follow(infra, "indexer's concurrency", concurrency, key).await?;
    // Stops before the components that it works with, and finishes what it has.
    infra
        .lifecycle_mut()
        .push_stop("indexer", move |deadline| Box::pin(subscription.drain(deadline)));

    let announced = service.announce_unsettled().await?;
    if announced > 0 {
        tracing::info!(announced, "announced messages that an earlier process had left");
    }
    let fleet = Fleet::new(&config.service, infra.coordinator().clone(), infra.ids().clone());
    if purpose == Purpose::Serve {
        let standing = tokio::spawn(fleet.stand(service.clone())?);
        infra.lifecycle_mut().push_stop("election", move |_| {
            standing.abort();
            // Until it has ended, its leadership is not given back.
            Box::pin(async move {
                drop(standing.await);
                Ok(())
            })
        });
    }
    Ok((service, store, fleet))
}

/// Follows a key of the configuration centre until the service stops.
async fn follow<C>(infra: &mut Infra, name: &'static str, reload: HotReload<C>, key: String) -> Result<()>
where
    C: Validate + DeserializeOwned + Send + Sync + 'static,
{
    let following = reload.follow(infra.coordinator().clone(), key).await?;
    infra.reloads_mut().add(name, &reload);
    infra.lifecycle_mut().push_stop(name, move |_| {
        drop(following);
        Box::pin(async { Ok(()) })
    });
    Ok(())
}

/// Serves HTTP until the first signal, then finishes requests, drains and closes. `announce` is given a few plain words
/// for whoever started it.
///
/// # Errors
/// What kept the service from starting, the port in use for example, or from stopping cleanly.
pub async fn serve(config: ServiceConfig, signals: &Signals, announce: impl FnOnce(&str)) -> Result<()> {
    let (address, profile) = (config.http.address, config.profile);
    // Before anything else: a port in use should cost nothing.
    let listener = bind(address).await?;
    let patience = config.infra.shutdown_deadline;
    let service_name = config.service.clone();
    let app = MessageApp::open(config, Purpose::Serve).await?;
    let local = listener.local_addr().unwrap_or(address);
    let registration = match app.register(&service_name, local).await {
        Ok(registration) => registration,
        Err(error) => {
            if let Err(unclean) = app.shutdown().await {
                tracing::error!(error = %unclean, "after a failed start");
            }
            return Err(error);
        }
    };
    announce(&banner(&app, local, profile));
    let stop = signals.stop().clone();
    let serving =
        axum::serve(listener, router(app.http())).with_graceful_shutdown(stop.clone().cancelled_owned());
    let served = tokio::select! {
        served = serving.into_future() => served,
        // A client that never finishes its request does not keep the service from ending.
        () = async { stop.cancelled().await; tokio::time::sleep(patience).await } => Ok(()),
    };
    if let Some(registration) = registration
        && let Err(error) = registration.deregister().await
    {
        tracing::warn!(%error, "the instance stays in the registry until its time to live has passed");
    }
    let closed = app.shutdown().await;
    served.map_err(|source| Error::new(ErrorKind::Internal, "the HTTP server failed").with_source(source))?;
    closed
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|source| {
        let (kind, advice) = match source.kind() {
            std::io::ErrorKind::AddrInUse => (
                ErrorKind::AlreadyExists,
                "another process listens there; end it, or set MESSAGE_SERVICE__HTTP__ADDRESS",
            ),
            std::io::ErrorKind::PermissionDenied => (
                ErrorKind::PermissionDenied,
                "ports below 1024 need privileges; choose another",
            ),
            _ => (
                ErrorKind::Unavailable,
                "correct http.address in the configuration",
            ),
        };
        Error::new(kind, format!("cannot listen on {address}: {advice}"))
            .at("http", "tcp", "bind")
            .with_source(source)
    })
}

fn banner(app: &MessageApp, address: SocketAddr, profile: Profile) -> String {
    let mut text = format!("message-service listens on http://{address} ({profile})\n\n");
    for (component, backend) in app.infra().backends() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {component:<13} {}", backend.backend());
    }
    let _ = write!(
        text,
        "\nSend a message, list the session, search it (a new message is found within a second):\n\n  \
         curl -s -X POST http://{address}/sessions/s1/messages -H 'Idempotency-Key: k1' -H 'Content-Type: application/json' \
         -d '{{\"sender_id\":\"ann\",\"content\":\"今天天气很好\"}}'\n  \
         curl -s http://{address}/sessions/s1/messages\n  \
         curl -s -G http://{address}/sessions/s1/search --data-urlencode 'q=天气'\n\n\
         Ctrl-C ends it in order; twice ends it at once.\n"
    );
    text
}
