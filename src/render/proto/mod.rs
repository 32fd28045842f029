//! The messages of Envoy's API that the companion reads and writes, written by hand: some twenty of
//! thousands, each with only the fields that are used. Other fields are skipped.
//!
//! Field numbers are Envoy's. `tests/proto` compares them with the texts in
//! `tests/vectors/proto`; a field that is added here must be added there too.

pub mod core;
pub mod discovery;
pub mod google;
pub mod module;
pub mod wasm;

/// Gives messages their name in a type URL, so that an [`Any`] can hold them.
#[doc(hidden)]
#[macro_export]
macro_rules! named {
    ($($message:ident in $package:literal),+ $(,)?) => {$(
        impl prost::Name for $message {
            const NAME: &'static str = stringify!($message);
            const PACKAGE: &'static str = $package;

            fn type_url() -> String {
                format!("type.googleapis.com/{}", Self::full_name())
            }
        }
    )+};
}
pub use crate::named;
