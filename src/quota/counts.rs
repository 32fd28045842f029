//! The tallies of one lineage of keys: a few windows of each rule.
//!
//! Each window gives its quota once, in whatever order a clock shows them. So a few are kept,
//! and what was counted in a window that lies ahead (the clock was set back since) counts in
//! the present one, too, once. They lie in one value: shared data deletes nothing, so there is
//! one for each lineage and not one for each window.

use super::Window;

mod joint;

/// The most tallies of a lineage.
pub const MAX_TALLIES: usize = 32;
/// Windows kept of a rule. Of more, neighbours are counted as one.
const KEPT: usize = 3;

const TALLY_BYTES: usize = 64;
/// Stands before tallies that tell what was given back and what other rules took; those of a
/// former version do not, and have no mark.
const MARK: &[u8; 8] = b"tally\0\0\x03";
const FORMER_BYTES: usize = 48;

/// What was taken of a quota in one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Which rule's, as [`super::Quota::rule`] says.
    pub rule: u64,
    /// The window.
    pub window: Window,
    /// By this Envoy.
    pub own: u64,
    /// By everybody else, as last heard.
    pub others: u64,
    /// As many of its own count in an earlier window, too: the clock was set back.
    pub carried: u64,
    /// So many were given back by the operator, as last heard.
    pub given_back: u64,
    /// Taken under other rules since the window was opened: who is moved to another plan and
    /// back has used those, too.
    pub beside: u64,
}

impl Tally {
    /// What counts as taken.
    pub fn used(&self) -> u64 {
        let taken = self.own.saturating_add(self.others);
        let taken = taken.saturating_add(self.beside);
        taken.saturating_sub(self.given_back)
    }

    /// What was taken under its own rule.
    fn used_here(&self) -> u64 {
        self.used().saturating_sub(self.beside)
    }

    fn overlaps(&self, window: Window) -> bool {
        self.window.start < window.end && window.start < self.window.end
    }

    /// What is left.
    pub fn remaining(&self, requests: u64) -> u64 {
        requests.saturating_sub(self.used())
    }

    /// Both as one, which is the safe side for a window within it.
    fn merged(self, other: Self) -> Self {
        Self {
            rule: self.rule,
            window: Window {
                start: self.window.start.min(other.window.start),
                end: self.window.end.max(other.window.end),
            },
            own: self.used().saturating_add(other.used()),
            others: 0,
            carried: self.carried.saturating_add(other.carried),
            given_back: 0,
            beside: 0,
        }
    }
}

/// The tallies of a lineage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(Vec<Tally>);

