//! What Envoy offers, for a configuration and a request of a test.

use core::cell::RefCell;
use core::ffi::c_void;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::{Buffer, Envoys, Functions, Header, Labels};
use super::{LOG, Pairs, Replied, Side, Stream, secret, text};

thread_local! {
    static CALLED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// What the module has asked of Envoy about requests on this thread, since it was asked last.
pub fn called() -> Vec<String> {
    CALLED.take()
}

fn note(call: &str) {
    CALLED.with_borrow_mut(|all| all.push(call.to_owned()));
}

fn note_named(call: &str, name: Buffer) {
    note(&format!("{call} {}", text(name)));
}

extern "C" fn log(_: u32, line: Buffer) {
    LOG.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(text(line));
}

extern "C" fn define(at: Envoys, name: Buffer, _: Labels, _: usize, id: *mut usize) -> u32 {
    let mut metrics = Side::from_pointer(at).metrics.lock().unwrap();
    metrics.push((text(name), 0));
    // SAFETY: the module hands in a live location.
    unsafe { *id = metrics.len() - 1 };
    0
}

extern "C" fn count(at: Envoys, id: usize, _: Labels, _: usize, by: u64) -> u32 {
    note("increment_counter");
    config_count(
        Stream::from_pointer(at).side.cast_mut().cast(),
        id,
        core::ptr::null(),
        0,
        by,
    )
}

extern "C" fn config_count(at: Envoys, id: usize, _: Labels, _: usize, by: u64) -> u32 {
    Side::from_pointer(at).metrics.lock().unwrap()[id].1 += by;
    0
}

extern "C" fn gauge(at: Envoys, id: usize, _: Labels, _: usize, value: u64) -> u32 {
    note("set_gauge");
    config_gauge(
        Stream::from_pointer(at).side.cast_mut().cast(),
        id,
        core::ptr::null(),
        0,
        value,
    )
}

extern "C" fn config_gauge(at: Envoys, id: usize, _: Labels, _: usize, value: u64) -> u32 {
    Side::from_pointer(at).metrics.lock().unwrap()[id].1 = value;
    0
}

extern "C" fn headers_size(at: Envoys, map: u32) -> usize {
    note("get_headers_size");
    Stream::from_pointer(at).maps[map as usize].len()
}

extern "C" fn headers(at: Envoys, map: u32, to: *mut Header) -> bool {
    note("get_headers");
    for (i, (name, value)) in Stream::from_pointer(at).maps[map as usize]
        .iter()
        .enumerate()
    {
        // SAFETY: the module has asked how many there are.
        unsafe { to.add(i).write(Header::new(name, value)) };
    }
    true
}

extern "C" fn add_header(at: Envoys, map: u32, name: Buffer, value: Buffer) -> bool {
    note_named("add_header", name);
    let stream = Stream::from_pointer(at);
    // SAFETY: the module hands in what lives as long as the call.
    let value = unsafe { value.bytes() }.to_vec();
    assert!(!value.is_empty(), "Envoy refuses that");
    stream.maps[map as usize].push((text(name), value));
    !stream.changes_fail
}

extern "C" fn set_header(at: Envoys, map: u32, name: Buffer, value: Buffer) -> bool {
    note_named("set_header", name);
    let stream = Stream::from_pointer(at);
    let name = text(name);
    // Their memory is given up, as Envoy may do.
    let all = core::mem::take(&mut stream.maps[map as usize]);
    let mut kept: Pairs = all.iter().filter(|(n, _)| *n != name).cloned().collect();
    // SAFETY: the module hands in what lives as long as the call.
    let value = unsafe { value.bytes() }.to_vec();
    if !value.is_empty() {
        kept.push((name, value));
    }
    stream.maps[map as usize] = kept;
    !stream.changes_fail
}

extern "C" fn send_response(
    at: Envoys,
    status: u32,
    first: *const Header,
    count: usize,
    body: Buffer,
    details: Buffer,
) {
    note("send_response");
    // SAFETY: the module hands in what lives as long as the call.
    let headers = unsafe { core::slice::from_raw_parts(first, count) };
    let pair = |h: &Header| (text(h.name), text(h.value));
    Stream::from_pointer(at).replies.push(Replied {
        status,
        headers: headers.iter().map(pair).collect(),
        body: text(body),
        details: text(details),
    });
    Stream::call_back(at);
}

extern "C" fn send_response_headers(at: Envoys, first: *const Header, count: usize, _: bool) {
    send_response(at, 0, first, count, Buffer::NONE, Buffer::NONE);
}

extern "C" fn send_response_data(at: Envoys, body: Buffer, _: bool) {
    Stream::from_pointer(at).replies.last_mut().unwrap().body = text(body);
}

extern "C" fn set_state(at: Envoys, name: Buffer, value: Buffer) -> bool {
    note_named("set_filter_state", name);
    // SAFETY: the module hands in what lives as long as the call.
    let value = unsafe { value.bytes() }.to_vec();
    // As Envoy does: what was set once is read-only.
    let state = &mut Stream::from_pointer(at).state;
    let is_new = !state.contains_key(&text(name));
    if is_new {
        state.insert(text(name), value);
    }
    is_new
}

extern "C" fn set_state_value(at: Envoys, name: Buffer, value: Buffer, _: u32, _: u32) -> bool {
    set_state(at, name, value)
}

extern "C" fn state(at: Envoys, name: Buffer, to: *mut Buffer) -> bool {
    note_named("get_filter_state", name);
    let found = Stream::from_pointer(at).state.get(&text(name));
    if let Some(value) = found {
        // SAFETY: the module hands in a live location.
        unsafe { *to = Buffer::from_bytes(value) };
    }
    found.is_some()
}

extern "C" fn attribute(at: Envoys, id: u32, to: *mut Buffer) -> bool {
    note("get_attribute");
    let found = Stream::from_pointer(at).attributes.get(&id);
    if let Some(value) = found {
        // SAFETY: the module hands in a live location.
        unsafe { *to = Buffer::from_bytes(value.as_bytes()) };
    }
    found.is_some()
}

extern "C" fn attribute_bool(at: Envoys, id: u32, to: *mut bool) -> bool {
    note("get_attribute");
    let found = Stream::from_pointer(at).attributes.contains_key(&id);
    // SAFETY: the module hands in a live location.
    unsafe { *to = found };
    found
}

extern "C" fn scheduler_new(at: Envoys) -> *mut c_void {
    note("scheduler_new");
    scheduler(&Stream::from_pointer(at).wakes)
}

extern "C" fn config_scheduler_new(at: Envoys) -> *mut c_void {
    scheduler(&Side::from_pointer(at).wakes)
}

/// How many there are that nobody has deleted.
static SCHEDULERS: AtomicUsize = AtomicUsize::new(0);

/// How many schedulers the module has and has not given back.
pub fn count_schedulers() -> usize {
    SCHEDULERS.load(Ordering::SeqCst)
}

/// As Envoy's, it may outlive the stream or the configuration that it is for.
fn scheduler(wakes: &Arc<AtomicUsize>) -> *mut c_void {
    SCHEDULERS.fetch_add(1, Ordering::SeqCst);
    Arc::into_raw(Arc::clone(wakes)).cast_mut().cast()
}

extern "C" fn scheduler_commit(at: *mut c_void, _: u64) {
    // SAFETY: `scheduler` has made it, and it has not been deleted.
    unsafe { &*at.cast::<AtomicUsize>() }.fetch_add(1, Ordering::SeqCst);
}

extern "C" fn scheduler_delete(at: *mut c_void) {
    SCHEDULERS.fetch_sub(1, Ordering::SeqCst);
    // SAFETY: likewise; nobody uses it any more.
    drop(unsafe { Arc::from_raw(at.cast::<AtomicUsize>().cast_const()) });
}

extern "C" fn no() -> bool {
    false
}

extern "C" fn callout(
    at: Envoys,
    id: *mut u64,
    cluster: Buffer,
    first: *const Header,
    count: usize,
    body: Buffer,
    _: u64,
) -> u32 {
    // SAFETY: the module hands in what lives as long as the call, and a live location.
    let (headers, body) = unsafe {
        (
            core::slice::from_raw_parts(first, count),
            body.bytes().to_vec(),
        )
    };
    let headers = headers
        .iter()
        .map(|h| (text(h.name), text(h.value)))
        .collect();
    let mut calls = Side::from_pointer(at).calls.lock().unwrap();
    calls.push((text(cluster), headers, body));
    // SAFETY: likewise.
    unsafe { *id = calls.len() as u64 };
    0
}

pub(super) const ALL: Functions = Functions {
    log,
    define_counter: define,
    define_gauge: define,
    increment_counter: count,
    set_gauge: gauge,
    headers_size,
    headers,
    add_header,
    set_header,
    send_response,
    send_response_headers,
    send_response_data,
    set_filter_state: set_state,
    filter_state: state,
    attribute,
    scheduler_new,
    scheduler_commit,
    scheduler_delete,
    config_scheduler_new,
    config_scheduler_commit: scheduler_commit,
    config_scheduler_delete: scheduler_delete,
    config_increment_counter: Some(config_count),
    config_set_gauge: Some(config_gauge),
    set_filter_state_value: Some(set_state_value),
    attribute_bool: Some(attribute_bool),
    is_validation_mode: Some(no),
    config_http_callout: Some(callout),
    secret_subscribe: Some(secret::subscribe),
    config_secret: Some(secret::read),
};
