//! What is behind Envoy's pointer to a filter, and who may use it when.

use core::cell::{Cell, UnsafeCell};
use core::ffi::c_void;

use super::super::{Envoys, Stream};
use crate::config::Config;
use crate::request;
use keystile_core::reply::AnsweredRequest;

/// What is behind a filter's pointer.
///
/// Envoy may call about a filter while it is being called about it: a reply runs through the
/// filters of the response, and a reset destroys them.
struct Filter {
    config: *const Config,
    /// The state is in use.
    is_busy: Cell<bool>,
    /// Envoy has destroyed it meanwhile.
    is_gone: Cell<bool>,
    state: UnsafeCell<request::RequestState>,
}

/// Returns the state, however the call ends, and frees the filter if Envoy has destroyed it.
struct Turn(*mut Filter);

impl Drop for Turn {
    fn drop(&mut self) {
        // SAFETY: it lives until here, because whoever destroys it meanwhile only says so.
        unsafe {
            (*self.0).is_busy.set(false);
            if (*self.0).is_gone.get() {
                drop(Box::from_raw(self.0));
            }
        }
    }
}

/// A filter of this configuration, as a pointer for Envoy.
pub fn made(config: *const Config) -> *const c_void {
    let filter = Filter {
        config,
        is_busy: Cell::new(false),
        is_gone: Cell::new(false),
        state: UnsafeCell::default(),
    };
    Box::into_raw(Box::new(filter)).cast_const().cast()
}

/// Envoy destroys a filter. If that happens within a call about it, the end of that call frees it.
///
/// # Safety
/// It came from [`made`] or [`broken`], and Envoy no longer uses it.
pub unsafe fn give_up(filter: *const c_void) {
    if filter.is_null() || filter == broken() {
        return;
    }
    let filter = filter.cast::<Filter>().cast_mut();
    // SAFETY: as the caller promises.
    unsafe {
        if (*filter).is_busy.get() {
            (*filter).is_gone.set(true);
        } else {
            drop(Box::from_raw(filter));
        }
    }
}

#[cfg(test)]
impl Drop for Filter {
    fn drop(&mut self) {
        super::super::fake::freed(self.is_busy.get());
    }
}

/// Stands in for a filter that could not be made: every request to it is refused.
static BROKEN: u8 = 0;

pub fn broken() -> *const c_void {
    (&raw const BROKEN).cast()
}

/// Calls `f` with what a filter's pointer stands for; `None` for one that could not be made, and for
/// a call within a call.
///
/// # Safety
/// `filter` came from [`made`], is not destroyed, and belongs to
/// the filter `envoy`, which Envoy is calling about on its thread.
pub unsafe fn with<R>(
    envoy: Envoys,
    filter: *const c_void,
    f: impl FnOnce(&Config, &mut Stream<'_>, &mut request::RequestState) -> R,
) -> Option<R> {
    if filter.is_null() || filter == broken() {
        return None;
    }
    let filter = filter.cast::<Filter>().cast_mut();
    // SAFETY: it is one of ours, and Envoy calls about it from one thread.
    let (config, state) = unsafe {
        if (*filter).is_busy.replace(true) {
            return None;
        }
        // Envoy destroys a configuration after the filters that were made from it.
        ((*filter).config.as_ref(), (*filter).state.get())
    };
    let _turn = Turn(filter);
    // SAFETY: as the caller promises.
    let mut stream = unsafe { Stream::new(envoy) }?;
    // SAFETY: nobody else has the state while this one is busy with it.
    Some(f(config?, &mut stream, unsafe { &mut *state }))
}

/// Refuses a request about which nothing is known.
///
/// # Safety
/// `envoy` is a filter that Envoy is calling about on its thread.
pub unsafe fn close(envoy: Envoys) {
    // SAFETY: as the caller promises.
    let stream = unsafe { Stream::new(envoy) };
    if let Some(mut stream) = stream {
        let to = AnsweredRequest::default();
        request::close(&mut stream, &mut request::RequestState::default(), to);
    }
}
