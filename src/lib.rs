//! Keystile's core and its Envoy filter.
#![deny(missing_docs)]
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
pub mod credential;
pub mod decide;
pub mod headers;
pub mod key;
pub mod keyset;
pub mod path;
pub mod policy;
pub mod reply;
pub mod route;

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
