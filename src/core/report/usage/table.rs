//! Counts as requests arrive: one hash table lookup each, no host call, and no allocation once the
//! table has grown.

use core::net::IpAddr;

use super::{GRAIN, MAX_AGENT};
use crate::fast_hash::FastMap;
use crate::key::KeyId;
use crate::sort;

/// A decided request.
#[derive(Clone, Copy, Debug)]
pub struct Use<'a> {
    /// The key, if one was recognised, refused or not.
    pub key: Option<KeyId>,
    /// The route's [`crate::policy::Route::stable_id`] and name, if one matched.
    pub route: Option<(u64, &'a str)>,
    /// `ok`, or the code of the refusal.
    pub outcome: &'static str,
    /// Wall-clock seconds.
    pub wall: u64,
}

/// Where a key was last used from, as far as the policy lets that be kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsedFrom {
    /// The address, truncated if the policy says so.
    pub address: Option<IpAddr>,
    /// The user agent.
    pub agent: Option<Box<str>>,
}

impl UsedFrom {
    /// Keeps the printable ASCII of a user agent, at most [`MAX_AGENT`] bytes.
    pub fn agent(text: &[u8]) -> Box<str> {
        let clean = |b: &u8| match b {
            b' '..=b'~' => char::from(*b),
            _ => '?',
        };
        text.iter().take(MAX_AGENT).map(clean).collect()
    }
}

/// What is counted together. Routes go by their stable id, zero for none: a push that
/// reorders the policy mixes nothing up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct RowKey {
    pub key: Option<u64>,
    pub route: u64,
    pub outcome: u8,
}

/// A count, and the position of its key among those of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count {
    pub requests: u64,
    pub slot: u32,
}

/// The outcome of a request that was let in: what counts for quotas.
pub(super) const OK: u8 = 0;

impl RowKey {
    /// Without its route.
    fn without_route(self) -> Self {
        Self { route: 0, ..self }
    }

    fn takes_room(self) -> bool {
        self.outcome == OK || self.key.is_some() || self.route != 0
    }
}

/// No key was recognised.
const NO_SLOT: u32 = u32::MAX;

/// What is known of a key that was used.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub id: u64,
    pub last: u64,
    pub origin: UsedFrom,
    looked: u32,
}

impl Seen {
    /// A key of which only the last use is known, in wall-clock seconds.
    pub fn without_origin(id: u64, last: u64) -> Self {
        Self {
            id,
            last,
            origin: UsedFrom::default(),
            looked: 0,
        }
    }
}

/// What is left of a row of requests that were let in with a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct GivenUp {
    pub key: u64,
    pub requests: u64,
    /// Wall-clock seconds.
    pub last: u64,
}

/// The counts of one minute, or of a part of one, while it lasts.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Wall-clock seconds, a multiple of [`GRAIN`].
    pub at: u64,
    rows: FastMap<RowKey, Count>,
    keys: Vec<Seen>,
    slots: FastMap<u64, u32>,
}

/// The minute that an instant belongs to.
pub(super) fn minute(wall: u64) -> u64 {
    wall - wall % GRAIN
}

impl Table {
    /// Counts a request; `false` if it begins a row. `looks` increases with every tick, and
    /// `origin` is called once per key and tick, because it may have to call the host.
    pub fn count(
        &mut self,
        row: RowKey,
        wall: u64,
        looks: u32,
        origin: impl FnOnce() -> Option<UsedFrom>,
    ) -> bool {
        let (slot, is_known) = match self.rows.get_mut(&row) {
            Some(count) => {
                count.requests = count.requests.saturating_add(1);
                (count.slot, true)
            }
            None => {
                let slot = row.key.map_or(NO_SLOT, |id| self.slot(id));
                self.rows.insert(row, Count { requests: 1, slot });
                (slot, false)
            }
        };
        if let Some(key) = self.keys.get_mut(slot as usize) {
            key.last = wall;
            if key.looked != looks {
                key.looked = looks;
                if let Some(origin) = origin() {
                    key.origin = origin;
                }
            }
        }
        is_known
    }

    fn slot(&mut self, id: u64) -> u32 {
        if let Some(slot) = self.slots.get(&id) {
            return *slot;
        }
        let slot = u32::try_from(self.keys.len()).unwrap_or(NO_SLOT);
        self.slots.insert(id, slot);
        self.keys.push(Seen::without_origin(id, 0));
        slot
    }

    /// Whether it has `most` rows and lacks this one.
    pub fn is_full_for(&self, row: &RowKey, most: usize) -> bool {
        self.rows.len() >= most && !self.rows.contains_key(row)
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Requests in it.
    pub fn requests(&self) -> u64 {
        total(self.rows.values())
    }

    /// Row by row.
    #[cfg(test)]
    pub fn counts(&self) -> impl Iterator<Item = (&RowKey, &Count)> {
        self.rows.iter()
    }

    /// Takes out what was counted and keeps the room for the next counts.
    pub fn drain(&mut self) -> Minute {
        let mut rows: Vec<_> = self.rows.drain().collect();
        // A key's rows side by side, so that they are in one batch.
        sort::many(&mut rows, |(a, _), (b, _)| a < b);
        self.slots.clear();
        let mut keys = Vec::with_capacity(self.keys.len());
        keys.append(&mut self.keys);
        Minute {
            at: self.at,
            rows,
            keys,
        }
    }
}

/// How detail is given up: sums stay right, but fewer rows are distinguished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fold {
    /// Refused rows lose their routes.
    RefusedRoutes,
    /// Refused rows lose their keys, too: one row for each code is left.
    RefusedKeys,
    /// Rows of requests that were let in lose their routes. They keep their keys, because quotas
    /// count by them.
    Routes,
}

