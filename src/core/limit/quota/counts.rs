//! The tallies of one lineage of keys: a few windows of each rule.
//!
//! Each window grants its quota once, in whatever order a clock shows them. So a few windows are
//! kept, and what was counted in a future window (the clock was set back since) counts in the
//! present one, too, once. They are stored in one value per lineage rather than one per window,
//! because shared data cannot be deleted.

use super::window::Window;
use crate::sort;

mod joint;

/// The most tallies of a lineage.
pub const MAX_TALLIES: usize = 32;
/// Windows kept per rule. If there are more, neighbours are merged.
const KEPT: usize = 3;
/// Seconds of a month of 31 days and a day.
const LONGEST: u64 = 32 * 86_400;

const TALLY_BYTES: usize = 64;
/// Marks tallies that include what was given back and what other rules took; those of an older
/// version do not, and have no mark.
const MARK: &[u8; 8] = b"tally\0\0\x03";
const FORMER_BYTES: usize = 48;

/// What was taken of a quota in one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Which rule's, as [`super::Quota::rule`] says.
    pub rule: u64,
    /// The window.
    pub window: Window,
    /// Taken by this Envoy.
    pub own: u64,
    /// Taken by all others, as last reported.
    pub others: u64,
    /// How many of its own also count in an earlier window, because the clock was set back.
    pub carried: u64,
    /// How many the operator gave back, as last reported.
    pub given_back: u64,
    /// Taken in other windows that overlap this one, mostly under other rules: a key that is moved
    /// to another plan and back has used those as well.
    pub beside: u64,
}

impl Tally {
    /// What counts as taken.
    pub fn used(&self) -> u64 {
        let taken = self.own.saturating_add(self.others);
        let taken = taken.saturating_add(self.beside);
        taken.saturating_sub(self.given_back)
    }

    /// What was taken in this window alone.
    fn used_here(&self) -> u64 {
        let taken = self.own.saturating_add(self.others);
        taken.saturating_sub(self.given_back)
    }

    fn overlaps(&self, window: Window) -> bool {
        self.window.start < window.end && window.start < self.window.end
    }

    /// What is left.
    pub fn remaining(&self, requests: u64) -> u64 {
        requests.saturating_sub(self.used())
    }

