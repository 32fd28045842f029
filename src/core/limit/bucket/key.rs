//! The names of buckets: whose they are, and on which route.

use core::hash::{Hash, Hasher};

/// Names the place of a subject's buckets on a route, as long as the subject exists: across pushes,
/// keyset versions, reordered policies and VM crashes. The [`Levels`] there say which rule each
/// bucket is under. It begins with our own prefix, because Istio gives all plugins one name space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BucketKey([u8; BUCKET_KEY_BYTES]);

const BUCKET_KEY_BYTES: usize = 36;

/// Changes with the format of what is stored there, because a process may outlive a version of the
/// filter.
const BUCKET_PREFIX: &[u8; 11] = b"keystile/l/";

const CLIENT: u8 = b'c';

/// Whose tokens a bucket counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A key and those that it was rotated from or to.
    Key(u64),
    /// All keys of a client.
    Client(u32),
}

impl BucketKey {
    /// The buckets of `subject` in store `store`; `route` is the stable id of the route whose
    /// own limit it is, zero for the limits of a plan or a key.
    pub fn new(store: [u8; 8], subject: Subject, route: u64) -> Self {
        let (kind, number) = match subject {
            Subject::Key(id) => (b'k', id),
            Subject::Client(n) => (CLIENT, u64::from(n)),
        };
        Self(joined(&[
            BUCKET_PREFIX,
            &store,
            &[kind],
            &number.to_be_bytes(),
            &route.to_be_bytes(),
        ]))
    }

    /// The bytes of the name.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether all keys of a client share these buckets.
    pub(super) fn is_of_client(&self) -> bool {
        self.0.get(BUCKET_PREFIX.len() + 8) == Some(&CLIENT)
    }
}

impl Hash for BucketKey {
    /// By what distinguishes the buckets of a store.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let numbers = self.0.last_chunk::<16>().into_iter();
        for number in numbers.flat_map(|numbers| numbers.as_chunks::<8>().0) {
            state.write_u64(u64::from_le_bytes(*number));
        }
    }
}

/// Parts one after another, which together fill `N` bytes.
#[inline]
pub(crate) fn joined<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut all = [0; N];
    let mut rest = all.as_mut_slice();
    for part in parts {
        if let Some((head, tail)) = core::mem::take(&mut rest).split_at_mut_checked(part.len()) {
            head.copy_from_slice(part);
            rest = tail;
        }
    }
    all
}
