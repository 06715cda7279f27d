//! A chat-message service, whole: the golden path of infra.
//!
//! Business code ([`service`], [`store`], [`timeline`], [`indexer`], [`moderation`]) knows traits only. [`assembly`] picks
//! the backends, [`http`] and [`replay`] drive the service from outside.

pub mod assembly;
pub mod config;
pub mod http;
pub mod indexer;
pub mod model;
pub mod moderation;
pub mod replay;
pub mod service;
pub mod store;
pub mod timeline;
