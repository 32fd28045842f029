//! Which headers concern a policy.

use crate::policy::{Credential, RawIdentity};
use crate::request::credential::folded;
use crate::request::name::PROTOCOLS;
use crate::request::overrides;

/// The header names that concern a policy: one bit per hash. The hash is designed for common
/// headers, which rarely collide with these.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watched {
    /// All requests.
    all: Hashes,
    /// Those of identity, and those that ask for something else.
    asking: Hashes,
}

/// A set of hashes.
#[derive(Clone, Copy, Debug, Default)]
struct Hashes([u64; 4]);

impl Hashes {
    fn with(mut self, name: &str) -> Self {
        let hash = hash(name.as_bytes());
        if let Some(word) = self.0.get_mut(usize::from(hash / 64)) {
            *word |= 1 << (hash % 64);
        }
        self
    }

    fn has(&self, name: &[u8]) -> bool {
        let hash = hash(name);
        let word = self.0.get(usize::from(hash / 64));
        word.is_some_and(|word| word >> (hash % 64) & 1 != 0)
    }
}

impl Watched {
    pub fn new(credentials: &[Credential], identity: &RawIdentity) -> Self {
        let places = credentials.iter().map(|c| match c {
            Credential::Header { name, .. } => name.as_str(),
            Credential::Basic(_) => "authorization",
            Credential::Query(_) => ":path",
            Credential::Cookie(_) => "cookie",
        });
        let identity = [&identity.client, &identity.key, &identity.scopes].map(String::as_str);
        let asking = identity.into_iter().fold(Hashes::default(), Hashes::with);
        let asking = overrides::names().fold(asking, Hashes::with);
        let others = places.chain([":method", "upgrade", "connection", PROTOCOLS]);
        Self {
            all: others.fold(asking, Hashes::with),
            asking,
        }
    }

    pub fn may_be(self, name: &[u8]) -> bool {
        self.all.has(name)
    }

    pub fn may_ask(self, name: &[u8]) -> bool {
        self.asking.has(name)
    }
}

/// Names that [`crate::request::name::same_name`] considers equal have the same hash.
fn hash(name: &[u8]) -> u8 {
    let part = |b: Option<&u8>| b.map_or(0, |b| folded(*b));
    let sum = (name.len() as u8).wrapping_mul(4);
    // Chosen so that headers of ordinary requests do not collide with those searched for, and
    // `x-api-key` and `authorization` not with those that honest callers do not send.
    let sum = sum.wrapping_add(part(name.first()).wrapping_mul(23));
    sum.wrapping_add(part(name.last()).wrapping_mul(20))
}
