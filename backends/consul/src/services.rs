//! Instances as Consul's services: what an instance is called there, and how all of it comes back.
//!
//! What fits stands as Consul has it, for its other users: name, address, port, weight, metadata. What Consul does not take (its
//! metadata has short printable keys) stands as JSON in metadata of its own, whose keys begin with `infra-`.

use std::collections::BTreeMap;

use infra_core::coordination::{Instance, InstanceState};
use infra_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::keys::{self, segment};

/// Metadata of this crate. Others' keys that begin like them are kept among what Consul does not take.
const RESERVED: [&str; 2] = ["infra-", "consul-"];
const OWNER: &str = "infra-owner";
const WEIGHT: &str = "infra-weight";
const ZONE: &str = "infra-zone";
const STATE: &str = "infra-state";
/// JSON in pieces, the first one under this key with the number 0.
const REST: &str = "infra-rest-";

/// What Consul takes of metadata.
const MAX_PAIRS: usize = 64;
const MAX_KEY: usize = 128;
const MAX_VALUE: usize = 512;

/// An instance as Consul's agents know it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Definition {
    #[serde(rename = "ID")]
    pub(crate) id: String,
    name: String,
    address: String,
    port: u16,
    meta: BTreeMap<String, String>,
    weights: Weights,
    check: Check,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Weights {
    passing: u32,
    warning: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    #[serde(rename = "CheckID")]
    check_id: String,
    name: &'static str,
    #[serde(rename = "TTL")]
    ttl: String,
    status: &'static str,
    /// Consul's shortest. Whoever comes back later registers again.
    deregister_critical_service_after: &'static str,
}

/// How a service is called in Consul.
pub(crate) fn service_name(service: &str) -> String {
    segment(service)
}

/// How an instance is called in Consul, whose catalogue takes `A` and `a` for the same.
pub(crate) fn service_id(service: &str, id: &str) -> String {
    format!("{}/{}", keys::caseless(service), keys::caseless(id))
}

/// The check that the owner of a registration renews; nobody else knows it.
pub(crate) fn check_id(owner: &str) -> String {
    format!("infra-{owner}")
}

impl Definition {
    /// What is registered for an instance in the name of this owner.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) for what Consul does not take.
    pub(crate) fn new(instance: &Instance, owner: &str, ttl: std::time::Duration) -> Result<Self> {
        let weight = instance.weight.clamp(1, 65_535);
        Ok(Self {
            id: service_id(&instance.service, &instance.id),
            name: service_name(&instance.service),
            address: instance.address.clone(),
            port: instance.port,
            meta: meta(instance, owner)?,
            weights: Weights {
                passing: weight,
                warning: weight,
            },
            check: Check {
                check_id: check_id(owner),
                name: "renewed by its process",
                ttl: format!("{}ms", ttl.as_nanos().div_ceil(1_000_000)),
                status: "passing",
                deregister_critical_service_after: "1m",
            },
        })
    }
}

fn meta(instance: &Instance, owner: &str) -> Result<BTreeMap<String, String>> {
    let (mut meta, mut rest) = (BTreeMap::new(), BTreeMap::new());
    for (key, value) in &instance.metadata {
        let place = if fits(key, value) { &mut meta } else { &mut rest };
        place.insert(key.clone(), value.clone());
    }
    if !rest.is_empty() {
        let json = serde_json::to_string(&rest).map_err(|source| {
            Error::new(ErrorKind::Internal, "metadata cannot be written as JSON").with_source(source)
        })?;
        for (number, piece) in pieces(&json).into_iter().enumerate() {
            meta.insert(format!("{REST}{number}"), piece.to_owned());
        }
    }
    meta.insert(OWNER.to_owned(), owner.to_owned());
    meta.insert(WEIGHT.to_owned(), instance.weight.to_string());
    if instance.state == InstanceState::Draining {
        meta.insert(STATE.to_owned(), "draining".to_owned());
    }
    if let Some(zone) = &instance.zone {
        if zone.len() > MAX_VALUE {
            return Err(Error::invalid_argument(format!(
                "the zone of the instance has {} bytes; Consul takes {MAX_VALUE}",
                zone.len()
            )));
        }
        meta.insert(ZONE.to_owned(), zone.clone());
    }
    if meta.len() > MAX_PAIRS {
        return Err(Error::invalid_argument(format!(
            "the instance has more metadata than Consul takes: {MAX_PAIRS} pairs of {MAX_VALUE} bytes with a few of our own; store a reference to it"
        )));
    }
    Ok(meta)
}

/// Whether Consul takes a pair of metadata as it is.
fn fits(key: &str, value: &str) -> bool {
    (1..=MAX_KEY).contains(&key.len())
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        && RESERVED.iter().all(|reserved| !key.starts_with(reserved))
        && value.len() <= MAX_VALUE
}

/// A text in pieces that Consul takes as values.
fn pieces(text: &str) -> Vec<&str> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let mut end = rest.len().min(MAX_VALUE);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let (piece, after) = rest.split_at(end);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// What an agent knows of one service.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Registered {
    meta: Option<BTreeMap<String, String>>,
}

impl Registered {
    /// In whose name it was registered; none for what was registered by others.
    pub(crate) fn owner(&self) -> Option<&str> {
        Some(self.meta.as_ref()?.get(OWNER)?.as_str())
    }
}

