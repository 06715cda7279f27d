//! What the tests share: an instance that really serves, and requests that tell who answered them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use infra_core::coordination::{Instance, Registration, Registry};
use infra_memory::MemoryCoordinator;
use infra_tower::grpc::{ChannelOptions, Channels, ServiceChannel};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

pub(crate) const SERVICE: &str = "user-service";
pub(crate) const TTL: Duration = Duration::from_secs(5);
/// How long anything may take that must happen at all.
pub(crate) const SOON: Duration = Duration::from_secs(10);
const NODE: &str = "x-node";

/// A server on a runtime of its own, so that it can die as a process does: with all its connections.
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) address: SocketAddr,
    /// How many requests have reached it.
    pub(crate) begun: Arc<AtomicU64>,
    runtime: Option<Runtime>,
    stop: watch::Sender<bool>,
    served: tokio::task::JoinHandle<()>,
}

impl Node {
    pub(crate) fn start(id: &str) -> Self {
        Self::serve(id, "127.0.0.1:0".parse().unwrap(), Duration::ZERO)
    }

    /// A node that takes so long for each answer.
    pub(crate) fn start_slow(id: &str, delay: Duration) -> Self {
        Self::serve(id, "127.0.0.1:0".parse().unwrap(), delay)
    }

    /// Another process in the place of one that is gone.
    pub(crate) fn start_at(id: &str, address: SocketAddr) -> Self {
        Self::serve(id, address, Duration::ZERO)
    }

    fn serve(id: &str, address: SocketAddr, delay: Duration) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, mut stopped) = watch::channel(false);
        let begun = Arc::new(AtomicU64::new(0));
        let service = HealthServer::new(Answering {
            id: id.to_owned(),
            delay,
            begun: Arc::clone(&begun),
        });
        let served = runtime.spawn(async move {
            let incoming = TcpIncoming::from(tokio::net::TcpListener::from_std(listener).unwrap());
            let stopped = async move {
                let _ = stopped.wait_for(|stopped| *stopped).await;
            };
            let serving = Server::builder().add_service(service);
            serving
                .serve_with_incoming_shutdown(incoming, stopped)
                .await
                .unwrap();
        });
        Self {
            id: id.to_owned(),
            address,
            begun,
            runtime: Some(runtime),
            stop,
            served,
        }
    }

    pub(crate) fn instance(&self) -> Instance {
        let ip = self.address.ip().to_string();
        Instance::new(SERVICE, &self.id, ip, self.address.port())
    }

    pub(crate) async fn register(&self, registry: &MemoryCoordinator) -> Registration {
        registry.register(self.instance(), TTL).await.unwrap()
    }

    /// Ends as a service does: no new connections, the requests it has are finished.
    pub(crate) async fn stop(mut self) {
        self.stop.send_replace(true);
        tokio::time::timeout(SOON, &mut self.served)
            .await
            .expect("a graceful end")
            .unwrap();
    }

    /// Dies with its connections and the requests on them.
    pub(crate) fn crash(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.crash();
    }
}

#[derive(Debug)]
struct Answering {
    id: String,
    delay: Duration,
    begun: Arc<AtomicU64>,
}

#[async_trait::async_trait]
impl Health for Answering {
    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        let mut response = Response::new(HealthCheckResponse { status: 1 });
        response.metadata_mut().insert(NODE, self.id.parse().unwrap());
        Ok(response)
    }

    type WatchStream = tonic::codegen::BoxStream<HealthCheckResponse>;

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("not needed"))
    }
}

/// Short waits, so that tests of failures are short.
pub(crate) fn options() -> ChannelOptions {
    ChannelOptions::development()
        .with_first_instance_timeout(Duration::from_millis(300))
        .with_connect_timeout(Duration::from_millis(500))
}

pub(crate) fn channels(registry: &MemoryCoordinator, options: ChannelOptions) -> Channels {
    Channels::new(Arc::new(registry.clone()), options).unwrap()
}

/// Sends one request; who answered it.
pub(crate) async fn ask(channel: &ServiceChannel) -> Result<String, Status> {
    let mut client = HealthClient::new(channel.clone());
    let request = HealthCheckRequest {
        service: "x".repeat(100),
    };
    let response = client.check(request).await?;
    Ok(response
        .metadata()
        .get(NODE)
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned())
}

/// Waits until a request is answered by one of these and by nobody else for a while.
pub(crate) async fn eventually_answered_by(channel: &ServiceChannel, nodes: &[&str]) -> bool {
    infra_testkit::time::eventually(SOON, async || {
        for _ in 0..20 {
            match ask(channel).await {
                Ok(node) if nodes.contains(&node.as_str()) => {}
                _ => return false,
            }
        }
        true
    })
    .await
}

/// Requests without a pause, from several callers at once, until it is stopped.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    callers: Vec<tokio::task::JoinHandle<Vec<Status>>>,
}

impl Load {
    pub(crate) fn start(channel: &ServiceChannel, callers: usize) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let callers = (0..callers)
            .map(|_| {
                let (channel, stop, answered) = (channel.clone(), Arc::clone(&stop), Arc::clone(&answered));
                tokio::spawn(async move {
                    let mut failures = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        match ask(&channel).await {
                            Ok(_) => {
                                answered.fetch_add(1, Ordering::Relaxed);
                            }
                            Err(status) => failures.push(status),
                        }
                    }
                    failures
                })
            })
            .collect();
        Self {
            stop,
            answered,
            callers,
        }
    }

    /// Waits until so many more requests were answered.
    pub(crate) async fn passes(&self, requests: u64) {
        let enough = self.answered.load(Ordering::Relaxed) + requests;
        let passed =
            infra_testkit::time::eventually(SOON, async || self.answered.load(Ordering::Relaxed) >= enough);
        assert!(passed.await, "requests are answered no more");
    }

    /// What failed.
    pub(crate) async fn stop(self) -> Vec<Status> {
        self.stop.store(true, Ordering::Relaxed);
        let mut failures = Vec::new();
        for caller in self.callers {
            failures.extend(caller.await.unwrap());
        }
        failures
    }
}
