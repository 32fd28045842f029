//! What the VMs of one Envoy process share, and the faults that a test puts into it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::request::Headers;

/// proxy-wasm status codes, as the host numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Status {
    Ok = 0,
    NotFound = 1,
    BadArgument = 2,
    SerializationFailure = 3,
    ParseFailure = 4,
    InvalidMemoryAccess = 6,
    Empty = 7,
    CasMismatch = 8,
    InternalFailure = 10,
    Unimplemented = 12,
}

/// What all VMs of one Envoy process share: workers, the main thread, the canary.
pub type Shared = Rc<RefCell<Process>>;

/// Sees each `proxy_set_shared_data` just before it happens: key and value in force. `Some` is written first, as if
/// another worker had come between; a compare-and-swap is then lost for real.
pub type Rival = Box<dyn FnMut(&[u8], Option<&[u8]>) -> Option<Vec<u8>>>;

pub struct Process {
    /// Wall clock: nanoseconds since 1970.
    pub wall: u64,
    /// Monotonic clock: nanoseconds since some start.
    pub monotonic: u64,
    /// What `proxy_get_log_level` answers. Lines are kept whatever their level.
    pub log_level: Level,
    pub log: Vec<Line>,
    /// Values and cas numbers by key, never zero.
    pub shared_data: BTreeMap<Vec<u8>, (Vec<u8>, u32)>,
    pub metrics: BTreeMap<(MetricKind, String), Metric>,
    /// Envoy's `node.id`.
    pub node: Vec<u8>,
    /// The `name` in the configuration of the plugin that is started.
    pub plugin_name: Vec<u8>,
    pub http_calls: Vec<HttpCall>,
    /// Calls of each host function, by the name it is imported under, WASI included.
    pub calls: BTreeMap<String, u64>,
    /// Host functions that were called though this host does not have them.
    pub unknown: Vec<String>,
    /// The next so many compare-and-swaps (`cas` not zero) answer `CasMismatch` and change nothing.
    pub lose_swaps: u32,
    pub rival: Option<Rival>,
    /// Host functions, by name, that answer an error and do nothing.
    pub fail: BTreeMap<String, Fault>,
    last_cas: u32,
    random: u64,
}

/// Let `skip` calls pass, then answer `times` of them with `status`. For WASI functions the number is an errno.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub status: Status,
    pub skip: u32,
    pub times: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Critical,
}

impl Level {
    pub(super) const ALL: [Self; 6] = [
        Self::Trace,
        Self::Debug,
        Self::Info,
        Self::Warn,
        Self::Error,
        Self::Critical,
    ];
}

#[derive(Clone, Debug)]
pub struct Line {
    pub level: Level,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

impl MetricKind {
    pub(super) const ALL: [Self; 3] = [Self::Counter, Self::Gauge, Self::Histogram];
}

/// A counter's or gauge's value; of a histogram, what was recorded.
#[derive(Clone, Debug, Default)]
pub struct Metric {
    pub value: u64,
    pub samples: Vec<u64>,
}

#[derive(Clone, Debug)]
pub struct HttpCall {
    pub root: u32,
    pub cluster: String,
    pub headers: Headers,
    pub body: Vec<u8>,
    pub timeout: Duration,
}

impl Default for Process {
    fn default() -> Self {
        Self {
            wall: 1_800_000_000 * 1_000_000_000, // 2027-01-15T08:00:00Z
            monotonic: 5_000 * 1_000_000_000,
            log_level: Level::Info,
            log: Vec::new(),
            shared_data: BTreeMap::new(),
            metrics: BTreeMap::new(),
            node: b"edge-1".to_vec(),
            plugin_name: b"keystile".to_vec(),
            http_calls: Vec::new(),
            calls: BTreeMap::new(),
            unknown: Vec::new(),
            lose_swaps: 0,
            rival: None,
            fail: BTreeMap::new(),
            last_cas: 0,
            random: 0x9e37_79b9_7f4a_7c15,
        }
    }
}

impl Process {
    pub fn new() -> Shared {
        Rc::new(RefCell::new(Self::default()))
    }

