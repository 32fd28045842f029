//! Hostcalls: bytes in, `Result` or `Option` out, never a panic, whatever the status and whatever
//! bytes a caller sent.
#![allow(
    unsafe_code,
    reason = "the host's interface is C; what the host calls is in `entry` and `given`"
)]

mod abi;

use std::thread::LocalKey;
use std::time::Duration;

use super::given::{self, Block, HostBytes};
use abi::*;
pub use abi::{Level, Metric, Status};
use keystile_core::keyset::envelope::Source;
use keystile_core::policy::ReportTarget;
use keystile_core::request::headers::Headers;

fn done(status: u32) -> Result<(), Status> {
    if status == OK {
        Ok(())
    } else {
        Err(Status(status))
    }
}

/// What the host returned, in newly allocated memory.
fn returned(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Result<Vec<u8>, Status> {
    given::returned(None, |data, size| done(call(data, size))).map(HostBytes::into_vec)
}

/// Writes to Envoy's log. Never given a key or a secret.
pub fn log(level: Level, text: &str) {
    // SAFETY: pointer and length of a live string.
    unsafe { proxy_log(level as u32, text.as_ptr(), text.len()) };
}

/// The wall clock, in nanoseconds. `None` if the host has no clock.
pub fn wall_ns() -> Option<u64> {
    let mut ns = 0;
    // SAFETY: a live integer to write to.
    let status = unsafe { proxy_get_current_time_nanoseconds(&raw mut ns) };
    (status == OK).then_some(ns)
}

/// The wall clock, in seconds. If the host has no clock, the end of time, so that everything that
/// expires has expired.
pub fn wall_seconds() -> u64 {
    wall_ns().map_or(u64::MAX, |ns| ns / 1_000_000_000)
}

/// The monotonic clock, in nanoseconds. `None` if the host has none.
pub fn monotonic() -> Option<u64> {
    let mut ns = 0;
    // SAFETY: a live integer to write to. 1 is CLOCK_MONOTONIC.
    let error = unsafe { clock_time_get(1, 1, &raw mut ns) };
    (error == 0).then_some(ns)
}

/// The monotonic clock, in nanoseconds. Constant if the host has none, so that buckets do not
/// refill.
pub fn monotonic_ns() -> u64 {
    monotonic().unwrap_or(0)
}

/// Linear memory of this VM; it never shrinks.
pub fn memory_bytes() -> usize {
    core::arch::wasm32::memory_size(0) * 65_536
}

/// Requests `on_tick` at this interval; zero for never.
pub fn set_tick_period(period: Duration) {
    let ms = u32::try_from(period.as_millis()).unwrap_or(u32::MAX);
    // SAFETY: no memory involved.
    unsafe { proxy_set_tick_period_milliseconds(ms) };
}

/// The plugin configuration; readable while `on_configure` runs.
pub struct PluginConfiguration {
    /// The size given to `on_configure`.
    pub size: usize,
}

impl Source for PluginConfiguration {
    fn size(&self) -> usize {
        self.size
    }

    fn read(&mut self, offset: usize, max: usize) -> Vec<u8> {
        let max = max.min(self.size.saturating_sub(offset));
        if max == 0 {
            return Vec::new();
        }
        returned(|data, size| {
            // SAFETY: two live locations to write to.
            unsafe { proxy_get_buffer_bytes(BUFFER_PLUGIN_CONFIGURATION, offset, max, data, size) }
        })
        .unwrap_or_default()
    }
}

/// All request headers, serialised as [`keystile_core::request::headers::Headers`] reads them.
#[inline]
pub fn request_headers() -> Result<HostBytes, Status> {
    given::returned(Some(&given::HEADERS), |data, size| {
        // SAFETY: two live locations to write to.
        done(unsafe { proxy_get_header_map_pairs(MAP_REQUEST_HEADERS, data, size) })
    })
}

/// All request trailers, likewise.
pub fn request_trailers() -> Result<Vec<u8>, Status> {
    all_of(MAP_REQUEST_TRAILERS)
}

/// All response headers, likewise.
pub fn response_headers() -> Result<Vec<u8>, Status> {
    all_of(MAP_RESPONSE_HEADERS)
}

fn all_of(map: u32) -> Result<Vec<u8>, Status> {
    returned(|data, size| {
        // SAFETY: two live locations to write to.
        unsafe { proxy_get_header_map_pairs(map, data, size) }
    })
}

/// Replaces every request header of this name by one.
pub fn set_request_header(name: &str, value: &[u8]) -> Result<(), Status> {
    set_header(MAP_REQUEST_HEADERS, name, value)
}

/// Adds a request header, for names that the request does not have. Does not search for existing
/// ones first, as [`set_request_header`] does.
pub fn add_request_header(name: &str, value: &[u8]) -> Result<(), Status> {
    // SAFETY: pointers and lengths of live slices.
    done(unsafe {
        proxy_add_header_map_value(
            MAP_REQUEST_HEADERS,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    })
}

/// Replaces every response header of this name by one.
pub fn set_response_header(name: &str, value: &[u8]) -> Result<(), Status> {
    set_header(MAP_RESPONSE_HEADERS, name, value)
}

fn set_header(map: u32, name: &str, value: &[u8]) -> Result<(), Status> {
    // SAFETY: pointers and lengths of live slices.
    done(unsafe {
        proxy_replace_header_map_value(map, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
}

/// Removes every request header of this name.
pub fn remove_request_header(name: &str) -> Result<(), Status> {
    remove(MAP_REQUEST_HEADERS, name)
}

/// Removes every request trailer of this name.
pub fn remove_request_trailer(name: &str) -> Result<(), Status> {
    remove(MAP_REQUEST_TRAILERS, name)
}

/// Removes every response header of this name.
pub fn remove_response_header(name: &str) -> Result<(), Status> {
    remove(MAP_RESPONSE_HEADERS, name)
}

fn remove(map: u32, name: &str) -> Result<(), Status> {
    // SAFETY: pointer and length of a live string.
    done(unsafe { proxy_remove_header_map_value(map, name.as_ptr(), name.len()) })
}

/// Makes the following calls apply to another stream or root, until this entry into the VM returns.
/// An error means that it is gone.
pub fn set_effective_context(id: u32) -> Result<(), Status> {
    // SAFETY: no memory involved.
    done(unsafe { proxy_set_effective_context(id) })
}

/// Reads a property by its path, segments joined by NUL.
pub fn property(path: &str) -> Option<Vec<u8>> {
    returned(|data, size| {
        // SAFETY: pointer and length of a live string, two live locations to write to.
        unsafe { proxy_get_property(path.as_ptr(), path.len(), data, size) }
    })
    .ok()
}

/// Sets filter state.
pub fn set_property(name: &str, value: &[u8]) -> Result<(), Status> {
    // SAFETY: pointers and lengths of live slices.
    done(unsafe { proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len()) })
}

/// Declares filter state as a string that lives as long as the downstream request, so that it
/// survives an internal redirect. If the host does not support that, it lives as long as the filter
/// chain.
#[inline(never)]
pub fn declare_property(name: &str, read_only: bool) {
    // envoy.source.extensions.common.wasm.DeclarePropertyArguments: name = 1,
    // readonly = 2, type = 3 (1: string), span = 5 (1: downstream request).
    let mut argument = vec![0x0A];
    let mut length = name.len();
    while length >= 0x80 {
        argument.push(length.to_le_bytes().first().map_or(0x80, |low| low | 0x80));
        length >>= 7;
    }
    argument.push(u8::try_from(length).unwrap_or(0));
    argument.extend_from_slice(name.as_bytes());
    argument.extend_from_slice(&[0x10, u8::from(read_only), 0x18, 1, 0x28, 1]);
    let function = "declare_property";
    let _ = returned(|data, size| {
        // SAFETY: pointers and lengths of live slices, two live locations to write to.
        unsafe {
            proxy_call_foreign_function(
                function.as_ptr(),
                function.len(),
                argument.as_ptr(),
                argument.len(),
                data,
                size,
            )
        }
    });
}

/// Reads shared data: the value and its version. `Ok(None)` if there is none.
pub fn shared_data(key: &[u8]) -> Result<Option<(Vec<u8>, u32)>, Status> {
    let found = shared_data_in(None, key)?;
    Ok(found.map(|(value, cas)| (value.into_vec(), cas)))
}

/// The same for a bucket or a tally.
pub fn shared_bucket(key: &[u8]) -> Result<Option<(HostBytes, u32)>, Status> {
    shared_data_in(Some(&given::BUCKET), key)
}

fn shared_data_in(
    block: Option<&'static LocalKey<Block>>,
    key: &[u8],
) -> Result<Option<(HostBytes, u32)>, Status> {
    let mut cas = 0;
    let value = given::returned(block, |data, size| {
        // SAFETY: pointer and length of a live slice, three live locations to write to.
        done(unsafe { proxy_get_shared_data(key.as_ptr(), key.len(), data, size, &raw mut cas) })
    });
    match value {
        Ok(value) => Ok(Some((value, cas))),
        Err(Status(NOT_FOUND)) => Ok(None),
        Err(status) => Err(status),
    }
}

/// The version to give for a value that should not exist yet: if it exists after all, it has
/// another version. Zero would overwrite it.
pub const CAS_ABSENT: u32 = u32::MAX;

/// Writes shared data if its version is still `cas`; unconditionally if that is zero.
pub fn set_shared_data(key: &[u8], value: &[u8], cas: u32) -> Result<(), Status> {
    // SAFETY: pointers and lengths of live slices.
    done(unsafe {
        proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas)
    })
}

/// Posts a body to an Envoy cluster. The answer is delivered to the calling context under the
/// returned number, if that context still exists. An error means that it was not sent, for example
/// because Envoy does not know the cluster.
#[inline(never)]
pub fn post(
    target: &ReportTarget,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    timeout: Duration,
) -> Result<u32, Status> {
    let mut all = vec![
        (":method", "POST"),
        (":path", path),
        (":authority", target.authority()),
        ("content-type", "application/json"),
    ];
    all.extend_from_slice(headers);
    let headers = Headers::encode(&all);
    let trailers = Headers::encode::<&str, &str>(&[]);
    let timeout = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
    let mut token = 0;
    // SAFETY: pointers and lengths of live slices, a live location to write to.
    done(unsafe {
        proxy_http_call(
            target.cluster.as_ptr(),
            target.cluster.len(),
            headers.as_ptr(),
            headers.len(),
            body.as_ptr(),
            body.len(),
            trailers.as_ptr(),
            trailers.len(),
            timeout,
            &raw mut token,
        )
    })
    .map(|()| token)
}

/// The answer to a call.
pub struct CallResponse {
    /// HTTP status; zero for none at all.
    pub status: u16,
    /// The id of the key that signed it, empty if none did.
    pub kid: String,
    /// The signature, likewise.
    pub tag: String,
    /// Its body.
    pub body: Vec<u8>,
}

/// The answer that is being delivered. `None` if the host does not return it, or if it is longer
/// than any of ours.
#[inline(never)]
pub fn call_response(body_size: usize) -> Option<CallResponse> {
    if body_size > keystile_core::report::usage::MAX_BYTES {
        return None;
    }
    let headers = all_of(MAP_CALL_RESPONSE_HEADERS).ok()?;
    let headers = Headers::new(&headers);
    let text = |name| {
        let value = headers.get(name).unwrap_or_default();
        core::str::from_utf8(value).unwrap_or_default()
    };
    let body = match body_size {
        0 => Vec::new(),
        // An interrupted read leaves a body whose signature does not match.
        _ => returned(|data, size| {
            // SAFETY: two live locations to write to.
            unsafe { proxy_get_buffer_bytes(BUFFER_CALL_RESPONSE, 0, body_size, data, size) }
        })
        .ok()?,
    };
    Some(CallResponse {
        status: text(":status").parse().unwrap_or(0),
        kid: text(keystile_core::report::message::KID_HEADER).to_owned(),
        tag: text(keystile_core::report::message::SIGNATURE_HEADER).to_owned(),
        body,
    })
}

/// Defines a metric. The host never frees the memory for it, so do this once per VM.
pub fn define_metric(kind: Metric, name: &str) -> Option<u32> {
    let mut id = 0;
    // SAFETY: pointer and length of a live string, a live location to write to.
    let status =
        unsafe { proxy_define_metric(kind as u32, name.as_ptr(), name.len(), &raw mut id) };
    (status == OK).then_some(id)
}

/// Adds to a counter.
pub fn increment_metric(id: u32, by: i64) {
    // SAFETY: no memory involved.
    unsafe { proxy_increment_metric(id, by) };
}

/// Sets a gauge.
pub fn record_metric(id: u32, value: u64) {
    // SAFETY: no memory involved.
    unsafe { proxy_record_metric(id, value) };
}

/// Answers the request without calling the upstream. Access logs show the reply's `details`.
pub fn send_reply(reply: &keystile_core::reply::Reply) -> Result<(), Status> {
    let headers: Vec<_> = reply.headers.iter().map(|(n, v)| (*n, &**v)).collect();
    let headers = Headers::encode(&headers);
    let grpc = reply.grpc.and_then(|s| i32::try_from(s).ok()).unwrap_or(-1);
    // SAFETY: pointers and lengths of live slices.
    done(unsafe {
        proxy_send_local_response(
            u32::from(reply.status),
            reply.details.as_ptr(),
            reply.details.len(),
            reply.body.as_ptr(),
            reply.body.len(),
            headers.as_ptr(),
            headers.len(),
            grpc,
        )
    })
}