    /// Both merged into one, which is the safe side for a window within it.
    fn merged(self, other: Self) -> Self {
        Self {
            rule: self.rule,
            window: Window {
                start: self.window.start.min(other.window.start),
                end: self.window.end.max(other.window.end),
            },
            own: self.own.saturating_add(other.used_here()),
            // Those of the window that begins with it, because they may be reported again.
            others: self.others,
            carried: self.carried.saturating_add(other.carried),
            given_back: self.given_back,
            beside: self.beside.saturating_add(other.beside),
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

    /// Whether all its windows ended so long ago that no clock that is set back will show them
    /// again: nothing is lost with it.
    pub fn is_past(&self, wall: u64) -> bool {
        let mut all = self.0.iter();
        all.all(|t| t.window.end.saturating_add(LONGEST) <= wall)
    }

    /// The tally of a rule in a window, created if there is none, and whether anything was carried
    /// over into it. `None` if there is no room.
    pub(crate) fn open(&mut self, rule: u64, window: Window) -> Option<(&mut Tally, bool)> {
        let is_it = |t: &Tally| t.rule == rule && t.window == window;
        let mut carried_over = false;
        if !self.0.iter().any(is_it) {
            let begun = self.begun(rule, window);
            carried_over = begun.used() > 0;
            self.make_room(rule, window)?;
            self.0.push(begun);
        }
        let mut carried: u64 = 0;
        let ahead = self.0.iter_mut();
        for later in ahead.filter(|t| t.rule == rule && t.window.start >= window.end) {
            let counted = later.own.saturating_add(later.beside);
            carried = carried.saturating_add(counted.saturating_sub(later.carried));
            later.carried = counted;
        }
        let tally = self.0.iter_mut().find(|t| is_it(t))?;
        tally.own = tally.own.saturating_add(carried);
        Some((tally, carried_over || carried > 0))
    }

    /// A new window. Other rules may have counted since this one last did, or the time zone may
    /// have new transitions: what was taken in each window that overlaps this one counts.
    fn begun(&self, rule: u64, window: Window) -> Tally {
        let overlapping = |t: &&Tally| t.overlaps(window);
        let own = self.0.iter().filter(overlapping).filter(|t| t.rule == rule);
        let own = own.map(Tally::used).max();
        // The one that counted last is at the end. Whatever precedes a past window of this rule was
        // taken before that window ended.
        let is_past = |t: &Tally| t.rule == rule && t.window.end <= window.start;
        let last = self.0.iter().rposition(is_past).filter(|_| own.is_none());
        let since = self.0.get(last.map_or(0, |at| at + 1)..);
        let since = since.unwrap_or_default().iter().filter(overlapping);
        let mut begun = Tally {
            rule,
            window,
            ..Tally::default()
        };
        for t in since {
            // For windows that begin at the same time, what others took is reported as one number.
            let taken = match t.window.start == window.start {
                true => {
                    begun.others = begun.others.max(t.others);
                    begun.given_back = begun.given_back.max(t.given_back);
                    t.own
                }
                false => t.used_here(),
            };
            begun.beside = begun.beside.saturating_add(taken);
        }
        let missing = own.unwrap_or(0).saturating_sub(begun.used());
        begun.beside = begun.beside.saturating_add(missing);
        begun
    }

    /// One more was taken under a rule, which becomes the last that counted; other windows that
    /// overlap this one count it as well.
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
        let is_it = move |t: &Tally| t.rule == rule && t.window == window;
        let others = self.0.iter_mut().filter(move |t| !is_it(t));
        others.filter(move |t| t.overlaps(window))
    }

    /// Makes room for one more tally of a rule, beside a window.
    fn make_room(&mut self, rule: u64, window: Window) -> Option<()> {
        let mut windows: Vec<Tally> = self.0.extract_if(.., |t| t.rule == rule).collect();
        let is_past = |t: &Tally| t.window.end <= window.start;
        let times = |t: &Tally| (t.window.start, t.window.end);
        sort::few(&mut windows, |a, b| times(a) < times(b));
        while windows.len() > KEPT {
            // Merge neighbours on one side of the present: first those that together last no longer
            // than a month, because a month counts whatever overlaps it; then those with the least
            // time between them. A clock that was far ahead must not merge today with a future
            // year.
            let pairs = windows.iter().zip(windows.iter().skip(1)).enumerate();
            let pairs = pairs.filter(|(_, (a, b))| is_past(a) == is_past(b));
            let least = pairs.min_by_key(|(_, (a, b))| {
                let lasts = b.window.end.saturating_sub(a.window.start);
                let gap = b.window.start.saturating_sub(a.window.end);
                (lasts > LONGEST, gap)
            });
            let (at, merged) = least.map(|(at, (a, b))| (at, a.merged(*b)))?;
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

    /// Gives back one that was taken in a window, if a bucket refused afterwards.
    pub(super) fn give_back(&mut self, rule: u64, taken_in: Window) -> bool {
        let mut all = self.0.iter_mut();
        let found = all.find(|t| t.rule == rule && t.window == taken_in);
        // What also counts in an earlier window stays counted in both.
        let found = found.filter(|t| t.own > 0 && t.own.saturating_add(t.beside) > t.carried);
        let Some(tally) = found else {
            return false;
        };
        tally.own = tally.own.saturating_sub(1);
        for other in self.others(rule, taken_in) {
            other.beside = other.beside.saturating_sub(1);
        }
        true
    }

    /// Records what others have taken in windows that began at `start`, and what was given back;
    /// gives whether anything changed. Within a window both only increase, so receipts that arrive
    /// out of order do no harm. Rules whose windows begin at the same time learn of each other,
    /// because the control plane counts them together, which is the safe side.
    pub fn hear(&mut self, start: u64, others: u64, given_back: u64) -> bool {
        let mut is_news = false;
        let (mut end, mut most) = (start, 0);
        for tally in self.0.iter_mut().filter(|t| t.window.start == start) {
            is_news |= others > tally.others || given_back > tally.given_back;
            let more = others.saturating_sub(tally.others);
            (end, most) = (end.max(tally.window.end), most.max(more));
            tally.others = others.max(tally.others);
            tally.given_back = given_back.max(tally.given_back);
        }
        // Windows that began at other times count it like what was taken here.
        let heard = Window { start, end };
        let elsewhere = self.0.iter_mut().filter(|t| t.window.start != start);
        for tally in elsewhere.filter(|t| t.overlaps(heard)) {
            tally.beside = tally.beside.saturating_add(most);
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_are_past_when_no_clock_that_is_set_back_shows_their_windows_again() {
        let mut counts = Counts::default();
        let window = |start, end| Window { start, end };
        counts.open(1, window(0, 100)).unwrap();
        counts.open(2, window(50, 200)).unwrap();
        assert!(!counts.is_past(100 + 32 * 86_400), "the second is not");
        assert!(!counts.is_past(200 + 32 * 86_400 - 1));
        assert!(counts.is_past(200 + 32 * 86_400));
    }

    #[test]
    fn of_days_that_came_in_any_order_only_neighbours_are_counted_together() {
        let day = |n: u64| Window {
            start: n * 86_400,
            end: (n + 1) * 86_400,
        };
        for days in [[10, 0, 5, 11, 12], [11, 10, 5, 0, 12], [5, 11, 0, 10, 12]] {
            let mut counts = Counts::default();
            for n in days {
                counts.open(1, day(n)).unwrap();
                counts.took(1, day(n));
            }
            let held = counts
                .0
                .iter()
                .map(|t| (t.window.start / 86_400, t.window.end / 86_400));
            let mut held: Vec<(u64, u64)> = held.collect();
            held.sort_unstable();
            assert_eq!(held, [(0, 1), (5, 6), (10, 12), (12, 13)], "{days:?}");
        }
    }
}