/// A healthy instance in the catalogue.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Listed {
    node: Node,
    service: Service,
    checks: Vec<Changed>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    address: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Service {
    #[serde(rename = "ID")]
    id: String,
    service: String,
    address: String,
    port: u16,
    meta: Option<BTreeMap<String, String>>,
    modify_index: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Changed {
    modify_index: u64,
}

impl Listed {
    /// The index of the last change of it or of its health.
    pub(crate) fn changed(&self) -> u64 {
        let checks = self.checks.iter().map(|check| check.modify_index);
        checks.fold(self.service.modify_index, u64::max)
    }

    /// Whether it is of this service, and not of one that Consul takes for the same.
    pub(crate) fn is_of(&self, service: &str) -> bool {
        self.service.service == service_name(service)
    }

    /// In whose name it was registered.
    pub(crate) fn owner(&self) -> Option<&str> {
        Some(self.service.meta.as_ref()?.get(OWNER)?.as_str())
    }

    /// The instance; also one that was registered by others.
    pub(crate) fn instance(&self, service: &str) -> Instance {
        let mut meta = self.service.meta.clone().unwrap_or_default();
        let ours = meta.remove(OWNER).is_some();
        let id = self
            .service
            .id
            .strip_prefix(&format!("{}/", keys::caseless(service)))
            .filter(|_| ours)
            .and_then(keys::name_of_caseless)
            .unwrap_or_else(|| self.service.id.clone());
        let address = match self.service.address.as_str() {
            // Then Consul means that of the node.
            "" => &self.node.address,
            address => address,
        };
        let mut instance = Instance::new(service, id, address, self.service.port);
        instance.weight = meta
            .remove(WEIGHT)
            .and_then(|weight| weight.parse().ok())
            .unwrap_or(1);
        instance.zone = meta.remove(ZONE);
        if meta.remove(STATE).is_some_and(|state| state == "draining") {
            instance.state = InstanceState::Draining;
        }
        let rest: String = (0..MAX_PAIRS)
            .map_while(|number| meta.remove(&format!("{REST}{number}")))
            .collect();
        if !rest.is_empty() {
            match serde_json::from_str::<BTreeMap<String, String>>(&rest) {
                Ok(rest) => meta.extend(rest),
                Err(error) => tracing::warn!(
                    service,
                    id = instance.id,
                    column = error.column(),
                    "a part of the metadata of a registered instance cannot be read; it is left out"
                ),
            }
        }
        instance.metadata = meta;
        instance
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn round_trip(instance: &Instance) -> Instance {
        let definition = Definition::new(instance, "0a", Duration::from_secs(10)).expect("it fits");
        let listed = Listed {
            node: Node {
                address: "10.0.0.1".to_owned(),
            },
            service: Service {
                id: definition.id,
                service: definition.name,
                address: definition.address,
                port: definition.port,
                meta: Some(definition.meta),
                modify_index: 7,
            },
            checks: vec![Changed { modify_index: 9 }],
        };
        assert!(listed.is_of(&instance.service));
        assert_eq!((listed.owner(), listed.changed()), (Some("0a"), 9));
        listed.instance(&instance.service)
    }

    #[test]
    fn all_of_an_instance_comes_back() {
        let plain = Instance::new("users", "users-1", "10.0.0.7", 9000);
        let mut draining = plain.clone().with_weight(0).with_zone("b");
        draining.state = InstanceState::Draining;
        let odd = Instance::new("A/b", "../ä Ö", "host.example", 1)
            .with_weight(u32::MAX)
            .with_metadata("version", "1.4.2 ä=\n")
            .with_metadata("infra-owner", "mine")
            .with_metadata("", "nothing")
            .with_metadata("ein Schlüssel", "ä".repeat(2_000))
            .with_metadata("long", "x".repeat(513));
        for instance in [plain, draining, odd] {
            assert_eq!(round_trip(&instance), instance);
        }
    }

    #[test]
    fn what_consul_does_not_take_is_refused_without_showing_it() {
        let instance = Instance::new("users", "users-1", "10.0.0.7", 9000);
        for bad in [
            instance.clone().with_zone("hunter2".repeat(100)),
            instance.with_metadata("password", "hunter2".repeat(10_000)),
        ] {
            let error = Definition::new(&bad, "0a", Duration::from_secs(10)).expect_err("too much");
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
    }

    #[test]
    fn what_others_registered_is_read_as_it_is() {
        let listed: Listed = serde_json::from_str(
            r#"{"Node": {"Address": "10.0.0.1"}, "Service": {"ID": "web-1", "Service": "web", "Address": "", "Port": 80,
                "Meta": {"version": "2"}, "ModifyIndex": 3}, "Checks": []}"#,
        )
        .expect("as Consul writes it");
        let expected = Instance::new("web", "web-1", "10.0.0.1", 80).with_metadata("version", "2");
        assert_eq!(listed.instance("web"), expected);
    }

    #[test]
    fn ids_that_consul_takes_for_the_same_are_told_apart() {
        let ids = ["a", "A", "a/b", "a%2Fb", "..", "%41"];
        for one in ids {
            for other in ids {
                let same = service_id("s", one).eq_ignore_ascii_case(&service_id("s", other));
                assert_eq!(same, one == other, "{one:?} and {other:?}");
            }
        }
        assert_ne!(service_id("a/b", "c"), service_id("a", "b/c"));
    }
}
