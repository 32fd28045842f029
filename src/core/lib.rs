//! The pure core: API keys checked inside Envoy, against a signed keyset, without a network hop.
//!
//! `keystile-filter` carries it into Envoy; the companion `keystilectl` builds what it reads, and
//! explains requests with it. It knows neither of them, and compiles for WebAssembly and natively.
//!
//! It never does I/O and never reads a clock: time and randomness are arguments. It never unwraps,
//! indexes or panics, never lets a request through if it cannot decide, and never puts a key or a
//! signing secret into an error, a log line, a metric or a reply.
//!
//! # Map
//!
//! A request goes through the modules in this order:
//!
//! | module | holds |
//! | --- | --- |
//! | [`request::headers`] | the request's headers, read in place from the host's buffer |
//! | [`request::host`] | hosts, and the ways in which proxies and servers may read them |
//! | [`request::path`] | paths, likewise |
//! | [`request::overrides`] | headers that ask for another method or path than the request has |
//! | [`request::route`] | templates, and the one route that a request belongs to |
//! | [`request::glance`] | one look at the headers: which of the steps after it are needed at all |
//! | [`request::credential`] | where a request carries its key, and how it is taken out |
//! | [`request::certificate`] | client certificates that a key can be bound to |
//! | [`key`] | the key's text: parse, checksum, digest, safe display |
//! | [`keyset`] | the signed artefacts, base and overlay: envelope, manifest, pages, lookup; and how they are built |
//! | [`policy`] | `policy.yaml` as types that cannot be wrong |
//! | [`limit::bucket`] | token buckets over one `u64`, several taken together |
//! | [`limit::attempts`] | how many unknown keys an address may try |
//! | [`limit::quota`] | quotas by day or month: windows in a time zone, and what was taken in them |
//! | [`decide`] | all of it as one pure function |
//! | [`outcome`] | what that does to a request that is let in |
//! | [`reply`] | the one table from a denial to what the caller is told |
//!
//! Beside these are [`report`] and [`report::usage`], which an Envoy sends to the control plane,
//! and [`report::message`], which signs both, [`hex`], digits for the whole workspace, and
//! [`advice`], a fact with its next step.
//!
//! # Small code
//!
//! Envoy compiles all of the filter before its first request, so what runs once for each push is
//! kept out of its callers (`#[inline(never)]`), `scripts/lib.sh` asks for little inlining, and
//! what runs for each request is marked `#[inline]`.
//!
//! # What never happens
//!
//! * The verdict of `on_configure` depends on bytes and environment alone. Whatever may
//!   differ between Envoy's canary and a worker is judged later, by denying.
//! * The types that hold keys and signing secrets have neither `Debug` nor `Display`.
#![deny(missing_docs)]

pub mod advice;
pub mod decide;
pub mod fast_hash;
pub mod hex;
mod json;
pub mod key;
pub mod keyset;
pub mod limit;
pub mod outcome;
pub mod policy;
pub mod reply;
pub mod report;
pub mod request;
mod sort;

#[cfg(test)]
mod damage;

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