impl Fold {
    /// In the order in which detail is given up.
    pub const ALL: [Self; 3] = [Self::RefusedRoutes, Self::RefusedKeys, Self::Routes];

    fn fold(self, row: RowKey) -> RowKey {
        match (self, row.outcome) {
            (Self::RefusedRoutes | Self::RefusedKeys, OK) => row,
            (Self::RefusedKeys, _) => RowKey {
                key: None,
                ..row.without_route()
            },
            (Self::RefusedRoutes | Self::Routes, _) => row.without_route(),
        }
    }
}

/// The counts of a minute, or of a part of one, that wait to be sent.
#[derive(Debug, Default)]
pub(super) struct Minute {
    /// As [`Table::at`].
    pub at: u64,
    /// Sorted by key, those without one first.
    pub rows: Vec<(RowKey, Count)>,
    pub keys: Vec<Seen>,
}

impl Minute {
    /// Requests in its rows.
    pub fn requests(&self) -> u64 {
        total(self.rows.iter().map(|(_, count)| count))
    }

    pub fn key(&self, count: &Count) -> Option<&Seen> {
        self.keys.get(count.slot as usize)
    }

    /// Merges an older minute, whose counts then belong to this one.
    pub fn absorb(&mut self, older: Self) {
        let mut slots: FastMap<u64, u32> = self.keys.iter().map(|k| k.id).zip(0..).collect();
        for (row, count) in &older.rows {
            let slot = match older.key(count) {
                None => NO_SLOT,
                Some(key) => *slots.entry(key.id).or_insert_with(|| {
                    self.keys.push(key.clone());
                    u32::try_from(self.keys.len() - 1).unwrap_or(NO_SLOT)
                }),
            };
            self.rows.push((*row, Count { slot, ..*count }));
        }
        self.add_up();
    }

    /// Gives up detail, so that fewer rows are left.
    pub fn fold(&mut self, fold: Fold) {
        let before = self.rows.len();
        for (row, count) in &mut self.rows {
            *row = fold.fold(*row);
            if row.key.is_none() {
                count.slot = NO_SLOT;
            }
        }
        self.add_up();
        if self.rows.len() < before {
            self.forget_unused_keys();
        }
    }

    /// Makes one row of those that are alike.
    fn add_up(&mut self) {
        sort::many(&mut self.rows, |(a, _), (b, _)| a < b);
        self.rows.dedup_by(|(row, count), (kept, sum)| {
            let is_same = row == kept;
            if is_same {
                sum.requests = sum.requests.saturating_add(count.requests);
            }
            is_same
        });
    }

    /// Rows that take room from others: all but the one of each code that is left when
    /// refused rows are folded.
    pub fn room(&self) -> usize {
        let takes_room = |(row, _): &&(RowKey, Count)| row.takes_room();
        self.rows.iter().filter(takes_room).count()
    }

    /// Removes this many rows of keys, least recently used keys first.
    pub fn give_up(&mut self, rows: usize) -> Vec<GivenUp> {
        let all = self.rows.iter().enumerate();
        let of_key = |(i, (row, count)): (usize, &(RowKey, Count))| {
            let given_up = GivenUp {
                key: row.key?,
                requests: count.requests,
                last: self.key(count)?.last,
            };
            (row.outcome == OK).then_some((given_up, i))
        };
        let mut order: Vec<(GivenUp, usize)> = all.filter_map(of_key).collect();
        sort::many(&mut order, |(a, i), (b, j)| (a.last, i) < (b.last, j));
        order.truncate(rows);
        for (_, i) in &order {
            if let Some((_, count)) = self.rows.get_mut(*i) {
                count.requests = 0;
            }
        }
        self.rows.retain(|(_, count)| count.requests > 0);
        self.forget_unused_keys();
        order.into_iter().map(|(row, _)| row).collect()
    }

    /// Takes out all rows of keys from this one on.
    pub fn rest(&mut self, from: usize) -> Vec<GivenUp> {
        self.rows.drain(..from.min(self.rows.len()));
        self.give_up(usize::MAX)
    }

    fn forget_unused_keys(&mut self) {
        let mut moved: FastMap<u32, u32> = FastMap::default();
        let mut kept = Vec::new();
        for (_, count) in &mut self.rows {
            let Some(key) = self.keys.get(count.slot as usize) else {
                continue;
            };
            count.slot = *moved.entry(count.slot).or_insert_with(|| {
                kept.push(key.clone());
                u32::try_from(kept.len() - 1).unwrap_or(NO_SLOT)
            });
        }
        self.keys = kept;
    }
}

fn total<'a>(counts: impl Iterator<Item = &'a Count>) -> u64 {
    counts.fold(0, |sum, c| sum.saturating_add(c.requests))
}
