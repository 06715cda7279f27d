//! Every public operation of the embedded backends, dropped at every await point, directly and behind the whole standard stack.
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod embedded;
mod leaky;
