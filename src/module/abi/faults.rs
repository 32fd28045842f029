//! Faults on request, for tests of the module in a real Envoy: of the build with the feature `faults`,
//! which is never released.
#![expect(
    clippy::disallowed_methods,
    clippy::panic,
    reason = "to break where a test says is what it is for"
)]

use core::cell::Cell;
use std::alloc::{GlobalAlloc, Layout, System};

use super::{Map, Stream};

/// A request with more headers than this panics; those of other tests have fewer.
const PANICS_ABOVE: usize = 40;
/// The file that says where to break: the name of an entry, and perhaps `memory`.
const FILE: &str = "KEYSTILE_FAULT";

thread_local! {
    static IS_FULL: Cell<bool> = const { Cell::new(false) };
}

struct Memory;

#[global_allocator]
static MEMORY: Memory = Memory;

// SAFETY: the system's, but for the answer that there is none left, which it may give as well.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match IS_FULL.get() {
            true => core::ptr::null_mut(),
            // SAFETY: as the caller promises.
            false => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) };
    }
}

/// Breaks at the entry that the file names: once, because the file is then gone.
///
/// # Panics
/// If a test wants that.
pub fn meet(entry: &str) {
    let Some(file) = std::env::var_os(FILE) else {
        return;
    };
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let mut words = text.split_whitespace();
    if words.next() != Some(entry) || std::fs::remove_file(&file).is_err() {
        return;
    }
    match words.next() {
        Some("memory") => IS_FULL.set(true),
        _ => panic!("as a test asked for"),
    }
}

/// Breaks at a request of very many headers.
///
/// # Panics
/// For such a one.
pub fn above(stream: &Stream<'_>) {
    let count = stream.headers(Map::Request, |headers| headers.iter().count());
    if count.is_ok_and(|count| count > PANICS_ABOVE) {
        panic!("as a test asked for");
    }
}
