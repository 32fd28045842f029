//! The filter in the real Envoy, started from the configurations under `envoy/`.
//!
//! `scripts/test envoy` builds what these tests run against; by itself `cargo test
//! --test envoy` takes whatever lies in `target/dist`.
#![cfg(not(target_family = "wasm"))]

mod closed;
mod support;
