//! Pages, and how to find a key in them: what keysets and overlays have in common.

use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::entry::{Entry, Lookup, RECORD, Record};
use super::format::PAGE;
use super::refusal::KeysetRefusal;
use crate::key::Prefix;

const PREFIX: usize = 16;
const DIGEST: usize = 32;

/// What a manifest says about the pages.
#[derive(Clone, Copy)]
pub(super) struct Shape<'m> {
    /// Records in the index.
    pub keys: u32,
    /// Bytes of the heap.
    pub heap: u32,
    /// SHA-256 of the directory, base64url.
    pub directory: &'m str,
}

impl Shape<'_> {
    fn index_size(&self) -> Option<usize> {
        (self.keys as usize).checked_mul(RECORD)
    }

    pub(super) fn directory_size(&self) -> Option<usize> {
        let index = self.index_size()?.div_ceil(PAGE);
        let all = index.checked_add((self.heap as usize).div_ceil(PAGE))?;
        index
            .checked_mul(PREFIX)?
            .checked_add(all.checked_mul(DIGEST)?)
    }

    /// Bytes of directory, index and heap together.
    pub fn pages_size(&self) -> Result<usize, KeysetRefusal> {
        let size = || {
            self.directory_size()?
                .checked_add(self.index_size()?)?
                .checked_add(self.heap as usize)
        };
        size().ok_or(KeysetRefusal::Size)
    }
}

/// What is known of a page. Pages never change, so that threads which look at once find the same,
/// and none has to wait for another.
const UNSEEN: u8 = 0;
const GOOD: u8 = 1;
const BAD: u8 = 2;

/// A directory that is verified, and pages that are verified when they are touched.
pub(super) struct Table {
    keys: usize,
    index_pages: usize,
    /// Where the index and the heap begin in `pages`.
    index_at: usize,
    heap_at: usize,
    pages: Vec<u8>,
    state: Vec<AtomicU8>,
    /// How many of them are bad.
    bad: AtomicUsize,
}

impl Table {
    #[inline(never)]
    pub fn new(shape: Shape<'_>, pages: Vec<u8>) -> Result<Self, KeysetRefusal> {
        let index_at = shape.directory_size().ok_or(KeysetRefusal::Size)?;
        let heap_at = shape
            .index_size()
            .and_then(|n| n.checked_add(index_at))
            .ok_or(KeysetRefusal::Size)?;
        let directory = pages.get(..index_at).ok_or(KeysetRefusal::Size)?;
        let digest: [u8; DIGEST] = Sha256::digest(directory).into();
        if URL_SAFE_NO_PAD.encode(digest) != shape.directory {
            return Err(KeysetRefusal::Directory);
        }
        let index_pages = (heap_at - index_at).div_ceil(PAGE);
        let all_pages = index_pages + (shape.heap as usize).div_ceil(PAGE);
        Ok(Self {
            keys: shape.keys as usize,
            index_pages,
            index_at,
            heap_at,
            pages,
            state: (0..all_pages).map(|_| AtomicU8::new(UNSEEN)).collect(),
            bad: AtomicUsize::new(0),
        })
    }

    pub fn len(&self) -> usize {
        self.keys
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.pages.capacity() + self.state.capacity()
    }

    /// Pages in all.
    pub fn pages(&self) -> usize {
        self.state.len()
    }

    /// Pages found so far that do not match their signed digests.
    pub fn corrupt_pages(&self) -> usize {
        self.bad.load(Ordering::Relaxed)
    }

