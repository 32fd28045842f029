//! Messages of Envoy's API: those of the companion, and those that tests alone speak.

pub mod api_key_auth;
#[allow(dead_code)]
#[path = "../../../../src/control/proto/mod.rs"]
mod companion;
pub mod listener;
pub mod ratelimit;
pub mod server;

pub use companion::{core, discovery, google, wasm};
