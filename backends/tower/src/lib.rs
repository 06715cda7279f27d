#![doc = include_str!("../README.md")]
#![cfg_attr(not(feature = "grpc"), allow(rustdoc::broken_intra_doc_links))]

#[cfg(feature = "grpc")]
pub mod grpc;