impl Counts {
    /// Reads what [`Counts::to_bytes`] wrote; `None` if somebody else did.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (tallies, each) = match bytes.strip_prefix(MARK) {
            Some(tallies) => (tallies, TALLY_BYTES),
            None => (bytes, FORMER_BYTES),
        };
        let fits = !tallies.is_empty() && tallies.len().is_multiple_of(each);
        if !fits || tallies.len() / each > MAX_TALLIES {
            return None;
        }
        let read = |tally: &[u8]| {
            let &[rule, start, end, own, others, carried, ref rest @ ..] = tally.as_chunks::<8>().0
            else {
                return None;
            };
            Some(Tally {
                rule: u64::from_be_bytes(rule),
                window: Window {
                    start: u64::from_be_bytes(start),
                    end: u64::from_be_bytes(end),
                },
                own: u64::from_be_bytes(own),
                others: u64::from_be_bytes(others),
                carried: u64::from_be_bytes(carried),
                given_back: rest.first().map_or(0, |b| u64::from_be_bytes(*b)),
                beside: rest.get(1).map_or(0, |b| u64::from_be_bytes(*b)),
            })
        };
        let all = tallies.chunks_exact(each).map(read);
        all.collect::<Option<_>>().map(Self)
    }

    /// For shared data.
    pub fn to_bytes(&self) -> Vec<u8> {
        let numbers = self.0.iter().flat_map(|t| {
            let Window { start, end } = t.window;
            let counted = [t.own, t.others, t.carried, t.given_back, t.beside];
            [t.rule, start, end].into_iter().chain(counted)
        });
        let numbers = numbers.flat_map(u64::to_be_bytes);
        MARK.iter().copied().chain(numbers).collect()
    }

    /// The tally of a rule in a window, made if there is none, and whether anything was
    /// carried over into it. `None` if there is no room.
    pub(crate) fn open(&mut self, rule: u64, window: Window) -> Option<(&mut Tally, bool)> {
        let is_it = |t: &Tally| t.rule == rule && t.window == window;
        let mut carried = 0;
        if !self.0.iter().any(is_it) {
            carried = self.before(rule, window);
            self.make_room(rule, window)?;
            self.0.push(Tally {
                rule,
                window,
                ..Tally::default()
            });
        }
        let ahead = self.0.iter_mut();
        for later in ahead.filter(|t| t.rule == rule && t.window.start >= window.end) {
            carried = carried.saturating_add(later.own.saturating_sub(later.carried));
            later.carried = later.own;
        }
        let tally = self.0.iter_mut().find(|t| is_it(t))?;
        tally.own = tally.own.saturating_add(carried);
        Some((tally, carried > 0))
    }

    /// What a window that does not exist yet begins with. Other rules may have counted since
    /// this one last did, or the time zone may have new clocks: whatever was taken in a window
    /// that shares a moment with this one counts. The rule that counted last is at the end.
    fn before(&self, rule: u64, window: Window) -> u64 {
        let own = self.0.iter().filter(|t| t.rule == rule);
        let own = own.filter(|t| t.overlaps(window)).map(Tally::used).max();
        let last = self.0.iter().rposition(|t| t.rule == rule);
        let since = self.0.get(last.map_or(0, |at| at + 1)..);
        let since = since.unwrap_or_default().iter();
        let since = since.filter(|t| t.overlaps(window)).map(|t| match last {
            None => t.used(),
            // What those counted of this rule lies in windows that are past.
            Some(_) => t.used_here(),
        });
        own.into_iter().chain(since).max().unwrap_or(0)
    }

    /// One more was taken under a rule: it is the last that counted, and other rules count it,
    /// too, in windows that share a moment with this one.
    pub(super) fn took(&mut self, rule: u64, window: Window) {
        let is_it = |t: &Tally| t.rule == rule && t.window == window;
        if let Some(at) = self.0.iter().position(is_it) {
            let mut tally = self.0.remove(at);
            tally.own = tally.own.saturating_add(1);
            self.0.push(tally);
        }
        for other in self.others(rule, window) {
            other.beside = other.beside.saturating_add(1);
        }
    }

    fn others(&mut self, rule: u64, window: Window) -> impl Iterator<Item = &mut Tally> {
        let others = self.0.iter_mut().filter(move |t| t.rule != rule);
        others.filter(move |t| t.overlaps(window))
    }

    /// Room for one more of a rule, beside a window.
    fn make_room(&mut self, rule: u64, window: Window) -> Option<()> {
        let mut windows: Vec<Tally> = self.0.extract_if(.., |t| t.rule == rule).collect();
        let is_past = |t: &Tally| t.window.end <= window.start;
        windows.sort_unstable_by_key(|t| (t.window.start, t.window.end));
        while windows.len() > KEPT {
            // Neighbours on one side of the present, those with the least time between them:
            // a clock that was far ahead must not join today with a year to come.
            let pairs = windows.iter().zip(windows.iter().skip(1)).enumerate();
            let pairs = pairs.filter(|(_, (a, b))| is_past(a) == is_past(b));
            let gap = pairs.min_by_key(|(_, (a, b))| b.window.start.saturating_sub(a.window.end));
            let (at, merged) = gap.map(|(at, (a, b))| (at, a.merged(*b)))?;
            windows.remove(at);
            if let Some(next) = windows.get_mut(at) {
                *next = merged;
            }
        }
        self.0.append(&mut windows);
        if self.0.len() >= MAX_TALLIES {
            let past = self.0.iter().enumerate();
            let past = past.filter(|(_, t)| t.rule != rule && is_past(t));
            let (oldest, _) = past.min_by_key(|(_, t)| t.window.end)?;
            self.0.remove(oldest);
        }
        Some(())
    }

    /// Gives back one that was taken in a window, where a bucket refused afterwards.
    pub(super) fn give_back(&mut self, rule: u64, taken_in: Window) -> bool {
        let mut all = self.0.iter_mut();
        let found = all.find(|t| t.rule == rule && t.window == taken_in);
        // What counts in an earlier window, too, stays counted in both.
        let found = found.filter(|t| t.own > t.carried);
        let Some(tally) = found else {
            return false;
        };
        tally.own = tally.own.saturating_sub(1);
        for other in self.others(rule, taken_in) {
            other.beside = other.beside.saturating_sub(1);
        }
        true
    }

    /// Hears what others have taken in windows that began at `start`, and what was given
    /// back; whether that is news. Within a window both only rise, so that receipts that pass
    /// each other do no harm. Rules whose windows begin at the same moment hear of each other: the control
    /// plane counts them together, which is the safe side.
    pub fn hear(&mut self, start: u64, others: u64, given_back: u64) -> bool {
        let mut is_news = false;
        for tally in self.0.iter_mut().filter(|t| t.window.start == start) {
            is_news |= others > tally.others || given_back > tally.given_back;
            tally.others = others.max(tally.others);
            tally.given_back = given_back.max(tally.given_back);
        }
        is_news
    }
}