    /// Lets time pass on both clocks. A test of clock steps sets [`Self::wall`] alone.
    pub fn advance(&mut self, by: Duration) {
        let nanoseconds = u64::try_from(by.as_nanos()).expect("a test waits less than 584 years");
        self.wall += nanoseconds;
        self.monotonic += nanoseconds;
    }

    pub fn called(&self, name: &str) -> u64 {
        self.calls.get(name).copied().unwrap_or(0)
    }

    pub fn fail_next(&mut self, name: &str, status: Status, times: u32) {
        self.fail.insert(
            name.to_owned(),
            Fault {
                status,
                skip: 0,
                times,
            },
        );
    }

    pub fn counter(&self, name: &str) -> Option<u64> {
        self.metric(MetricKind::Counter, name)
    }

    pub fn gauge(&self, name: &str) -> Option<u64> {
        self.metric(MetricKind::Gauge, name)
    }

    fn metric(&self, kind: MetricKind, name: &str) -> Option<u64> {
        self.metrics
            .get(&(kind, name.to_owned()))
            .map(|metric| metric.value)
    }

    pub fn logged(&self, text: &str) -> bool {
        self.log.iter().any(|line| line.text.contains(text))
    }

    /// Everything that left the filter other than by requests and replies: where a secret must not be found.
    pub fn transcript(&self) -> Vec<u8> {
        let lines = self.log.iter().map(|line| line.text.clone().into_bytes());
        let metrics = self
            .metrics
            .keys()
            .map(|(_, name)| name.clone().into_bytes());
        let data = self
            .shared_data
            .iter()
            .map(|(key, (value, _))| [&key[..], value].concat());
        let calls = self.http_calls.iter().map(|call| {
            let fields = call
                .headers
                .0
                .iter()
                .flat_map(|(name, value)| [&name[..], value]);
            [fields.collect::<Vec<_>>().concat(), call.body.clone()].concat()
        });
        lines
            .chain(metrics)
            .chain(data)
            .chain(calls)
            .collect::<Vec<_>>()
            .join(&b'\n')
    }

    /// Envoy's `SharedData::set`: zero overwrites, and nobody compares on the first insertion.
    pub fn set_shared_data(&mut self, key: &[u8], value: &[u8], cas: u32) -> Status {
        if let Some((_, current)) = self.shared_data.get(key)
            && cas != 0
            && cas != *current
        {
            return Status::CasMismatch;
        }
        self.last_cas = self.last_cas.wrapping_add(1).max(1);
        self.shared_data
            .insert(key.to_vec(), (value.to_vec(), self.last_cas));
        Status::Ok
    }

    pub(super) fn swap_shared_data(&mut self, key: &[u8], value: &[u8], cas: u32) -> Status {
        if cas != 0 && self.lose_swaps > 0 {
            self.lose_swaps -= 1;
            return Status::CasMismatch;
        }
        if let Some(mut rival) = self.rival.take() {
            let current = self.shared_data.get(key).map(|(value, _)| &value[..]);
            if let Some(theirs) = rival(key, current) {
                self.set_shared_data(key, &theirs, 0);
            }
            self.rival = Some(rival);
        }
        self.set_shared_data(key, value, cas)
    }

    pub(super) fn log(&mut self, level: Level, text: &[u8]) {
        let text = String::from_utf8_lossy(text).into_owned();
        self.log.push(Line { level, text });
    }

    /// Counts the call, and answers in the function's place when a fault is set for it.
    pub(super) fn enter(&mut self, name: &str) -> Option<u32> {
        *self.calls.entry(name.to_owned()).or_default() += 1;
        let fault = self.fail.get_mut(name)?;
        if fault.skip > 0 {
            fault.skip -= 1;
            return None;
        }
        fault.times = fault.times.checked_sub(1)?;
        Some(fault.status as u32)
    }

    /// SplitMix64: `random_get` is the same in every run.
    pub(super) fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
