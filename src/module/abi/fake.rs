//! Envoy in the same process, as far as the module sees it: what tests call us with.

use core::cell::{Cell, RefCell};
use core::ffi::c_void;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::entries::{self, CONTINUE};
use super::{Attribute, Buffer, Envoys, FUNCTIONS, Functions, Header, Map};

mod functions;
mod odd;
mod secret;

pub use functions::{called, count_schedulers};
pub use odd::configure_route;
pub use secret::{hold, with_secret};

thread_local! {
    static BROKEN_ENTRY: Cell<&'static str> = const { Cell::new("") };
    static IS_OLDER: Cell<bool> = const { Cell::new(false) };
    static FREED: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
    /// Kept until the thread of a test ends.
    static TURN: RefCell<Option<MutexGuard<'static, ()>>> = const { RefCell::new(None) };
}

/// One test at a time: what the module has in a process, all configurations share.
static ONE: Mutex<()> = Mutex::new(());

/// A filter of this thread is freed, perhaps while somebody has its state.
pub fn freed(in_use: bool) {
    let (all, early) = FREED.get();
    FREED.set((all + 1, early + usize::from(in_use)));
}

/// How many filters of this thread were freed, and how many of them too early.
pub fn count_freed() -> (usize, usize) {
    FREED.get()
}

/// The next call of this entry on this thread panics.
pub fn breaks(entry: &'static str) {
    BROKEN_ENTRY.set(entry);
}

/// Panics if a test wants that.
pub fn break_at(entry: &'static str) {
    if BROKEN_ENTRY.get() == entry {
        BROKEN_ENTRY.set("");
        panic!("as the test asked for");
    }
}

/// Calls `f` while Envoy is older than what tells all.
pub fn as_older<R>(f: impl FnOnce() -> R) -> R {
    IS_OLDER.set(true);
    let result = f();
    IS_OLDER.set(false);
    result
}

/// Whether a test wants that.
pub fn is_older() -> bool {
    IS_OLDER.get()
}

static LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Whether a line of the log holds this.
pub fn has_logged(text: &str) -> bool {
    let log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    log.iter().any(|line| line.contains(text))
}

/// What was sent to a cluster: its name, headers, body.
pub type Called = (String, Vec<(String, String)>, Vec<u8>);

/// The configuration's side of Envoy.
#[derive(Default)]
struct Side {
    metrics: Mutex<Vec<(String, u64)>>,
    wakes: Arc<AtomicUsize>,
    calls: Mutex<Vec<Called>>,
}

impl Side {
    fn from_pointer<'a>(at: Envoys) -> &'a Self {
        // SAFETY: tests hand in a configuration that lives.
        unsafe { &*at.cast::<Self>() }
    }
}

/// What was answered in the place of the upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replied {
    /// HTTP status.
    pub status: u32,
    /// Headers, in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
    /// For access logs.
    pub details: String,
}

type Pairs = Vec<(String, Vec<u8>)>;

/// A request's side of Envoy. First, because pointers to it are pointers to the whole.
struct Stream {
    side: *const Side,
    maps: [Pairs; 3],
    state: BTreeMap<String, Vec<u8>>,
    attributes: BTreeMap<u32, String>,
    replies: Vec<Replied>,
    changes_fail: bool,
    /// A reply calls back, and destroys the filter, before it returns.
    calls_back: *const c_void,
    is_destroyed: bool,
    wakes: Arc<AtomicUsize>,
}

impl Stream {
    fn from_pointer<'a>(at: Envoys) -> &'a mut Self {
        // SAFETY: tests hand in a request that lives, from one thread.
        unsafe { &mut *at.cast::<Self>() }
    }

    fn call_back(at: Envoys) {
        let filter = core::mem::replace(&mut Self::from_pointer(at).calls_back, core::ptr::null());
        if !filter.is_null() {
            Self::from_pointer(at).is_destroyed = true;
            // SAFETY: as Envoy does within a reply.
            unsafe {
                entries::envoy_dynamic_module_on_http_filter_response_headers(at, filter, true);
                entries::envoy_dynamic_module_on_http_filter_destroy(filter);
            }
        }
    }
}

