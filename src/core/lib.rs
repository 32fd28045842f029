//! Keystile: API keys checked inside Envoy, against a signed keyset, without a hop.
//!
//! This is the pure core. `keystile-filter` carries it into Envoy; the companion `keystilectl`
//! builds what it reads. Nothing here knows either of them.
//!
//! # Map
//!
//! A request goes through the modules in this order:
//!
//! | module | holds |
//! | --- | --- |
//! | [`request::headers`] | the request's headers, read in place from the host's buffer |
//! | [`request::host`] | hosts, and the readings that their readers make of them |
//! | [`request::path`] | paths, likewise |
//! | [`request::overrides`] | headers that ask for another method or path than the request has |
//! | [`request::route`] | templates, and the one route that a request belongs to |
//! | [`request::glance`] | what of all that follows a request may have at all |
//! | [`request::credential`] | where a request carries its key, and how it is taken out |
//! | [`request::certificate`] | client certificates that a key can be bound to |
//! | [`key`] | the key's text: parse, checksum, digest, safe display |
//! | [`keyset`] | the signed artefacts, base and overlay: envelope, manifest, pages, lookup; and how they are built |
//! | [`policy`] | `policy.yaml` as types that cannot be wrong |
//! | [`limit::bucket`] | token buckets over one `u64`, several taken together |
//! | [`limit::quota`] | allowances by day or month: windows in a time zone, and what was taken in them |
//! | [`decide`] | all of it as one pure function |
//! | [`reply`] | the one table from a denial to what the caller is told |
//!
//! Beside that way stand [`report`] and [`report::usage`], what an Envoy tells the control plane, and
//! [`report::message`], which signs both.
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

pub mod decide;
pub mod key;
pub mod keyset;
pub mod limit;
mod mix;
pub mod policy;
pub mod reply;
pub mod report;
pub mod request;

/// Property tests keep the seeds of their failures here, to be committed.
#[cfg(test)]
fn seeded() -> proptest::prelude::ProptestConfig {
    use proptest::test_runner::FileFailurePersistence;
    proptest::prelude::ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/seeds.txt"
        )))),
        ..Default::default()
    }
}
