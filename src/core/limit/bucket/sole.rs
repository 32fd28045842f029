//! A bucket that is alone in its place: under one rule, with no lineage that was at the other
//! subject's place. That is the common case, and a take then reads and changes one number in place,
//! without parsing or allocating.

use super::levels::{LEVEL_BYTES, MAX_MEMBERS};
use super::{Bucket, Levels, Members};

/// Which bucket is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Sole<'q> {
    /// Its rule.
    pub bucket: &'q Bucket,
    /// For a client's bucket, the key that pays: one that the bucket has not seen needs errands
    /// first.
    pub payer: Option<u64>,
}

/// What is found there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoleLevel<'b> {
    /// Its level.
    pub stored: u64,
    members: &'b [[u8; 8]],
}

impl SoleLevel<'_> {
    /// The keys that a lease of it may serve.
    #[cold]
    pub(crate) fn served(&self) -> Members {
        Members::from_numbers(self.members)
    }
}

/// What to do with it: gives the level to store instead, if any.
pub type ChangeLevel<'f> = dyn FnMut(SoleLevel<'_>) -> Option<u64> + 'f;

impl Sole<'_> {
    /// Changes the bucket in the bytes that [`Levels::to_bytes`] wrote. Gives whether they changed;
    /// `None` if it is not alone there, in which case `change` was not called.
    pub fn change_in(self, bytes: &mut [u8], change: &mut ChangeLevel<'_>) -> Option<bool> {
        let (level, rest) = bytes.split_first_chunk_mut::<LEVEL_BYTES>()?;
        let (words, _) = level.as_chunks_mut::<8>();
        let [requests, per, burst, arrival] = words else {
            return None;
        };
        let is_ours = self.bucket.is(
            u64::from_be_bytes(*requests),
            u64::from_be_bytes(*per),
            u64::from_be_bytes(*burst),
        );
        if !is_ours {
            return None;
        }
        let rest: &[u8] = rest;
        let members = match rest {
            [] => &[][..],
            [members @ .., 1] => {
                let (words, odd) = members.as_chunks::<8>();
                let (count, members) = words.split_first()?;
                let is_whole = odd.is_empty() && u64::from_be_bytes(*count) == members.len() as u64;
                if !is_whole || members.len() > MAX_MEMBERS {
                    return None;
                }
                members
            }
            _ => return None,
        };
        if let Some(payer) = self.payer
            && members.len() < MAX_MEMBERS
            && !members.contains(&payer.to_be_bytes())
        {
            return None;
        }
        let stored = u64::from_be_bytes(*arrival);
        let changed = change(SoleLevel { stored, members });
        if let Some(changed) = changed {
            *arrival = changed.to_be_bytes();
        }
        Some(changed.is_some())
    }

    /// The same with levels that were read.
    pub fn change_of(self, levels: &mut Levels, change: &mut ChangeLevel<'_>) -> Option<bool> {
        let (stored, members) = levels.sole(self.bucket, self.payer)?;
        let members: Vec<_> = members.iter().map(|n| n.to_be_bytes()).collect();
        let changed = change(SoleLevel {
            stored,
            members: &members,
        });
        Some(changed.is_some_and(|changed| levels.set(self.bucket, changed)))
    }
}
