//! Envoy's C interface for dynamic modules: what we call, as safe functions. What Envoy calls is
//! in [`entries`].
//!
//! Declared by hand from `source/extensions/dynamic_modules/abi/abi.h` of Envoy 1.38 to 1.40; the
//! name of each function there is `envoy_dynamic_module_callback_` and the name given here.
//! Functions are looked up when the module is loaded and not linked, so that one file serves all
//! of these versions, says which function an older Envoy lacks, and can be tested without Envoy.
#![allow(
    unsafe_code,
    reason = "the interface is C; everything else in the module is safe"
)]

use core::ffi::{CStr, c_char, c_void};
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::{null, null_mut};
use std::sync::OnceLock;

use keystile_core::reply::Reply;
use keystile_core::request::headers::{Headers, Pair};

mod entries;
#[cfg(test)]
pub mod fake;

/// What [`entries`] answers when it is loaded: Envoy 1.40's version. Others warn, and load it.
const VERSION: &CStr = c"v0.2.0";

/// `envoy_dynamic_module_type_envoy_buffer` and `…_module_buffer`: bytes of Envoy's, or ours.
#[repr(C)]
#[derive(Clone, Copy)]
struct Buffer {
    ptr: *const u8,
    length: usize,
}

impl Buffer {
    const NONE: Self = Self {
        ptr: null(),
        length: 0,
    };

    fn of(bytes: &[u8]) -> Self {
        Self {
            ptr: bytes.as_ptr(),
            length: bytes.len(),
        }
    }

    /// # Safety
    /// Envoy handed it out, and nothing has changed since what it points into.
    unsafe fn bytes<'a>(self) -> &'a [u8] {
        match self.ptr.is_null() {
            true => &[],
            // SAFETY: Envoy says that so many bytes lie there.
            false => unsafe { core::slice::from_raw_parts(self.ptr, self.length) },
        }
    }
}

/// `envoy_dynamic_module_type_envoy_http_header` and `…_module_http_header`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Header {
    name: Buffer,
    value: Buffer,
}

impl Header {
    fn of(name: &str, value: &[u8]) -> Self {
        Self {
            name: Buffer::of(name.as_bytes()),
            value: Buffer::of(value),
        }
    }
}

/// A pointer that Envoy handed out, to a filter or to its configuration.
type Envoys = *mut c_void;
type Labels = *const Buffer;

/// Declares a table of functions, and how it is filled.
macro_rules! functions {
    (
        needed { $( $name:ident: $symbol:literal ($($type:ty),*) $(-> $returns:ty)?; )* }
        newer { $( $new:ident: $new_symbol:literal ($($new_type:ty),*) $(-> $new_returns:ty)?; )* }
    ) => {
        /// What Envoy offers.
        #[derive(Clone, Copy)]
        struct Functions {
            $( $name: unsafe extern "C" fn($($type),*) $(-> $returns)?, )*
            $( $new: Option<unsafe extern "C" fn($($new_type),*) $(-> $new_returns)?>, )*
        }

        impl Functions {
            /// # Errors
            /// The name of one that is not there.
            fn find(find: impl Fn(&CStr) -> *mut c_void) -> Result<Self, &'static str> {
                Ok(Self {
                    $( $name: {
                        let at = find(symbol(concat!("envoy_dynamic_module_callback_", $symbol, "\0")));
                        if at.is_null() {
                            return Err($symbol);
                        }
                        // SAFETY: a function of this name has this type in Envoy's header.
                        unsafe {
                            core::mem::transmute::<*mut c_void, unsafe extern "C" fn($($type),*) $(-> $returns)?>(at)
                        }
                    }, )*
                    $( $new: {
                        let at = find(symbol(concat!("envoy_dynamic_module_callback_", $new_symbol, "\0")));
                        // SAFETY: likewise; null is `None`.
                        unsafe {
                            core::mem::transmute::<*mut c_void, Option<unsafe extern "C" fn($($new_type),*) $(-> $new_returns)?>>(at)
                        }
                    }, )*
                })
            }
        }
    };
}