fn text(buffer: Buffer) -> String {
    // SAFETY: the module hands in what lives as long as the call.
    String::from_utf8(unsafe { buffer.bytes() }.to_vec()).unwrap()
}

/// Puts this in the place of Envoy, and its environment in place: once for all tests. Waits until no
/// other test is at work.
pub fn install(signing_keys: &str) {
    TURN.with_borrow_mut(|turn| {
        turn.get_or_insert_with(|| ONE.lock().unwrap_or_else(PoisonError::into_inner));
    });
    FUNCTIONS.get_or_init(|| {
        // SAFETY: before any test has started a thread that could read it.
        unsafe { std::env::set_var("KEYSTILE_SIGNING_KEYS", signing_keys) };
        functions::ALL
    });
}

/// Which functions an Envoy lacks that has none.
pub fn lacks() -> Option<&'static str> {
    Functions::find(|_| core::ptr::null_mut()).err()
}

/// What Envoy is told when it loads us.
pub fn program_init() -> Option<()> {
    let version = entries::envoy_dynamic_module_on_program_init();
    (!version.is_null()).then_some(())
}

/// Calls `f` while the environment names this node.
pub fn as_node<R>(node: &str, f: impl FnOnce() -> R) -> R {
    // SAFETY: std's own lock guards the environment, and nobody here reads it by C.
    unsafe { std::env::set_var("KEYSTILE_NODE", node) };
    let result = f();
    // SAFETY: likewise.
    unsafe { std::env::remove_var("KEYSTILE_NODE") };
    result
}

/// A configuration that Envoy has.
pub struct Made {
    side: Box<Side>,
    made: *const c_void,
}

// SAFETY: as Envoy does, tests make filters of it on several threads.
unsafe impl Sync for Made {}

/// Hands over a configuration, on the main thread. `None`: it was refused.
pub fn configure(name: &str, bytes: &[u8]) -> (Option<Made>, BTreeMap<String, u64>) {
    let side = Box::<Side>::default();
    let at = (&raw const *side).cast_mut().cast();
    let (name, bytes) = (
        Buffer::from_bytes(name.as_bytes()),
        Buffer::from_bytes(bytes),
    );
    // SAFETY: all of it lives as long as the call.
    let made = unsafe { entries::envoy_dynamic_module_on_http_filter_config_new(at, name, bytes) };
    let metrics = side.metrics.lock().unwrap().iter().cloned().collect();
    ((!made.is_null()).then_some(Made { side, made }), metrics)
}

impl Made {
    fn at(&self) -> Envoys {
        (&raw const *self.side).cast_mut().cast()
    }

    /// A counter or gauge.
    pub fn metric(&self, name: &str) -> u64 {
        let metrics = self.side.metrics.lock().unwrap();
        metrics.iter().find(|(n, _)| n == name).unwrap().1
    }

    /// The main thread gets round to what was asked for.
    pub fn tick(&self) {
        // SAFETY: the configuration lives.
        unsafe {
            entries::envoy_dynamic_module_on_http_filter_config_scheduled(self.at(), self.made, 0);
        }
    }

    /// What was sent to clusters.
    pub fn calls(&self) -> Vec<Called> {
        self.side.calls.lock().unwrap().clone()
    }

    /// An answer to a call of this number.
    pub fn answer(&self, call: u64, headers: &[(&str, &str)], body: &[u8]) {
        let of = |(name, value): &(&str, &str)| Header::new(name, value.as_bytes());
        let headers: Vec<Header> = headers.iter().map(of).collect();
        let body = Buffer::from_bytes(body);
        // SAFETY: all of it lives as long as the call.
        unsafe {
            entries::envoy_dynamic_module_on_http_filter_config_http_callout_done(
                self.at(),
                self.made,
                call,
                0,
                headers.as_ptr(),
                headers.len(),
                &raw const body,
                1,
            );
        }
    }

