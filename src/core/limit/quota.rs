//! Quotas: a number of requests per day or month.
//!
//! Windows follow the clocks of a time zone. The filter has no time zone database, so the companion
//! writes the transitions of the zones that the policy names into the manifest ([`Zone`]); windows
//! are computed from those.
//!
//! A [`Tally`] counts what this Envoy let through in a window of one rule, and what all others did
//! according to the control plane. Both are kept in shared data, so the count of one Envoy is exact
//! whatever its number of workers. Several Envoys exceed the quota by at most what they let through
//! within two report periods (one for the others to report, and one to be told) and the transit of
//! the receipt; two Envoys under equal load, within one period.

use core::hash::{Hash, Hasher};
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limit::bucket::{Contended, joined};
use crate::policy::{QuotaPeriod, RawQuota, RollOver};

mod counts;
mod joint;
mod window;

pub use counts::{Counts, MAX_TALLIES, Tally};
pub use joint::Joint;
pub use window::Window;

const DAY: i64 = 86_400;
const HOUR: i64 = 3600;
/// The year 30000: no arithmetic overflows before.
const FAR: i64 = 884_541_340_800;
/// The widest offset of a time zone, in seconds, with some room.
const OFFSET_MAX: i32 = 26 * 3600;
/// The most transitions of one zone.
const TRANSITIONS_MAX: usize = 1024;

/// The clocks of a time zone. In JSON `[offset, [[since, offset], …]]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone(
    /// Seconds east of UTC, before the first transition.
    pub i32,
    /// Transitions: from this time on (wall-clock seconds), this offset holds. The last one holds
    /// indefinitely: what a zone will do in twenty years is unknown.
    pub Vec<(u64, i32)>,
);

/// Time zones by name. `UTC` need not be among them.
pub type Zones = BTreeMap<String, Zone>;

impl Zone {
    /// Whether the offsets are possible, and the transitions in order and not too many.
    pub fn holds(&self) -> bool {
        let Self(first, transitions) = self;
        let fits = |offset: &i32| offset.unsigned_abs() <= OFFSET_MAX.unsigned_abs();
        fits(first)
            && transitions.len() <= TRANSITIONS_MAX
            && transitions.iter().all(|(_, offset)| fits(offset))
            && transitions.is_sorted_by(|(a, _), (b, _)| a < b)
    }

    fn offset_at(&self, at: i64) -> i64 {
        let Self(first, transitions) = self;
        let passed = transitions.partition_point(|(since, _)| as_signed(*since) <= at);
        let last = passed.checked_sub(1).and_then(|i| transitions.get(i));
        i64::from(last.map_or(*first, |(_, offset)| *offset))
    }

    /// The time at which local clocks show this. If there are two, the earlier one; if clocks skip
    /// it, the time at which they would have shown it had they not been set forward (RFC 5545
    /// section 3.3.5).
    fn instant(&self, local: i64) -> i64 {
        // The offset a day earlier is the one before any nearby transition.
        let before = self.offset_at(local.saturating_sub(2 * DAY));
        let after = self.offset_at(local.saturating_add(2 * DAY));
        let early = local.saturating_sub(before);
        let late = local.saturating_sub(after);
        match (
            self.offset_at(early) == before,
            self.offset_at(late) == after,
        ) {
            (true, _) => early,
            (false, true) => late,
            (false, false) => early,
        }
    }
}

/// A quota of a plan, with its time zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Requests allowed in each window.
    pub requests: u64,
    per: QuotaPeriod,
    rolls_over: RollOver,
    zone: Arc<Zone>,
    rule: u64,
}

impl Quota {
    /// `None` if the zone is missing or invalid.
    pub fn new(raw: &RawQuota, zones: &Zones) -> Option<Self> {
        let zone = match zones.get(&raw.time_zone) {
            Some(zone) => zone.clone(),
            None if raw.time_zone == "UTC" => Zone::default(),
            None => return None,
        };
        zone.holds().then(|| Self {
            requests: raw.requests,
            per: raw.per,
            rolls_over: raw.rolls_over,
            zone: Arc::new(zone),
            rule: rule(raw),
        })
    }

    /// Distinguishes its tally from those of other rules by the period, the time zone's name and
    /// the roll-over, but not by the number of requests: plans with the same windows share one
    /// count, so that a change from one to the other grants no request twice.
    pub fn rule(&self) -> u64 {
        self.rule
    }

    /// The window that contains a time. `None` from the year 30000 on, which is what a host without
    /// a clock reports: counting there would forget this year's count.
    pub fn window(&self, wall: u64) -> Option<Window> {
        let at = i64::try_from(wall).ok().filter(|at| *at < FAR)?;
        let local = at.saturating_add(self.zone.offset_at(at));
        let days = local.div_euclid(DAY);
        // Start well before, because clocks that are set around the roll-over may put the time on
        // either side of it.
        let mut start = self.begin(days, -2);
        let mut step = -1;
        loop {
            let end = self.begin(days, step);
            // The second bound only ends a loop that arithmetic ends long before.
            if at < end || step > 3 {
                return Some(Window {
                    start: u64::try_from(start).unwrap_or(0),
                    end: u64::try_from(end).unwrap_or(0),
                });
            }
            (start, step) = (end, step + 1);
        }
    }

    /// When the period begins that is `step` periods after that of a local day.
    fn begin(&self, days: i64, step: i64) -> i64 {
        let day = match self.per {
            QuotaPeriod::Day => days.saturating_add(step),
            QuotaPeriod::Month => {
                let (year, month) = year_and_month(days);
                let months = year * 12 + (month - 1) + step;
                let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
                days_to(year, month, i64::from(self.rolls_over.day))
            }
        };
        self.zone
            .instant(day * DAY + i64::from(self.rolls_over.hour) * HOUR)
    }
}