functions! {
    needed {
        log: "log" (u32, Buffer);
        define_counter: "http_filter_config_define_counter" (Envoys, Buffer, Labels, usize, *mut usize) -> u32;
        define_gauge: "http_filter_config_define_gauge" (Envoys, Buffer, Labels, usize, *mut usize) -> u32;
        increment_counter: "http_filter_increment_counter" (Envoys, usize, Labels, usize, u64) -> u32;
        set_gauge: "http_filter_set_gauge" (Envoys, usize, Labels, usize, u64) -> u32;
        headers_size: "http_get_headers_size" (Envoys, u32) -> usize;
        headers: "http_get_headers" (Envoys, u32, *mut Header) -> bool;
        add_header: "http_add_header" (Envoys, u32, Buffer, Buffer) -> bool;
        set_header: "http_set_header" (Envoys, u32, Buffer, Buffer) -> bool;
        send_response: "http_send_response" (Envoys, u32, *const Header, usize, Buffer, Buffer);
        send_response_headers: "http_send_response_headers" (Envoys, *const Header, usize, bool);
        send_response_data: "http_send_response_data" (Envoys, Buffer, bool);
        set_filter_state: "http_set_filter_state_bytes" (Envoys, Buffer, Buffer) -> bool;
        filter_state: "http_get_filter_state_bytes" (Envoys, Buffer, *mut Buffer) -> bool;
        attribute: "http_filter_get_attribute_string" (Envoys, u32, *mut Buffer) -> bool;
        scheduler_new: "http_filter_scheduler_new" (Envoys) -> *mut c_void;
        scheduler_commit: "http_filter_scheduler_commit" (*mut c_void, u64);
        scheduler_delete: "http_filter_scheduler_delete" (*mut c_void);
        config_scheduler_new: "http_filter_config_scheduler_new" (Envoys) -> *mut c_void;
        config_scheduler_commit: "http_filter_config_scheduler_commit" (*mut c_void, u64);
        config_scheduler_delete: "http_filter_config_scheduler_delete" (*mut c_void);
    }
    newer {
        // Since 1.39, outside of requests.
        config_increment_counter: "http_filter_config_increment_counter" (Envoys, usize, Labels, usize, u64) -> u32;
        config_set_gauge: "http_filter_config_set_gauge" (Envoys, usize, Labels, usize, u64) -> u32;
        // Since 1.40, with how long the state lives and whether it can be overwritten.
        set_filter_state_value: "http_set_filter_state_value" (Envoys, Buffer, Buffer, u32, u32) -> bool;
        attribute_bool: "http_filter_get_attribute_bool" (Envoys, u32, *mut bool) -> bool;
        is_validation_mode: "is_validation_mode" () -> bool;
        config_http_callout: "http_filter_config_http_callout" (Envoys, *mut u64, Buffer, *const Header, usize, Buffer, u64) -> u32;
    }
}

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
}

static FUNCTIONS: OnceLock<Functions> = OnceLock::new();

fn symbol(name: &'static str) -> &'static CStr {
    CStr::from_bytes_with_nul(name.as_bytes()).unwrap_or_default()
}

/// Looks the functions up in the process that loaded us.
///
/// # Errors
/// The name of one that this Envoy lacks: it is older than 1.38.
fn load() -> Result<(), &'static str> {
    // SAFETY: null is RTLD_DEFAULT, and the name ends with NUL.
    let functions = Functions::find(|name| unsafe { dlsym(null_mut(), name.as_ptr()) })?;
    FUNCTIONS.get_or_init(|| functions);
    Ok(())
}

/// `None` before the module is loaded: then Envoy has called nothing that could ask.
fn functions() -> Option<&'static Functions> {
    FUNCTIONS.get()
}

/// `envoy_dynamic_module_type_log_level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Worth knowing.
    Info = 2,
    /// Somebody should look.
    Warn = 3,
    /// A mistake of ours.
    Error = 4,
}

/// Writes to Envoy's log, from any thread. Never given a key or a secret.
pub fn log(level: Level, text: &str) {
    if let Some(envoy) = functions() {
        // SAFETY: pointer and length of a live string.
        unsafe { (envoy.log)(level as u32, Buffer::of(text.as_bytes())) };
    }
}

/// Envoy only checks its configuration, and serves nothing.
pub fn is_validation() -> bool {
    let asked = functions().and_then(|envoy| envoy.is_validation_mode);
    // SAFETY: no memory involved.
    asked.is_some_and(|asked| unsafe { asked() })
}

/// `envoy_dynamic_module_type_http_header_type`.
#[derive(Clone, Copy)]
pub enum Map {
    /// Of the request.
    Request = 0,
    /// Behind its body.
    RequestTrailers = 1,
    /// Of the response.
    Response = 2,
}

/// `envoy_dynamic_module_type_attribute_id`, as far as we ask.
#[derive(Clone, Copy)]
pub enum Attribute {
    /// Where the request comes from, with or without a port.
    SourceAddress = 24,
    /// Whether a client certificate was presented.
    Mtls = 29,
    /// The version of TLS; none on a plain connection.
    TlsVersion = 31,
    /// The first DNS name in the client's certificate.
    DnsName = 35,
    /// The first URI in the client's certificate.
    Uri = 37,
}

