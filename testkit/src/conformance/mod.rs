//! The conformance suite: proves that a backend keeps the contract, with one macro call.
//!
//! A [`Scenario`] is a named async function over a [`Harness`]; its id is that of the catalogue. A family is the list of scenarios of
//! one contract, and a macro of the same name that expands to one test per scenario. Families know nothing of each other and nothing of
//! the backends; what they need of a server goes through the [`Fixture`] that the backend's author gives.

/// A row of [`FAMILIES`].
macro_rules! family {
    ($name:ident) => {
        Family {
            name: stringify!($name),
            list: || $name::SCENARIOS.iter().map(Scenario::id).collect(),
        }
    };
}

mod answers;
mod collections;
mod disturbance;
mod fixture;
mod harness;
mod lease;
mod macros;
mod making;
mod matrix;
mod mode;
mod proxies;
mod runner;
mod scenario;
mod subject;
mod verdict;

pub mod backends;
pub mod bloom;
pub mod breakers;
pub mod config_centers;
pub mod databases;
pub mod elections;
pub mod hashes;
pub mod ids;
pub mod instance_ids;
pub mod key_values;
pub mod limiters;
pub mod loading;
pub mod locks;
pub mod meters;
pub mod once;
pub mod queues;
pub mod rate_limits;
pub mod registries;
pub mod retries;
pub mod scripts;
pub mod searches;
pub mod sets;
pub mod shards;
pub mod sorted_sets;
pub mod stacks;
pub mod watches;

pub use crate::{
    backends, bloom, breakers, check, check_eq, check_error, config_centers, databases, elections, hashes,
    ids, instance_ids, key_values, limiters, loading, locks, meters, once, queues, rate_limits, registries,
    retries, scripts, searches, sets, shards, sorted_sets, stacks, watches,
};
pub use disturbance::{Disturbance, Probe};
pub use fixture::{Fixture, Setup, TimeControl};
pub use harness::{Harness, declares, limits};
pub use lease::{SLACK, long_lease, over_within, short_lease};
pub use matrix::{Breakage, prove, weaknesses};
pub use mode::{FAULT_RATE, Mode};
pub use proxies::Proxies;
pub use runner::{Report, play, test, test_retries};
pub use scenario::{Play, Scenario};
pub use subject::Subject;
pub use verdict::{Failure, Outcome, Premise};

/// A family of scenarios: those of one contract.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Family {
    /// The name of its macro and its module.
    pub name: &'static str,
    list: fn() -> Vec<String>,
}

impl Family {
    /// The ids of its scenarios, in the order of the list.
    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        (self.list)()
    }
}

/// Every family.
pub const FAMILIES: &[Family] = &[
    family!(backends),
    family!(bloom),
    family!(breakers),
    family!(config_centers),
    family!(databases),
    family!(elections),
    family!(hashes),
    family!(ids),
    family!(instance_ids),
    family!(key_values),
    family!(limiters),
    family!(loading),
    family!(locks),
    family!(meters),
    family!(once),
    family!(queues),
    family!(rate_limits),
    family!(registries),
    family!(retries),
    family!(scripts),
    family!(searches),
    family!(sets),
    family!(shards),
    family!(sorted_sets),
    family!(stacks),
    family!(watches),
];
