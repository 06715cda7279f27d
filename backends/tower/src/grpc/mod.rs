//! A tonic channel balanced over the live instances of a service, from any
//! [`Registry`](infra_core::coordination::Registry). It opens connections to instances, and one watch per service.

mod channels;
mod connection;
mod fleet;
mod follower;
mod metrics;
mod options;
mod pick;
mod replay;
mod send;
mod service;
mod unsent;

pub use channels::Channels;
pub use options::ChannelOptions;
pub use service::ServiceChannel;