/// Envoy has refused what was asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

fn done(ok: bool) -> Result<(), Refused> {
    ok.then_some(()).ok_or(Refused)
}

/// A request and its response, while Envoy calls us about them.
pub struct Stream<'c> {
    at: Envoys,
    envoy: &'static Functions,
    call: PhantomData<&'c mut ()>,
}

/// Headers that fit here need no memory of their own.
const FEW: usize = 48;

impl Stream<'_> {
    /// # Safety
    /// `at` is the filter that Envoy is calling about, and the stream is gone before the call
    /// returns.
    unsafe fn new(at: Envoys) -> Option<Self> {
        Some(Self {
            at,
            envoy: functions()?,
            call: PhantomData,
        })
    }

    /// Gives `f` the headers, which lie in Envoy's memory: they cannot be changed meanwhile.
    ///
    /// # Errors
    /// [`Refused`] if there are none.
    pub fn headers<R>(&self, map: Map, f: impl FnOnce(Headers<'_>) -> R) -> Result<R, Refused> {
        // SAFETY: no memory of ours involved.
        let count = unsafe { (self.envoy.headers_size)(self.at, map as u32) };
        if count > FEW {
            let mut read = vec![MaybeUninit::<Header>::uninit(); count];
            let mut pairs: Vec<Pair<'_>> = vec![(&[], &[]); count];
            return self.read(map, &mut read, &mut pairs).map(f);
        }
        let mut read = [MaybeUninit::<Header>::uninit(); FEW];
        let mut pairs: [Pair<'_>; FEW] = [(&[], &[]); FEW];
        let read = read.get_mut(..count).ok_or(Refused)?;
        let pairs = pairs.get_mut(..count).ok_or(Refused)?;
        self.read(map, read, pairs).map(f)
    }

    fn read<'p>(
        &self,
        map: Map,
        read: &mut [MaybeUninit<Header>],
        pairs: &'p mut [Pair<'p>],
    ) -> Result<Headers<'p>, Refused> {
        // SAFETY: Envoy has said that it writes so many, and there is room for them.
        done(unsafe { (self.envoy.headers)(self.at, map as u32, read.as_mut_ptr().cast()) })?;
        for (pair, header) in pairs.iter_mut().zip(read.iter()) {
            // SAFETY: Envoy has written all of them. They lie where they are until a header is
            // changed, which needs the stream for itself, or until the call returns.
            unsafe {
                let header = header.assume_init();
                *pair = (header.name.bytes(), header.value.bytes());
            }
        }
        Ok(Headers::of(pairs))
    }

    /// Adds a header beside those of the same name. None is added where the value is empty:
    /// Envoy's interface knows no empty values.
    ///
    /// # Errors
    /// [`Refused`] if it was not added.
    pub fn add_header(&mut self, map: Map, name: &str, value: &[u8]) -> Result<(), Refused> {
        if value.is_empty() {
            return Ok(());
        }
        let (name, value) = (Buffer::of(name.as_bytes()), Buffer::of(value));
        // SAFETY: pointers and lengths of live slices.
        done(unsafe { (self.envoy.add_header)(self.at, map as u32, name, value) })
    }

    /// Replaces every header of this name by one; by none if the value is empty.
    ///
    /// # Errors
    /// [`Refused`] if it was not set.
    pub fn set_header(&mut self, map: Map, name: &str, value: &[u8]) -> Result<(), Refused> {
        if value.is_empty() {
            return self.remove_header(map, name);
        }
        let (name, value) = (Buffer::of(name.as_bytes()), Buffer::of(value));
        // SAFETY: pointers and lengths of live slices.
        done(unsafe { (self.envoy.set_header)(self.at, map as u32, name, value) })
    }

    /// Removes every header of this name.
    ///
    /// # Errors
    /// [`Refused`] if they were not removed.
    pub fn remove_header(&mut self, map: Map, name: &str) -> Result<(), Refused> {
        let name = Buffer::of(name.as_bytes());
        // SAFETY: pointer and length of a live slice; no value means removal.
        done(unsafe { (self.envoy.set_header)(self.at, map as u32, name, Buffer::NONE) })
    }

    /// Answers the request without asking the upstream; where the response has begun, Envoy
    /// resets it.
    pub fn reply(&mut self, reply: &Reply) {
        let mut headers: Vec<Header> = Vec::with_capacity(reply.headers.len() + 1);
        let of = |(name, value): &(&'static str, String)| Header::of(name, value.as_bytes());
        headers.extend(reply.headers.iter().map(of));
        // Envoy words the answer to a gRPC request itself, with the status that is named here.
        let grpc = reply.grpc.map(|status| status.to_string());
        headers.extend(
            grpc.as_ref()
                .map(|s| Header::of("grpc-status", s.as_bytes())),
        );
        let body = Buffer::of(reply.body.as_bytes());
        let details = Buffer::of(reply.details.as_bytes());
        let status = u32::from(reply.status);
        let (first, count) = (headers.as_ptr(), headers.len());
        // SAFETY: pointers and lengths of live slices.
        unsafe { (self.envoy.send_response)(self.at, status, first, count, body, details) };
    }

    /// Answers in HTTP, whatever the request's content type: Envoy words what it is told to
    /// [`Self::reply`] to one of gRPC's as a gRPC status, which is HTTP 200. Access logs have no
    /// details of it.
    pub fn reply_in_http(&mut self, reply: &Reply) {
        let status = reply.status.to_string();
        let mut headers = vec![Header::of(":status", status.as_bytes())];
        let of = |(name, value): &(&'static str, String)| Header::of(name, value.as_bytes());
        headers.extend(reply.headers.iter().map(of));
        let (first, count) = (headers.as_ptr(), headers.len());
        let body = Buffer::of(reply.body.as_bytes());
        // SAFETY: pointers and lengths of live slices.
        unsafe {
            (self.envoy.send_response_headers)(self.at, first, count, false);
            (self.envoy.send_response_data)(self.at, body, true);
        }
    }

    /// Filter state.
    pub fn state(&self, name: &str) -> Option<Vec<u8>> {
        self.with_state(name, <[u8]>::to_vec)
    }

    /// Whether there is filter state of this name.
    pub fn has_state(&self, name: &str) -> bool {
        self.with_state(name, |_| ()).is_some()
    }

    fn with_state<R>(&self, name: &str, f: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let mut value = Buffer::NONE;
        let name = Buffer::of(name.as_bytes());
        // SAFETY: pointer and length of a live slice, a live location to write to.
        let found = unsafe { (self.envoy.filter_state)(self.at, name, &raw mut value) };
        // SAFETY: Envoy has said that it wrote; the value lies there until it is set again.
        found.then(|| f(unsafe { value.bytes() }))
    }

    /// Sets filter state that lives as long as the downstream request. An Envoy older than 1.40
    /// forgets it when the request is redirected internally.
    ///
    /// # Errors
    /// [`Refused`] if it was not set.
    pub fn set_state(&mut self, name: &str, value: &[u8], is_final: bool) -> Result<(), Refused> {
        /// `envoy_dynamic_module_type_filter_state_life_span_Request`.
        const REQUEST: u32 = 1;
        let (name, value) = (Buffer::of(name.as_bytes()), Buffer::of(value));
        done(match self.envoy.set_filter_state_value {
            // SAFETY: pointers and lengths of live slices.
            Some(set) => unsafe { set(self.at, name, value, REQUEST, u32::from(!is_final)) },
            // SAFETY: likewise.
            None => unsafe { (self.envoy.set_filter_state)(self.at, name, value) },
        })
    }

    /// An attribute that is text.
    pub fn attribute(&self, attribute: Attribute) -> Option<Vec<u8>> {
        let mut value = Buffer::NONE;
        // SAFETY: a live location to write to.
        let found = unsafe { (self.envoy.attribute)(self.at, attribute as u32, &raw mut value) };
        // SAFETY: Envoy has said that it wrote, and nothing was changed since.
        found.then(|| unsafe { value.bytes() }.to_vec())
    }

    /// An attribute that holds or does not; it does not where Envoy cannot say.
    pub fn holds(&self, attribute: Attribute) -> bool {
        let mut value = false;
        let asked = self.envoy.attribute_bool;
        // SAFETY: a live location to write to.
        asked.is_some_and(|ask| unsafe { ask(self.at, attribute as u32, &raw mut value) }) && value
    }

    /// Adds to a counter.
    pub fn count(&self, counter: Metric, by: u64) {
        // SAFETY: a number without labels.
        unsafe { (self.envoy.increment_counter)(self.at, counter.0, null(), 0, by) };
    }

    /// Sets a gauge.
    pub fn gauge(&self, gauge: Metric, value: u64) {
        // SAFETY: a number without labels.
        unsafe { (self.envoy.set_gauge)(self.at, gauge.0, null(), 0, value) };
    }

    /// What calls us back on this stream's thread.
    pub fn scheduler(&self) -> Option<Scheduler> {
        // SAFETY: Envoy makes it, and we give it back.
        let at = unsafe { (self.envoy.scheduler_new)(self.at) };
        (!at.is_null()).then_some(Scheduler {
            at,
            commit: self.envoy.scheduler_commit,
            delete: self.envoy.scheduler_delete,
        })
    }
}

/// The number of a counter or gauge of one configuration.
#[derive(Clone, Copy, Debug)]
pub struct Metric(usize);

/// A configuration of the filter, while Envoy calls us about it on its main thread.
pub struct Configuration<'c> {
    at: Envoys,
    envoy: &'static Functions,
    call: PhantomData<&'c mut ()>,
}

