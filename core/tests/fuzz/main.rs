//! Fuzz targets of core's parsers, by way of its public functions; see `infra_testkit::fuzz`.

#![allow(clippy::expect_used, clippy::panic, reason = "fuzz targets fail by panicking")]

mod config;
mod durations;
mod ids;
mod messages;
mod policies;
mod support;
mod url;
