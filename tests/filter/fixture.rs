//! What most tests start from: a store in miniature, one Envoy process with one VM, and answers in a handy form.

pub mod control;
mod edge;
pub mod envelope;
mod pair;
mod store;

use std::path::PathBuf;
use std::sync::OnceLock;

pub use self::control::Control;
pub use self::edge::{Answer, Edge, by_bearer, by_header, vm_in};
pub use self::pair::Pair;
pub use self::store::{Store, name, network, signing_key, signing_keys};
use super::host::Filter;

/// The wall clock of a new process, in seconds.
pub const NOW: u64 = 1_800_000_000;

/// The id of the signing key that every keyset is sealed with, and its secret.
pub const KID: &str = "k1";
pub const SECRET: [u8; 32] = *b"0123456789abcdef0123456789abcdef";

/// The module under test, compiled once.
pub fn filter() -> &'static Filter {
    static FILTER: OnceLock<Filter> = OnceLock::new();
    FILTER.get_or_init(|| {
        let path = std::env::var_os("KEYSTILE_WASM").map_or_else(
            || {
                PathBuf::from(concat!(
                    concat!(env!("CARGO_MANIFEST_DIR"), "/.."),
                    "/target/dist/keystile.wasm"
                ))
            },
            PathBuf::from,
        );
        assert!(
            path.exists(),
            "{} is not there: run scripts/build",
            path.display()
        );
        Filter::load(&path)
    })
}