    /// A request comes.
    pub fn request(&self, headers: &[(&str, &str)]) -> Request {
        let pairs = headers
            .iter()
            .map(|(n, v)| (n.to_string(), v.as_bytes().to_vec()));
        let mut stream = Box::new(Stream {
            side: &raw const *self.side,
            maps: [pairs.collect(), Vec::new(), Vec::new()],
            state: BTreeMap::new(),
            attributes: BTreeMap::new(),
            replies: Vec::new(),
            changes_fail: false,
            calls_back: core::ptr::null(),
            is_destroyed: false,
            wakes: Arc::default(),
        });
        let at = (&raw mut *stream).cast();
        // SAFETY: the configuration lives.
        let filter = unsafe { entries::envoy_dynamic_module_on_http_filter_new(self.made, at) };
        assert!(!filter.is_null());
        Request { stream, filter }
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        // SAFETY: no filter of it is left.
        unsafe { entries::envoy_dynamic_module_on_http_filter_config_destroy(self.made) };
    }
}

/// A request that Envoy has.
pub struct Request {
    stream: Box<Stream>,
    filter: *const c_void,
}

impl Request {
    fn at(&self) -> Envoys {
        (&raw const *self.stream).cast_mut().cast()
    }

    /// With an attribute.
    pub fn with(mut self, attribute: Attribute, value: &str) -> Self {
        self.stream
            .attributes
            .insert(attribute as u32, value.to_owned());
        self
    }

    /// With filter state that another pass has left.
    pub fn after(mut self, other: &Self) -> Self {
        self.stream.state = other.stream.state.clone();
        self
    }

    /// With a header of any bytes.
    pub fn bytes(mut self, name: &str, value: &[u8]) -> Self {
        let headers = &mut self.stream.maps[Map::Request as usize];
        headers.push((name.to_owned(), value.to_vec()));
        self
    }

    /// Changes to its headers are refused.
    pub fn stubborn(mut self) -> Self {
        self.stream.changes_fail = true;
        self
    }

    /// A reply to it calls back and destroys the filter.
    pub fn eager(mut self) -> Self {
        self.stream.calls_back = self.filter;
        self
    }

    /// Its headers have come. Whether it goes on.
    pub fn headers(&self) -> bool {
        // SAFETY: the filter lives.
        let status = unsafe {
            entries::envoy_dynamic_module_on_http_filter_request_headers(
                self.at(),
                self.filter,
                true,
            )
        };
        status == CONTINUE
    }

    /// Its trailers have come. Whether they go on.
    pub fn trailers(&mut self, trailers: &[(&str, &str)]) -> bool {
        let pairs = trailers
            .iter()
            .map(|(n, v)| (n.to_string(), v.as_bytes().to_vec()));
        self.stream.maps[Map::RequestTrailers as usize] = pairs.collect();
        // SAFETY: the filter lives.
        let status = unsafe {
            entries::envoy_dynamic_module_on_http_filter_request_trailers(self.at(), self.filter)
        };
        status == CONTINUE
    }

    /// Its response has come.
    pub fn response(&self) {
        // SAFETY: the filter lives.
        unsafe {
            entries::envoy_dynamic_module_on_http_filter_response_headers(
                self.at(),
                self.filter,
                true,
            );
        }
    }

    /// Its worker gets round to what was asked for, if anything was. Whether it was.
    pub fn turn(&self) -> bool {
        let asked = self.stream.wakes.swap(0, Ordering::SeqCst) > 0;
        if asked {
            // SAFETY: the filter lives.
            unsafe {
                entries::envoy_dynamic_module_on_http_filter_scheduled(self.at(), self.filter, 0);
            }
        }
        asked
    }

    /// Headers of a map, joined.
    pub fn shown(&self, map: Map) -> Vec<String> {
        let pairs = self.stream.maps[map as usize].iter();
        let shown = pairs.map(|(n, v)| format!("{n}: {}", String::from_utf8_lossy(v)));
        shown.collect()
    }

    /// Filter state.
    pub fn state(&self, name: &str) -> Option<String> {
        let value = self.stream.state.get(name)?;
        Some(String::from_utf8(value.clone()).unwrap())
    }

    /// What was answered in the place of the upstream.
    pub fn replies(&self) -> &[Replied] {
        &self.stream.replies
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if !self.stream.is_destroyed {
            // SAFETY: the filter lives.
            unsafe { entries::envoy_dynamic_module_on_http_filter_destroy(self.filter) };
        }
    }
}
