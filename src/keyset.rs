//! The signed artefact that the filter loads: policy and keys.
//!
//! A manifest (JSON, signed with HMAC-SHA-256) names the digest of a directory, the
//! directory the digests of 4 KiB pages, and the pages hold an index of 32-byte records
//! sorted by digest and a heap of profiles. The manifest and the directory are checked
//! when the keyset is loaded, a page the first time a lookup touches it, as dm-verity
//! does. Nothing per key is parsed or allocated at load.

use core::cell::Cell;
use core::fmt;
use core::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::key::Prefix;
use crate::policy::{Policy, RawPolicy};

mod build;
mod entry;
pub mod envelope;
mod refusal;
mod signing;

pub use build::{BuildError, Built, Content, EXPIRED_KEPT, Network, Row, build};
pub use entry::Entry;
pub use refusal::Refusal;
pub use signing::{SigningKey, SigningKeyError, SigningKeys};

use entry::{RECORD, Record};

/// The version of the format of manifest and pages.
pub const FORMAT: u32 = 1;

/// Bytes of a page: what one lookup verifies at most twice, and small enough that the
/// first touch costs some 20 µs.
pub const PAGE: usize = 4096;

const RECORDS_PER_PAGE: usize = PAGE / RECORD;
const PREFIX: usize = 16;
const DIGEST: usize = 32;

/// Which store a keyset comes from; drawn at random when the store is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId(pub [u8; 8]);

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// The text is not sixteen hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreIdError;

impl FromStr for StoreId {
    type Err = StoreIdError;

    fn from_str(s: &str) -> Result<Self, StoreIdError> {
        if s.len() != 16 || !s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(StoreIdError);
        }
        let n = u64::from_str_radix(s, 16).map_err(|_| StoreIdError)?;
        Ok(Self(n.to_be_bytes()))
    }
}

/// What is signed. Everything that decides about access is in here or under a digest
/// that is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// The store, as [`StoreId`] prints it.
    pub store: String,
    /// Rises with every change of the store.
    pub version: u64,
    /// Wall-clock seconds of the last change.
    pub issued_at: u64,
    /// Wall-clock seconds after which it is not believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<u64>,
    /// Records in the index.
    pub keys: u32,
    /// Bytes of the heap.
    pub heap: u32,
    /// SHA-256 of the directory, base64url.
    pub directory: String,
    /// Some keys are imported ones.
    pub foreign: bool,
    /// Some keys are bound to address ranges.
    pub addresses: bool,
    /// Names of the environments that records number.
    pub environments: Vec<String>,
    /// Names of the scopes that records number, sorted.
    pub scopes: Vec<String>,
    /// The policy as written.
    pub policy: RawPolicy,
}

impl Manifest {
    fn index_size(&self) -> Option<usize> {
        (self.keys as usize).checked_mul(RECORD)
    }

    fn directory_size(&self) -> Option<usize> {
        let index = self.index_size()?.div_ceil(PAGE);
        let all = index.checked_add((self.heap as usize).div_ceil(PAGE))?;
        index
            .checked_mul(PREFIX)?
            .checked_add(all.checked_mul(DIGEST)?)
    }

    /// Bytes of directory, index and heap together.
    ///
    /// # Errors
    /// [`Refusal::Size`] if no memory could hold them.
    pub fn pages_size(&self) -> Result<usize, Refusal> {
        let size = || {
            self.directory_size()?
                .checked_add(self.index_size()?)?
                .checked_add(self.heap as usize)
        };
        size().ok_or(Refusal::Size)
    }
}

/// What became of a lookup.
pub enum Lookup<'a> {
    /// There is such a key.
    Found(Entry<'a>),
    /// There is none.
    Unknown,
    /// It would be in a page whose bytes are not those that were signed.
    Corrupt,
}

/// A keyset in force: verified, with its policy compiled. Not shared between threads.
pub struct Keyset {
    /// The store that it comes from.
    pub store: StoreId,
    /// Its version.
    pub version: u64,
    /// Wall-clock seconds of the last change.
    pub issued_at: u64,
    /// Wall-clock seconds after which it is not believed.
    pub not_after: Option<u64>,
    /// Its policy.
    pub policy: Policy,
    /// Names of the environments that entries number.
    pub environments: Vec<String>,
    /// Some keys are imported ones.
    pub foreign: bool,
    /// Some keys are bound to address ranges.
    pub addresses: bool,
    keys: usize,
    index_pages: usize,
    /// Where the index and the heap begin in `pages`.
    index_at: usize,
    heap_at: usize,
    pages: Vec<u8>,
    state: Vec<Cell<PageState>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PageState {
    Unseen,
    Good,
    Bad,
}

impl Keyset {
    /// Reads, verifies and compiles a plugin configuration. `make_room` is called once
    /// the signature holds and before memory for the keys is taken.
    ///
    /// # Errors
    /// [`Refusal`]: the same for the same bytes and keys, whoever asks and whenever.
    pub fn load(
        source: &mut impl envelope::Source,
        keys: &SigningKeys,
        make_room: impl FnOnce(&Manifest),
    ) -> Result<Self, Refusal> {
        let (manifest, pages) = envelope::open(source, keys, make_room)?;
        Self::assemble(manifest, pages)
    }

