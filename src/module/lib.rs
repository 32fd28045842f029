//! The filter as a native module of Envoy: a thin shell around [`keystile_core::decide`], as
//! `keystile-filter` is for WebAssembly, with the same policy, answers, log names and metrics.
//!
//! [`abi`] holds every call between Envoy and us, and all that is unsafe. One process has one
//! module, whatever its number of workers: what is in force ([`state`]), buckets and tallies
//! ([`buckets`]) exist once in its memory, and all workers share them.
//!
//! It never decides anything itself, and never answers a request without the core's verdict: if
//! something fails, the request is refused.

mod abi;
mod answers;
mod attempts;
mod buckets;
mod clock;
mod config;
mod edits;
mod marks;
mod metrics;
mod peer;
mod push;
mod report;
mod request;
mod secrets;
mod state;
#[cfg(test)]
mod tests;
mod tick;
mod timer;
mod tunnels;
mod usage;

/// Names of filter state that we set: the same that the WebAssembly filter's have in Envoy.
const STATE_CLIENT: &str = "wasm.keystile.client";
const STATE_KEY: &str = "wasm.keystile.key";
const STATE_REASON: &str = "wasm.keystile.reason";
const STATE_ROUTE: &str = "wasm.keystile.route";
const STATE_LIMIT: &str = "wasm.keystile.limit";
/// What the guard asks for: that it begins with [`keystile_core::decide::MARK`].
const STATE_PASS: &str = "wasm.keystile.pass";
/// The name of our filter if there is only one; its guard asks for [`STATE_PASS`].
const USUAL_NAME: &str = "keystile";
