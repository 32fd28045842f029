//! Keystile: API keys checked inside Envoy, against a signed keyset, without a hop.
//!
//! This library is the core and, compiled for wasm, the filter around it. The companion
//! `keystilectl` is the binary beside it (`src/control`), which the core cannot see.
//!
//! # Map
//!
//! A request goes through the modules in this order:
//!
//! | module | holds |
//! | --- | --- |
//! | [`headers`] | the request's headers, read in place from the host's buffer |
//! | [`host`] | hosts, and the readings that their readers make of them |
//! | [`path`] | paths, likewise |
//! | [`overrides`] | headers that ask for another method or path than the request has |
//! | [`route`] | templates, and the one route that a request belongs to |
//! | [`glance`] | what of all that follows a request may have at all |
//! | [`credential`] | where a request carries its key, and how it is taken out |
//! | [`overrides`] | headers that ask for another method or path than the request has |
//! | [`certificate`] | client certificates that a key can be bound to |
//! | [`key`] | the key's text: parse, checksum, digest, safe display |
//! | [`keyset`] | the signed artefacts, base and overlay: envelope, manifest, pages, lookup; and how they are built |
//! | [`policy`] | `policy.yaml` as types that cannot be wrong |
//! | [`bucket`] | token buckets over one `u64`, several taken together |
//! | [`quota`] | allowances by day or month: windows in a time zone, and what was taken in them |
//! | [`decide`] | all of it as one pure function |
//! | [`reply`] | the one table from a denial to what the caller is told |
//!
//! Beside that way stand [`report`] and [`usage`], what a VM tells the control plane, and
//! [`message`], which signs both.
//!
//! `filter` (wasm only) carries this into Envoy: `host` has every hostcall, `vm` what
//! outlives a configuration push, `request` one request, `buckets` the buckets in shared
//! data, `slots` the gauge that proves which version each worker has in force, `report`
//! what tells the control plane so.
//!
//! # What never happens
//!
//! * The core does no I/O and reads no clock: time and randomness are arguments.
//! * Nothing compiled for wasm unwraps, indexes or panics; no SDK call that does is used.
//! * The verdict of `on_configure` depends on bytes and environment alone. Whatever may
//!   differ between Envoy's canary and a worker is judged later, by denying.
//! * No error, log line, metric or reply holds a key or a signing secret: the types that
//!   hold them have neither `Debug` nor `Display`.
//! * No branch that cannot tell lets a request through.
#![deny(missing_docs)]
#![deny(unsafe_code)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unreachable,
    clippy::todo
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod bucket;
pub mod certificate;
pub mod credential;
pub mod decide;
pub mod glance;
pub mod headers;
pub mod host;
pub mod key;
pub mod keyset;
pub mod lease;
pub mod message;
mod mix;
pub mod overrides;
pub mod path;
pub mod policy;
pub mod quota;
pub mod reply;
pub mod report;
pub mod route;
pub mod usage;

#[cfg(target_family = "wasm")]
mod filter;

/// Property tests keep the seeds of their failures here, to be committed.
#[cfg(test)]
fn seeded() -> proptest::prelude::ProptestConfig {
    use proptest::test_runner::FileFailurePersistence;
    proptest::prelude::ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/seeds.txt"))),
        ..Default::default()
    }
}
