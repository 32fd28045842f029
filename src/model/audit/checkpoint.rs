//! Signed checkpoints: where the chain ended at some time, kept outside of the store.

use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, KeyInit as _, Mac as _};
use keystile_core::keyset::StoreId;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{Head, Link};
use keystile_core::hex;

/// Signs checkpoints and what was removed. No `Debug`, no `Display`; wiped when dropped.
pub struct CheckpointSecret(Zeroizing<Vec<u8>>);

impl CheckpointSecret {
    /// A secret from the bytes in the store.
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    /// Signs the end of a chain.
    pub fn checkpoint(&self, store: StoreId, head: Head) -> Checkpoint {
        Checkpoint {
            head,
            tag: self.tag("keystile audit checkpoint v1\n", store, head),
        }
    }

    /// Signs that the records up to `start` were removed by pruning.
    pub fn tag_of_start(&self, store: StoreId, start: Head) -> [u8; 32] {
        self.tag("keystile audit start v1\n", store, start)
    }

    /// Whether a checkpoint was signed with it, for a store.
    pub fn signed(&self, store: StoreId, checkpoint: &Checkpoint) -> bool {
        self.verifies(
            "keystile audit checkpoint v1\n",
            store,
            checkpoint.head,
            &checkpoint.tag,
        )
    }

    /// Whether the removal of the records up to `start` was signed.
    pub fn signed_start(&self, store: StoreId, start: Head, tag: &[u8]) -> bool {
        self.verifies("keystile audit start v1\n", store, start, tag)
    }

    fn mac(&self, purpose: &str, store: StoreId, head: Head) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        mac.update(purpose.as_bytes());
        mac.update(&store.0);
        mac.update(&head.seq.to_be_bytes());
        mac.update(&head.link.0);
        Some(mac)
    }

    fn tag(&self, purpose: &str, store: StoreId, head: Head) -> [u8; 32] {
        // HMAC accepts keys of any length, so this always succeeds.
        self.mac(purpose, store, head)
            .map_or([0; 32], |m| m.finalize().into_bytes().into())
    }

    fn verifies(&self, purpose: &str, store: StoreId, head: Head, tag: &[u8]) -> bool {
        self.mac(purpose, store, head)
            .is_some_and(|m| m.verify_slice(tag).is_ok())
    }
}

/// A signed statement of where a chain ended: `<seq>:<hash>:<tag>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Where it ended.
    pub head: Head,
    /// HMAC-SHA-256.
    pub tag: [u8; 32],
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.head, Link(self.tag))
    }
}

impl FromStr for Checkpoint {
    type Err = String;

    fn from_str(s: &str) -> std::result::Result<Self, String> {
        let wrong = || "it is not `<number>:<hash>:<tag>`".to_owned();
        let (head, tag) = s.rsplit_once(':').ok_or_else(wrong)?;
        Ok(Self {
            head: head.parse().map_err(|_| wrong())?,
            tag: hex::read(tag).ok_or_else(wrong)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(byte: u8) -> CheckpointSecret {
        CheckpointSecret::new(Zeroizing::new(vec![byte; 32]))
    }

    const HEAD: Head = Head {
        seq: 7,
        link: Link([9; 32]),
    };

    #[test]
    fn a_checkpoint_reads_back_what_it_prints_and_holds_for_its_store_alone() {
        let store = StoreId([1; 8]);
        let made = secret(1).checkpoint(store, HEAD);
        assert_eq!(made.to_string().parse(), Ok(made));
        assert!(secret(1).signed(store, &made));
        assert!(!secret(2).signed(store, &made));
        assert!(!secret(1).signed(StoreId([2; 8]), &made));
        let later = Checkpoint {
            head: Head { seq: 8, ..HEAD },
            ..made
        };
        assert!(!secret(1).signed(store, &later));
    }

    #[test]
    fn a_checkpoint_does_not_vouch_for_a_removal() {
        let store = StoreId([1; 8]);
        let made = secret(1).checkpoint(store, HEAD);
        assert!(!secret(1).signed_start(store, HEAD, &made.tag));
        let tag = secret(1).tag_of_start(store, HEAD);
        assert!(secret(1).signed_start(store, HEAD, &tag));
    }
}
