//! This instance among the others: who it is, whom it knows, what it follows, and the work that one of them does for all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use infra_core::config::{ReloadStatus, Reloads};
use infra_core::coordination::{Coordinator, Election, ElectionOptions, Locks};
use infra_core::error::Result;
use infra_core::uid::UidProvider;
use serde_json::{Value, json};

use crate::service::MessageService;

/// How often the leader looks for what others left.
const SWEEP: Duration = Duration::from_secs(10);
/// A message that was stored so long ago and is still not taken in was left: whoever took it crashed.
const LEFT_AFTER: Duration = Duration::from_secs(30);
/// The pause before standing again after an election that could not go on.
const STAND_AGAIN_AFTER: Duration = Duration::from_secs(15);

/// This instance among the others.
#[derive(Debug, Clone)]
pub struct Fleet {
    service: String,
    id: String,
    coordinator: Arc<dyn Coordinator>,
    ids: Arc<dyn UidProvider>,
    leads: Arc<AtomicBool>,
}

impl Fleet {
    /// An instance of this service with an id of its own, which does not lead yet.
    #[must_use]
    pub fn new(service: &str, coordinator: Arc<dyn Coordinator>, ids: Arc<dyn UidProvider>) -> Self {
        Self {
            service: service.to_owned(),
            id: ids.uuid().to_string(),
            coordinator,
            ids,
            leads: Arc::default(),
        }
    }

    /// The id by which the registry knows it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Stands for election for as long as the future is polled; whoever leads announces what a crashed instance left.
    ///
    /// # Errors
    /// What keeps it from standing at all: a name that the backend cannot take.
    pub fn stand(&self, service: Arc<MessageService>) -> Result<impl Future<Output = ()> + Send + use<>> {
        let locks: Arc<dyn Locks> = self.coordinator.clone();
        let name = format!("{}/announcer", self.service);
        let election = Election::new(locks, &name, ElectionOptions::default())?;
        let leads = self.leads.clone();
        Ok(async move {
            loop {
                let led = election
                    .lead(|_held| announce_for_all(service.clone(), Leading::begin(&leads)))
                    .await;
                if let Err(error) = led {
                    tracing::error!(%error, "the election of the announcer cannot go on; standing again later");
                }
                tokio::time::sleep(STAND_AGAIN_AFTER).await;
            }
        })
    }

    /// What an operator asks first of an instance.
    ///
    /// # Errors
    /// The registry's, when it has never answered.
    pub async fn describe(&self, reloads: &Reloads) -> Result<Value> {
        let instances = self.coordinator.discover(&self.service).await?.instances;
        let known: Vec<_> = instances
            .iter()
            .map(|instance| json!({ "id": instance.id, "address": instance.address, "port": instance.port }))
            .collect();
        let number = self.ids.parse_snowflake(self.ids.snowflake()?)?.instance;
        Ok(json!({
            "id": self.id,
            "snowflake_instance": number,
            "announces_for_all": self.leads.load(Ordering::SeqCst),
            "instances": known,
            "follows": reloads.status().iter().map(followed).collect::<Vec<_>>(),
        }))
    }
}

fn followed(status: &ReloadStatus) -> Value {
    let refused: Vec<_> = status
        .rejections
        .iter()
        .map(|rejection| json!({ "source": rejection.source.to_string(), "reason": rejection.error.message() }))
        .collect();
    json!({ "name": status.name, "generation": status.generation, "refused": refused })
}

/// Leads until it is dropped, which happens as soon as leadership is lost.
async fn announce_for_all(service: Arc<MessageService>, _leading: Leading) -> Result<()> {
    loop {
        match service.announce_left(LEFT_AFTER).await {
            Ok(0) => {}
            Ok(announced) => tracing::info!(announced, "announced messages that an instance had left"),
            Err(error) => tracing::warn!(%error, "cannot announce what was left; trying again"),
        }
        tokio::time::sleep(SWEEP).await;
    }
}

/// Says that this instance leads, while it exists.
struct Leading(Arc<AtomicBool>);

impl Leading {
    fn begin(leads: &Arc<AtomicBool>) -> Self {
        tracing::info!("this instance announces for all");
        leads.store(true, Ordering::SeqCst);
        Self(leads.clone())
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
        tracing::info!("this instance announces for all no more");
    }
}
