//! Messages of Envoy's API: those of the companion, and those that tests alone speak.

pub mod api_key_auth;
pub mod listener;
pub mod ratelimit;
pub mod server;

pub use keystile_render::proto::{core, discovery, google, module, wasm};