    fn assemble(manifest: Manifest, pages: Vec<u8>) -> Result<Self, Refusal> {
        let bad = |what: &str| Refusal::Manifest(what.to_owned());
        if manifest.format != FORMAT {
            return Err(Refusal::Format(u64::from(manifest.format)));
        }
        let store = manifest.store.parse().map_err(|_| bad("`store`"))?;
        let index_at = manifest.directory_size().ok_or(Refusal::Size)?;
        let heap_at = manifest
            .index_size()
            .and_then(|n| n.checked_add(index_at))
            .ok_or(Refusal::Size)?;
        let directory = pages.get(..index_at).ok_or(Refusal::Size)?;
        let digest: [u8; DIGEST] = Sha256::digest(directory).into();
        if URL_SAFE_NO_PAD.encode(digest) != manifest.directory {
            return Err(Refusal::Directory);
        }
        let policy = Policy::new(&manifest.policy, manifest.scopes.iter().map(String::as_str))
            .map_err(|e| Refusal::Policy(e.first().map(ToString::to_string).unwrap_or_default()))?;
        if policy.scopes != manifest.scopes {
            return Err(bad("`scopes`"));
        }
        let index_pages = (heap_at - index_at).div_ceil(PAGE);
        let all_pages = index_pages + (manifest.heap as usize).div_ceil(PAGE);
        Ok(Self {
            store,
            version: manifest.version,
            issued_at: manifest.issued_at,
            not_after: manifest.not_after,
            policy,
            environments: manifest.environments,
            foreign: manifest.foreign,
            addresses: manifest.addresses,
            keys: manifest.keys as usize,
            index_pages,
            index_at,
            heap_at,
            pages,
            state: vec![Cell::new(PageState::Unseen); all_pages],
        })
    }

    /// How many keys it holds.
    pub fn len(&self) -> usize {
        self.keys
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.keys == 0
    }

    /// Bytes that its keys take in memory.
    pub fn pages_bytes(&self) -> usize {
        self.pages.capacity() + self.state.capacity()
    }

    /// Pages found not to be those that were signed, so far.
    pub fn corrupt_pages(&self) -> usize {
        self.state
            .iter()
            .filter(|s| s.get() == PageState::Bad)
            .count()
    }

    /// Pages in all.
    pub fn pages(&self) -> usize {
        self.state.len()
    }

    /// Finds a key by the first half of its digest. In place: a search in the directory,
    /// a search in one page, and, the first time, the hash of the pages touched.
    pub fn lookup(&self, prefix: &Prefix) -> Lookup<'_> {
        // The directory is verified, so a corrupt page misleads no search but its own.
        let page = partition_point(self.index_pages, |i| self.first_of(i) <= &prefix[..]);
        let Some(page) = page.checked_sub(1) else {
            return Lookup::Unknown;
        };
        let start = self.index_at + page * PAGE;
        let end = (start + PAGE).min(self.heap_at);
        if !self.is_good(page, start, end) {
            return Lookup::Corrupt;
        }
        let at = |i: usize| self.pages.get(start + i * RECORD..).unwrap_or_default();
        let count = (end - start) / RECORD;
        let found = partition_point(count.min(RECORDS_PER_PAGE), |i| {
            at(i).get(..PREFIX).unwrap_or_default() < &prefix[..]
        });
        match Record::read(at(found)) {
            Some(record) if found < count && record.prefix == *prefix => self.entry(&record),
            _ => Lookup::Unknown,
        }
    }

    fn entry(&self, record: &Record) -> Lookup<'_> {
        let entry = || {
            let at = record.profile as usize;
            let len = u16::from_le_bytes(self.heap(at, 2)?.try_into().ok()?);
            Entry::read(record, self.heap(at.checked_add(2)?, usize::from(len))?)
        };
        entry().map_or(Lookup::Corrupt, Lookup::Found)
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

#[cfg(test)]
mod tests;
