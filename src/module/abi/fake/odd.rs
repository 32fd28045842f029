//! Calls that no Envoy makes, or not in this order.

use core::ffi::c_void;
use core::ptr::null;

use super::super::Buffer;
use super::super::entries::{self, CONTINUE};
use super::{Made, Request};

impl Request {
    /// Whether a reply to it will call back.
    pub fn is_eager(&self) -> bool {
        !self.stream.calls_back.is_null()
    }

    /// Whether a reply has.
    pub fn is_destroyed(&self) -> bool {
        self.stream.is_destroyed
    }

    /// It is given up, and will be once more.
    pub fn gives_up(&self) {
        // SAFETY: the filter lives; whoever asks for this has it break before it is freed.
        unsafe { entries::envoy_dynamic_module_on_http_filter_destroy(self.filter) };
    }

    /// Its body comes, or the response's, whose trailers follow. Whether all goes on.
    pub fn bodies(&self, is_end: bool) -> bool {
        let (at, filter) = (self.at(), self.filter);
        [
            entries::envoy_dynamic_module_on_http_filter_request_body(at, filter, is_end),
            entries::envoy_dynamic_module_on_http_filter_response_body(at, filter, is_end),
            entries::envoy_dynamic_module_on_http_filter_response_trailers(at, filter),
        ]
        .iter()
        .all(|status| *status == CONTINUE)
    }

    /// It is called back about an event that nobody asked for.
    pub fn called_back(&self, event: u64) {
        // SAFETY: the filter lives.
        unsafe {
            entries::envoy_dynamic_module_on_http_filter_scheduled(self.at(), self.filter, event);
        }
    }

    /// Its headers come to a filter that is none. Whether it goes on.
    pub fn goes_astray(&self) -> bool {
        let none: *const c_void = null();
        // SAFETY: null stands for a filter that could not be made.
        let status = unsafe {
            entries::envoy_dynamic_module_on_http_filter_request_headers(self.at(), none, true)
        };
        status == CONTINUE
    }
}

impl Made {
    /// It is called back about an event that nobody asked for.
    pub fn called_back(&self, event: u64) {
        // SAFETY: the configuration lives.
        unsafe {
            entries::envoy_dynamic_module_on_http_filter_config_scheduled(
                self.at(),
                self.made,
                event,
            );
        }
    }

    /// A call of any number failed in any way, with nothing to show.
    pub fn fails(&self, call: u64, result: u32) {
        // SAFETY: the configuration lives; null stands for nothing.
        unsafe {
            entries::envoy_dynamic_module_on_http_filter_config_http_callout_done(
                self.at(),
                self.made,
                call,
                result,
                null(),
                3,
                null(),
                3,
            );
        }
    }
}

/// A route has a configuration of these bytes. Whether it is taken.
pub fn configure_route(bytes: &[u8]) -> bool {
    let bytes = Buffer::from_bytes(bytes);
    let made = entries::envoy_dynamic_module_on_http_filter_per_route_config_new(bytes, bytes);
    !made.is_null()
}
