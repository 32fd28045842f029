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
use core::ptr::{null, null_mut};
use std::sync::OnceLock;

mod entries;
#[cfg(test)]
pub mod fake;
#[cfg(feature = "faults")]
mod faults;
mod secret;
mod stream;

pub use secret::{GenericSecret, NoSecret};
pub use stream::Stream;

/// What [`entries`] answers when it is loaded: the version of Envoy 1.40. Other versions warn, but
/// load it.
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

    fn from_bytes(bytes: &[u8]) -> Self {
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
    fn new(name: &str, value: &[u8]) -> Self {
        Self {
            name: Buffer::from_bytes(name.as_bytes()),
            value: Buffer::from_bytes(value),
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
        // Since 1.40 (envoyproxy/envoy#46516). Declared from what its machine code does with its
        // arguments: the secret's name and a ConfigSource in JSON, or nothing for a static secret;
        // numbers begin with one, and zero is none.
        secret_subscribe: "http_filter_config_generic_secret_subscribe" (Envoys, Buffer, Buffer) -> usize;
        config_secret: "http_filter_config_get_generic_secret" (Envoys, usize, *mut Buffer) -> bool;
    }
}

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
}

static FUNCTIONS: OnceLock<Functions> = OnceLock::new();

fn symbol(name: &'static str) -> &'static CStr {
    CStr::from_bytes_with_nul(name.as_bytes()).unwrap_or_default()
}

/// Looks up the functions in the process that loaded us.
///
/// # Errors
/// The name of one that this Envoy lacks: it is older than 1.38.
fn load() -> Result<(), &'static str> {
    // SAFETY: null is RTLD_DEFAULT, and the name ends with NUL.
    let functions = Functions::find(|name| unsafe { dlsym(null_mut(), name.as_ptr()) })?;
    FUNCTIONS.get_or_init(|| functions);
    Ok(())
}

/// `None` before the module is loaded, when Envoy has called nothing that could ask.
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
        unsafe { (envoy.log)(level as u32, Buffer::from_bytes(text.as_bytes())) };
    }
}

/// Envoy only validates its configuration, and serves nothing.
pub fn is_validation() -> bool {
    let asked = functions().and_then(|envoy| envoy.is_validation_mode);
    // SAFETY: no memory involved.
    asked.is_some_and(|asked| unsafe { asked() })
}

/// Whether Envoy says which virtual host it chose: 1.40 does, and is known by a function of its own.
pub fn tells_virtual_hosts() -> bool {
    #[cfg(test)]
    if fake::is_older() {
        return false;
    }
    functions().is_some_and(|envoy| envoy.set_filter_state_value.is_some())
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

/// `envoy_dynamic_module_type_attribute_id`, as far as we use it.
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
    /// The name of the virtual host that Envoy chose, if there is one for this request.
    VirtualHost = 63,
}

/// Envoy has refused what was asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

fn done(ok: bool) -> Result<(), Refused> {
    ok.then_some(()).ok_or(Refused)
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
        let name = Buffer::from_bytes(name.as_bytes());
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
        let of = |(name, value): &(&str, &str)| Header::new(name, value.as_bytes());
        let headers: Vec<Header> = headers.iter().map(of).collect();
        let (first, count) = (headers.as_ptr(), headers.len());
        let (cluster, body) = (
            Buffer::from_bytes(cluster.as_bytes()),
            Buffer::from_bytes(body),
        );
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

/// Makes Envoy call us back, from any thread.
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
    /// Asks for one call, which does not come if the stream or the configuration is gone.
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
