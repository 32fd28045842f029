//! What several of the test programs need, compiled once: a store with the real binary, the real
//! server, the real Envoy with its upstreams, a browser, certificates, a client of the discovery
//! service.
//!
//! Never tests anything itself. What one program alone needs stands in its own folder.

pub mod browser;
pub mod database;
pub mod discovery_client;
pub mod door;
pub mod fixture;
pub mod fleet;
pub mod pki;
pub mod proxy;
pub mod reading;
pub mod server;
pub mod support;