    /// Finds a key by the first half of its digest. In place: a search in the directory,
    /// a search in one page, and, the first time, the hash of the pages touched.
    pub fn lookup(&self, prefix: &Prefix) -> Lookup<'_> {
        // The directory is verified, so a corrupt page affects only searches that end in it.
        let sought = u128::from_be_bytes(*prefix);
        let near = share(sought, self.index_pages);
        let page = partition_point(self.index_pages, near, |i| self.first_of(i) <= sought);
        let Some(page) = page.checked_sub(1) else {
            return Lookup::Unknown;
        };
        let Some((start, end)) = self.index_page(page) else {
            return Lookup::Corrupt;
        };
        let at = |i: usize| self.pages.get(start + i * RECORD..).unwrap_or_default();
        let count = (end - start) / RECORD;
        let near = self.near(page, count, sought);
        let found = partition_point(count, near, |i| prefix_at(at(i)) < sought);
        match Record::read(at(found)) {
            Some(record) if found < count && record.prefix == *prefix => {
                self.entry(&record).map_or(Lookup::Corrupt, Lookup::Found)
            }
            _ => Lookup::Unknown,
        }
    }

    /// Where a digest would be if those of this page were evenly distributed: the start of the
    /// search, not its result.
    fn near(&self, page: usize, count: usize, sought: u128) -> usize {
        let first = self.first_of(page);
        let next = match page + 1 < self.index_pages {
            true => self.first_of(page + 1),
            false => u128::MAX,
        };
        let width = next.saturating_sub(first).max(1) >> 64;
        let into = sought.saturating_sub(first) >> 64;
        (into * count as u128).checked_div(width).unwrap_or(0) as usize
    }

    /// Every key whose pages are those that were signed, in the order of the index.
    pub fn entries(&self) -> impl Iterator<Item = (Prefix, Entry<'_>)> {
        (0..self.index_pages)
            .filter_map(|page| self.index_page(page))
            .flat_map(|(start, end)| {
                let index = self.pages.get(start..end).unwrap_or_default();
                index.chunks_exact(RECORD).filter_map(Record::read)
            })
            .filter_map(|record| Some((record.prefix, self.entry(&record)?)))
    }

    /// The bounds of a page of the index, if it matches its signed digest.
    fn index_page(&self, page: usize) -> Option<(usize, usize)> {
        let start = self.index_at + page * PAGE;
        let end = (start + PAGE).min(self.heap_at);
        self.is_good(page, start, end).then_some((start, end))
    }

    fn entry(&self, record: &Record) -> Option<Entry<'_>> {
        let at = record.profile as usize;
        let len = u16::from_le_bytes(self.heap(at, 2)?.try_into().ok()?);
        Entry::read(record, self.heap(at.checked_add(2)?, usize::from(len))?)
    }

    /// Verified bytes of the heap.
    fn heap(&self, at: usize, len: usize) -> Option<&[u8]> {
        let end = at.checked_add(len)?;
        let heap = self.pages.get(self.heap_at..)?;
        for page in at / PAGE..end.div_ceil(PAGE) {
            let start = self.heap_at + page * PAGE;
            let stop = (start + PAGE).min(self.pages.len());
            if !self.is_good(self.index_pages + page, start, stop) {
                return None;
            }
        }
        heap.get(at..end)
    }

    fn first_of(&self, page: usize) -> u128 {
        prefix_at(self.pages.get(page * PREFIX..).unwrap_or_default())
    }

    fn is_good(&self, page: usize, start: usize, end: usize) -> bool {
        let Some(state) = self.state.get(page) else {
            return false;
        };
        match state.load(Ordering::Relaxed) {
            UNSEEN => self.inspect(state, page, start, end),
            known => known == GOOD,
        }
    }

    /// Hashes a page that nobody has looked at.
    #[cold]
    #[inline(never)]
    fn inspect(&self, state: &AtomicU8, page: usize, start: usize, end: usize) -> bool {
        let at = self.index_pages * PREFIX + page * DIGEST;
        let signed = self.pages.get(at..at + DIGEST);
        let found: Option<[u8; DIGEST]> = self
            .pages
            .get(start..end)
            .map(|bytes| Sha256::digest(bytes).into());
        let good = match (signed, found) {
            (Some(signed), Some(found)) => signed == found,
            _ => false,
        };
        let before = state.swap(if good { GOOD } else { BAD }, Ordering::Relaxed);
        // Of several threads, one counts it.
        if !good && before == UNSEEN {
            self.bad.fetch_add(1, Ordering::Relaxed);
        }
        good
    }
}

/// The prefix that these bytes begin with, as a number of the same order.
fn prefix_at(bytes: &[u8]) -> u128 {
    bytes.first_chunk().copied().map_or(0, u128::from_be_bytes)
}

/// Where in `0..n` a digest would be if all were evenly distributed, as digests are.
fn share(sought: u128, n: usize) -> usize {
    let high = (sought >> 64) as u64;
    ((u128::from(high) * n as u128) >> 64) as usize
}

/// The first of `0..n` for which `before` does not hold, searched from `near` outwards: fast if
/// `near` is close, and never slower than two binary searches.
fn partition_point(n: usize, near: usize, before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, n);
    let mut probe = near.min(n.saturating_sub(1));
    let mut step = 1;
    let up = n > 0 && before(probe);
    if up {
        low = probe + 1;
    } else {
        high = probe;
    }
    while low < high {
        probe = match up {
            true => low + step - 1,
            false => high.saturating_sub(step),
        };
        if probe < low || probe >= high {
            break;
        }
        match (before(probe), up) {
            (true, true) => low = probe + 1,
            (false, false) => high = probe,
            (true, false) => {
                low = probe + 1;
                break;
            }
            (false, true) => {
                high = probe;
                break;
            }
        }
        step *= 2;
    }
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;
    use proptest::prelude::*;

    /// A search that begins near its end asks few questions, whatever lies around.
    #[test]
    fn a_search_asks_twice_for_each_doubling_of_its_way() {
        for n in (1..40).chain([128, 300]) {
            for place in 0..=n {
                for near in 0..n + 3 {
                    let asked = Cell::new(0);
                    let found = partition_point(n, near, |i| {
                        asked.set(asked.get() + 1);
                        i < place
                    });
                    assert_eq!(found, place);
                    let way = near.min(n - 1).abs_diff(place);
                    let most = 2 * (way + 1).ilog2() + 2;
                    assert!(asked.get() <= most, "{n} {place} {near}: {}", asked.get());
                }
            }
        }
    }

    proptest! {
        #![proptest_config(crate::seeded())]

        #[test]
        fn a_search_finds_the_same_place_wherever_it_begins(n in 0usize..300, place in 0usize..300, near in 0usize..400) {
            let place = place.min(n);
            prop_assert_eq!(partition_point(n, near, |i| i < place), place);
        }

        #[test]
        fn an_even_spread_shares_out_evenly(n in 1usize..10_000, page in 0usize..10_000) {
            let page = page % n;
            let sought = (u128::MAX / n as u128) * page as u128 + (u128::MAX / n as u128) / 2;
            prop_assert_eq!(share(sought, n), page);
        }
    }
}