/// `10000 per month`, for people.
impl core::fmt::Display for Quota {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let per = match self.per {
            QuotaPeriod::Day => "day",
            QuotaPeriod::Month => "month",
        };
        write!(f, "{} per {per}", self.requests)
    }
}

/// FNV-1a: time zone names come from the operator, who gains nothing from a collision.
fn rule(raw: &RawQuota) -> u64 {
    let per = match raw.per {
        QuotaPeriod::Day => b'd',
        QuotaPeriod::Month => b'm',
    };
    let bytes = [per, raw.rolls_over.day, raw.rolls_over.hour];
    let bytes = bytes.into_iter().chain(raw.time_zone.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn as_signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, by eras of 400 years that
/// begin in March. By hand: a calendar crate would be as large as the rest of the filter; tests
/// compare with one.
fn days_to(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn year_and_month(days: i64) -> (i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month)
}

/// Names the tally of a key together with all keys that it was rotated to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TallyKey([u8; TALLY_KEY_BYTES]);

const TALLY_KEY_BYTES: usize = 27;
const TALLY_PREFIX: &[u8; 11] = b"keystile/t/";

impl TallyKey {
    /// Of the lineage of a key in a store.
    pub fn new(store: [u8; 8], lineage: u64) -> Self {
        Self(joined(&[TALLY_PREFIX, &store, &lineage.to_be_bytes()]))
    }

    /// The bytes of the name.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Hash for TallyKey {
    /// By what distinguishes the tallies of a store.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let lineage = self.0.last_chunk().copied().map_or(0, u64::from_le_bytes);
        state.write_u64(lineage);
    }
}

/// Where tallies are kept: a map in tests, shared data or memory in Envoy.
pub trait Tallies {
    /// Gives `f` the tallies of a lineage and stores what it makes of them, if it returns
    /// `true`. Atomic, as [`crate::limit::bucket::Buckets::update`].
    ///
    /// # Errors
    /// [`Contended`] after a bounded number of lost swaps; nothing was stored.
    fn update_tally(
        &mut self,
        key: &TallyKey,
        f: &mut dyn FnMut(&mut Counts) -> bool,
    ) -> Result<(), Contended>;
}

/// What a draw on a quota left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// The window that it was taken from.
    pub window: Window,
    /// What is left there.
    pub remaining: u64,
}

/// Why a draw took nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotDrawn {
    /// The quota is used up until this instant, in wall-clock seconds.
    UsedUp(u64),
    /// Too many others draw at the same time.
    Contended,
}

/// One request's draw on a quota.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    /// The lineage whose tallies are drawn on.
    pub key: TallyKey,
    /// Which of them: that of the rule, as [`Quota::rule`] says.
    pub rule: u64,
    /// The window that the request falls in.
    pub window: Window,
    /// How much the quota allows.
    pub requests: u64,
}

/// What can be drawn on the quotas of one request: all of it, or nothing.
pub trait Drawing {
    /// What a draw left.
    type Drawn;

    /// Looks without taking.
    ///
    /// # Errors
    /// [`NotDrawn`], if [`Drawing::take`] would fail.
    fn look(&self, tallies: &mut impl Tallies) -> Result<(), NotDrawn>;

    /// Takes one request.
    ///
    /// # Errors
    /// [`NotDrawn`]; nothing was taken.
    fn take(&self, tallies: &mut impl Tallies) -> Result<Self::Drawn, NotDrawn>;

    /// Undoes a take. If that fails, the caller loses one request, which is the safe side.
    fn give_back(&self, tallies: &mut impl Tallies, drawn: &Self::Drawn);
}

impl Drawing for Draw {
    type Drawn = Drawn;

    fn look(&self, tallies: &mut impl Tallies) -> Result<(), NotDrawn> {
        let mut left = 0;
        let read = tallies.update_tally(&self.key, &mut |counts| {
            let opened = counts.open(self.rule, self.window);
            left = opened.map_or(0, |(tally, _)| tally.remaining(self.requests));
            false
        });
        read.map_err(|Contended| NotDrawn::Contended)?;
        match left {
            0 => Err(NotDrawn::UsedUp(self.window.end)),
            _ => Ok(()),
        }
    }

    fn take(&self, tallies: &mut impl Tallies) -> Result<Drawn, NotDrawn> {
        let mut result = Err(NotDrawn::Contended);
        let swapped = tallies.update_tally(&self.key, &mut |counts| {
            result = Err(NotDrawn::UsedUp(self.window.end));
            let Some((tally, carried)) = counts.open(self.rule, self.window) else {
                return false;
            };
            if tally.remaining(self.requests) == 0 {
                // What was carried over is carried over once, even if the request is refused.
                return carried;
            }
            result = Ok(Drawn {
                window: self.window,
                remaining: tally.remaining(self.requests).saturating_sub(1),
            });
            counts.took(self.rule, self.window);
            true
        });
        match swapped {
            Ok(()) => result,
            Err(Contended) => Err(NotDrawn::Contended),
        }
    }

    fn give_back(&self, tallies: &mut impl Tallies, drawn: &Drawn) {
        let _ = tallies.update_tally(&self.key, &mut |counts| {
            counts.give_back(self.rule, drawn.window)
        });
    }
}

#[cfg(test)]
mod tests;
