//! How many unknown keys each address has tried: token buckets in a table of a fixed size.
//!
//! The table is apart from the buckets of known keys, so that nobody can push those out. Callers
//! choose their addresses, and many of them have very many. A new address takes the place of the one
//! in its set that has tried least lately, which starts anew when it comes back: eight addresses of a
//! set are counted exactly, and who has more than that gains an attempt now and then. Addresses that
//! meet in one entry share it, and no known key is refused for that.

use core::hash::{Hash as _, Hasher as _};
use core::net::{IpAddr, Ipv6Addr};

use super::bucket::{Bucket, Contended};
use crate::fast_hash::FastHasher;
use crate::keyset::StoreId;

/// The sets of a table.
pub const SETS: u16 = 2048;
/// Addresses that a set remembers.
const WAYS: usize = 8;
/// Name and level of an address.
const WAY_BYTES: usize = 16;
/// The length of a set.
pub const SET_BYTES: usize = WAYS * WAY_BYTES;

/// Where the attempts of an address are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptsPlace {
    /// The number of the set, below [`SETS`].
    pub set: u16,
    /// The address within it.
    name: u64,
}

impl AttemptsPlace {
    /// Of an IPv4 address, or the /64 of an IPv6 one, under the rule of a store's policy.
    pub fn new(store: StoreId, rule: &Bucket, address: IpAddr) -> Self {
        let network = match address.to_canonical() {
            IpAddr::V4(a) => a.to_ipv6_mapped(),
            // Whoever has one address of a /64 usually has all of them.
            IpAddr::V6(a) => Ipv6Addr::from_bits(a.to_bits() & (u128::MAX << 64)),
        };
        let mut hasher = FastHasher::default();
        hasher.write_u64(u64::from_be_bytes(store.0));
        rule.hash(&mut hasher);
        let bits = network.to_bits();
        hasher.write_u64((bits >> 64) as u64);
        hasher.write_u64(bits as u64);
        let hash = hasher.finish();
        Self {
            set: (hash >> 48) as u16 % SETS,
            // Zero is an entry that was never used.
            name: hash | 1,
        }
    }
}

/// Some addresses, and the level of the bucket of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptsSet([u8; SET_BYTES]);

impl Default for AttemptsSet {
    fn default() -> Self {
        Self([0; SET_BYTES])
    }
}

impl AttemptsSet {
    /// From the bytes of [`AttemptsSet::as_bytes`]; `None` if somebody else wrote them.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// To be stored.
    pub fn as_bytes(&self) -> &[u8; SET_BYTES] {
        &self.0
    }

    /// Takes an attempt from the bucket of an address at the monotonic instant `now`.
    ///
    /// # Errors
    /// The seconds after which it has another. Nothing has changed then.
    fn take(&mut self, place: AttemptsPlace, rule: &Bucket, now: u64) -> Result<(), u64> {
        let (words, _) = self.0.as_chunks_mut::<8>();
        let (ways, _) = words.as_chunks_mut::<2>();
        let name = place.name.to_be_bytes();
        let level = |way: &[[u8; 8]; 2]| u64::from_be_bytes(way[1]);
        let known = ways.iter().position(|way| way[0] == name);
        let way = match known {
            Some(at) => ways.get_mut(at),
            None => ways.iter_mut().min_by_key(|way| level(way)),
        };
        let Some(way) = way else {
            return Ok(());
        };
        let stored = known.map_or(0, |_| level(way));
        let taken = rule.take(1, stored, now).map_err(|no| no.retry_after())?;
        *way = [name, taken.stored.to_be_bytes()];
        Ok(())
    }
}

/// Where sets are kept: an array in tests, shared data in Envoy.
pub trait Attempts {
    /// Gives `f` the set with that number (an empty one, at first) and stores what it makes of it,
    /// if it returns `true`. Atomic, as [`super::bucket::Buckets::update`] is.
    ///
    /// # Errors
    /// [`Contended`] after a bounded number of lost swaps; nothing was stored.
    fn update_set(
        &mut self,
        set: u16,
        f: &mut dyn FnMut(&mut AttemptsSet) -> bool,
    ) -> Result<(), Contended>;
}

/// Counts an attempt with an unknown key.
///
/// # Errors
/// The seconds after which the address may try another.
pub fn attempt(
    table: &mut impl Attempts,
    place: AttemptsPlace,
    rule: &Bucket,
    now: u64,
) -> Result<(), u64> {
    let mut taken = Ok(());
    let kept = table.update_set(place.set, &mut |set| {
        taken = set.take(place, rule, now);
        taken.is_ok()
    });
    match kept {
        Ok(()) => taken,
        Err(Contended) => Err(1),
    }
}

#[cfg(test)]
pub(crate) mod tests;
