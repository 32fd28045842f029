//! The messages of Envoy's API that the companion reads and writes, by hand: some twenty of
//! thousands, each with only the fields that are used. Whatever else a peer sends is skipped
//! unread.
//!
//! Field numbers are Envoy's. `tests/proto` compares them with the texts in
//! `tests/vectors/proto`; a field that is added here is added there too.

pub mod core;
pub mod discovery;
pub mod google;
pub mod module;
pub mod wasm;

/// Gives messages the name that stands in a type URL, so that an [`Any`] can hold them.
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
