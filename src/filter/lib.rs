//! The Envoy filter: a thin shell around [`keystile_core::decide`]. It holds every hostcall of the
//! project, all of them in `host`, and everything that must outlive a configuration push (`vm`:
//! what is in force, metric ids); the context of one push only knows which store its configuration
//! came from.
//!
//! It never decides anything itself, never calls anything that may panic, and never answers a
//! request without the core's verdict: if something fails, the request is refused.
//!
//! There is no SDK in it: what one adds to its size, Envoy would compile before the first request.

#![cfg(target_family = "wasm")]

mod attempts;
mod buckets;
mod clock;
mod entry;
mod floors;
mod given;
mod host;
mod marks;
mod metrics;
mod names;
mod peer;
mod quotas;
mod report;
mod request;
mod root;
mod slots;
mod standing;
mod swap;
mod tunnels;
mod usage;
mod vm;
