//! What a request has to pay into one bucket, and how that ended.

use super::key::BucketKey;
use super::{Bucket, Refused, Taken};

/// One bucket that a request must pay into.
#[derive(Clone, Copy, Debug)]
pub struct Charge {
    /// Where the bucket lies.
    pub key: BucketKey,
    /// Its rule, which identifies it among the buckets there and gives its size and refill.
    pub bucket: Bucket,
    /// Tokens that the request costs; a bucket that is smaller than that gives all of its tokens.
    pub cost: u64,
    /// The paying key, and where its buckets would be if the limit were the other subject's.
    pub kin: Option<Kin>,
}

impl Charge {
    /// Tokens to take. A request that costs more than the whole bucket takes the whole bucket, so
    /// that it remains possible and `Retry-After` remains true.
    pub(crate) fn tokens(&self) -> u64 {
        self.cost.min(self.bucket.burst())
    }

    /// Whether all keys of a client share the bucket.
    pub(crate) fn is_of_client(&self) -> bool {
        self.key.is_of_client()
    }
}

/// The result of several takes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakeOutcome {
    /// All were taken. `tightest` is the charge with the fewest tokens left.
    Taken {
        /// Position of that charge.
        tightest: usize,
        /// Its state.
        state: Taken,
    },
    /// None was taken: the charge at `by` refused; of several, the one that makes
    /// the caller wait longest.
    Refused {
        /// Position of that charge.
        by: usize,
        /// Why, and for how long.
        refused: Refused,
    },
    /// None was taken: the bucket at `by` is too contended.
    Contended {
        /// Position of that charge.
        by: usize,
    },
}

/// Whether tokens of these buckets may be taken in advance, and from leases: only if each bucket
/// gives all that the request costs, and all give the same. The payer's other buckets account for
/// leased tokens by their number.
pub(crate) fn is_leasable(charges: &[Charge]) -> bool {
    let cost = charges.first().map_or(0, |charge| charge.cost);
    charges
        .iter()
        .all(|charge| charge.cost == cost && charge.tokens() == cost)
}

/// The key that pays, and where its buckets would be if the limit were the other subject's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kin {
    /// The key with those that it was rotated from or to.
    pub lineage: u64,
    /// For a limit by key, the place of its client's buckets; for one by client, the key's.
    pub place: BucketKey,
}
