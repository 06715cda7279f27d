//! Watches of services that tell one thing wrong.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::StreamExt;
use infra_core::coordination::{Instance, InstanceState, Registry};
use infra_core::watch::{self, Watch, WatchEvent, WatchSink};
use infra_core::{Backend, Error, ErrorKind, Result};
use infra_memory::MemoryCoordinator;

use super::{Client, Common, Defect};
use crate::support::locked;

/// Wider than any scenario writes.
const WIDE: usize = 100_000;

/// How many events a watch that loses some in silence has room for.
const ROOM: usize = 1_024;

/// Watches through the client's defect.
pub(super) async fn watch(client: &Client, service: &str, revision: u64) -> Result<Watch<Instance>> {
    let mut events = client.inner.watch_service(service, revision).await?;
    let present = client.common.present(service).await;
    let begin = match futures_util::poll!(events.next()) {
        std::task::Poll::Ready(begin) => begin,
        std::task::Poll::Pending => None,
    };
    let unknown = matches!(begin, Some(WatchEvent::Reset));
    let (sink, watch) = watch::channel(WIDE);
    match client.defect {
        Defect::BeginsNow if !unknown => {
            events = client.inner.watch_service(service, present.revision).await?;
        }
        Defect::TakesAnyRevision if unknown => {}
        _ => {
            // What was missed before the watch is passed on as it is.
            if let Some(begin) = begin {
                sink.push(begin);
            }
        }
    }
    let mut sources = vec![events];
    if client.is(Defect::WatchesByPrefix) {
        for similar in client.common.similar(service) {
            sources.push(client.inner.watch_service(&similar, present.revision).await?);
        }
    }
    let instances = present.instances.into_iter();
    let relay = Relay {
        client: client.inner.clone(),
        common: Arc::clone(&client.common),
        defect: client.defect,
        service: service.to_owned(),
        last: instances
            .map(|instance| (instance.id.clone(), instance))
            .collect(),
        gone: HashMap::new(),
        told: 0,
    };
    tokio::spawn(relay.run(sources, sink));
    Ok(watch)
}

/// One watch on its way through the defect.
struct Relay {
    client: MemoryCoordinator,
    common: Arc<Common>,
    defect: Defect,
    service: String,
    /// What was last told of each instance.
    last: HashMap<String, Instance>,
    /// The same, of those that are gone.
    gone: HashMap<String, Instance>,
    /// How many events were passed on.
    told: usize,
}

impl Relay {
    async fn run(mut self, sources: Vec<Watch<Instance>>, sink: WatchSink<Instance>) {
        let mut events = futures_util::stream::select_all(sources);
        loop {
            tokio::select! {
                biased;
                () = sink.abandoned(), if self.defect != Defect::NoticesDropsLate => return,
                event = events.next() => match event {
                    Some(WatchEvent::Closed(error)) => return self.close(error, &sink).await,
                    Some(event) => {
                        if self.tells(&event).await && !sink.push(event) {
                            return;
                        }
                    }
                    None => return,
                },
            }
        }
    }

    async fn close(&self, error: Error, sink: &WatchSink<Instance>) {
        let by_shutdown = error.kind() == ErrorKind::Closed;
        match self.defect {
            Defect::HidesShutdown if by_shutdown => sink.abandoned().await,
            Defect::EndsAsUnavailable if !by_shutdown => {
                sink.close(Error::new(ErrorKind::Unavailable, "the connection is gone"));
            }
            _ => sink.close(error),
        }
    }

    /// Whether this event is told at all.
    async fn tells(&mut self, event: &WatchEvent<Instance>) -> bool {
        match (self.defect, event) {
            (Defect::LosesInSilence, WatchEvent::Lagged { .. })
            | (Defect::HidesLostHistory, WatchEvent::Reset) => false,
            (Defect::LosesInSilence, _) => {
                self.told += 1;
                self.told <= ROOM
            }
            (Defect::LosesWhileCutOff, _) => self.client.health().await.is_ok(),
            (Defect::DrainsInSilence, WatchEvent::Put(instance)) => instance.state == InstanceState::Ready,
            (Defect::ReturnsInSilence, WatchEvent::Put(instance)) => {
                let before = self.gone.remove(&instance.id);
                self.last.insert(instance.id.clone(), instance.clone());
                before.as_ref() != Some(instance)
            }
            (Defect::ReturnsInSilence, WatchEvent::Delete(id)) => {
                self.gone.extend(self.last.remove_entry(id));
                true
            }
            (Defect::ExpiresInSilence, WatchEvent::Delete(id)) => {
                let place = (self.service.clone(), id.clone());
                locked(&self.common.left).contains(&place)
            }
            _ => true,
        }
    }
}
