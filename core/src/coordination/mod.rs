//! The coordination contracts: service registry, configuration centre, locks, elections, instance ids.
//!
//! [`Coordinator`] is their sum; business code takes only the part that it uses.

mod config_center;
mod election;
mod instance_ids;
mod last_known;
mod locks;
mod registration;
mod registry;

pub use config_center::{ConfigCenter, ConfigCenterExt, ConfigEntry, ConfigWrite, Version, WatchScope};
pub use election::{Election, ElectionOptions, Leadership};
pub use instance_ids::{InstanceId, InstanceIds};
pub use last_known::LastKnown;
pub use locks::{FencingToken, HeldLock, LockGuard, LockOptions, Locks, LocksExt};
pub use registration::{Registrar, Registration, RegistrationKeeper, Registrations, Standing};
pub use registry::{Instance, InstanceState, Registry, RegistryExt, ServiceSnapshot};

/// Everything that etcd, Consul or memory offers for coordination; implemented for whatever offers all four parts.
///
/// `Arc<dyn Coordinator>` upcasts to `Arc<dyn Locks>` and so on.
pub trait Coordinator: Registry + ConfigCenter + Locks + InstanceIds {}

impl<T: Registry + ConfigCenter + Locks + InstanceIds + ?Sized> Coordinator for T {}

crate::assert_object_safe!(Coordinator);
