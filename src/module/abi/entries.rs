//! What Envoy calls: names of its choosing, one for each event.
//!
//! No panic leaves an entry, because it would end Envoy: a request that one breaks is refused, and
//! so is a configuration. No filter is ever null, at which Envoy 1.39 ends itself.

use core::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::{Buffer, Configuration, Envoys, Header, Level, Stream, VERSION, load, log};
use crate::config::Config;
use crate::request::RequestState;
use crate::{answers, push, request, tick};
use keystile_core::reply::AnsweredRequest;

mod filter;

use filter::{broken, close, with};

/// `envoy_dynamic_module_type_on_http_filter_request_headers_status`, and those of other events.
pub(super) const CONTINUE: u32 = 0;
const STOP: u32 = 1;

/// Calls `f`, and `otherwise` if it panics.
fn caught<R>(entry: &'static str, otherwise: impl FnOnce() -> R, f: impl FnOnce() -> R) -> R {
    let called = catch_unwind(AssertUnwindSafe(|| {
        #[cfg(test)]
        super::fake::break_at(entry);
        #[cfg(feature = "faults")]
        super::faults::meet(entry);
        f()
    }));
    called.unwrap_or_else(|what| {
        // To drop it could panic again.
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(what)));
        dropped.unwrap_or_else(core::mem::forget);
        log(
            Level::Error,
            &format!("keystile: a mistake in `{entry}` was caught; please report it together with the line before this one"),
        );
        otherwise()
    })
}

/// Refuses the request of an entry that panicked.
fn closed(stream: &mut Stream<'_>, state: &mut RequestState) {
    // If its headers are the reason, reading them panics again, and it is refused without its id.
    let read = || request::answered(stream);
    let to = caught("close_id", AnsweredRequest::default, read);
    caught("close", || (), || request::close(stream, state, to));
}

#[unsafe(no_mangle)]
pub(super) extern "C" fn envoy_dynamic_module_on_program_init() -> *const c_char {
    let loaded = catch_unwind(load);
    match loaded {
        Ok(Ok(())) => VERSION.as_ptr(),
        Ok(Err(missing)) => {
            say_too_old(missing);
            core::ptr::null()
        }
        Err(_) => core::ptr::null(),
    }
}

