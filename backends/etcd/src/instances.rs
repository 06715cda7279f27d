//! An instance as it is written: as the contract's own JSON, or as GoChat's, which knows no weight, zone and state and gets them as
//! metadata.

use std::collections::BTreeMap;

use infra_core::config::Compat;
use infra_core::coordination::{Instance, InstanceState};
use infra_core::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// The metadata in which GoChat's format carries what it has no field for.
const WEIGHT: &str = "infra.weight";
const ZONE: &str = "infra.zone";
const STATE: &str = "infra.state";
const DRAINING: &str = "draining";

/// GoChat's `ServiceInfo`.
#[derive(Debug, Serialize, Deserialize)]
struct ServiceInfo {
    id: String,
    name: String,
    address: String,
    port: u16,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
}

impl From<&Instance> for ServiceInfo {
    fn from(instance: &Instance) -> Self {
        let mut metadata = instance.metadata.clone();
        if instance.weight != 1 {
            metadata.insert(WEIGHT.to_owned(), instance.weight.to_string());
        }
        if let Some(zone) = &instance.zone {
            metadata.insert(ZONE.to_owned(), zone.clone());
        }
        if instance.state == InstanceState::Draining {
            metadata.insert(STATE.to_owned(), DRAINING.to_owned());
        }
        Self {
            id: instance.id.clone(),
            name: instance.service.clone(),
            address: instance.address.clone(),
            port: instance.port,
            metadata,
        }
    }
}

impl From<ServiceInfo> for Instance {
    fn from(mut info: ServiceInfo) -> Self {
        let weight = info
            .metadata
            .remove(WEIGHT)
            .and_then(|weight| weight.parse().ok());
        let zone = info.metadata.remove(ZONE);
        let draining = info.metadata.remove(STATE).is_some_and(|state| state == DRAINING);
        let mut instance = Self::new(info.name, info.id, info.address, info.port);
        instance.weight = weight.unwrap_or(1);
        instance.zone = zone;
        instance.state = if draining {
            InstanceState::Draining
        } else {
            InstanceState::Ready
        };
        instance.metadata = info.metadata;
        instance
    }
}

/// The instance as JSON.
pub(crate) fn write(compat: Compat, instance: &Instance) -> Result<Vec<u8>> {
    let written = match compat {
        Compat::GoChat => serde_json::to_vec(&ServiceInfo::from(instance)),
        _ => serde_json::to_vec(instance),
    };
    written.map_err(|source| {
        Error::invalid_argument("the instance cannot be written as JSON").with_source(source)
    })
}

/// The instance that this JSON describes.
pub(crate) fn read(compat: Compat, json: &[u8]) -> serde_json::Result<Instance> {
    match compat {
        Compat::GoChat => serde_json::from_slice::<ServiceInfo>(json).map(Into::into),
        _ => serde_json::from_slice(json),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_comes_back_whole_in_both_formats() {
        let mut whole = Instance::new("user", "user-1", "10.0.0.7", 9000)
            .with_weight(0)
            .with_zone("b")
            .with_metadata("version", "1.4.2");
        whole.state = InstanceState::Draining;
        for instance in [whole, Instance::new("user", "user-2", "::1", 1)] {
            for compat in [Compat::Native, Compat::GoChat] {
                let json = write(compat, &instance).expect("JSON");
                assert_eq!(read(compat, &json).expect("an instance"), instance);
            }
        }
    }

    #[test]
    fn gochats_json_has_its_fields_and_no_more() {
        let instance = Instance::new("user", "user-1", "10.0.0.7", 9000);
        let json = write(Compat::GoChat, &instance).expect("JSON");
        assert_eq!(
            String::from_utf8(json).expect("text"),
            r#"{"id":"user-1","name":"user","address":"10.0.0.7","port":9000}"#
        );
    }
}
