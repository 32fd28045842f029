//! A generic secret that Envoy has, or fetches.

use std::sync::{Mutex, PoisonError};

use super::super::{Buffer, Envoys};
use super::text;

static HELD: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Calls `f` while the environment holds these variables instead of the keys that it otherwise has.
/// The secret has not arrived.
pub fn with_secret<R>(keys: &str, variables: &[(&str, &str)], f: impl FnOnce() -> R) -> R {
    hold("");
    // SAFETY: std's own lock guards the environment, and nobody here reads it by C.
    unsafe { std::env::remove_var("KEYSTILE_SIGNING_KEYS") };
    for (name, value) in variables {
        // SAFETY: likewise.
        unsafe { std::env::set_var(name, value) };
    }
    let result = f();
    for (name, _) in variables {
        // SAFETY: likewise.
        unsafe { std::env::remove_var(name) };
    }
    // SAFETY: likewise.
    unsafe { std::env::set_var("KEYSTILE_SIGNING_KEYS", keys) };
    result
}

/// The secret arrives, or is replaced.
pub fn hold(secret: &str) {
    *HELD.lock().unwrap_or_else(PoisonError::into_inner) = secret.as_bytes().to_vec();
}

/// There is one by the name of `keystile`.
pub(super) extern "C" fn subscribe(_: Envoys, name: Buffer, _: Buffer) -> usize {
    match text(name).as_str() {
        "keystile" => 7,
        _ => 0,
    }
}

pub(super) extern "C" fn read(_: Envoys, id: usize, to: *mut Buffer) -> bool {
    let held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: the module hands in a live location, and reads before a test holds something else.
    unsafe { *to = Buffer::from_bytes(&held) };
    id == 7
}