impl Configuration<'_> {
    /// # Safety
    /// `at` is the configuration that Envoy is calling about on its main thread, and this is gone
    /// before the call returns.
    unsafe fn new(at: Envoys) -> Option<Self> {
        Some(Self {
            at,
            envoy: functions()?,
            call: PhantomData,
        })
    }

    /// Defines a counter; only while the configuration is made.
    pub fn counter(&self, name: &str) -> Option<Metric> {
        self.define(self.envoy.define_counter, name)
    }

    /// Defines a gauge, likewise.
    pub fn new_gauge(&self, name: &str) -> Option<Metric> {
        self.define(self.envoy.define_gauge, name)
    }

    fn define(
        &self,
        define: unsafe extern "C" fn(Envoys, Buffer, Labels, usize, *mut usize) -> u32,
        name: &str,
    ) -> Option<Metric> {
        let mut id = 0;
        let name = Buffer::of(name.as_bytes());
        // SAFETY: pointer and length of a live slice, no labels, a live location to write to.
        let result = unsafe { define(self.at, name, null(), 0, &raw mut id) };
        (result == 0).then_some(Metric(id))
    }

    /// Adds to a counter, where Envoy can do so outside of requests.
    pub fn count(&self, counter: Metric, by: u64) -> bool {
        let count = self.envoy.config_increment_counter;
        // SAFETY: a number without labels.
        count.is_some_and(|count| unsafe { count(self.at, counter.0, null(), 0, by) } == 0)
    }

    /// Sets a gauge, likewise.
    pub fn gauge(&self, gauge: Metric, value: u64) -> bool {
        let set = self.envoy.config_set_gauge;
        // SAFETY: a number without labels.
        set.is_some_and(|set| unsafe { set(self.at, gauge.0, null(), 0, value) } == 0)
    }

    /// What calls us back on the main thread.
    pub fn scheduler(&self) -> Option<Scheduler> {
        // SAFETY: Envoy makes it, and we give it back.
        let at = unsafe { (self.envoy.config_scheduler_new)(self.at) };
        (!at.is_null()).then_some(Scheduler {
            at,
            commit: self.envoy.config_scheduler_commit,
            delete: self.envoy.config_scheduler_delete,
        })
    }

    /// Sends a request to a cluster. The answer comes under the number that is returned.
    ///
    /// # Errors
    /// [`Refused`] if it was not sent, as to a cluster that Envoy does not know.
    pub fn call(
        &self,
        cluster: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        timeout_ms: u64,
    ) -> Result<u64, Refused> {
        let call = self.envoy.config_http_callout.ok_or(Refused)?;
        let of = |(name, value): &(&str, &str)| Header::of(name, value.as_bytes());
        let headers: Vec<Header> = headers.iter().map(of).collect();
        let (first, count) = (headers.as_ptr(), headers.len());
        let (cluster, body) = (Buffer::of(cluster.as_bytes()), Buffer::of(body));
        let mut id = 0;
        // SAFETY: pointers and lengths of live slices, a live location to write to.
        let result = unsafe {
            call(
                self.at,
                &raw mut id,
                cluster,
                first,
                count,
                body,
                timeout_ms,
            )
        };
        (result == 0).then_some(id).ok_or(Refused)
    }
}

/// Has Envoy call us back, from any thread.
pub struct Scheduler {
    at: *mut c_void,
    commit: unsafe extern "C" fn(*mut c_void, u64),
    delete: unsafe extern "C" fn(*mut c_void),
}

// SAFETY: Envoy's header says that events may be committed from any thread; it is deleted once, by
// its owner.
unsafe impl Send for Scheduler {}
// SAFETY: likewise.
unsafe impl Sync for Scheduler {}

impl Scheduler {
    /// Asks for one call. None comes where the stream or the configuration is gone.
    pub fn wake(&self) {
        // SAFETY: it is deleted only when it is dropped.
        unsafe { (self.commit)(self.at, 0) };
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        // SAFETY: nobody has it any more.
        unsafe { (self.delete)(self.at) };
    }
}