/// Through Envoy's log function if there is one, and otherwise to where its log goes.
#[expect(
    clippy::print_stderr,
    reason = "an Envoy that lacks a function may lack that for its log"
)]
fn say_too_old(missing: &str) {
    eprintln!(
        "keystile: this Envoy has no `envoy_dynamic_module_callback_{missing}`. libkeystile.so needs Envoy 1.38 or later: update Envoy, or use keystile.wasm"
    );
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_new(
    envoy: Envoys,
    name: Buffer,
    configuration: Buffer,
) -> *const c_void {
    caught("config_new", core::ptr::null, || {
        // SAFETY: Envoy calls about it on its main thread, and the bytes live as long as the call.
        let (host, name, bytes) = unsafe {
            (
                Configuration::new(envoy),
                name.bytes(),
                configuration.bytes(),
            )
        };
        let made = host.and_then(|host| push::new(&host, name, bytes));
        made.map_or(core::ptr::null(), |made| Arc::into_raw(made).cast())
    })
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_destroy(
    made: *const c_void,
) {
    caught(
        "config_destroy",
        || (),
        || {
            if !made.is_null() {
                // SAFETY: it came from `config_new`, and Envoy gives it up.
                push::end(unsafe { Arc::from_raw(made.cast::<Config>()) });
            }
        },
    );
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_scheduled(
    envoy: Envoys,
    made: *const c_void,
    _: u64,
) {
    caught(
        "config_scheduled",
        || (),
        || {
            // SAFETY: Envoy calls about a configuration that is alive, on its main thread.
            let of = unsafe { (Configuration::new(envoy), made.cast::<Config>().as_ref()) };
            if let (Some(host), Some(config)) = of {
                tick::due(&host, config);
            }
        },
    );
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn envoy_dynamic_module_on_http_filter_config_http_callout_done(
    envoy: Envoys,
    made: *const c_void,
    call: u64,
    result: u32,
    headers: *const Header,
    header_count: usize,
    chunks: *const Buffer,
    chunk_count: usize,
) {
    caught(
        "config_http_callout_done",
        || (),
        || {
            // SAFETY: Envoy calls about a configuration that is alive, on its main thread.
            let of = unsafe { (Configuration::new(envoy), made.cast::<Config>().as_ref()) };
            let (Some(host), Some(config)) = of else {
                return;
            };
            // SAFETY: all of it lives as long as the call; null stands for nothing.
            let (headers, chunks) =
                unsafe { (listed(headers, header_count), listed(chunks, chunk_count)) };
            // SAFETY: likewise.
            let header = |h: &Header| unsafe { (h.name.bytes(), h.value.bytes()) };
            let headers: Vec<_> = headers.iter().map(header).collect();
            // SAFETY: likewise.
            let chunks: Vec<&[u8]> = chunks.iter().map(|c| unsafe { c.bytes() }).collect();
            let answer = (result == 0).then(|| answers::CalloutAnswer::new(&headers, &chunks));
            tick::answered(&host, config, call, answer.as_ref());
        },
    );
}

/// # Safety
/// So many lie there, or it is null.
unsafe fn listed<'a, T>(first: *const T, count: usize) -> &'a [T] {
    match first.is_null() {
        true => &[],
        // SAFETY: as the caller promises.
        false => unsafe { core::slice::from_raw_parts(first, count) },
    }
}

/// The policy, which travels with the keyset, says how keys are checked; routes cannot.
#[unsafe(no_mangle)]
pub(super) extern "C" fn envoy_dynamic_module_on_http_filter_per_route_config_new(
    _: Buffer,
    _: Buffer,
) -> *const c_void {
    log(
        Level::Warn,
        "keystile: there is no configuration for a single route; write it into the policy, or switch the filter off with `disabled: true`",
    );
    core::ptr::null()
}

#[unsafe(no_mangle)]
pub(super) extern "C" fn envoy_dynamic_module_on_http_filter_per_route_config_destroy(
    _: *const c_void,
) {
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn envoy_dynamic_module_on_http_filter_new(
    made: *const c_void,
    _: Envoys,
) -> *const c_void {
    caught("filter_new", broken, || {
        if made.is_null() {
            return broken();
        }
        filter::made(made.cast())
    })
}

/// Calls `f` about a request that may go on, and refuses the request if `f` panics or the request
/// is unknown. The refusal is part of the same turn: Envoy may destroy the filter in either.
///
/// # Safety
/// As [`with`].
unsafe fn judged(
    entry: &'static str,
    envoy: Envoys,
    filter: *const c_void,
    f: impl FnOnce(&Config, &mut Stream<'_>, &mut request::RequestState) -> bool,
) -> u32 {
    let turn = |config: &Config, stream: &mut Stream<'_>, state: &mut request::RequestState| {
        let called = || {
            #[cfg(feature = "faults")]
            super::faults::above(stream);
            Some(f(config, stream, state))
        };
        let done = caught(entry, || None, called);
        done.unwrap_or_else(|| {
            closed(stream, state);
            false
        })
    };
    // SAFETY: as the caller promises.
    let known = caught("turn", || None, || unsafe { with(envoy, filter, turn) });
    let goes_on = known.unwrap_or_else(|| {
        // SAFETY: likewise.
        caught("close", || (), || unsafe { close(envoy) });
        false
    });
    if goes_on { CONTINUE } else { STOP }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn envoy_dynamic_module_on_http_filter_request_headers(
    envoy: Envoys,
    filter: *const c_void,
    _: bool,
) -> u32 {
    // SAFETY: Envoy calls about a filter that is alive, on its thread.
    unsafe { judged("request_headers", envoy, filter, request::headers) }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn envoy_dynamic_module_on_http_filter_request_trailers(
    envoy: Envoys,
    filter: *const c_void,
) -> u32 {
    let trailers = |_: &Config, stream: &mut Stream<'_>, state: &mut request::RequestState| {
        request::trailers(stream, state)
    };
    // SAFETY: Envoy calls about a filter that is alive, on its thread.
    unsafe { judged("request_trailers", envoy, filter, trailers) }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn envoy_dynamic_module_on_http_filter_response_headers(
    envoy: Envoys,
    filter: *const c_void,
    _: bool,
) -> u32 {
    caught(
        "response_headers",
        || (),
        || {
            // SAFETY: Envoy calls about a filter that is alive, on its thread.
            unsafe {
                with(envoy, filter, |_, stream, state| {
                    request::response(stream, state)
                })
            };
        },
    );
    CONTINUE
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn envoy_dynamic_module_on_http_filter_scheduled(
    envoy: Envoys,
    filter: *const c_void,
    _: u64,
) {
    let turn = |config: &Config, stream: &mut Stream<'_>, state: &mut request::RequestState| {
        let done = caught(
            "scheduled",
            || false,
            || {
                request::asked_again(config, stream, state);
                true
            },
        );
        if !done {
            closed(stream, state);
        }
    };
    // SAFETY: Envoy calls about a filter that is alive, on its thread.
    caught("turn", || None, || unsafe { with(envoy, filter, turn) });
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn envoy_dynamic_module_on_http_filter_destroy(filter: *const c_void) {
    caught(
        "filter_destroy",
        || (),
        || {
            // SAFETY: it came from `filter_new`, and Envoy gives it up.
            unsafe { filter::give_up(filter) }
        },
    );
}

#[unsafe(no_mangle)]
pub(super) extern "C" fn envoy_dynamic_module_on_http_filter_request_body(
    _: Envoys,
    _: *const c_void,
    _: bool,
) -> u32 {
    CONTINUE
}

#[unsafe(no_mangle)]
pub(super) extern "C" fn envoy_dynamic_module_on_http_filter_response_body(
    _: Envoys,
    _: *const c_void,
    _: bool,
) -> u32 {
    CONTINUE
}

#[unsafe(no_mangle)]
pub(super) extern "C" fn envoy_dynamic_module_on_http_filter_response_trailers(
    _: Envoys,
    _: *const c_void,
) -> u32 {
    CONTINUE
}

/// Declares events that Envoy requires but that we do not need.
macro_rules! passed_over {
    ($( $name:ident ($($type:ty),*); )*) => {
        $( #[unsafe(no_mangle)] extern "C" fn $name($(_: $type),*) {} )*
    };
}

passed_over! {
    envoy_dynamic_module_on_http_filter_stream_complete(Envoys, *const c_void);
    envoy_dynamic_module_on_http_filter_http_callout_done(Envoys, *const c_void, u64, u32, *const Header, usize, *const Buffer, usize);
    envoy_dynamic_module_on_http_filter_http_stream_headers(Envoys, *const c_void, u64, *const Header, usize, bool);
    envoy_dynamic_module_on_http_filter_http_stream_data(Envoys, *const c_void, u64, *const Buffer, usize, bool);
    envoy_dynamic_module_on_http_filter_http_stream_trailers(Envoys, *const c_void, u64, *const Header, usize);
    envoy_dynamic_module_on_http_filter_http_stream_complete(Envoys, *const c_void, u64);
    envoy_dynamic_module_on_http_filter_http_stream_reset(Envoys, *const c_void, u64, u32);
    envoy_dynamic_module_on_http_filter_downstream_above_write_buffer_high_watermark(Envoys, *const c_void);
    envoy_dynamic_module_on_http_filter_downstream_below_write_buffer_low_watermark(Envoys, *const c_void);
}
