//! Pages and how a key is found in them: what keysets and overlays have in common.

use core::cell::Cell;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::entry::{Entry, RECORD, Record};
use super::{Lookup, PAGE, Refusal};
use crate::key::Prefix;

const RECORDS_PER_PAGE: usize = PAGE / RECORD;
const PREFIX: usize = 16;
const DIGEST: usize = 32;

/// What a manifest says of the pages behind it.
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
    pub fn pages_size(&self) -> Result<usize, Refusal> {
        let size = || {
            self.directory_size()?
                .checked_add(self.index_size()?)?
                .checked_add(self.heap as usize)
        };
        size().ok_or(Refusal::Size)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PageState {
    Unseen,
    Good,
    Bad,
}

/// A directory that is verified, and pages that are verified when they are touched.
pub(super) struct Table {
    keys: usize,
    index_pages: usize,
    /// Where the index and the heap begin in `pages`.
    index_at: usize,
    heap_at: usize,
    pages: Vec<u8>,
    state: Vec<Cell<PageState>>,
}

impl Table {
    pub fn new(shape: Shape<'_>, pages: Vec<u8>) -> Result<Self, Refusal> {
        let index_at = shape.directory_size().ok_or(Refusal::Size)?;
        let heap_at = shape
            .index_size()
            .and_then(|n| n.checked_add(index_at))
            .ok_or(Refusal::Size)?;
        let directory = pages.get(..index_at).ok_or(Refusal::Size)?;
        let digest: [u8; DIGEST] = Sha256::digest(directory).into();
        if URL_SAFE_NO_PAD.encode(digest) != shape.directory {
            return Err(Refusal::Directory);
        }
        let index_pages = (heap_at - index_at).div_ceil(PAGE);
        let all_pages = index_pages + (shape.heap as usize).div_ceil(PAGE);
        Ok(Self {
            keys: shape.keys as usize,
            index_pages,
            index_at,
            heap_at,
            pages,
            state: vec![Cell::new(PageState::Unseen); all_pages],
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

    /// Pages found not to be those that were signed, so far.
    pub fn corrupt_pages(&self) -> usize {
        self.state
            .iter()
            .filter(|s| s.get() == PageState::Bad)
            .count()
    }

    /// Finds a key by the first half of its digest. In place: a search in the directory,
    /// a search in one page, and, the first time, the hash of the pages touched.
    pub fn lookup(&self, prefix: &Prefix) -> Lookup<'_> {
        // The directory is verified, so a corrupt page misleads no search but its own.
        let page = partition_point(self.index_pages, |i| self.first_of(i) <= &prefix[..]);
        let Some(page) = page.checked_sub(1) else {
            return Lookup::Unknown;
        };
        let Some((start, end)) = self.index_page(page) else {
            return Lookup::Corrupt;
        };
        let at = |i: usize| self.pages.get(start + i * RECORD..).unwrap_or_default();
        let count = (end - start) / RECORD;
        let found = partition_point(count.min(RECORDS_PER_PAGE), |i| {
            at(i).get(..PREFIX).unwrap_or_default() < &prefix[..]
        });
        match Record::read(at(found)) {
            Some(record) if found < count && record.prefix == *prefix => {
                self.entry(&record).map_or(Lookup::Corrupt, Lookup::Found)
            }
            _ => Lookup::Unknown,
        }
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

    /// Where a page of the index begins and ends, if it is the one that was signed.
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

    fn first_of(&self, page: usize) -> &[u8] {
        let at = page * PREFIX;
        self.pages.get(at..at + PREFIX).unwrap_or_default()
    }

    fn is_good(&self, page: usize, start: usize, end: usize) -> bool {
        let Some(state) = self.state.get(page) else {
            return false;
        };
        if state.get() == PageState::Unseen {
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
            state.set(if good {
                PageState::Good
            } else {
                PageState::Bad
            });
        }
        state.get() == PageState::Good
    }
}

/// The first of `0..n` for which `before` does not hold.
fn partition_point(n: usize, before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, n);
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
