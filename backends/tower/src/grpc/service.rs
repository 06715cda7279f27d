//! The channel of one service, as generated clients take it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use infra_core::coordination::Instance;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::body::Body;
use tower_service::Service;

use super::connection::Unanswered;
use super::fleet::Fleet;
use super::follower::Progress;
use super::options::ChannelOptions;
use super::send::send;

/// A channel that is balanced over the live instances of one service. Clones are cheap and share the connections.
///
/// Hand it to any generated client: `UserClient::new(channel)`.
///
/// # Contract
/// - Each request goes to one instance, chosen by weight among those that are ready; of two draws the one with fewer
///   unanswered requests for its weight takes it.
/// - A request that no instance has processed (not sent at all, or refused) is sent to another. One that may have been
///   processed is never repeated.
/// - No request is given to an instance once its draining or leaving is known; those it has are finished.
/// - A request that no instance can take waits as long as [`ChannelOptions::request_wait`] says, and then fails with
///   `UNAVAILABLE`; a shorter timeout of its own ends it earlier, with `DEADLINE_EXCEEDED`.
#[derive(Clone)]
pub struct ServiceChannel {
    followed: Arc<Followed>,
}

/// A service that is followed, for as long as anybody holds this.
#[derive(Debug)]
pub(super) struct Followed {
    fleet: Arc<Fleet>,
    request_wait: Duration,
    max_replay_bytes: usize,
    progress: watch::Receiver<Progress>,
    task: JoinHandle<()>,
}

impl Followed {
    pub(super) fn new(
        fleet: Arc<Fleet>,
        options: &ChannelOptions,
        progress: watch::Receiver<Progress>,
        task: JoinHandle<()>,
    ) -> Self {
        Self {
            fleet,
            request_wait: options.request_wait,
            max_replay_bytes: options.max_replay_bytes,
            progress,
            task,
        }
    }

    pub(super) fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    pub(super) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    pub(super) fn request_wait(&self) -> Duration {
        self.request_wait
    }

    pub(super) fn max_replay_bytes(&self) -> usize {
        self.max_replay_bytes
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ServiceChannel {
    pub(super) fn new(followed: Arc<Followed>) -> Self {
        Self { followed }
    }

    /// The name of the service.
    #[must_use]
    pub fn service(&self) -> &str {
        self.followed.fleet.service()
    }

    /// The instances that are known now, by id; those that drain, have weight 0 or cannot be reached included.
    #[must_use]
    pub fn instances(&self) -> Vec<Instance> {
        self.followed.fleet.instances()
    }
}

impl fmt::Debug for ServiceChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceChannel")
            .field("service", &self.service())
            .field("instances", &self.instances().len())
            .finish_non_exhaustive()
    }
}

impl Service<http::Request<Body>> for ServiceChannel {
    type Response = http::Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    /// Always ready: a request waits in its own future.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(send(Arc::clone(&self.followed), request))
    }
}

/// An answer's body, which counts as unanswered until it ends.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) body: Body,
    pub(super) unanswered: Option<Unanswered>,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(context);
        if let Poll::Ready(None | Some(Err(_))) = &polled {
            this.unanswered = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
