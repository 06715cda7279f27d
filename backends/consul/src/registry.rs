//! The registry on the agent's services: an instance is a service with a check that its process renews.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use infra_core::coordination::{Instance, Registrar, Registration, Registry, ServiceSnapshot, Standing};
use infra_core::watch::Watch;
use infra_core::{Error, ErrorKind, Result, async_trait};
use tokio::time::Instant;

use crate::BACKEND;
use crate::client::{Client, Request};
use crate::coordinator::ConsulCoordinator;
use crate::held::unique;
use crate::keys::in_path;
use crate::kv::as_json;
use crate::services::{self, Definition, Listed, Registered};
use crate::watching::{self, Source, State};

fn at(operation: &'static str) -> impl Fn(Error) -> Error {
    move |error| error.at("registry", BACKEND, operation)
}

/// The healthy instances of a service.
#[derive(Debug)]
struct Healthy {
    service: String,
    path: String,
}

impl Healthy {
    fn new(service: &str) -> Self {
        Self {
            service: service.to_owned(),
            path: format!(
                "health/service/{}?passing=true&consistent",
                in_path(&services::service_name(service))
            ),
        }
    }

    /// The same, of one instance alone.
    fn only(service: &str, id: &str) -> Self {
        let mut only = Self::new(service);
        let filter = format!("Service.ID == \"{}\"", services::service_id(service, id));
        only.path.push_str("&filter=");
        only.path.push_str(&in_path(&filter));
        only
    }

    async fn list(&self, client: &Client, index: u64, wait: Duration) -> Result<(Vec<Listed>, u64)> {
        let request = Request::get(self.path.as_str()).blocking(index, wait);
        let answer = client.send(&request).await?.success()?;
        let listed: Vec<Listed> = answer.json("a list of instances")?;
        let ours = listed.into_iter().filter(|listed| listed.is_of(&self.service));
        Ok((ours.collect(), answer.index))
    }
}

#[async_trait]
impl Source for Healthy {
    type Item = Instance;

    fn name(&self) -> &str {
        &self.path
    }

    fn is_single(&self) -> bool {
        false
    }

    async fn read(&self, client: &Client, index: u64, wait: Duration) -> Result<State<Instance>> {
        let (listed, index) = self.list(client, index, wait).await?;
        let mut items: BTreeMap<String, (u64, Instance)> = BTreeMap::new();
        for listed in listed {
            let (changed, instance) = (listed.changed(), listed.instance(&self.service));
            // The same id through two agents is one instance, which moved from one to the other.
            if items
                .get(&instance.id)
                .is_none_or(|(before, _)| *before < changed)
            {
                items.insert(instance.id.clone(), (changed, instance));
            }
        }
        Ok(State { index, items })
    }
}

#[async_trait]
impl Registry for ConsulCoordinator {
    async fn register(&self, instance: Instance, ttl: Duration) -> Result<Registration> {
        let register = async {
            self.client.check_open()?;
            instance.check(self.limits())?;
            self.limits().check_ttl(ttl)?;
            let owned = Owned {
                client: self.client.clone(),
                owner: unique(),
                ttl,
            };
            // What Consul does not take is refused before it is asked.
            Definition::new(&instance, &owned.owner, ttl)?;
            self.registrations.register(instance, ttl, Arc::new(owned)).await
        };
        register.await.map_err(at("register"))
    }

    async fn discover(&self, service: &str) -> Result<ServiceSnapshot> {
        let discover = async {
            self.client.check_open()?;
            self.limits().check_key("service name", service)?;
            let source = Healthy::new(service);
            let ask = async {
                let state = source.read(&self.client, 0, Duration::ZERO).await?;
                self.readings.note(source.name(), &state);
                let instances = state.items.into_values().map(|(_, instance)| instance);
                Ok(ServiceSnapshot::new(instances.collect(), state.index))
            };
            self.last_known.or_last(service, ask).await
        };
        discover.await.map_err(at("discover"))
    }

    async fn watch_service(&self, service: &str, revision: u64) -> Result<Watch<Instance>> {
        let watch = async {
            self.client.check_open()?;
            self.limits().check_key("service name", service)?;
            watching::open(
                &self.client,
                Healthy::new(service),
                &self.readings,
                None,
                revision,
            )
            .await
        };
        watch.await.map_err(at("watch_service"))
    }
}

/// One instance in the name of one registration. Its check has the owner's name: whoever registers the same id again takes the
/// check away with the instance, and the owner before learns it at its next renewal.
#[derive(Debug)]
struct Owned {
    client: Client,
    owner: String,
    ttl: Duration,
}

/// What an agent has under an id.
#[derive(PartialEq)]
enum Found {
    Nothing,
    Ours,
    Another,
}

impl Owned {
    async fn put(&self, instance: &Instance) -> Result<()> {
        self.client.check_open()?;
        let definition = Definition::new(instance, &self.owner, self.ttl)?;
        let request = Request::put(
            "agent/service/register?replace-existing-checks=true",
            as_json("an instance", &definition)?,
        );
        self.client.send(&request).await?.success()?;
        // Agents tell the catalogue a moment later, and whoever discovers now must be told of it.
        self.listed(instance, |listed| match listed {
            Some(listed) => {
                listed.owner() != Some(&self.owner) || listed.instance(&instance.service) == *instance
            }
            None => false,
        })
        .await;
        Ok(())
    }

    async fn find(&self, instance: &Instance) -> Result<Found> {
        let id = services::service_id(&instance.service, &instance.id);
        let answer = self
            .client
            .send(&Request::get(format!("agent/service/{}", in_path(&id))))
            .await?;
        if answer.status == 404 {
            return Ok(Found::Nothing);
        }
        let found: Registered = answer.success()?.json("a question for an instance")?;
        Ok(if found.owner() == Some(&self.owner) {
            Found::Ours
        } else {
            Found::Another
        })
    }

    /// Waits until the catalogue says this of the instance; not for ever, since what the agent knows arrives there some day.
    async fn listed(&self, instance: &Instance, expected: impl Fn(Option<&Listed>) -> bool) {
        let source = Healthy::only(&instance.service, &instance.id);
        let patience = self.client.config().request_timeout;
        let until = Instant::now() + patience;
        let seen = async {
            let mut index = 0;
            while Instant::now() < until {
                let (listed, now) = source.list(&self.client, index, patience).await?;
                if expected(listed.first()) {
                    return Ok(());
                }
                index = if now < index { 0 } else { now };
            }
            Err(Error::new(
                ErrorKind::Timeout,
                "the agent has not told the catalogue yet",
            ))
        };
        if let Err(error) = seen.await {
            tracing::warn!(%error, service = instance.service, id = instance.id, "the catalogue does not show yet what was registered or removed");
        }
    }
}

#[async_trait]
impl Registrar for Owned {
    async fn register(&self, instance: &Instance) -> Result<()> {
        self.put(instance).await
    }

    async fn confirm(&self, instance: &Instance) -> Result<Standing> {
        self.client.check_open()?;
        let path = format!("agent/check/pass/{}", services::check_id(&self.owner));
        let passed = self.client.send(&Request::put(path, "")).await?.success();
        match passed {
            Ok(_) => return Ok(Standing::Ours),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.replace(instance).await
    }

    async fn replace(&self, instance: &Instance) -> Result<Standing> {
        if self.find(instance).await? == Found::Another {
            return Ok(Standing::Replaced);
        }
        self.put(instance).await?;
        Ok(Standing::Ours)
    }

    async fn remove(&self, instance: &Instance) -> Result<()> {
        if self.find(instance).await? != Found::Ours {
            return Ok(());
        }
        let id = services::service_id(&instance.service, &instance.id);
        let request = Request::put(format!("agent/service/deregister/{}", in_path(&id)), "");
        let removed = self.client.send(&request).await?.success();
        match removed {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.listed(instance, |listed| {
            listed.is_none_or(|listed| listed.owner() != Some(&self.owner))
        })
        .await;
        Ok(())
    }

    async fn gone(&self) {
        // Nobody tells the owner of a registration, each renewal looks; the last one finds the client closed.
        self.client.closed().cancelled().await;
    }
}
